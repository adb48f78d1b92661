//! Simulated machines of up to 4096 CPUs, driven by discrete events.
//!
//! The scheduler is the very code of `sched`; what is simulated is everything around it: time, interrupts, the kernel's
//! way from one thread to the next, and threads as small programs. It is single-threaded, and the same seed gives the same
//! result to the last bit. It knows nothing of files, tables or QEMU: that is the command's part.
//!
//! Start at [`run`], then [`machine`] for how the kernel's side is played, and [`workload`] for what threads do.
//! `docs/simulator.md` has the workload language and the costs.

mod calibration;
mod error;
mod machine;
mod outcome;
mod platform;
mod queue;
mod time;
pub mod workload;

pub use calibration::{Calibration, Refill};
pub use error::Error;
pub use machine::{Config, Progress, run};
pub use outcome::{Outcome, ThreadSummary};
pub use platform::Sink;
pub use workload::Workload;
