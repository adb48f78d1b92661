//! Taking CPUs out of the scheduling and back, while the machine runs.
//!
//! A CPU that is offline runs no threads. It stays in its idle loop with interrupts on: it answers TLB shootdowns, and wakes
//! (elsewhere) those threads that began to sleep on it. The boot CPU always stays, as it concludes the run.

use super::core;
use crate::errno::Errno;
use crate::lock::{Lock, rank};
use crate::task::Current;
use formats::{CpuId, CpuSet};
use sched::{Kind, Leave};

/// Held while a CPU goes or comes.
static ONE_AT_A_TIME: Lock<(), { rank::HOTPLUG }> = Lock::new(());

/// The CPUs that there could be.
pub fn possible() -> CpuSet {
    core().machine().topology().all()
}

/// The CPUs that have started, online or not.
pub fn present() -> CpuSet {
    possible().iter().filter(|cpu| arch::apic::id_of(*cpu).is_some()).collect()
}

/// Whether `cpu` takes part in the scheduling.
pub fn is_online(cpu: CpuId) -> bool {
    core().machine().is_online(cpu)
}

/// Whether [`set_online`] may be asked to take it offline.
pub fn can_leave(cpu: CpuId) -> bool {
    cpu != CpuId::BOOT
}

/// Sends `cpu` offline, or lets it take part again. Threads that run there at this moment leave soon: [`settle`].
///
/// # Errors
/// `EBUSY` for the boot CPU, and for a CPU where threads of the deadline class have reserved time; `ENODEV` for one that
/// did not start.
pub fn set_online(cpu: CpuId, online: bool) -> Result<(), Errno> {
    let _alone = ONE_AT_A_TIME.lock();
    if !present().contains(cpu) {
        return Err(Errno::ENODEV);
    }
    match online {
        _ if online == is_online(cpu) => {}
        true => core().set_online(cpu, arch::cpu::id()),
        false if !can_leave(cpu) || core().booked_bandwidth(cpu) > 0 => return Err(Errno::EBUSY),
        false => core().take_offline(cpu, arch::cpu::id()),
    }
    Ok(())
}

/// Waits until no thread runs on `cpu` any more, unless it is online.
pub fn settle(cpu: CpuId, current: &Current) {
    let is_leaving =
        || present().contains(cpu) && !is_online(cpu) && core().current(cpu).kind() != Kind::Idle;
    while is_leaving() && !current.task.is_exiting() {
        current.schedule(Leave::Yield);
    }
}
