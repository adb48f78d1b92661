//! New threads go to the CPUs in turn, and stay there.
//!
//! The oldest way of sharing out work among equals without looking at them. It is right when all threads are alike, and
//! shows what a policy that looks is worth when they are not.

use super::{Balancer, Entry, Placement, ThreadView, near};
use crate::MachineView;
use alloc::boxed::Box;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use formats::CpuId;

pub static ROUND_ROBIN_PLACE: Entry = Entry {
    name: "round_robin_place",
    summary: "new threads go to the CPUs in turn, and stay there",
    conserves_work: false,
    new: |_| Box::new(RoundRobinPlace { placed: AtomicUsize::new(0) }),
};

struct RoundRobinPlace {
    placed: AtomicUsize,
}

impl Balancer for RoundRobinPlace {
    fn place(&self, thread: &ThreadView, why: Placement, machine: &MachineView) -> CpuId {
        if why != Placement::Fork {
            return near(thread.last, thread, machine);
        }
        let turn = self.placed.fetch_add(1, Relaxed) % thread.allowed.len();
        thread.allowed.iter().nth(turn).unwrap_or(thread.last)
    }
}
