//! Tests against simulated memory: the same code, with a buffer of the host for physical memory.

pub mod cpu;
mod examples;
mod frames;
mod heap;
mod kernel;
mod machine;
mod model;
mod random;
mod walk;
