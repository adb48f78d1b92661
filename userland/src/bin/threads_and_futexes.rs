//! Threads and what std builds from futexes: nothing is lost, doubled, or slept through.

use anyhow::ensure;
use std::cell::RefCell;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Condvar, Mutex, OnceLock, RwLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use userland::checks::{self, Outcome};
use userland::cpus;

fn main() -> ExitCode {
    checks::run(
        "threads_and_futexes",
        &[
            ("threads return what they computed", join_returns),
            ("many short threads come and go", many_short_threads),
            ("a mutex lets one thread in at a time", mutex_excludes),
            ("a condition variable wakes who waits", condvar_wakes),
            ("waiting for a condition has a limit", condvar_times_out),
            ("readers share, writers do not", rwlock),
            ("a barrier holds until all are there", barrier),
            ("a parked thread is unparked, also beforehand", park),
            ("parking has a limit", park_times_out),
            ("channels deliver all messages in order", channels),
            ("a value is initialised once", once),
            ("thread-locals are each thread's own, and dropped with it", thread_locals),
            ("two threads wake each other in turn", ping_pong),
            ("all of it works in a child of a process with threads", child_of_threads),
        ],
    )
}

fn threads() -> usize {
    cpus::allowed().map_or(4, |cpus| (2 * cpus.len()).clamp(4, 32))
}

/// Runs `body` in several threads, with their numbers.
fn in_threads(body: impl Fn(usize) + Sync) {
    let body = &body;
    thread::scope(|scope| {
        for index in 0..threads() {
            scope.spawn(move || body(index));
        }
    });
}

fn join_returns() -> Outcome {
    let started: Vec<_> = (0..20_u64).map(|index| thread::spawn(move || index * index)).collect();
    let sum: u64 = started.into_iter().map(|thread| thread.join().expect("it does not panic")).sum();
    ensure!(sum == 2_470, "the sum is {sum}");
    Ok(())
}

fn many_short_threads() -> Outcome {
    let ran = Arc::new(AtomicU64::new(0));
    for _ in 0..50 {
        let batch: Vec<_> = (0..8)
            .map(|_| {
                let ran = ran.clone();
                thread::spawn(move || ran.fetch_add(1, SeqCst))
            })
            .collect();
        batch.into_iter().for_each(|thread| drop(thread.join()));
    }
    ensure!(ran.load(SeqCst) == 400, "{} of 400 threads ran", ran.load(SeqCst));
    Ok(())
}

fn mutex_excludes() -> Outcome {
    let counter = Mutex::new((0_u64, false));
    in_threads(|_| {
        for _ in 0..5_000 {
            let mut guard = counter.lock().expect("nobody panics with it");
            assert!(!std::mem::replace(&mut guard.1, true), "two threads are in");
            guard.0 += 1;
            guard.1 = false;
        }
    });
    let count = counter.into_inner().expect("nobody panicked with it").0;
    ensure!(count == 5_000 * threads() as u64, "counted {count}");
    Ok(())
}

fn condvar_wakes() -> Outcome {
    const ITEMS: usize = 2_000;
    let (queue, filled) = (Mutex::new(Vec::new()), Condvar::new());
    let taken = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..threads() {
            scope.spawn(|| {
                loop {
                    let mut queue = queue.lock().expect("nobody panics with it");
                    while queue.is_empty() {
                        queue = filled.wait(queue).expect("nobody panics with it");
                    }
                    match queue.pop() {
                        Some(Some(value)) => taken.fetch_add(value, SeqCst),
                        _ => break,
                    };
                }
            });
        }
        for value in 0..ITEMS {
            queue.lock().expect("nobody panics with it").insert(0, Some(value as u64));
            filled.notify_one();
        }
        queue.lock().expect("nobody panics with it").splice(0..0, vec![None; threads()]);
        filled.notify_all();
    });
    let expected = (ITEMS * (ITEMS - 1) / 2) as u64;
    ensure!(taken.load(SeqCst) == expected, "the sum is {} and not {expected}", taken.load(SeqCst));
    Ok(())
}

fn condvar_times_out() -> Outcome {
    let (lock, never) = (Mutex::new(()), Condvar::new());
    let limit = Duration::from_millis(20);
    let started = Instant::now();
    let guard = lock.lock().expect("nobody panics with it");
    let (_guard, result) = never.wait_timeout_while(guard, limit, |()| true).expect("nobody panics with it");
    ensure!(result.timed_out(), "it was woken by nobody");
    ensure!(started.elapsed() >= limit, "it waited only {:?}", started.elapsed());
    Ok(())
}

fn rwlock() -> Outcome {
    let pair = RwLock::new((0_u64, 0_u64));
    in_threads(|index| {
        for round in 0..2_000 {
            if (index + round).is_multiple_of(8) {
                let mut pair = pair.write().expect("nobody panics with it");
                pair.0 += 1;
                pair.1 += 1;
            } else {
                let pair = pair.read().expect("nobody panics with it");
                assert_eq!(pair.0, pair.1, "a reader sees half of a write");
            }
        }
    });
    let pair = pair.into_inner().expect("nobody panicked with it");
    ensure!(pair.0 == pair.1 && pair.0 == threads() as u64 * 250, "written: {pair:?}");
    Ok(())
}

fn barrier() -> Outcome {
    let barrier = Barrier::new(threads());
    let (arrived, leaders) = (AtomicU64::new(0), AtomicU64::new(0));
    in_threads(|_| {
        for round in 1..=50 {
            arrived.fetch_add(1, SeqCst);
            if barrier.wait().is_leader() {
                leaders.fetch_add(1, SeqCst);
            }
            assert!(arrived.load(SeqCst) >= round * threads() as u64, "the barrier opened early");
            barrier.wait();
        }
    });
    ensure!(leaders.load(SeqCst) == 50, "{} leaders in 50 rounds", leaders.load(SeqCst));
    Ok(())
}

fn park() -> Outcome {
    let go = &AtomicBool::new(false);
    thread::scope(|scope| {
        let parked = scope.spawn(|| {
            while !go.load(SeqCst) {
                thread::park();
            }
        });
        thread::sleep(Duration::from_millis(2));
        go.store(true, SeqCst);
        parked.thread().unpark();
    });
    thread::current().unpark();
    thread::park();
    Ok(())
}

fn park_times_out() -> Outcome {
    let limit = Duration::from_millis(20);
    let started = Instant::now();
    while started.elapsed() < limit {
        thread::park_timeout(limit);
    }
    Ok(())
}

fn channels() -> Outcome {
    const MESSAGES: u64 = 2_000;
    let (sender, receiver) = mpsc::sync_channel(16);
    thread::scope(|scope| {
        for index in 0..threads() {
            let sender = sender.clone();
            scope.spawn(move || (0..MESSAGES).try_for_each(|number| sender.send((index, number))));
        }
        drop(sender);
        let mut next = vec![0; threads()];
        for (index, number) in receiver {
            ensure!(next[index] == number, "from {index}: {number} and not {}", next[index]);
            next[index] += 1;
        }
        ensure!(next.iter().all(|count| *count == MESSAGES), "messages are missing: {next:?}");
        Ok(())
    })
}

fn once() -> Outcome {
    let (cell, calls) = (OnceLock::new(), AtomicU64::new(0));
    in_threads(|index| {
        cell.get_or_init(|| {
            calls.fetch_add(1, SeqCst);
            thread::sleep(Duration::from_millis(2));
            index
        });
    });
    ensure!(calls.load(SeqCst) == 1, "initialised {} times", calls.load(SeqCst));
    Ok(())
}

struct CountsItsEnd;
static ENDED: AtomicU64 = AtomicU64::new(0);

impl Drop for CountsItsEnd {
    fn drop(&mut self) {
        ENDED.fetch_add(1, SeqCst);
    }
}

fn thread_locals() -> Outcome {
    thread_local! {
        static OWN: RefCell<(usize, CountsItsEnd)> = const { RefCell::new((0, CountsItsEnd)) };
    }
    let started: Vec<_> = (1..=20)
        .map(|index| {
            thread::spawn(move || {
                OWN.with_borrow_mut(|own| own.0 = index);
                thread::yield_now();
                OWN.with_borrow(|own| own.0 == index)
            })
        })
        .collect();
    for thread in started {
        ensure!(thread.join().expect("it does not panic"), "a thread's own value was another's");
    }
    ensure!(ENDED.load(SeqCst) == 20, "{} of 20 values were dropped", ENDED.load(SeqCst));
    Ok(())
}

fn ping_pong() -> Outcome {
    let (ball, thrown) = (Mutex::new(0_u32), Condvar::new());
    let play = |parity| {
        for _ in 0..500 {
            let held = ball.lock().expect("nobody panics with it");
            let mut held =
                thrown.wait_while(held, |throws| *throws % 2 != parity).expect("nobody panics with it");
            *held += 1;
            thrown.notify_one();
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| play(0));
        scope.spawn(|| play(1));
    });
    let throws = *ball.lock().expect("nobody panics with it");
    ensure!(throws == 1_000, "{throws} throws");
    Ok(())
}

fn child_of_threads() -> Outcome {
    let stop = &AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(SeqCst) {
                    std::hint::black_box(vec![0_u8; 100]);
                }
            });
        }
        let outcome = (0..10).try_for_each(|_| {
            userland::children::in_child(|| {
                join_returns()?;
                channels()
            })
        });
        stop.store(true, SeqCst);
        outcome
    })
}
