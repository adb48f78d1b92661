//! The protocols without locks under a model checker that reorders memory accesses as processors may (loom): every
//! interleaving of them, and every value that a load may return.
//!
//! The sources are the library's own, with the checker's atomics.

#[path = "../../src/cpu_mask.rs"]
mod cpu_mask;
mod sync;
#[path = "../../src/wait.rs"]
mod wait;

use cpu_mask::CpuMask;
use formats::{CpuId, CpuSet};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use wait::{WaitState, Wake};

/// A token, as far as `wait` needs to know it.
pub struct Runnable;

const A: CpuId = CpuId(0);
const B: CpuId = CpuId(1);

/// Explores `body`, and prints how many executions it has: the figures of `docs/verification.md`.
fn explore(name: &str, body: impl Fn() + Sync + Send + 'static) {
    let executions = std::sync::Arc::new(AtomicUsize::new(0));
    let counted = executions.clone();
    loom::model(move || {
        counted.fetch_add(1, Relaxed);
        body();
    });
    println!("{name}: {} executions", executions.load(Relaxed));
}

/// A thread that has its token in hand.
fn awake() -> (Arc<WaitState>, Runnable) {
    let wait = WaitState::new();
    wait.create(Runnable);
    let token = wait.start().expect("it was not started yet");
    (Arc::new(wait), token)
}

/// What a sleeper does that waits for `event`. Returns its token if it has it still.
fn sleep(wait: &WaitState, event: &AtomicBool, token: Runnable) -> Option<Runnable> {
    wait.announce();
    if event.load(Ordering::Acquire) {
        wait.cancel();
        return Some(token);
    }
    if !wait.is_announced() {
        return Some(token);
    }
    wait.park(token).err()
}

#[test]
fn a_wake_is_not_lost_on_a_thread_that_goes_to_sleep() {
    explore("wake against sleep", || {
        let (wait, token) = awake();
        let event = Arc::new(AtomicBool::new(false));
        let (woken, happens) = (wait.clone(), event.clone());
        let waker = thread::spawn(move || {
            happens.store(true, Ordering::Release);
            matches!(woken.wake(), Wake::Enqueue(_))
        });
        let kept = sleep(&wait, &event, token).is_some();
        let woken = waker.join().unwrap();
        assert!(kept != woken, "the token is kept: {kept}; the waker has it: {woken}");
        assert!(!wait.is_parked());
    });
}

#[test]
fn of_two_wakers_one_gets_the_token_of_a_sleeper() {
    explore("two wakers against a sleeper", || {
        let (wait, token) = awake();
        wait.announce();
        let wakers = [(); 2].map(|()| {
            let wait = wait.clone();
            thread::spawn(move || matches!(wait.wake(), Wake::Enqueue(_)))
        });
        let kept = wait.park(token).is_err();
        let woken = wakers.map(|waker| usize::from(waker.join().unwrap()));
        assert_eq!(usize::from(kept) + woken.iter().sum::<usize>(), 1);
    });
}

#[test]
fn of_two_that_start_a_thread_one_gets_its_token_and_the_dead_stay_dead() {
    explore("two starters and a waker", || {
        let wait = Arc::new(WaitState::new());
        wait.create(Runnable);
        let other = wait.clone();
        let starter = thread::spawn(move || other.start().is_some());
        let started = wait.start().is_some();
        assert!(started != starter.join().unwrap());
        let ended = WaitState::awake();
        ended.bury();
        assert!(matches!(ended.wake(), Wake::Nothing) && ended.is_dead());
        assert!(!matches!(wait.wake(), Wake::SleepCancelled));
    });
}

/// An enqueuer on A and B, which goes idle: whether one of them sees the other.
fn enqueuer_and_idle_cpu() {
    let (loaded, idle) = (CpuMask::new(CpuSet::EMPTY), CpuMask::new(CpuSet::EMPTY));
    let masks = Arc::new((loaded, idle));
    let of_b = masks.clone();
    let goes_idle = thread::spawn(move || {
        let (loaded, idle) = &*of_b;
        assert!(idle.insert(B));
        !loaded.is_empty()
    });
    let (loaded, idle) = &*masks;
    assert!(loaded.insert(A));
    let calls = idle.contains(B) && idle.remove(B);
    let finds = goes_idle.join().unwrap();
    assert!(calls || finds, "a thread waits, and nobody knows");
}

#[test]
fn an_enqueuer_and_a_cpu_that_goes_idle_do_not_miss_each_other() {
    explore("enqueue against idle", enqueuer_and_idle_cpu);
}

#[test]
#[should_panic(expected = "a thread waits, and nobody knows")]
fn without_sequential_consistency_they_would() {
    loom::model(|| {
        sync::WEAKENED.store(true, Relaxed);
        enqueuer_and_idle_cpu();
    });
}

/// Of several that would call the same idle CPU, one does.
#[test]
fn an_idle_cpu_is_called_by_one() {
    explore("two callers of an idle CPU", || {
        let idle = Arc::new(CpuMask::new(CpuSet::EMPTY));
        idle.store(CpuSet::of(B));
        let other = idle.clone();
        let caller = thread::spawn(move || other.intersects(&CpuSet::of(B)) && other.remove(B));
        let calls = idle.load().contains(B) && idle.remove(B);
        assert!(calls != caller.join().unwrap());
    });
}
