//! A kernel that is broken on purpose notices it, says so, and ends the run with a failure.

use formats::record::FailureKind;
use tests::{Require, noticed, run};
use tine::machine;

/// Breaks the kernel in one way and requires that it is noticed as `kind`, in words that include `words`, with the functions
/// of the kernel by name on the console.
#[track_caller]
fn is_noticed(sabotage: &str, kind: FailureKind, words: &str) {
    let append = format!("debug.fail={sabotage}");
    let outcome = run(&machine().append(append).timeout(std::time::Duration::from_secs(90)).program("hello"));
    outcome.require(!outcome.passed(), "the run passed");
    let Some(noticed) = noticed(&outcome, kind) else {
        return outcome.require(false, format!("the kernel noticed no {kind:?}"));
    };
    outcome.require(noticed.message.contains(words), format!("the message lacks {words:?}: {noticed:?}"));
    outcome.require(outcome.console.contains("tine_kernel::"), "no function is named on the console");
}

#[test]
fn a_panic_is_reported_with_a_backtrace() {
    is_noticed("panic", FailureKind::Panic, "debug.fail=panic was asked for");
}

#[test]
fn a_stack_that_runs_into_its_guard_page_is_called_an_overflow() {
    is_noticed("stack_overflow", FailureKind::Panic, "kernel stack overflow");
}

#[test]
fn a_cpu_that_keeps_interrupts_off_is_noticed_by_idle_ones() {
    is_noticed("stall", FailureKind::Stall, "has not served its timer");
}

#[test]
fn a_spin_lock_that_is_never_released_is_noticed() {
    is_noticed("deadlock", FailureKind::Deadlock, "has waited for the spin lock");
}
