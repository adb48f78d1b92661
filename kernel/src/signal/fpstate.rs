//! Floating-point and vector state in signal frames.
//!
//! Programs find the area that XSAVE writes, with Linux's marks around it: `struct _fpx_sw_bytes` in bytes that the
//! processor leaves to software, and a magic number behind it (`asm/sigcontext.h`). Without XSAVE it is the 512 bytes of
//! FXSAVE alone.

use crate::errno::Errno;
use crate::task::Current;
use crate::user;
use alloc::vec;
use core::mem::size_of;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

/// XSAVE wants its area at a multiple of this (Intel SDM vol. 1, 13.4).
pub const ALIGNMENT: u64 = 64;

/// Bytes of the largest area with its magic number: AVX-512's (Intel SDM vol. 1, 13.5).
pub const LARGEST: u64 = 2696;

const LEGACY_SIZE: usize = 512;
/// Bytes 464 to 511 of the area belong to software.
const SOFTWARE: usize = 464;
/// XSTATE_BV: which components differ from their initial state.
const PRESENT: usize = 512;
const PRESENT_END: usize = 520;
const X87_AND_SSE: u64 = 3;
/// The control and status registers: offsets in the area, and what they are after a reset.
const FCW: usize = 0;
const FSW: usize = 2;
const MXCSR: usize = 24;
const FCW_RESET: u16 = 0x37f;
const MXCSR_RESET: u32 = 0x1f80;

/// `FP_XSTATE_MAGIC1` and `FP_XSTATE_MAGIC2`.
const MAGIC: u32 = 0x4650_5853;
const END_MAGIC: u32 = 0x4650_5845;
const END_MAGIC_SIZE: usize = size_of::<u32>();

/// `struct _fpx_sw_bytes`.
#[derive(FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Software {
    magic: u32,
    /// The area and the magic number behind it.
    extended_size: u32,
    components: u64,
    area_size: u32,
    padding: [u32; 7],
}

const _: () = assert!(SOFTWARE + size_of::<Software>() == LEGACY_SIZE);

/// A saved area on its way into a frame.
pub struct FpFrame<'a> {
    area: &'a [u8],
}

impl<'a> FpFrame<'a> {
    pub fn of(area: &'a [u8]) -> Self {
        Self { area }
    }

    /// Whether it is XSAVE's.
    pub fn is_extended(&self) -> bool {
        self.area.len() > LEGACY_SIZE
    }

    /// Bytes in the frame.
    pub fn len(&self) -> usize {
        self.area.len() + if self.is_extended() { END_MAGIC_SIZE } else { 0 }
    }

    /// Writes it to user memory at `to`.
    pub fn write(&self, to: u64) -> Result<(), Errno> {
        user::write_bytes(to, &self.area[..SOFTWARE])?;
        let software = self.is_extended().then(|| Software {
            magic: MAGIC,
            extended_size: self.len() as u32,
            components: arch::fpu::components(),
            area_size: self.area.len() as u32,
            padding: [0; 7],
        });
        user::write(to + SOFTWARE as u64, &software.unwrap_or_else(Software::new_zeroed))?;
        if self.is_extended() {
            user::write_bytes(to + LEGACY_SIZE as u64, &self.area[LEGACY_SIZE..])?;
            user::write(to + self.area.len() as u64, &END_MAGIC)?;
        }
        Ok(())
    }
}

/// Brings the area of the current thread up to date with the processor.
pub fn save(current: &Current) {
    let _off = arch::interrupts::off();
    current.user.borrow_mut().save();
}

/// Takes over the state that a frame has at `from`; 0 stands for the state after a reset.
///
/// # Errors
/// `EFAULT` when it cannot be read. What the processor would refuse is cleared, not an error.
pub fn restore(current: &Current, from: u64) -> Result<(), Errno> {
    let mut area = vec![0; current.user.borrow().fpu().bytes().len()];
    if from == 0 {
        area[FCW..][..2].copy_from_slice(&FCW_RESET.to_le_bytes());
        area[MXCSR..][..4].copy_from_slice(&MXCSR_RESET.to_le_bytes());
    } else {
        read(from, &mut area)?;
    }
    let _off = arch::interrupts::off();
    let mut user = current.user.borrow_mut();
    // The segment bases are in the processor, too, and stay what they are.
    user.save();
    user.fpu_mut().set_bytes(&area);
    user.load();
    Ok(())
}

/// Reads an area. If the marks are not as they were written, just the 512 bytes of FXSAVE count, as on Linux.
fn read(from: u64, area: &mut [u8]) -> Result<(), Errno> {
    user::read_bytes(from, &mut area[..LEGACY_SIZE])?;
    if area.len() == LEGACY_SIZE {
        return Ok(());
    }
    let software = Software::read_from_bytes(&area[SOFTWARE..LEGACY_SIZE]).expect("the lengths are the same");
    let marked = software.magic == MAGIC
        && software.area_size as usize == area.len()
        && user::read::<u32>(from.wrapping_add(area.len() as u64))? == END_MAGIC;
    if marked {
        user::read_bytes(from + LEGACY_SIZE as u64, &mut area[LEGACY_SIZE..])
    } else {
        area[PRESENT..PRESENT_END].copy_from_slice(&X87_AND_SSE.to_le_bytes());
        Ok(())
    }
}

/// The exceptions that are raised and not masked, in the order of their bits in MXCSR; `simd` says which unit's.
pub fn raised_exceptions(area: &[u8], simd: bool) -> u32 {
    const EXCEPTIONS: u32 = 0x3f;
    const MASKS: u32 = 7;
    let half = |at: usize| u32::from(u16::from_le_bytes([area[at], area[at + 1]]));
    let (raised, masked) = if simd { (half(MXCSR), half(MXCSR) >> MASKS) } else { (half(FSW), half(FCW)) };
    raised & !masked & EXCEPTIONS
}
