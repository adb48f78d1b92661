//! Scheduling policies, priorities and nice values: the system calls of man 7 sched with their errors, and what they bring.
//!
//! Shares by nice value are compared loosely, and only as far as they hold under every order: nobody gets less for being
//! nicer to others.

use anyhow::{Context, ensure};
use nix::errno::Errno;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};
use userland::checks::{self, Outcome};
use userland::children::in_child;
use userland::cpus;
use userland::shared::Shared;
use userland::wait;

const NORMAL: i32 = libc::SCHED_OTHER;
const FIFO: i32 = libc::SCHED_FIFO;
const RR: i32 = libc::SCHED_RR;
const BATCH: i32 = libc::SCHED_BATCH;
const IDLE: i32 = libc::SCHED_IDLE;
const DEADLINE: i32 = libc::SCHED_DEADLINE;
const RESET_ON_FORK: i32 = libc::SCHED_RESET_ON_FORK;

/// The calling thread.
const SELF: i32 = 0;
const NOBODY: i32 = i32::MAX;

fn main() -> ExitCode {
    checks::run(
        "policies_test",
        &[
            ("a policy that was set is read back, with its priority", reads_back),
            ("a policy and a priority that do not go together are refused", refuses_wrong_priorities),
            ("unknown threads, policies and addresses are refused", refuses_unknown),
            ("the bounds of priorities are those of man 2 sched_get_priority_max", bounds),
            ("sched_setparam changes the priority and not the policy", changes_the_priority),
            ("sched_setattr sets what sched_getattr reads", attributes_read_back),
            ("sched_setattr refuses what does not go together", attributes_refused),
            ("a structure of another size is read as man 2 sched_setattr says", attributes_sizes),
            ("a reservation is admitted while there is room", reservations),
            ("a thread with a reservation may not fork, unless its child is reset", no_fork_with_reservation),
            ("a round robin thread has an interval, a FIFO thread has none", intervals),
            ("nice values are clamped, read back and inherited", nice_values),
            ("the nice values of a process group change together", nice_values_of_groups),
            ("a child inherits policy and nice value", inherits),
            ("SCHED_RESET_ON_FORK gives a child the normal policy", resets_on_fork),
            ("a FIFO thread runs before a normal one of its processor", fifo_goes_first),
            ("a woken FIFO thread preempts a normal one", fifo_preempts),
            ("a normal thread is not starved by a FIFO thread", not_starved),
            ("a nicer thread gets no more of its processor", shares),
        ],
    )
}

/// `struct sched_attr` in its first version (man 2 sched_setattr), and room for what may follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
    beyond: [u32; 16],
}

const FIRST_SIZE: u32 = 48;

impl Attributes {
    fn new(policy: i32) -> Self {
        Self { size: FIRST_SIZE, policy: policy as u32, ..Self::default() }
    }

    fn reservation(runtime_us: u64, deadline_us: u64, period_us: u64) -> Self {
        let ns = |us: u64| us * 1_000;
        let (runtime, deadline, period) = (ns(runtime_us), ns(deadline_us), ns(period_us));
        Self { runtime, deadline, period, ..Self::new(DEADLINE) }
    }

    fn set(&self) -> nix::Result<()> {
        // SAFETY: the structure is readable for as long as `size` may say.
        Errno::result(unsafe { libc::syscall(libc::SYS_sched_setattr, SELF, self, 0) }).map(drop)
    }

    fn get(size: u32) -> nix::Result<Self> {
        let mut read = Self::default();
        // SAFETY: the structure is writable for `size` bytes, at most its own size.
        Errno::result(unsafe { libc::syscall(libc::SYS_sched_getattr, SELF, &mut read, size, 0) })?;
        Ok(read)
    }
}

// The calls by their numbers: a C library may have its own idea of some of them.

fn set_scheduler(thread: i32, policy: i32, priority: i32) -> nix::Result<()> {
    // SAFETY: the kernel reads one integer.
    Errno::result(unsafe { libc::syscall(libc::SYS_sched_setscheduler, thread, policy, &priority) }).map(drop)
}

fn scheduler(thread: i32) -> nix::Result<i32> {
    // SAFETY: nothing is passed by address.
    Errno::result(unsafe { libc::syscall(libc::SYS_sched_getscheduler, thread) }).map(|policy| policy as i32)
}

fn set_priority(thread: i32, priority: i32) -> nix::Result<()> {
    // SAFETY: the kernel reads one integer.
    Errno::result(unsafe { libc::syscall(libc::SYS_sched_setparam, thread, &priority) }).map(drop)
}

fn priority(thread: i32) -> nix::Result<i32> {
    let mut priority = -1_i32;
    // SAFETY: the kernel writes one integer.
    Errno::result(unsafe { libc::syscall(libc::SYS_sched_getparam, thread, &mut priority) })?;
    Ok(priority)
}

fn bound(call: libc::c_long, policy: i32) -> nix::Result<i32> {
    // SAFETY: nothing is passed by address.
    Errno::result(unsafe { libc::syscall(call, policy) }).map(|bound| bound as i32)
}

fn interval(thread: i32) -> nix::Result<Duration> {
    let mut time = libc::timespec { tv_sec: -1, tv_nsec: -1 };
    // SAFETY: the kernel writes one time.
    Errno::result(unsafe { libc::syscall(libc::SYS_sched_rr_get_interval, thread, &mut time) })?;
    Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}

fn set_nice(which: u32, who: i32, nice: i32) -> nix::Result<()> {
    // SAFETY: nothing is passed by address.
    Errno::result(unsafe { libc::syscall(libc::SYS_setpriority, which, who, nice) }).map(drop)
}

/// The system call returns 20 less the nice value.
fn nice(which: u32, who: i32) -> nix::Result<i32> {
    // SAFETY: nothing is passed by address.
    Errno::result(unsafe { libc::syscall(libc::SYS_getpriority, which, who) })
        .map(|answer| 20 - answer as i32)
}

const PROCESS: u32 = 0;
const GROUP: u32 = 1;

fn expect<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Outcome {
    ensure!(found == expected, "{what}: {found:?}, not {expected:?}");
    Ok(())
}

fn reads_back() -> Outcome {
    for (policy, wanted) in [(FIFO, 1), (FIFO, 99), (RR, 50), (BATCH, 0), (IDLE, 0), (NORMAL, 0)] {
        set_scheduler(SELF, policy, wanted)?;
        expect("policy", scheduler(SELF)?, policy)?;
        expect("priority", priority(SELF)?, wanted)?;
    }
    set_scheduler(SELF, RR | RESET_ON_FORK, 3)?;
    expect("policy", scheduler(SELF)?, RR | RESET_ON_FORK)
}

fn refuses_wrong_priorities() -> Outcome {
    for (policy, wrong) in [
        (FIFO, 0),
        (FIFO, 100),
        (RR, -1),
        (RR, 0),
        (NORMAL, 1),
        (BATCH, 1),
        (IDLE, 99),
        (NORMAL, -1),
        (FIFO, 257),
    ] {
        expect(&format!("{policy}, {wrong}"), set_scheduler(SELF, policy, wrong), Err(Errno::EINVAL))?;
    }
    expect("policy", scheduler(SELF)?, NORMAL)
}

fn refuses_unknown() -> Outcome {
    expect("set", set_scheduler(NOBODY, NORMAL, 0), Err(Errno::ESRCH))?;
    expect("get", scheduler(NOBODY), Err(Errno::ESRCH))?;
    expect("setparam", set_priority(NOBODY, 0), Err(Errno::ESRCH))?;
    expect("getparam", priority(NOBODY), Err(Errno::ESRCH))?;
    expect("interval", interval(NOBODY), Err(Errno::ESRCH))?;
    for negative in [-1, i32::MIN] {
        expect("set", set_scheduler(negative, NORMAL, 0), Err(Errno::EINVAL))?;
        expect("get", scheduler(negative), Err(Errno::EINVAL))?;
        expect("setparam", set_priority(negative, 0), Err(Errno::EINVAL))?;
        expect("getparam", priority(negative), Err(Errno::EINVAL))?;
        expect("interval", interval(negative), Err(Errno::EINVAL))?;
    }
    for unknown in [4, 7, 99, -1] {
        expect("policy", set_scheduler(SELF, unknown, 0), Err(Errno::EINVAL))?;
    }
    expect("SCHED_DEADLINE needs more than that", set_scheduler(SELF, DEADLINE, 0), Err(Errno::EINVAL))?;
    let bad = 8_usize;
    // SAFETY: the address is not mapped, which is the point: the kernel must say so.
    let set = unsafe { libc::syscall(libc::SYS_sched_setscheduler, SELF, FIFO, bad) };
    expect("set from nowhere", (set, Errno::last()), (-1, Errno::EFAULT))?;
    // SAFETY: as above.
    let get = unsafe { libc::syscall(libc::SYS_sched_getparam, SELF, bad) };
    expect("get to nowhere", (get, Errno::last()), (-1, Errno::EFAULT))?;
    // SAFETY: a null pointer is an error of its own.
    let null = unsafe { libc::syscall(libc::SYS_sched_setscheduler, SELF, FIFO, 0) };
    expect("set from null", (null, Errno::last()), (-1, Errno::EINVAL))
}

fn bounds() -> Outcome {
    let (most, least) = (libc::SYS_sched_get_priority_max, libc::SYS_sched_get_priority_min);
    for policy in [FIFO, RR] {
        expect("most", bound(most, policy)?, 99)?;
        expect("least", bound(least, policy)?, 1)?;
    }
    for policy in [NORMAL, BATCH, IDLE, DEADLINE] {
        expect("most", bound(most, policy)?, 0)?;
        expect("least", bound(least, policy)?, 0)?;
    }
    for unknown in [-1, 4, 100] {
        expect("most", bound(most, unknown), Err(Errno::EINVAL))?;
        expect("least", bound(least, unknown), Err(Errno::EINVAL))?;
    }
    Ok(())
}

fn changes_the_priority() -> Outcome {
    set_scheduler(SELF, RR | RESET_ON_FORK, 5)?;
    set_priority(SELF, 7)?;
    expect("policy", scheduler(SELF)?, RR | RESET_ON_FORK)?;
    expect("priority", priority(SELF)?, 7)?;
    expect("too low", set_priority(SELF, 0), Err(Errno::EINVAL))?;
    expect("too high", set_priority(SELF, 100), Err(Errno::EINVAL))?;
    set_scheduler(SELF, NORMAL, 0)?;
    expect("a normal thread has no priority", set_priority(SELF, 1), Err(Errno::EINVAL))?;
    set_priority(SELF, 0).context("the only priority that there is")
}

fn attributes_read_back() -> Outcome {
    let fifo = Attributes { priority: 12, flags: 1, ..Attributes::new(FIFO) };
    fifo.set()?;
    expect("fifo", Attributes::get(FIRST_SIZE)?, fifo)?;
    expect("policy", scheduler(SELF)?, FIFO | RESET_ON_FORK)?;
    let reservation = Attributes::reservation(1_000, 10_000, 20_000);
    reservation.set()?;
    expect("reservation", Attributes::get(FIRST_SIZE)?, reservation)?;
    expect("policy", scheduler(SELF)?, DEADLINE)?;
    expect("priority", priority(SELF)?, 0)?;
    // Without a period, the deadline is one.
    Attributes::reservation(1_000, 10_000, 0).set()?;
    expect("period", Attributes::get(FIRST_SIZE)?.period, 10_000_000)?;
    for policy in [BATCH, NORMAL] {
        Attributes { nice: -7, ..Attributes::new(policy) }.set()?;
        let read = Attributes::get(FIRST_SIZE)?;
        expect("policy and nice value", (read.policy, read.nice), (policy as u32, -7))?;
        expect("nice value", nice(PROCESS, SELF)?, -7)?;
    }
    Ok(())
}

fn attributes_refused() -> Outcome {
    let refused = |what: &str, attributes: Attributes| expect(what, attributes.set(), Err(Errno::EINVAL));
    refused("a priority for a normal thread", Attributes { priority: 1, ..Attributes::new(NORMAL) })?;
    refused("no priority for a FIFO thread", Attributes::new(FIFO))?;
    refused("an unknown policy", Attributes::new(4))?;
    refused("an unknown flag", Attributes { flags: 1 << 40, ..Attributes::new(NORMAL) })?;
    refused("more runtime than the deadline allows", Attributes::reservation(2_000, 1_000, 2_000))?;
    refused("a deadline after the period", Attributes::reservation(1_000, 3_000, 2_000))?;
    refused("no runtime", Attributes::reservation(0, 1_000, 2_000))?;
    refused("hardly any runtime", Attributes { runtime: 1_000, ..Attributes::reservation(1, 1_000, 2_000) })?;
    refused("no deadline", Attributes::reservation(1_000, 0, 2_000))?;
    // SAFETY: the structure is readable.
    let unknown = unsafe { libc::syscall(libc::SYS_sched_setattr, SELF, &Attributes::new(NORMAL), 1) };
    expect("unknown flags of the call", (unknown, Errno::last()), (-1, Errno::EINVAL))?;
    // SAFETY: a null pointer is an error of its own.
    let null = unsafe { libc::syscall(libc::SYS_sched_setattr, SELF, 0, 0) };
    expect("null", (null, Errno::last()), (-1, Errno::EINVAL))?;
    // SAFETY: the structure is readable.
    let nobody = unsafe { libc::syscall(libc::SYS_sched_setattr, NOBODY, &Attributes::new(NORMAL), 0) };
    expect("nobody", (nobody, Errno::last()), (-1, Errno::ESRCH))?;
    expect("policy", scheduler(SELF)?, NORMAL)
}

fn attributes_sizes() -> Outcome {
    let size = size_of::<Attributes>() as u32;
    Attributes { size: 0, ..Attributes::new(BATCH) }.set().context("size 0 stands for the first version")?;
    expect("policy", scheduler(SELF)?, BATCH)?;
    Attributes { size, ..Attributes::new(NORMAL) }.set().context("more than is known, but zero")?;
    expect("policy", scheduler(SELF)?, NORMAL)?;
    let mut beyond = Attributes { size, ..Attributes::new(BATCH) };
    beyond.beyond[15] = 1;
    expect("something unknown", beyond.set(), Err(Errno::E2BIG))?;
    let small = Attributes { size: FIRST_SIZE - 8, ..Attributes::new(NORMAL) };
    expect("too small to set", small.set(), Err(Errno::E2BIG))?;
    expect("too small to get", Attributes::get(FIRST_SIZE - 8), Err(Errno::EINVAL))
}

/// Linux admits to the whole machine and Tine to single processors. Of requests of nine tenths of a processor both take as
/// many as there are processors.
fn reservations() -> Outcome {
    let most = Attributes::reservation(90_000, 100_000, 100_000);
    let half = Attributes::reservation(50_000, 100_000, 100_000);
    // What is given back is there again, as often as one likes.
    for _ in 0..50 {
        most.set().context("a processor but for a tenth")?;
        set_scheduler(SELF, NORMAL, 0)?;
        in_child(|| most.set().context("in a child"))?;
    }
    let stop = &Shared::<AtomicBool>::new(1, |_| AtomicBool::new(false))?[0];
    let admitted = &Shared::<AtomicU64>::zeroed(1)?[0];
    let processors = cpus::allowed()?.len();
    let holds = || {
        userland::children::Child::start(|| {
            if most.set().is_ok() {
                admitted.fetch_add(1, SeqCst);
            }
            while !stop.load(SeqCst) {
                thread::sleep(Duration::from_millis(5));
            }
            0
        })
    };
    let children = (0..processors).map(|_| holds()).collect::<anyhow::Result<Vec<_>>>()?;
    wait::until("all children are admitted", || admitted.load(SeqCst) == processors as u64)?;
    expect("one more", half.set(), Err(Errno::EBUSY))?;
    expect("policy", scheduler(SELF)?, NORMAL)?;
    stop.store(true, SeqCst);
    children.into_iter().try_for_each(|child| child.expect_exit(0))?;
    half.set().context("after they have ended")
}

fn no_fork_with_reservation() -> Outcome {
    Attributes::reservation(10_000, 100_000, 100_000).set()?;
    let forked = userland::children::Child::try_start(|| 0).map(|child| child.pid());
    expect("fork", forked, Err(Errno::EAGAIN))?;
    Attributes { flags: 1, ..Attributes::reservation(10_000, 100_000, 100_000) }.set()?;
    in_child(|| expect("the child's policy", scheduler(SELF)?, NORMAL))
}

fn intervals() -> Outcome {
    set_scheduler(SELF, RR, 1)?;
    expect("round robin", interval(SELF)?, Duration::from_millis(100))?;
    set_scheduler(SELF, FIFO, 1)?;
    expect("FIFO", interval(SELF)?, Duration::ZERO)
}

fn nice_values() -> Outcome {
    expect("at the start", nice(PROCESS, SELF)?, 0)?;
    for (set, read) in [(5, 5), (100, 19), (-100, -20), (-3, -3)] {
        set_nice(PROCESS, SELF, set)?;
        expect("nice value", nice(PROCESS, SELF)?, read)?;
    }
    in_child(|| expect("the child's", nice(PROCESS, SELF)?, -3))?;
    // It stays through policies that do not look at it.
    set_scheduler(SELF, FIFO, 1)?;
    expect("with FIFO", nice(PROCESS, SELF)?, -3)?;
    set_nice(PROCESS, SELF, 4)?;
    set_scheduler(SELF, NORMAL, 0)?;
    expect("after FIFO", nice(PROCESS, SELF)?, 4)?;
    expect("nobody", set_nice(PROCESS, NOBODY, 0), Err(Errno::ESRCH))?;
    expect("nobody", nice(PROCESS, NOBODY), Err(Errno::ESRCH))?;
    expect("no such kind", set_nice(3, 0, 0), Err(Errno::EINVAL))?;
    expect("no such kind", nice(3, 0), Err(Errno::EINVAL))
}

fn nice_values_of_groups() -> Outcome {
    nix::unistd::setpgid(nix::unistd::Pid::from_raw(0), nix::unistd::Pid::from_raw(0))?;
    set_nice(PROCESS, SELF, 9)?;
    in_child(|| {
        set_nice(PROCESS, SELF, 2)?;
        expect("the lowest of the group", nice(GROUP, 0)?, 2)?;
        set_nice(GROUP, 0, 6)?;
        expect("its own", nice(PROCESS, SELF)?, 6)
    })?;
    expect("the parent's", nice(PROCESS, SELF)?, 6)
}

fn inherits() -> Outcome {
    set_nice(PROCESS, SELF, 6)?;
    for (policy, wanted) in [(RR, 7), (FIFO, 3), (BATCH, 0), (IDLE, 0)] {
        set_scheduler(SELF, policy, wanted)?;
        let same = || {
            expect("policy", scheduler(SELF)?, policy)?;
            expect("priority", priority(SELF)?, wanted)?;
            expect("nice value", nice(PROCESS, SELF)?, 6)
        };
        in_child(same)?;
        thread::scope(|scope| scope.spawn(same).join().expect("no check panics"))?;
    }
    Ok(())
}

fn resets_on_fork() -> Outcome {
    set_nice(PROCESS, SELF, -4)?;
    for (policy, wanted) in [(FIFO, 5), (RR, 9)] {
        set_scheduler(SELF, policy | RESET_ON_FORK, wanted)?;
        in_child(|| {
            expect("policy", scheduler(SELF)?, NORMAL)?;
            expect("nice value", nice(PROCESS, SELF)?, 0)
        })?;
        expect("the parent's", scheduler(SELF)?, policy | RESET_ON_FORK)?;
    }
    Ok(())
}

/// Two children of one processor: a normal one that counts, and a FIFO one that looks whether the count stands still.
fn fifo_goes_first() -> Outcome {
    let count = &Shared::<AtomicU64>::zeroed(1)?[0];
    with_counter(count, || {
        set_scheduler(SELF, FIFO, 10)?;
        for _ in 0..20 {
            let before = count.load(SeqCst);
            spin_for(Duration::from_millis(5));
            expect("the normal thread meanwhile", count.load(SeqCst), before)?;
            // It has its turn while this one sleeps.
            wait::until("the normal thread goes on", || {
                thread::sleep(Duration::from_millis(5));
                count.load(SeqCst) > before
            })?;
        }
        Ok(())
    })
}

fn fifo_preempts() -> Outcome {
    let count = &Shared::<AtomicU64>::zeroed(1)?[0];
    with_counter(count, || {
        set_scheduler(SELF, FIFO, 10)?;
        let mut late = 0;
        for _ in 0..50 {
            let started = Instant::now();
            thread::sleep(Duration::from_millis(1));
            late += i32::from(started.elapsed() > Duration::from_millis(50));
        }
        // A machine that is itself interrupted may be late now and then.
        ensure!(late <= 10, "it was late {late} times of 50");
        Ok(())
    })
}

/// Neither of Linux's and Tine's ways to see to that needs more than a few seconds.
fn not_starved() -> Outcome {
    let count = &Shared::<AtomicU64>::zeroed(1)?[0];
    with_counter(count, || {
        set_scheduler(SELF, FIFO, 10)?;
        let before = count.load(SeqCst);
        wait::spinning_until("the normal thread goes on", || count.load(SeqCst) > before)
    })
}

/// Runs `body` on a processor where a normal child counts.
fn with_counter(count: &AtomicU64, body: impl FnOnce() -> Outcome) -> Outcome {
    let cpu = last_cpu()?;
    let stop = &Shared::<AtomicBool>::new(1, |_| AtomicBool::new(false))?[0];
    let child = userland::children::Child::start(|| {
        let pinned = cpus::pin_to(cpu);
        while pinned.is_ok() && !stop.load(SeqCst) {
            count.fetch_add(1, SeqCst);
        }
        0
    })?;
    wait::until("the child counts", || count.load(SeqCst) > 0)?;
    cpus::pin_to(cpu)?;
    let outcome = body();
    set_scheduler(SELF, NORMAL, 0)?;
    stop.store(true, SeqCst);
    child.expect_exit(0)?;
    outcome
}

fn spin_for(time: Duration) {
    let started = Instant::now();
    while started.elapsed() < time {
        std::hint::spin_loop();
    }
}

fn last_cpu() -> anyhow::Result<usize> {
    cpus::allowed()?.pop().context("no processor may be used")
}

/// Two threads of one processor with nice values 0 and 5, for a second: 3 to 1 where the order has weights, 1 to 1 where not.
fn shares() -> Outcome {
    let cpu = last_cpu()?;
    let counts = &Shared::<AtomicU64>::zeroed(2)?;
    let go = &Shared::<AtomicBool>::new(1, |_| AtomicBool::new(false))?[0];
    let child = |index: usize, nice: i32| {
        userland::children::Child::start(move || {
            let ready = set_nice(PROCESS, SELF, nice).is_ok() && cpus::pin_to(cpu).is_ok();
            while ready && !go.load(SeqCst) {
                thread::yield_now();
            }
            let started = Instant::now();
            while started.elapsed() < Duration::from_secs(1) {
                counts[index].fetch_add(1, SeqCst);
            }
            0
        })
    };
    let children = [child(0, 0)?, child(1, 5)?];
    thread::sleep(Duration::from_millis(50));
    go.store(true, SeqCst);
    children.into_iter().try_for_each(|child| child.expect_exit(0))?;
    let ratio = counts[0].load(SeqCst) as f64 / counts[1].load(SeqCst).max(1) as f64;
    ensure!((0.5..8.0).contains(&ratio), "{ratio:.2} to 1");
    Ok(())
}
