//! membarrier(2): makes other CPUs pass a memory barrier.

use crate::cpus;
use crate::errno::Errno;
use crate::task::{Current, Task, attention};
use alloc::sync::Arc;
use alloc::vec::Vec;
use arch::tlb::Flush;
use core::sync::atomic::Ordering::SeqCst;
use formats::CpuId;
use linux_raw_sys::general::membarrier_cmd::*;
use linux_raw_sys::general::membarrier_cmd_flag::MEMBARRIER_CMD_FLAG_CPU;
use mm::VirtAddr;

const GLOBAL: u32 = MEMBARRIER_CMD_GLOBAL as u32;
const GLOBAL_EXPEDITED: u32 = MEMBARRIER_CMD_GLOBAL_EXPEDITED as u32;
const REGISTER_GLOBAL: u32 = MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED as u32;
const PRIVATE: u32 = MEMBARRIER_CMD_PRIVATE_EXPEDITED as u32;
const REGISTER_PRIVATE: u32 = MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED as u32;
const SYNC_CORE: u32 = MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE as u32;
const REGISTER_SYNC_CORE: u32 = MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE as u32;
const RSEQ: u32 = MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ as u32;
const REGISTER_RSEQ: u32 = MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ as u32;
const GET_REGISTRATIONS: u32 = MEMBARRIER_CMD_GET_REGISTRATIONS as u32;

const REGISTER: u32 = REGISTER_GLOBAL | REGISTER_PRIVATE | REGISTER_SYNC_CORE | REGISTER_RSEQ;
const KNOWN: u32 = GLOBAL | GLOBAL_EXPEDITED | PRIVATE | SYNC_CORE | RSEQ | REGISTER | GET_REGISTRATIONS;

/// # Errors
/// `EINVAL` for an unknown command or flag, `EPERM` for a private barrier of a kind that the process has not registered for.
pub fn membarrier(current: &Current, command: u32, flags: u32, cpu: u32) -> Result<u64, Errno> {
    const FLAG_CPU: u32 = MEMBARRIER_CMD_FLAG_CPU as u32;
    let one = flags == FLAG_CPU && command == RSEQ;
    if flags != 0 && !one {
        return Err(Errno::EINVAL);
    }
    let registered = &current.task.process.membarriers;
    let needs = |registration: u32| {
        if registered.load(SeqCst) & registration == 0 { Err(Errno::EPERM) } else { Ok(()) }
    };
    match command {
        0 => return Ok(KNOWN.into()),
        GET_REGISTRATIONS => return Ok(registered.load(SeqCst).into()),
        _ if command.is_power_of_two() && command & REGISTER != 0 => {
            registered.fetch_or(command, SeqCst);
        }
        GLOBAL | GLOBAL_EXPEDITED => barrier(&cpus::online()),
        PRIVATE => {
            needs(REGISTER_PRIVATE)?;
            barrier(&current.space().active_on());
        }
        SYNC_CORE => {
            needs(REGISTER_SYNC_CORE)?;
            barrier(&current.space().active_on());
        }
        RSEQ => {
            needs(REGISTER_RSEQ)?;
            restart_sequences(current, one.then_some(CpuId(cpu)));
            barrier(&current.space().active_on());
        }
        _ => return Err(Errno::EINVAL),
    }
    Ok(0)
}

/// Makes `cpus` pass a barrier. To answer a request of any kind a CPU takes an interrupt, and to return from one serialises
/// what it executes: ask for no page at all.
fn barrier(cpus: &formats::CpuSet) {
    arch::tlb::shootdown(cpus, Flush::Pages { first: VirtAddr::zero(), count: 0 });
}

/// Makes the threads of the process that run on `cpu`, or anywhere, look at their restartable sequences before they go on in
/// user mode: the barrier that follows gets them out of it.
fn restart_sequences(current: &Current, cpu: Option<CpuId>) {
    let threads: Vec<Arc<Task>> = current.task.process.threads.lock().clone();
    for task in threads.iter().filter(|task| task.rseq.is_registered()) {
        let runs_there = |thread: Arc<sched::Thread>| cpu.is_none_or(|cpu| thread.cpu() == cpu);
        if !Arc::ptr_eq(task, &current.task) && task.thread().is_some_and(runs_there) {
            task.demand_attention(attention::RSEQ);
        }
    }
}
