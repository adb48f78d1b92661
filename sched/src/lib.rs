//! Run queues and load balancing.
//!
//! Decides which thread runs where and for how long. Knows nothing of page tables, files or interrupts: the kernel
//! tells it what happened (`wake`, `tick`, `reschedule`, …) and carries out what it answers. It has no clock and no
//! hardware of its own either: both come through [`Platform`], so that the kernel, a simulated machine and a model
//! checker drive the same code.
//!
//! Start at [`Core`], then [`Balancer`] and [`RunQueue`], the two plug-in points. `docs/scheduling.md` walks one fork
//! through it; `docs/first-run.md` explains [`first_run`].
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod balance;
mod class;
mod config;
mod cpu_mask;
mod entity;
mod fault;
pub mod first_run;
mod list;
mod machine;
mod measure;
pub mod order;
#[cfg(feature = "planted")]
pub mod planted;
mod platform;
pub mod policy;
mod scheduler;
mod stats;
mod sync;
mod thread;
mod topology;
mod tree;
mod wait;
#[cfg(test)]
mod wait_tests;

pub use balance::{Amount, Balancer, Move, Placement, ThreadView, Victims};
pub use config::{Config, Timer};
pub use entity::{Entity, Fair, Runnable};
pub use fault::Fault;
pub use first_run::{Livelock, Progress};
pub use formats::record::Migrations;
pub use list::List;
pub use machine::MachineView;
pub use measure::{ThreadStats, Violations};
pub use order::{Enqueue, RunQueue};
pub use platform::Platform;
pub use policy::{Class, Policy, Reservation, Share};
pub use scheduler::{Core, Dead, Leave, NoBandwidth, PolicyFault, Switch, Tick, Unknown};
pub use stats::Cause;
pub use thread::{Kind, NewThread, Thread};
pub use topology::{Distance, Place, Topology};
pub use tree::Tree;

pub use formats::{CpuId, CpuSet, Duration, Instant, ThreadId};
