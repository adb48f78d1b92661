//! The floating-point and vector registers as a value that can be loaded, kept across system calls, and compared.
//!
//! The registers are: 16 vector registers (256 bits with AVX, else 128), MXCSR, the x87 control word and the 8 x87 stack
//! registers. Each function leaves the control registers as the System V ABI expects them.

use std::arch::asm;

/// MXCSR and x87 control word of a new program: all exceptions masked, round to nearest (System V ABI, table 3.4).
pub const DEFAULT_MXCSR: u32 = 0x1f80;
pub const DEFAULT_CONTROL_WORD: u16 = 0x37f;

/// Contents of the registers. The assembly below knows the offsets.
#[repr(C, align(32))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registers {
    /// Offset 0. Without AVX, the upper two words of each stay as they are.
    vectors: [[u64; 4]; 16],
    /// Offset 512: bit patterns of doubles.
    x87: [u64; 8],
    /// Offset 576.
    mxcsr: u32,
    /// Offset 580.
    control_word: u16,
    unused: u16,
}

/// A system call to make while the registers are loaded: number, and the first three arguments.
pub type Call = [u64; 4];

impl Registers {
    /// Values that differ in each register and for each `seed`.
    pub fn pattern(seed: u64) -> Self {
        let word = |register: usize, part: usize| {
            (seed << 32 | (register as u64) << 8 | part as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        };
        let rounding = (seed % 4) as u32;
        Self {
            vectors: std::array::from_fn(|register| std::array::from_fn(|part| word(register, part))),
            x87: std::array::from_fn(|register| (seed as f64 * 1.5 + register as f64).to_bits()),
            mxcsr: DEFAULT_MXCSR | rounding << 13,
            control_word: DEFAULT_CONTROL_WORD & !0xc00 | (rounding as u16) << 10,
            unused: 0,
        }
    }

    /// Loads these values, makes `call`, then counts down from `spins` (at least 1) in a general register. Returns what the
    /// registers held then, and what the call returned.
    ///
    /// # Safety
    /// The call must be one that is sound to make with these arguments from Rust.
    pub unsafe fn kept_across(&self, call: Call, spins: u64) -> (Self, i64) {
        let mut found = *self;
        // SAFETY: the caller vouches for the call. `is_x86_feature_detected` also asks whether the kernel saves AVX state.
        let result = unsafe {
            match std::arch::is_x86_feature_detected!("avx") {
                true => avx_across(self, &mut found, call, spins),
                false => sse_across(self, &mut found, call, spins),
            }
        };
        (found, result)
    }
}

/// Makes a function that loads the registers from its first argument (r8), makes a system call and spins, and stores the
/// registers to its second argument (r9). r10 points to the MXCSR that Rust code expects.
macro_rules! across {
    ($name:ident, $load:literal, $store:literal, $end:literal) => {
        unsafe fn $name(from: &Registers, to: &mut Registers, call: Call, spins: u64) -> i64 {
            let result;
            // SAFETY: it writes to `to` and to registers that are all named as outputs; the control registers are back at
            // their defaults at the end; the caller vouches for the system call.
            unsafe {
                asm!(
                    ".irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
                    $load,
                    ".endr",
                    "fninit",
                    "fldcw word ptr [r8 + 580]",
                    ".irp i, 7,6,5,4,3,2,1,0",
                    "fld qword ptr [r8 + 512 + 8 * \\i]",
                    ".endr",
                    "ldmxcsr dword ptr [r8 + 576]",
                    "syscall",
                    "2: dec {spins}",
                    "jnz 2b",
                    ".irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
                    $store,
                    ".endr",
                    "fnstcw word ptr [r9 + 580]",
                    ".irp i, 0,1,2,3,4,5,6,7",
                    "fstp qword ptr [r9 + 512 + 8 * \\i]",
                    ".endr",
                    "stmxcsr dword ptr [r9 + 576]",
                    "fninit",
                    "ldmxcsr dword ptr [r10]",
                    $end,
                    spins = inout(reg) spins => _,
                    inout("rax") call[0] => result,
                    in("rdi") call[1], in("rsi") call[2], in("rdx") call[3],
                    in("r8") from, in("r9") to, in("r10") &DEFAULT_MXCSR,
                    out("rcx") _, out("r11") _,
                    out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _,
                    out("xmm4") _, out("xmm5") _, out("xmm6") _, out("xmm7") _,
                    out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
                    out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
                    out("st(0)") _, out("st(1)") _, out("st(2)") _, out("st(3)") _,
                    out("st(4)") _, out("st(5)") _, out("st(6)") _, out("st(7)") _,
                );
            }
            result
        }
    };
}

across!(avx_across, "vmovdqu ymm\\i, [r8 + 32 * \\i]", "vmovdqu [r9 + 32 * \\i], ymm\\i", "vzeroupper");
across!(sse_across, "movdqu xmm\\i, [r8 + 32 * \\i]", "movdqu [r9 + 32 * \\i], xmm\\i", "");

/// MXCSR and x87 control word of the calling thread.
pub fn control_registers() -> (u32, u16) {
    let (mut mxcsr, mut control_word) = (0_u32, 0_u16);
    // SAFETY: it stores four and two bytes into variables of that size.
    unsafe {
        asm!("stmxcsr dword ptr [{}]", "fnstcw word ptr [{}]", in(reg) &mut mxcsr, in(reg) &mut control_word);
    }
    (mxcsr, control_word)
}

/// Leaves other values in all registers and changes the rounding modes. For the end of a signal handler: the return from it
/// puts the interrupted program's values back.
pub fn disturb() {
    let other = Registers::pattern(3);
    // SAFETY: every vector register is named; the control registers are the caller's to restore, as documented.
    unsafe {
        asm!(
            ".irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
            "movdqu xmm\\i, [r8 + 32 * \\i]",
            ".endr",
            "fninit",
            "fldcw word ptr [r8 + 580]",
            "fldpi",
            "fstp st(0)",
            "ldmxcsr dword ptr [r8 + 576]",
            in("r8") &other,
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _,
            out("xmm4") _, out("xmm5") _, out("xmm6") _, out("xmm7") _,
            out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
            out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
            out("st(0)") _, out("st(1)") _, out("st(2)") _, out("st(3)") _,
            out("st(4)") _, out("st(5)") _, out("st(6)") _, out("st(7)") _,
            options(nostack),
        );
    }
}
