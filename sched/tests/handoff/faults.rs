//! Each mistake that the core can be asked to make is noticed.

use crate::exhaustive::{
    AFFINITY_STEAL, BALANCER_SWAP, MANY_STOLEN, OFFLINE_FORK, OFFLINE_WAKE, PUSH_PULL, Pair, STEAL_EXIT,
    STEAL_YIELD, WAKE_SLEEP, explore,
};
use sched::Fault;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Explores `pair` on a core that makes the mistake; what the check says about it.
fn objection(pair: &Pair, fault: Fault) -> String {
    let objection = catch_unwind(AssertUnwindSafe(|| explore(pair, Some(fault))));
    let panic = match objection {
        Ok(schedules) => panic!("{fault:?} is not noticed by `{}` in {schedules} schedules", pair.name),
        Err(panic) => panic,
    };
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string())).unwrap_or_default()
}

#[test]
fn each_mistake_in_the_hand_over_is_noticed() {
    // A machine that goes on and on has a thread that waits for another, which waits for a CPU.
    const SPINS: &str = "exceeded max_steps";
    const STANDS_STILL: &str = "deadlock";
    const IS_WRONG: &str = "panicked in task";
    for (fault, pair, words) in [
        (Fault::FlagLoweredLate, &STEAL_YIELD, SPINS),
        (Fault::IdleAfterLastLook, &STEAL_YIELD, SPINS),
        (Fault::QueuedBeforeSaved, &STEAL_YIELD, IS_WRONG),
        (Fault::WasteSeenOnce, &STEAL_EXIT, IS_WRONG),
        (Fault::ClockBeforeLock, &WAKE_SLEEP, IS_WRONG),
        (Fault::AffinityNotRead, &AFFINITY_STEAL, IS_WRONG),
        (Fault::CallForgotten, &AFFINITY_STEAL, IS_WRONG),
        (Fault::CalledBeforeFlag, &OFFLINE_WAKE, STANDS_STILL),
        (Fault::RefusesLate, &OFFLINE_FORK, IS_WRONG),
        (Fault::SleptThroughWake, &WAKE_SLEEP, STANDS_STILL),
        (Fault::CallNotPassedOn, &MANY_STOLEN, SPINS),
        (Fault::TurnsWithoutLook, &PUSH_PULL, SPINS),
        (Fault::SwapNotCalled, &BALANCER_SWAP, SPINS),
    ] {
        let said = objection(pair, fault);
        assert!(said.contains(words), "{fault:?} is noticed for another reason: {said}");
    }
}
