//! Futexes beyond a mutex: priority inheritance, requeueing, dead owners, and time-outs on both clocks.

use anyhow::ensure;
use nix::errno::Errno;
use std::process::ExitCode;
use std::ptr::null;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};
use userland::checks::{self, Outcome};
use userland::children::{Child, report};
use userland::cpus;
use userland::shared::Shared;

fn main() -> ExitCode {
    checks::run(
        "pi_futexes",
        &[
            ("a free lock is taken, and a second time it is a deadlock", lock_and_deadlock),
            ("only the owner may unlock", only_the_owner),
            ("waiters get the lock one after the other", passed_on),
            ("waiting for a lock has a limit on both clocks", limits),
            ("two threads that wait for each other are told", circle),
            ("a lock whose owner is gone cannot be waited for", no_owner),
            ("a lock is passed on when its owner dies", owner_dies),
            ("processes share a lock in shared memory", between_processes),
            ("an owner has the priority of who waits for it", inherits),
            ("so has the owner for which that owner waits", inherits_along_a_chain),
            ("waiters of a condition are moved to its lock", requeued),
            ("a condition has a limit", requeue_limit),
            ("time-outs are absolute on both clocks", bitset_limits),
            ("operations that do not exist are ENOSYS, bad arguments EINVAL", invalid),
        ],
    )
}

const TID: u32 = 0x3fff_ffff;

fn tid() -> u32 {
    // SAFETY: no memory is involved.
    (unsafe { libc::gettid() }) as u32
}

fn call(
    word: &AtomicU32,
    operation: i32,
    value: u32,
    timeout: *const libc::timespec,
    second: *const AtomicU32,
    third: u32,
) -> Result<i64, Errno> {
    let word: *const AtomicU32 = word;
    // SAFETY: the words and the time outlive the call.
    Errno::result(unsafe { libc::syscall(libc::SYS_futex, word, operation, value, timeout, second, third) })
}

fn simple(word: &AtomicU32, operation: i32) -> Result<i64, Errno> {
    call(word, operation, 0, null(), null(), 0)
}

/// Locks as a C library does: without the kernel if it is free.
fn lock(word: &AtomicU32) -> Result<(), Errno> {
    if word.compare_exchange(0, tid(), SeqCst, SeqCst).is_err() {
        simple(word, libc::FUTEX_LOCK_PI)?;
    }
    Ok(())
}

fn unlock(word: &AtomicU32) -> Result<(), Errno> {
    if word.compare_exchange(tid(), 0, SeqCst, SeqCst).is_err() {
        simple(word, libc::FUTEX_UNLOCK_PI)?;
    }
    Ok(())
}

fn now(clock: i32) -> libc::timespec {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes one `timespec`.
    unsafe { libc::clock_gettime(clock, &raw mut now) };
    now
}

fn after(clock: i32, millis: i64) -> libc::timespec {
    let now = now(clock);
    let ns = now.tv_nsec + millis % 1000 * 1_000_000;
    libc::timespec { tv_sec: now.tv_sec + millis / 1000 + ns / 1_000_000_000, tv_nsec: ns % 1_000_000_000 }
}

/// Waits for a state that others bring about.
fn until(what: &str, state: impl Fn() -> bool) -> Outcome {
    let start = Instant::now();
    while !state() {
        ensure!(start.elapsed() < Duration::from_secs(30), "waited 30 s: {what}");
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn has_waiters(word: &AtomicU32) -> bool {
    word.load(SeqCst) & libc::FUTEX_WAITERS != 0
}

fn lock_and_deadlock() -> Outcome {
    let word = AtomicU32::new(0);
    simple(&word, libc::FUTEX_LOCK_PI)?;
    ensure!(word.load(SeqCst) == tid(), "the word is {:#x}", word.load(SeqCst));
    ensure!(simple(&word, libc::FUTEX_LOCK_PI) == Err(Errno::EDEADLK), "locked twice");
    ensure!(simple(&word, libc::FUTEX_TRYLOCK_PI) == Err(Errno::EDEADLK), "tried twice");
    simple(&word, libc::FUTEX_UNLOCK_PI)?;
    ensure!(word.load(SeqCst) == 0, "after unlocking, the word is {:#x}", word.load(SeqCst));
    simple(&word, libc::FUTEX_TRYLOCK_PI)?;
    ensure!(word.load(SeqCst) == tid(), "tried, the word is {:#x}", word.load(SeqCst));
    Ok(())
}

fn only_the_owner() -> Outcome {
    let word = AtomicU32::new(0);
    lock(&word)?;
    thread::scope(|scope| {
        let other = scope.spawn(|| {
            let unlocked = simple(&word, libc::FUTEX_UNLOCK_PI);
            ensure!(unlocked == Err(Errno::EPERM), "another thread unlocks: {unlocked:?}");
            let tried = simple(&word, libc::FUTEX_TRYLOCK_PI);
            ensure!(tried == Err(Errno::EAGAIN), "another thread tries: {tried:?}");
            Ok(())
        });
        other.join().expect("it does not panic")
    })
}

fn passed_on() -> Outcome {
    let (word, count) = (AtomicU32::new(0), AtomicU32::new(0));
    thread::scope(|scope| {
        let threads: Vec<_> = (0..6)
            .map(|_| {
                scope.spawn(|| -> Outcome {
                    for _ in 0..300 {
                        lock(&word)?;
                        let before = count.load(SeqCst);
                        if before.is_multiple_of(7) {
                            thread::yield_now();
                        }
                        count.store(before + 1, SeqCst);
                        unlock(&word)?;
                    }
                    Ok(())
                })
            })
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("it does not panic"))
    })?;
    ensure!(count.load(SeqCst) == 1800, "counted {}", count.load(SeqCst));
    ensure!(word.load(SeqCst) & TID == 0, "the word is {:#x}", word.load(SeqCst));
    Ok(())
}

const LOCK_PI2: i32 = 13;

fn limits() -> Outcome {
    let word = AtomicU32::new(0);
    lock(&word)?;
    thread::scope(|scope| {
        let other = scope.spawn(|| -> Outcome {
            for (operation, clock) in [
                (libc::FUTEX_LOCK_PI, libc::CLOCK_REALTIME),
                (LOCK_PI2, libc::CLOCK_MONOTONIC),
                (LOCK_PI2 | libc::FUTEX_CLOCK_REALTIME, libc::CLOCK_REALTIME),
            ] {
                let start = Instant::now();
                let limit = after(clock, 20);
                let waited = call(&word, operation, 0, &raw const limit, null(), 0);
                ensure!(waited == Err(Errno::ETIMEDOUT), "operation {operation}: {waited:?}");
                ensure!(start.elapsed() >= Duration::from_millis(19), "after {:?}", start.elapsed());
            }
            Ok(())
        });
        other.join().expect("it does not panic")
    })?;
    unlock(&word)?;
    Ok(())
}

fn circle() -> Outcome {
    let (first, second) = (AtomicU32::new(0), AtomicU32::new(0));
    lock(&first)?;
    thread::scope(|scope| {
        let other = scope.spawn(|| -> Outcome {
            lock(&second)?;
            lock(&first)?;
            unlock(&first)?;
            unlock(&second)?;
            Ok(())
        });
        until("the other waits for the first lock", || has_waiters(&first))?;
        let outcome = simple(&second, libc::FUTEX_LOCK_PI);
        ensure!(outcome == Err(Errno::EDEADLK), "closing the circle: {outcome:?}");
        unlock(&first)?;
        other.join().expect("it does not panic")
    })
}

fn no_owner() -> Outcome {
    let word = AtomicU32::new(99_999_999);
    let outcome = simple(&word, libc::FUTEX_LOCK_PI);
    ensure!(outcome == Err(Errno::ESRCH), "the lock of nobody: {outcome:?}");
    Ok(())
}

fn owner_dies() -> Outcome {
    let word = Arc::new(AtomicU32::new(0));
    let owned = word.clone();
    let owner = thread::spawn(move || {
        lock(&owned).expect("it is free");
        while !has_waiters(&owned) {
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(Duration::from_millis(5));
    });
    until("the other has the lock", || word.load(SeqCst) != 0)?;
    let got = simple(&word, libc::FUTEX_LOCK_PI);
    owner.join().expect("it does not panic");
    ensure!(got == Ok(0), "after the owner died: {got:?}");
    let value = word.load(SeqCst);
    ensure!(value & TID == tid(), "the word is {value:#x}");
    ensure!(value & libc::FUTEX_OWNER_DIED != 0, "it does not say that the owner died: {value:#x}");
    Ok(())
}

fn between_processes() -> Outcome {
    let shared = Shared::new(2, |_| AtomicU32::new(0))?;
    let children: Vec<Child> = (0..3)
        .map(|_| {
            Child::start(|| {
                let (word, count) = (&shared[0], &shared[1]);
                report((|| {
                    for _ in 0..200 {
                        lock(word)?;
                        let before = count.load(SeqCst);
                        if before.is_multiple_of(9) {
                            thread::yield_now();
                        }
                        count.store(before + 1, SeqCst);
                        unlock(word)?;
                    }
                    Ok(())
                })())
            })
        })
        .collect::<Result<_, _>>()?;
    children.into_iter().try_for_each(|child| child.expect_exit(0))?;
    ensure!(shared[1].load(SeqCst) == 600, "counted {}", shared[1].load(SeqCst));
    Ok(())
}

fn be_real_time(priority: i32) -> Result<(), Errno> {
    let parameters = libc::sched_param { sched_priority: priority };
    // SAFETY: the call reads one `sched_param`.
    Errno::result(unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters) }).map(drop)
}

/// A thread of priority 2 that keeps its CPU until `done`, or gives up.
fn hog(started: &AtomicBool, done: &AtomicBool) -> Outcome {
    be_real_time(2)?;
    started.store(true, SeqCst);
    let start = Instant::now();
    while !done.load(SeqCst) {
        ensure!(start.elapsed() < Duration::from_secs(20), "the owner of the lock has not run for 20 s");
    }
    Ok(())
}

fn inherits() -> Outcome {
    cpus::pin_to(cpus::allowed()?[0])?;
    let (word, started, done) = (AtomicU32::new(0), AtomicBool::new(false), AtomicBool::new(false));
    be_real_time(1)?;
    lock(&word)?;
    thread::scope(|scope| {
        let high = scope.spawn(|| -> Outcome {
            be_real_time(3)?;
            lock(&word)?;
            done.store(true, SeqCst);
            unlock(&word)?;
            Ok(())
        });
        until("the urgent thread waits", || has_waiters(&word))?;
        let hog = scope.spawn(|| hog(&started, &done));
        until("the thread in between runs", || started.load(SeqCst))?;
        // SAFETY: no memory is involved.
        let told = unsafe { libc::sched_getscheduler(0) };
        let mut own = libc::sched_param { sched_priority: 0 };
        // SAFETY: the call writes one `sched_param`.
        unsafe { libc::sched_getparam(0, &raw mut own) };
        unlock(&word)?;
        high.join().expect("it does not panic")?;
        hog.join().expect("it does not panic")?;
        let own = (told, own.sched_priority);
        ensure!(own == (libc::SCHED_FIFO, 1), "what was lent is told as its own: {own:?}");
        Ok(())
    })
}

fn inherits_along_a_chain() -> Outcome {
    cpus::pin_to(cpus::allowed()?[0])?;
    let (first, second) = (AtomicU32::new(0), AtomicU32::new(0));
    let (started, done) = (AtomicBool::new(false), AtomicBool::new(false));
    be_real_time(1)?;
    lock(&first)?;
    thread::scope(|scope| {
        let middle = scope.spawn(|| -> Outcome {
            lock(&second)?;
            lock(&first)?;
            unlock(&first)?;
            unlock(&second)?;
            Ok(())
        });
        until("a thread waits that owns a lock", || has_waiters(&first))?;
        let high = scope.spawn(|| -> Outcome {
            be_real_time(3)?;
            lock(&second)?;
            done.store(true, SeqCst);
            unlock(&second)?;
            Ok(())
        });
        until("the urgent thread waits", || has_waiters(&second))?;
        let hog = scope.spawn(|| hog(&started, &done));
        until("the thread in between runs", || started.load(SeqCst))?;
        unlock(&first)?;
        for thread in [middle, high, hog] {
            thread.join().expect("it does not panic")?;
        }
        Ok(())
    })
}

const WAIT_REQUEUE_PI: i32 = 11;
const CMP_REQUEUE_PI: i32 = 12;

fn requeued() -> Outcome {
    let (condition, word) = (AtomicU32::new(7), AtomicU32::new(0));
    let (waiting, passed) = (AtomicU32::new(0), AtomicU32::new(0));
    thread::scope(|scope| {
        let threads: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| -> Outcome {
                    waiting.fetch_add(1, SeqCst);
                    call(&condition, WAIT_REQUEUE_PI, 7, null(), &raw const word, 0)?;
                    ensure!(word.load(SeqCst) & TID == tid(), "it woke without the lock");
                    passed.fetch_add(1, SeqCst);
                    unlock(&word)?;
                    Ok(())
                })
            })
            .collect();
        until("they are about to wait", || waiting.load(SeqCst) == 3)?;
        lock(&word)?;
        let mut moved = 0;
        let start = Instant::now();
        while moved < 3 {
            // The number of those to be moved goes where other operations have a time.
            let count = 10 as *const libc::timespec;
            moved += call(&condition, CMP_REQUEUE_PI, 1, count, &raw const word, 7)?;
            ensure!(start.elapsed() < Duration::from_secs(30), "{moved} of 3 were moved in 30 s");
            thread::sleep(Duration::from_millis(1));
        }
        ensure!(passed.load(SeqCst) == 0, "one has passed while the lock was held");
        ensure!(has_waiters(&word), "the word is {:#x}", word.load(SeqCst));
        unlock(&word)?;
        threads.into_iter().try_for_each(|thread| thread.join().expect("it does not panic"))
    })?;
    ensure!(passed.load(SeqCst) == 3, "{} passed", passed.load(SeqCst));
    let other = call(&condition, CMP_REQUEUE_PI, 1, null(), &raw const word, 8);
    ensure!(other == Err(Errno::EAGAIN), "another value: {other:?}");
    let two = call(&condition, CMP_REQUEUE_PI, 2, null(), &raw const word, 7);
    ensure!(two == Err(Errno::EINVAL), "two to be woken: {two:?}");
    Ok(())
}

fn requeue_limit() -> Outcome {
    let (condition, word) = (AtomicU32::new(7), AtomicU32::new(0));
    let limit = after(libc::CLOCK_MONOTONIC, 20);
    let waited = call(&condition, WAIT_REQUEUE_PI, 7, &raw const limit, &raw const word, 0);
    ensure!(waited == Err(Errno::ETIMEDOUT), "a condition that does not come: {waited:?}");
    let waited = call(&condition, WAIT_REQUEUE_PI, 8, &raw const limit, &raw const word, 0);
    ensure!(waited == Err(Errno::EAGAIN), "another value: {waited:?}");
    ensure!(word.load(SeqCst) == 0, "the lock's word is {:#x}", word.load(SeqCst));
    Ok(())
}

fn bitset_limits() -> Outcome {
    let word = AtomicU32::new(1);
    for (flag, clock) in [(0, libc::CLOCK_MONOTONIC), (libc::FUTEX_CLOCK_REALTIME, libc::CLOCK_REALTIME)] {
        let start = Instant::now();
        let limit = after(clock, 20);
        let operation = libc::FUTEX_WAIT_BITSET | flag;
        let waited = call(&word, operation, 1, &raw const limit, null(), u32::MAX);
        ensure!(waited == Err(Errno::ETIMEDOUT), "clock {clock}: {waited:?}");
        ensure!(start.elapsed() >= Duration::from_millis(19), "clock {clock}: {:?}", start.elapsed());
        let past = libc::timespec { tv_sec: 0, tv_nsec: 1 };
        let waited = call(&word, operation, 1, &raw const past, null(), u32::MAX);
        ensure!(waited == Err(Errno::ETIMEDOUT), "clock {clock}, in the past: {waited:?}");
    }
    Ok(())
}

fn invalid() -> Outcome {
    let word = AtomicU32::new(0);
    ensure!(simple(&word, 99) == Err(Errno::ENOSYS), "operation 99: {:?}", simple(&word, 99));
    let same = call(&word, WAIT_REQUEUE_PI, 0, null(), &raw const word, 0);
    ensure!(same == Err(Errno::EINVAL), "from a word to itself: {same:?}");
    let clock = simple(&word, libc::FUTEX_UNLOCK_PI | libc::FUTEX_CLOCK_REALTIME);
    ensure!(clock == Err(Errno::ENOSYS), "unlocking by a clock: {clock:?}");
    // SAFETY: an address that is not used.
    let odd =
        Errno::result(unsafe { libc::syscall(libc::SYS_futex, 0x1001, libc::FUTEX_LOCK_PI, 0, 0, 0, 0) });
    ensure!(odd == Err(Errno::EINVAL), "an odd address: {odd:?}");
    Ok(())
}
