//! Where new threads go first: their first instructions one by one, in the trace (`debug.step=N`).
//!
//! The trap flag makes the processor stop after each instruction. With `debug.step` it belongs to the kernel: a program that
//! sets it itself gets no SIGTRAP for it.

use super::Current;
use crate::trace;
use core::cell::Cell;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use formats::trace::Event;

/// How many instructions of each thread are traced.
static WANTED: AtomicU32 = AtomicU32::new(0);

/// Makes each thread that begins from now on run its first `count` instructions one by one.
pub fn set_steps(count: u32) {
    WANTED.store(count, Relaxed);
}

/// How many instructions of a thread are still to be traced.
pub(super) struct Steps(Cell<u32>);

impl Steps {
    pub(super) const fn none() -> Self {
        Self(Cell::new(0))
    }
}

impl Current {
    /// The thread is about to execute the first instruction of a program.
    pub(super) fn begin_steps(&self) {
        let wanted = WANTED.load(Relaxed);
        if wanted > 0 {
            self.steps.0.set(wanted);
            self.step();
        }
    }

    /// Sees to a debug exception; false if it is the program's own.
    pub fn take_step(&self) -> bool {
        let ours = WANTED.load(Relaxed) > 0;
        if ours {
            self.step();
        }
        ours
    }

    /// Notes the instruction that comes next.
    fn step(&self) {
        let left = self.steps.0.get();
        let mut user = self.user.borrow_mut();
        if left > 0 {
            let (thread, rip) = (self.task.id, user.regs.rip);
            trace::sched(|| Event::Step { thread, rip });
            self.steps.0.set(left - 1);
        }
        user.regs.set_single_step(left > 1);
    }
}
