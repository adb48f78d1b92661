//! Each transition of [`WaitState`](crate::wait::WaitState), one after the other. `tests/orderings` has them at the same time.

use crate::wait::Wake;
use crate::{Kind, NewThread, Policy, Runnable, Thread};
use alloc::sync::Arc;
use formats::{CpuId, CpuSet, ThreadId};

fn awake() -> (Arc<Thread>, Runnable) {
    let affinity = CpuSet::ALL;
    let new = NewThread {
        id: ThreadId(1),
        kind: Kind::User,
        affinity,
        policy: Policy::default(),
        task: Arc::new(()),
    };
    let thread = Arc::new(Thread::new(new, CpuId::BOOT, affinity));
    thread.wait.create(Runnable::new(thread.clone()));
    let token = thread.wait.start().expect("it was not started yet");
    (thread, token)
}

#[test]
fn a_thread_starts_once() {
    assert!(awake().0.wait.start().is_none());
}

#[test]
fn a_thread_that_is_not_started_cannot_be_woken() {
    let affinity = CpuSet::ALL;
    let new = NewThread {
        id: ThreadId(1),
        kind: Kind::User,
        affinity,
        policy: Policy::default(),
        task: Arc::new(()),
    };
    let thread = Thread::new(new, CpuId::BOOT, affinity);
    assert!(matches!(thread.wait.wake(), Wake::Nothing));
}

#[test]
fn a_wake_after_the_announcement_gives_the_token_back_at_the_park() {
    let (thread, token) = awake();
    thread.wait.announce();
    assert!(matches!(thread.wait.wake(), Wake::SleepCancelled));
    assert!(thread.wait.park(token).is_err());
    assert!(!thread.is_asleep());
}

#[test]
fn of_two_wakes_one_gets_the_token() {
    let (thread, token) = awake();
    thread.wait.announce();
    assert!(thread.wait.park(token).is_ok());
    assert!(thread.is_asleep());
    assert!(matches!(thread.wait.wake(), Wake::Enqueue(_)));
    assert!(matches!(thread.wait.wake(), Wake::Nothing));
}

#[test]
fn a_cancelled_sleep_is_none() {
    let (thread, token) = awake();
    thread.wait.announce();
    thread.wait.cancel();
    assert!(!thread.wait.is_announced());
    assert!(matches!(thread.wait.wake(), Wake::Nothing));
    assert!(thread.wait.park(token).is_err());
}

#[test]
fn the_dead_do_not_wake() {
    let (thread, _token) = awake();
    thread.wait.bury();
    assert!(matches!(thread.wait.wake(), Wake::Nothing));
    assert!(thread.is_dead());
}
