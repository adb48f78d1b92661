//! Restartable sequences (Linux's `rseq.h`, man 2 rseq of librseq): a thread that loses its CPU inside of one finds itself at
//! the sequence's abort handler, and its memory always says on which CPU it runs.
//!
//! A switch only marks the thread that is registered; what there is to do is done on its way back to user mode.

use crate::errno::Errno;
use crate::signal::{self, SigInfo, Signal};
use crate::task::{Current, Task, attention};
use crate::user;
use arch::user::USER_END;
use core::mem::{offset_of, size_of};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The first version of `struct rseq`, which all programs have at least.
#[derive(FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Area {
    cpu_start: u32,
    cpu: u32,
    sequence: u64,
    flags: u32,
    node: u32,
    /// A number below that of CPUs that no two threads of the process have at the same moment: the CPU's.
    concurrency: u32,
    padding: u32,
}

/// `struct rseq_cs`.
#[derive(FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Sequence {
    version: u32,
    flags: u32,
    start: u64,
    length: u64,
    abort: u64,
}

const UNREGISTER: u32 = 1;
/// `cpu` of a thread that is not registered (RSEQ_CPU_ID_UNINITIALIZED).
const UNINITIALISED: u32 = u32::MAX;
/// No CPU has been told yet.
const UNKNOWN: u32 = u32::MAX;

/// What a thread has registered. Only the thread itself changes it.
pub struct Rseq {
    /// Of its area; 0 for none.
    address: AtomicU64,
    length: AtomicU32,
    /// What stands before each abort handler.
    signature: AtomicU32,
    /// The CPU that its area names.
    told: AtomicU32,
}

impl Rseq {
    pub const fn none() -> Self {
        Self {
            address: AtomicU64::new(0),
            length: AtomicU32::new(0),
            signature: AtomicU32::new(0),
            told: AtomicU32::new(UNKNOWN),
        }
    }

    pub fn is_registered(&self) -> bool {
        self.address.load(Relaxed) != 0
    }

    /// For exec.
    pub fn forget(&self) {
        self.address.store(0, Relaxed);
    }

    /// For the thread of a forked process, whose memory has the same area.
    pub fn inherit(&self, parent: &Self) {
        self.length.store(parent.length.load(Relaxed), Relaxed);
        self.signature.store(parent.signature.load(Relaxed), Relaxed);
        self.address.store(parent.address.load(Relaxed), Relaxed);
    }
}

impl Task {
    /// The thread gets a CPU: it is to look at its area before it runs, unless it has blocked, which no sequence does, and comes
    /// back to the same CPU.
    #[inline]
    pub fn note_rseq(&self, preempted: bool) {
        if self.rseq.is_registered() && (preempted || self.rseq.told.load(Relaxed) != arch::cpu::id().0) {
            self.mark(attention::RSEQ);
        }
    }
}

/// Registers or unregisters the area of the current thread.
///
/// # Errors
/// `EBUSY` when it is registered as it is to be, `EINVAL` when it is in another way or the arguments make no sense, `EPERM` for
/// a wrong signature.
pub fn rseq(current: &Current, address: u64, length: u32, flags: u32, signature: u32) -> Result<u64, Errno> {
    let rseq = &current.task.rseq;
    let registered = rseq.address.load(Relaxed);
    let same = registered == address && rseq.length.load(Relaxed) == length;
    let same_signature = rseq.signature.load(Relaxed) == signature;
    if flags & UNREGISTER != 0 {
        return match () {
            () if flags != UNREGISTER || registered == 0 || !same => Err(Errno::EINVAL),
            () if !same_signature => Err(Errno::EPERM),
            () => {
                write_area(address, UNINITIALISED)?;
                rseq.forget();
                Ok(0)
            }
        };
    }
    if flags != 0 {
        return Err(Errno::EINVAL);
    }
    if registered != 0 {
        return Err(if !same {
            Errno::EINVAL
        } else if !same_signature {
            Errno::EPERM
        } else {
            Errno::EBUSY
        });
    }
    let aligned = address != 0 && address.is_multiple_of(size_of::<Area>() as u64);
    if !aligned || (length as usize) < size_of::<Area>() {
        return Err(Errno::EINVAL);
    }
    if address >= USER_END.as_u64() {
        return Err(Errno::EFAULT);
    }
    user::write(address + offset_of!(Area, sequence) as u64, &0_u64)?;
    rseq.length.store(length, Relaxed);
    rseq.signature.store(signature, Relaxed);
    rseq.told.store(UNKNOWN, Relaxed);
    rseq.address.store(address, Relaxed);
    current.task.note_rseq(true);
    Ok(0)
}

fn write_area(address: u64, cpu: u32) -> Result<(), Errno> {
    let start = if cpu == UNINITIALISED { 0 } else { cpu };
    user::write(address, &[start, cpu])?;
    user::write(address + offset_of!(Area, node) as u64, &[0, start])
}

/// Brings the area of the current thread up to date and leaves a sequence that it was in: its registers go to the abort
/// handler. Called on the way to user mode and before signals are delivered; an area that is not right is SIGSEGV.
pub fn update(current: &Current) {
    current.task.attention_done(attention::RSEQ);
    if current.task.rseq.is_registered() && try_update(current).is_err() {
        signal::force(current, SigInfo::from_kernel(Signal::SEGV));
    }
}

fn try_update(current: &Current) -> Result<(), Errno> {
    let rseq = &current.task.rseq;
    let address = rseq.address.load(Relaxed);
    let cpu = arch::cpu::id().0;
    if rseq.told.load(Relaxed) != cpu {
        write_area(address, cpu)?;
        rseq.told.store(cpu, Relaxed);
    }
    let slot = address + offset_of!(Area, sequence) as u64;
    let sequence: u64 = user::read(slot)?;
    if sequence == 0 {
        return Ok(());
    }
    let Sequence { version, flags, start, length, abort } = user::read(sequence)?;
    let end = start.checked_add(length).ok_or(Errno::EINVAL)?;
    if version != 0 || flags != 0 || end > USER_END.as_u64() || abort >= USER_END.as_u64() {
        return Err(Errno::EINVAL);
    }
    if (start..end).contains(&abort) {
        return Err(Errno::EINVAL);
    }
    let before_abort = abort.checked_sub(size_of::<u32>() as u64).ok_or(Errno::EINVAL)?;
    if user::read::<u32>(before_abort)? != rseq.signature.load(Relaxed) {
        return Err(Errno::EINVAL);
    }
    // Inside or not, it is left.
    user::write(slot, &0_u64)?;
    let mut user = current.user.borrow_mut();
    if (start..end).contains(&user.regs.rip) {
        user.regs.rip = abort;
    }
    Ok(())
}
