//! Tests against simulated memory: the same code, with a buffer of the host for physical memory.

mod advice;
pub mod cpu;
mod frames;
mod heap;
mod kernel;
mod machine;
mod mapping;
mod model;
mod ops;
mod program;
mod random;
mod rules;
mod sharing;
mod walk;
