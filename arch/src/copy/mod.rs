//! The only way to user memory.
//!
//! Every access is checked to lie in the lower half, opens user memory (SMAP) only for its few instructions,
//! and survives a page fault: the kernel's handler may resolve it, or else the call returns [`UserFault`].
//! What is mapped where, and with which rights, is the page tables' business.

mod routines;

use crate::traps::KernelFrame;
use crate::user::USER_END;
use core::mem::MaybeUninit;
use routines::Outcome;
use x86_64::VirtAddr;

/// A user address that cannot be accessed: `EFAULT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UserFault;

/// Whether the `len` bytes from `start` on lie in user space.
#[inline]
pub fn check(start: VirtAddr, len: usize) -> Result<(), UserFault> {
    match start.as_u64().checked_add(len as u64) {
        Some(end) if end <= USER_END.as_u64() => Ok(()),
        _ => Err(UserFault),
    }
}

/// Fills `to` from user memory. On an error, part of it may be filled.
pub fn read_bytes(to: &mut [u8], from: VirtAddr) -> Result<(), UserFault> {
    check(from, to.len())?;
    // SAFETY: the destination is ours to write; the source is user memory.
    unsafe { routines::copy(to.as_mut_ptr(), from.as_ptr(), to.len()) }.into()
}

/// Fills uninitialised memory from user memory and returns it as initialised.
pub fn read_uninit(to: &mut [MaybeUninit<u8>], from: VirtAddr) -> Result<&mut [u8], UserFault> {
    check(from, to.len())?;
    // SAFETY: the destination is ours to write; the source is user memory.
    Result::from(unsafe { routines::copy(to.as_mut_ptr().cast(), from.as_ptr(), to.len()) })?;
    // SAFETY: all of it was written just now.
    Ok(unsafe { core::slice::from_raw_parts_mut(to.as_mut_ptr().cast(), to.len()) })
}

/// Writes `from` to user memory. On an error, part of it may be written.
pub fn write_bytes(to: VirtAddr, from: &[u8]) -> Result<(), UserFault> {
    check(to, from.len())?;
    // SAFETY: the destination is user memory, to which no Rust reference exists; the source is ours to read.
    unsafe { routines::copy(to.as_mut_ptr(), from.as_ptr(), from.len()) }.into()
}

/// Writes `len` zero bytes to user memory. On an error, part of it may be written.
pub fn zero(to: VirtAddr, len: usize) -> Result<(), UserFault> {
    check(to, len)?;
    // SAFETY: the destination is user memory.
    unsafe { routines::zero(to.as_mut_ptr(), len) }.into()
}

/// Reads a word of user memory, at any alignment. Atomic if aligned.
pub fn read_u32(from: VirtAddr) -> Result<u32, UserFault> {
    check(from, 4)?;
    // SAFETY: user memory.
    unsafe { routines::load_u32(from.as_ptr()) }.value().map(|value| value as u32)
}

/// Reads a double word of user memory, at any alignment. Atomic if aligned.
pub fn read_u64(from: VirtAddr) -> Result<u64, UserFault> {
    check(from, 8)?;
    // SAFETY: user memory.
    unsafe { routines::load_u64(from.as_ptr()) }.value()
}

/// Writes a word of user memory, at any alignment. Atomic if aligned.
pub fn write_u32(to: VirtAddr, value: u32) -> Result<(), UserFault> {
    check(to, 4)?;
    // SAFETY: user memory.
    unsafe { routines::store_u32(to.as_mut_ptr(), value) }.into()
}

/// Writes a double word of user memory, at any alignment. Atomic if aligned.
pub fn write_u64(to: VirtAddr, value: u64) -> Result<(), UserFault> {
    check(to, 8)?;
    // SAFETY: user memory.
    unsafe { routines::store_u64(to.as_mut_ptr(), value) }.into()
}

/// Replaces a word of user memory by `new` if it is `current`, atomically and with a full barrier. Returns
/// what it was before: `current` if it was replaced.
pub fn compare_exchange_u32(at: VirtAddr, current: u32, new: u32) -> Result<u32, UserFault> {
    check(at, 4)?;
    // SAFETY: user memory.
    unsafe { routines::compare_exchange_u32(at.as_mut_ptr(), current, new) }.value().map(|value| value as u32)
}

/// Changes a word of user memory atomically. Returns what it was before.
pub fn update_u32(at: VirtAddr, change: impl Fn(u32) -> u32) -> Result<u32, UserFault> {
    let mut current = read_u32(at)?;
    loop {
        match compare_exchange_u32(at, current, change(current))? {
            before if before == current => return Ok(before),
            other => current = other,
        }
    }
}

/// Reads a string of user memory that ends with a zero byte into `to` and returns its bytes without that.
/// `Ok(None)`: it does not fit.
pub fn read_cstr(to: &mut [u8], from: VirtAddr) -> Result<Option<&[u8]>, UserFault> {
    const PAGE: usize = 4096;
    let mut filled = 0;
    while filled < to.len() {
        // Never beyond the page, as the string may end at the last byte that is mapped.
        let start = from.as_u64().checked_add(filled as u64).ok_or(UserFault)?;
        let start = VirtAddr::try_new(start).map_err(|_| UserFault)?;
        let left_in_page = PAGE - start.as_u64() as usize % PAGE;
        let chunk = left_in_page.min(to.len() - filled);
        let piece = &mut to[filled..filled + chunk];
        read_bytes(piece, start)?;
        if let Some(end) = piece.iter().position(|byte| *byte == 0) {
            return Ok(Some(&to[..filled + end]));
        }
        filled += chunk;
    }
    Ok(None)
}

/// Reads a word of kernel memory that may not be there, for reports about a kernel in an unknown state.
pub fn probe(at: VirtAddr) -> Result<u64, UserFault> {
    if at < KERNEL_HALF || at.as_u64() > u64::MAX - 7 {
        return Err(UserFault);
    }
    // SAFETY: the routine only reads, and a fault ends in an error.
    unsafe { routines::load_u64(at.as_ptr()) }.value()
}

/// The first address of the upper half.
pub(crate) const KERNEL_HALF: VirtAddr = VirtAddr::new(0xffff_8000_0000_0000);

/// Whether the fault of `frame` at `address` is that of a [`probe`].
pub(crate) fn is_probe(frame: &KernelFrame, address: VirtAddr) -> bool {
    address >= KERNEL_HALF && routines::contain(frame.rip)
}

/// Lets the copy that `frame` interrupted return an error. `false`: it is no copy.
pub(crate) fn fix_up(frame: &mut KernelFrame) -> bool {
    let ours = !frame.is_user() && routines::contain(frame.rip);
    if ours {
        frame.rip = routines::fault_exit();
    }
    ours
}

impl From<Outcome> for Result<(), UserFault> {
    fn from(outcome: Outcome) -> Self {
        outcome.value().map(|_| ())
    }
}

impl Outcome {
    fn value(self) -> Result<u64, UserFault> {
        if self.failed == 0 { Ok(self.value) } else { Err(UserFault) }
    }
}
