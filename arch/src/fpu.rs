//! x87, SSE and AVX state of user threads.
//!
//! Saved and restored as a whole at each switch between user threads; the kernel itself uses none of it. What
//! is in use is what the processor offers up to AVX-512; AMX and protection keys are not offered to user
//! mode.

use crate::cpu::features;
use alloc::alloc::{alloc_zeroed, dealloc};
use core::alloc::Layout;
use core::arch::asm;
use core::ptr::NonNull;
use spin::Once;
use x86_64::registers::xcontrol::{XCr0, XCr0Flags};

/// Offsets in the area (Intel SDM vol. 1, 10.5.1 and 13.4).
const FCW: usize = 0;
const MXCSR: usize = 24;
const MXCSR_MASK: usize = 28;
const XSTATE_BV: usize = 512;
const HEADER_END: usize = 576;
const LEGACY_SIZE: usize = 512;

const FCW_RESET: u16 = 0x37f;
const MXCSR_RESET: u32 = 0x1f80;
/// What a mask of 0 means.
const MXCSR_MASK_DEFAULT: u32 = 0xffbf;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Fxsave,
    Xsave,
    Xsaveopt,
}

/// How state is saved on this machine.
struct Format {
    method: Method,
    components: u64,
    layout: Layout,
}

static FORMAT: Once<Format> = Once::new();

/// Sets up this CPU: which state components are on.
pub(crate) fn init() {
    let has = features();
    let components = if has.xsave { wanted(has.xcr0) } else { XCr0Flags::empty() };
    if has.xsave {
        // SAFETY: `wanted` is what the processor offers and a valid combination, and CR4.OSXSAVE is on.
        unsafe { XCr0::write(components) };
    }
    FORMAT.call_once(|| {
        let method = match (has.xsave, has.xsaveopt) {
            (false, _) => Method::Fxsave,
            (true, false) => Method::Xsave,
            (true, true) => Method::Xsaveopt,
        };
        // Sub-leaf 0, EBX: the size for the components that are on now.
        let size = if has.xsave { raw_cpuid::cpuid!(0xd, 0).ebx as usize } else { LEGACY_SIZE };
        let layout = Layout::from_size_align(size, 64).expect("a CPU's state is a few KiB");
        Format { method, components: components.bits(), layout }
    });
}

fn wanted(offered: u64) -> XCr0Flags {
    let offered = XCr0Flags::from_bits_truncate(offered);
    let mut wanted = XCr0Flags::X87 | XCr0Flags::SSE;
    let wide = XCr0Flags::OPMASK | XCr0Flags::ZMM_HI256 | XCr0Flags::HI16_ZMM;
    if offered.contains(XCr0Flags::AVX) {
        wanted |= XCr0Flags::AVX;
        if offered.contains(wide) {
            wanted |= wide;
        }
    }
    wanted
}

fn format() -> &'static Format {
    FORMAT.get().expect("cpu::init comes before user threads")
}

/// The state components that are saved (XCR0); 0 where there is just FXSAVE.
pub fn components() -> u64 {
    format().components
}

/// The vector state of a thread.
pub struct State {
    area: NonNull<u8>,
}

// SAFETY: the area is owned, plain memory.
unsafe impl Send for State {}
// SAFETY: shared references only read it.
unsafe impl Sync for State {}

impl State {
    /// The state after a reset. `None`: out of memory.
    pub(crate) fn new() -> Option<Self> {
        let mut state = Self::zeroed()?;
        // With XSTATE_BV zero, XRSTOR initialises all components by itself, except that it loads MXCSR;
        // FXRSTOR loads both.
        let bytes = state.bytes_mut();
        bytes[FCW..FCW + 2].copy_from_slice(&FCW_RESET.to_le_bytes());
        bytes[MXCSR..MXCSR + 4].copy_from_slice(&MXCSR_RESET.to_le_bytes());
        Some(state)
    }

    fn zeroed() -> Option<Self> {
        // SAFETY: the layout is not empty.
        NonNull::new(unsafe { alloc_zeroed(format().layout) }).map(|area| Self { area })
    }

    /// A copy of what was saved last. `None`: out of memory.
    pub(crate) fn duplicate(&self) -> Option<Self> {
        let mut copy = Self::zeroed()?;
        copy.bytes_mut().copy_from_slice(self.bytes());
        Some(copy)
    }

    /// The area as XSAVE or FXSAVE wrote it, for a signal frame.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the area is owned, of this size, and initialised.
        unsafe { core::slice::from_raw_parts(self.area.as_ptr(), format().layout.size()) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `self` is borrowed exclusively.
        unsafe { core::slice::from_raw_parts_mut(self.area.as_ptr(), format().layout.size()) }
    }

    /// Takes over an area from user memory. What the processor would refuse to load is cleared.
    pub fn set_bytes(&mut self, bytes: &[u8]) {
        let word = |bytes: &[u8], at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let mask = match word(self.bytes(), MXCSR_MASK) {
            0 => MXCSR_MASK_DEFAULT,
            mask => mask,
        };
        let components = format().components;
        let area = self.bytes_mut();
        let size = bytes.len().min(area.len());
        area[..size].copy_from_slice(&bytes[..size]);
        let mxcsr = word(area, MXCSR) & mask;
        area[MXCSR..MXCSR + 4].copy_from_slice(&mxcsr.to_le_bytes());
        if let Some(header) = area.get_mut(XSTATE_BV..HEADER_END) {
            let (present, rest) = header.split_at_mut(8);
            for (byte, allowed) in present.iter_mut().zip(components.to_le_bytes()) {
                *byte &= allowed;
            }
            rest.fill(0);
        }
    }

    pub(crate) fn save(&mut self) {
        let (area, format) = (self.area.as_ptr(), format());
        let (low, high) = (format.components as u32, (format.components >> 32) as u32);
        // SAFETY: the area is owned, aligned to 64 bytes, and as large as the processor says for these
        // components.
        unsafe {
            match format.method {
                Method::Fxsave => asm!("fxsave64 [{}]", in(reg) area, options(nostack, preserves_flags)),
                Method::Xsave => {
                    asm!("xsave64 [{}]", in(reg) area, in("eax") low, in("edx") high, options(nostack, preserves_flags));
                }
                Method::Xsaveopt => {
                    asm!("xsaveopt64 [{}]", in(reg) area, in("eax") low, in("edx") high, options(nostack, preserves_flags));
                }
            }
        }
    }

    pub(crate) fn load(&self) {
        let (area, format) = (self.area.as_ptr(), format());
        let (low, high) = (format.components as u32, (format.components >> 32) as u32);
        // SAFETY: the area is one that `save` wrote, the initial one, or one that `set_bytes` made loadable.
        // The kernel keeps nothing in these registers.
        unsafe {
            match format.method {
                Method::Fxsave => asm!("fxrstor64 [{}]", in(reg) area, options(nostack, preserves_flags)),
                _ => {
                    asm!("xrstor64 [{}]", in(reg) area, in("eax") low, in("edx") high, options(nostack, preserves_flags))
                }
            }
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        // SAFETY: `zeroed` allocated it with this layout.
        unsafe { dealloc(self.area.as_ptr(), format().layout) };
    }
}
