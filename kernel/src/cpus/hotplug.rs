//! Taking CPUs out of the scheduling and back, while the machine runs.
//!
//! A CPU that is offline runs no threads. It stays in its idle loop with interrupts on: it answers TLB shootdowns, and wakes
//! (elsewhere) those threads that began to sleep on it. The boot CPU always stays, as it concludes the run.

use super::{bring_online, core};
use crate::errno::Errno;
use crate::lock::{Lock, rank};
use crate::task::Current;
use arch::vectors;
use formats::{CpuId, CpuSet};
use sched::{Kind, Leave};

/// The CPUs that are offline and have been told to come back. Held also while any CPU goes or comes.
static COMING: Lock<CpuSet, { rank::HOTPLUG }> = Lock::new(CpuSet::EMPTY);

/// The CPUs that there could be.
pub fn possible() -> CpuSet {
    core().machine().topology().all()
}

/// The CPUs that have started, online or not.
pub fn present() -> CpuSet {
    possible().iter().filter(|cpu| arch::apic::id_of(*cpu).is_some()).collect()
}

/// Whether `cpu` takes part in the scheduling, or has been told to.
pub fn is_online(cpu: CpuId) -> bool {
    core().machine().is_online(cpu) || COMING.lock().contains(cpu)
}

/// Whether [`set_online`] may be asked to take it offline.
pub fn can_leave(cpu: CpuId) -> bool {
    cpu != CpuId::BOOT
}

/// Sends `cpu` offline, or tells it to come back. It may take a moment until that is done: [`settle`].
///
/// # Errors
/// `EBUSY` for the boot CPU, and for a CPU where threads of the deadline class have reserved time.
pub fn set_online(cpu: CpuId, online: bool) -> Result<(), Errno> {
    let mut coming = COMING.lock();
    let is_online = core().machine().is_online(cpu);
    match online {
        true if !is_online => {
            coming.insert(cpu);
            drop(coming);
            arch::apic::send(cpu, vectors::RESCHEDULE);
        }
        false if is_online => {
            if !can_leave(cpu) || core().booked_bandwidth(cpu) > 0 {
                return Err(Errno::EBUSY);
            }
            core().take_offline(cpu, arch::cpu::id());
        }
        // One that was on its way back stays away.
        false => coming.remove(cpu),
        true => {}
    }
    Ok(())
}

/// Waits until no thread runs on `cpu` any more, or until it takes part again, whichever was asked for last.
pub fn settle(cpu: CpuId, current: &Current) {
    let is_under_way = || match core().machine().is_online(cpu) {
        true => false,
        false => COMING.lock().contains(cpu) || core().current(cpu).kind() != Kind::Idle,
    };
    while is_under_way() && !current.task.is_exiting() {
        current.schedule(Leave::Yield);
    }
}

/// Lets `here`, the CPU that calls from its idle loop, take part again if it has been told to.
pub(super) fn come_back_if_wanted(here: CpuId) {
    if core().machine().is_online(here) {
        return;
    }
    let mut coming = COMING.lock();
    if coming.contains(here) {
        bring_online(here);
        coming.remove(here);
    }
}
