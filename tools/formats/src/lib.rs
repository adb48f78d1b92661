//! What the kernel and the host tools both know: identifiers, time, histograms and the record of a run.
//!
//! Plain data without behaviour of its own. Nothing here knows how a thread is scheduled or how a machine is started.
//!
//! Start at [`record`]: it is the schema of the JSON lines that a guest writes to COM2.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod cpu_set;
pub mod exit;
pub mod histogram;
pub mod record;
pub mod terminal;
pub mod trace;

pub use cpu_set::CpuSet;
pub use histogram::Histogram;

use core::fmt;
use serde::{Deserialize, Serialize};

/// A point in time: nanoseconds since the kernel's clock started.
pub type Instant = fugit::MonotonicTimerInstantU64<1_000_000_000>;

/// A span of time in nanoseconds.
pub type Duration = fugit::NanosDurationU64;

/// A processor, numbered densely from 0 (the one that booted) in the order of the MADT.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CpuId(pub u32);

impl CpuId {
    /// The processor that booted.
    pub const BOOT: Self = Self(0);

    /// The index of this processor in a per-CPU table.
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The first `count` processors.
    pub fn first(count: usize) -> impl DoubleEndedIterator<Item = Self> + ExactSizeIterator {
        (0..count as u32).map(Self)
    }
}

impl fmt::Debug for CpuId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CPU {}", self.0)
    }
}

impl fmt::Display for CpuId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A thread, as Linux's `gettid` numbers it. Never reused within a run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ThreadId(pub u32);

impl fmt::Debug for ThreadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "thread {}", self.0)
    }
}

impl fmt::Display for ThreadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
