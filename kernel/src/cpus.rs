//! The processors: what the scheduler's core needs of the machine, and what the rest of the kernel needs of the core.
//!
//! One [`sched::Core`] drives all CPUs. This module gives it a clock and interprocessor interrupts, turns its decisions into
//! timer settings, and keeps the periodic tick: phase-aligned deadlines, re-armed only after a tick has been handled, so
//! that a handler that outlasts the period delays the next tick instead of starving user code.

use crate::lock::rank;
use crate::task::{Current, Task};
use crate::timers;
use alloc::sync::Arc;
use arch::cpu::PerCpu;
use arch::sync::RawIrqLock;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use formats::{CpuId, CpuSet, Duration, Instant};
use sched::{Core, Leave, Switch};
use spin::Once;
