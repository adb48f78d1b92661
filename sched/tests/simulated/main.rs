//! The scheduler on a simulated machine: one host thread plays all CPUs, step by step, and a plain model of what each
//! thread does is checked after every step.
//!
//! Interleavings inside a call of the core are not explored here: that is what `tests/handoff` does.

mod balancers;
mod classes;
mod conformance;
mod first_tick;
mod laboratory;
mod live;
mod machine;
mod mutants;
mod orders;
mod platform;
mod promises;
mod random;
mod rest;
mod urgent;
