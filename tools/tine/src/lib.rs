//! The host side of Tine: builds the guest, boots machines, and reports what came of it.
//!
//! Knows QEMU, Cargo and the host; of the guest only what the crate `formats` describes. `cargo run` is [`cli`]; tests
//! that boot machines start at [`machine()`].

mod bench;
mod build;
pub mod cli;
pub mod figures;
mod host;
mod interrupt;
pub mod machine;
mod names;
mod process;
pub mod record;
mod report;
mod setup;
pub mod trace;
mod ui;
mod workspace;

pub use machine::{Cause, Failure, Machine, Outcome, machine};
pub use record::{Ending, Record};
