//! No balancing: a thread stays where it was made. The baseline that others are measured against.

use super::{Balancer, Entry, Placement, ThreadView, near};
use crate::MachineView;
use alloc::boxed::Box;
use formats::CpuId;

pub static NONE: Entry = Entry {
    name: "none",
    summary: "threads stay where they were made",
    conserves_work: false,
    new: |_| Box::new(Stay),
};

struct Stay;

impl Balancer for Stay {
    fn place(&self, thread: &ThreadView, _why: Placement, machine: &MachineView) -> CpuId {
        near(thread.last, thread, machine)
    }
}
