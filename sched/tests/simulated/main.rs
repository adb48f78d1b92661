//! The scheduler on a simulated machine: one host thread plays all CPUs, step by step, and a plain model of what each
//! thread does is checked after every step.
//!
//! Interleavings inside a call of the core are not explored here: that is what `tests/handoff` does.

extern crate alloc;

mod balancers;
mod classes;
mod conformance;
mod first_tick;
mod laboratory;
mod live;
mod machine;
mod mutants;
mod orders;
/// The policies that are wrong on purpose: the library has them only where the kernel is built with them.
#[path = "../../src/planted.rs"]
mod planted;
mod platform;
mod promises;
mod random;
mod rest;
mod urgent;

// The names that `planted` knows in the library.
use sched::{
    Balancer, Enqueue, Entity, List, MachineView, Placement, RunQueue, Runnable, ThreadView, Victims,
    balance, order,
};
