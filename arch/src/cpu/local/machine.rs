//! The CPU-local area on the machine.
//!
//! Laid out for the entry code in assembly, which reaches [`Field`]s relative to GS. In the kernel the GS
//! base is the area's address; in user mode it is the user's, and the area's address waits in the MSR that
//! `swapgs` exchanges.

use super::Counters;
use alloc::boxed::Box;
use core::cell::UnsafeCell;
use core::mem::offset_of;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicPtr, AtomicU64};
use formats::{CpuId, CpuSet};
use x86_64::VirtAddr;
use x86_64::registers::model_specific::{GsBase, KernelGsBase};
use x86_64::structures::gdt::GlobalDescriptorTable;
use x86_64::structures::tss::TaskStateSegment;

/// The CPU-local area.
#[repr(C, align(64))]
pub(crate) struct CpuLocal {
    /// Its own address.
    this: AtomicPtr<CpuLocal>,
    /// The stack pointer with which user mode was entered: where the entry code goes back to.
    kernel_rsp: AtomicU64,
    /// The `UserContext` that runs or ran last.
    context: AtomicU64,
    /// The user's stack pointer during the first instructions after SYSCALL.
    scratch: AtomicU64,
    id: CpuId,
    counters: Counters,
    /// Read by the processor on each trap; `privilege_stack_table[0]` is written on each way out to user
    /// mode.
    pub(crate) tss: UnsafeCell<TaskStateSegment>,
    pub(crate) gdt: UnsafeCell<GlobalDescriptorTable>,
    early: UnsafeCell<Option<Box<EarlyStacks>>>,
}

// SAFETY: fields in `UnsafeCell`s are touched by their own CPU only: here, in `descriptors::load` and by the
// entry code.
unsafe impl Sync for CpuLocal {}

/// Offsets of what the entry code reaches relative to GS.
pub(crate) struct Field;

impl Field {
    pub const THIS: usize = offset_of!(CpuLocal, this);
    pub const KERNEL_RSP: usize = offset_of!(CpuLocal, kernel_rsp);
    pub const CONTEXT: usize = offset_of!(CpuLocal, context);
    pub const SCRATCH: usize = offset_of!(CpuLocal, scratch);
    const ID: usize = offset_of!(CpuLocal, id);
    /// Where the processor finds the stack pointer for a trap from user mode (Intel SDM vol. 3, figure 9-11).
    pub const TSS_RSP0: usize = offset_of!(CpuLocal, tss) + 4;
}

/// The tops of the stacks for exceptions that may hit at any instruction: each at least 4 KiB, aligned to 16
/// bytes.
#[derive(Debug, Clone, Copy)]
pub struct ExceptionStacks {
    pub nmi: VirtAddr,
    pub double_fault: VirtAddr,
    pub machine_check: VirtAddr,
}

/// Stacks for the time until the kernel has guarded ones.
#[repr(C, align(16))]
struct EarlyStacks([UnsafeCell<[u8; Self::SIZE]>; 3]);

// SAFETY: only the processor writes to them, as stacks of the one CPU that they were given to.
unsafe impl Sync for EarlyStacks {}

impl EarlyStacks {
    const SIZE: usize = 8192;

    const fn new() -> Self {
        Self([const { UnsafeCell::new([0; Self::SIZE]) }; 3])
    }

    fn tops(&self) -> ExceptionStacks {
        let top = |n: usize| VirtAddr::from_ptr(self.0[n].get()) + Self::SIZE as u64;
        ExceptionStacks { nmi: top(0), double_fault: top(1), machine_check: top(2) }
    }
}

impl CpuLocal {
    const fn new(id: CpuId) -> Self {
        Self {
            this: AtomicPtr::new(core::ptr::null_mut()),
            kernel_rsp: AtomicU64::new(0),
            context: AtomicU64::new(0),
            scratch: AtomicU64::new(0),
            id,
            counters: Counters::new(),
            tss: UnsafeCell::new(TaskStateSegment::new()),
            gdt: UnsafeCell::new(GlobalDescriptorTable::empty()),
            early: UnsafeCell::new(None),
        }
    }

    /// The area of the CPU that asks.
    #[inline]
    fn here() -> &'static Self {
        let this: *const Self;
        // SAFETY: `init` ran on this CPU before anything else of this crate, so GS points to the area, whose
        // first word is its address and which is never freed.
        unsafe {
            core::arch::asm!(
                "mov {}, gs:[{this}]",
                out(reg) this,
                this = const Field::THIS,
                options(pure, readonly, nostack, preserves_flags),
            );
            &*this
        }
    }

    /// Makes `stacks` those that the processor switches to. The word at each top leads the entry code to this
    /// area.
    ///
    /// # Safety
    /// On the area's own CPU, or before that CPU uses the area. The stacks are mapped, that CPU's alone, and
    /// stay so until others are set.
    unsafe fn set_stacks(&self, stacks: ExceptionStacks) {
        for (index, top) in [stacks.nmi, stacks.double_fault, stacks.machine_check].into_iter().enumerate() {
            let slot = top - IST_RESERVED;
            // SAFETY: the caller owns the stack. The TSS is written by its own CPU only, and the processor
            // reads the entry as a whole when it takes an exception, before or after this store.
            unsafe {
                slot.as_mut_ptr::<*const Self>().write(self);
                let entry = &raw mut (*self.tss.get()).interrupt_stack_table[index];
                entry.write_unaligned(slot);
            }
        }
    }
}

/// How many bytes at the top of an exception stack are not used as stack: they hold the area's address.
pub(crate) const IST_RESERVED: u64 = 16;

/// Runs `look` on the counters of the CPU that asks.
#[inline]
pub(crate) fn with<R>(look: impl FnOnce(&Counters) -> R) -> R {
    look(&CpuLocal::here().counters)
}

#[inline]
pub(crate) fn id() -> CpuId {
    let id: u32;
    // SAFETY: as in `CpuLocal::here`.
    unsafe {
        core::arch::asm!(
            "mov {:e}, gs:[{id}]",
            out(reg) id,
            id = const Field::ID,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    CpuId(id)
}

/// CPU 0 is set up before there is a heap.
static BOOT: CpuLocal = CpuLocal::new(CpuId::BOOT);
static BOOT_STACKS: EarlyStacks = EarlyStacks::new();

/// The areas of CPUs that [`prepare`] was called for.
static PREPARED: [AtomicPtr<CpuLocal>; CpuSet::CAPACITY] =
    [const { AtomicPtr::new(core::ptr::null_mut()) }; CpuSet::CAPACITY];

/// Makes the area of CPU `id`, which has not started yet: allocating needs an area, so a CPU cannot make its
/// own.
pub fn prepare(id: CpuId) {
    let local: &'static CpuLocal = Box::leak(Box::new(CpuLocal::new(id)));
    let early = Box::new(EarlyStacks::new());
    let stacks = early.tops();
    // SAFETY: nobody else knows the area yet, and the stacks belong to the CPU that will use it.
    unsafe {
        *local.early.get() = Some(early);
        local.set_stacks(stacks);
    }
    PREPARED[id.index()].store(core::ptr::from_ref(local).cast_mut(), Release);
}

/// Lets GS point to the area of this CPU.
///
/// # Safety
/// Once on each CPU, which is the only one called `id`, and for which [`prepare`] was called unless it is the
/// boot CPU.
pub(crate) unsafe fn init(id: CpuId) -> &'static CpuLocal {
    let local: &'static CpuLocal = if id == CpuId::BOOT {
        // SAFETY: the boot CPU's stacks belong to it alone.
        unsafe { BOOT.set_stacks(BOOT_STACKS.tops()) };
        &BOOT
    } else {
        // SAFETY: null, or leaked by `prepare`, and this CPU's from now on.
        unsafe { PREPARED[id.index()].load(Acquire).as_ref() }.expect("prepare comes before the CPU")
    };
    local.this.store(core::ptr::from_ref(local).cast_mut(), Relaxed);
    GsBase::write(VirtAddr::from_ptr(local));
    KernelGsBase::write(VirtAddr::zero());
    local
}

/// Replaces the stacks for NMI, double fault and machine check on this CPU, with guarded ones.
///
/// # Safety
/// The stacks are mapped in every address space, used for nothing else, and never freed.
pub unsafe fn set_exception_stacks(stacks: ExceptionStacks) {
    let local = CpuLocal::here();
    // SAFETY: the caller promises the stacks; the area is that of this CPU. None of the early stacks is in
    // use: the caller runs on a stack of its own, and the TSS has named the new ones since the line before.
    unsafe {
        local.set_stacks(stacks);
        drop((*local.early.get()).take());
    }
}
