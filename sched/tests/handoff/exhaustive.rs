//! Small programs on two CPUs, in every schedule with at most so many preemptions: one for each pair of things that may meet.

use crate::bounded::Bounded;
use crate::machine::{Action::*, run};
use crate::{A, B, Programs, options};
use sched::Policy::Fifo;
use sched::balance::{IDLE_STEAL, NONE, STEAL_HALF};
use sched::order::{EEVDF, ROUND_ROBIN};
use sched::{Config, Fault, balance};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What two CPUs do at the same time, and how many preemptions are tried.
pub struct Pair {
    pub name: &'static str,
    cpus: usize,
    preemptions: usize,
    balancer: &'static balance::Entry,
    programs: Programs,
}

pub static WAKE_SLEEP: Pair = Pair {
    name: "wake against sleep",
    cpus: 2,
    preemptions: 3,
    balancer: &IDLE_STEAL,
    programs: &[&[Start(1), Down], &[Up(0)]],
};

pub static STEAL_EXIT: Pair = Pair {
    name: "steal against exit",
    cpus: 2,
    preemptions: 2,
    balancer: &IDLE_STEAL,
    programs: &[&[Start(1), Await(1), AssertConserved, Start(2)], &[], &[]],
};

pub static STEAL_YIELD: Pair = Pair {
    name: "steal against yield",
    cpus: 2,
    preemptions: 2,
    balancer: &IDLE_STEAL,
    programs: &[&[Start(1), Yield, Await(1)], &[Yield]],
};

/// The first thief takes two, while the second one believes that they wait where they did.
pub static MANY_STOLEN: Pair = Pair {
    name: "steal of several against another thief",
    cpus: 3,
    preemptions: 1,
    balancer: &STEAL_HALF,
    programs: &[&[Pin(3, &[A]), Start(1), Start(2), Start(3), Await(1), Await(2)], &[Await(2)], &[], &[]],
};

pub static AFFINITY_STEAL: Pair = Pair {
    name: "affinity change against steal",
    cpus: 2,
    preemptions: 2,
    balancer: &IDLE_STEAL,
    programs: &[&[Start(1), Pin(1, &[A]), Up(1), Yield], &[Down, Assert(&[A])]],
};

pub static SWAP_WAKE: Pair = Pair {
    name: "change of order against wake",
    cpus: 2,
    preemptions: 2,
    balancer: &IDLE_STEAL,
    programs: &[&[Start(1), Order(&EEVDF), Down, Order(&ROUND_ROBIN)], &[Up(0), Yield]],
};

pub static BALANCER_SWAP: Pair = Pair {
    name: "change of balancer against an idle CPU",
    cpus: 2,
    preemptions: 2,
    balancer: &NONE,
    programs: &[&[Start(1), Balancer(&IDLE_STEAL), Await(1)], &[]],
};

pub static OFFLINE_WAKE: Pair = Pair {
    name: "offline against wake",
    cpus: 2,
    preemptions: 2,
    balancer: &IDLE_STEAL,
    programs: &[&[Start(1), Offline(B), Down], &[Up(0), Yield]],
};

/// The last thread is on its way to the CPU that goes.
pub static OFFLINE_FORK: Pair = Pair {
    name: "offline against fork",
    cpus: 2,
    preemptions: 2,
    balancer: &NONE,
    programs: &[
        &[Pin(1, &[B]), Pin(2, &[B]), Start(1), Down, Offline(B), Up(2)],
        &[Up(0), Start(2), Await(0)],
        &[Down, Assert(&[A])],
    ],
};

pub static OFFLINE_STEAL: Pair = Pair {
    name: "offline against steal",
    cpus: 2,
    preemptions: 2,
    balancer: &IDLE_STEAL,
    programs: &[&[Start(1), Offline(B), Yield], &[Yield]],
};

pub static OFFLINE_EXIT: Pair = Pair {
    name: "offline and back against exit",
    cpus: 2,
    preemptions: 2,
    balancer: &IDLE_STEAL,
    programs: &[&[Start(1), Offline(B), Online(B)], &[]],
};

pub static FIRST_RUN_MIGRATION: Pair = Pair {
    name: "first run against migration",
    cpus: 2,
    preemptions: 2,
    balancer: &IDLE_STEAL,
    programs: &[&[Start(1), Pin(1, &[B]), Pin(1, &[A]), Yield], &[FirstTick, Tick]],
};

/// The last one waits where something more urgent spins, until it may leave; the second one ends at that moment.
pub static PUSH_PULL: Pair = Pair {
    name: "push against a CPU that turns to something less urgent",
    cpus: 2,
    preemptions: 2,
    balancer: &NONE,
    programs: &[
        &[
            Policy(1, Fifo { priority: 5 }),
            Policy(2, Fifo { priority: 3 }),
            Policy(0, Fifo { priority: 9 }),
            Pin(1, &[B]),
            Start(1),
            Pin(2, &[A]),
            Start(2),
            Pin(2, &[A, B]),
            Await(2),
        ],
        &[],
        &[],
    ],
};

/// Explores `pair`; returns how many schedules that were.
pub fn explore(pair: &Pair, fault: Option<Fault>) -> u64 {
    let (cpus, programs) = (pair.cpus, pair.programs);
    let config = Config { balancer: pair.balancer, ..Config::default() };
    let explored = Arc::new(AtomicU64::new(0));
    let scheduler = Bounded::new(pair.preemptions, explored.clone());
    let mut options = options();
    if fault.is_some() {
        // It is expected to fail, and nobody will want to see it again.
        options.failure_persistence = shuttle::FailurePersistence::None;
    }
    shuttle::Runner::new(scheduler, options).run(move || run(cpus, programs, config, fault));
    explored.load(Relaxed)
}

/// Prints how far it went: the figures of `docs/verification.md`.
fn check(pair: &Pair) {
    let schedules = explore(pair, None);
    println!("{}: {schedules} schedules with at most {} preemptions", pair.name, pair.preemptions);
    assert!(schedules > 100, "{} is hardly a meeting: {schedules} schedules", pair.name);
}

#[test]
fn wake_against_sleep() {
    check(&WAKE_SLEEP);
}

#[test]
fn steal_against_exit_and_yield() {
    check(&STEAL_EXIT);
    check(&STEAL_YIELD);
    check(&MANY_STOLEN);
}

#[test]
fn affinity_change_against_steal() {
    check(&AFFINITY_STEAL);
}

#[test]
fn hot_swap_against_wake_and_idle() {
    check(&SWAP_WAKE);
    check(&BALANCER_SWAP);
}

#[test]
fn offline_against_wake_steal_and_exit() {
    check(&OFFLINE_WAKE);
    check(&OFFLINE_FORK);
    check(&OFFLINE_STEAL);
    check(&OFFLINE_EXIT);
}

#[test]
fn push_against_pull() {
    check(&PUSH_PULL);
}

#[test]
fn first_run_against_migration() {
    check(&FIRST_RUN_MIGRATION);
}
