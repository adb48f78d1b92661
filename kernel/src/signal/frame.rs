//! The frame that a handler finds on the user stack, and the way back out of it (`rt_sigreturn`).
//!
//! The layout is Linux's `struct rt_sigframe` for x86-64: return address, `ucontext_t`, `siginfo_t`; above it, at a
//! multiple of 64, the floating-point state. Handlers and unwinders read and change all of it.

use super::altstack::AltStack;
use super::fpstate::{self, FpFrame};
use super::{Action, ActionFlags, SigInfo, SigSet, Signal, send, set_mask};
use crate::errno::Errno;
use crate::task::Current;
use crate::user;
use arch::user::Registers;
use core::mem::{offset_of, size_of};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// What a leaf function may use below its stack pointer (System V ABI, AMD64, 3.2.2).
const RED_ZONE: u64 = 128;

/// The segment selectors of user code and data, as Linux numbers them; programs see them in `mcontext_t`.
const USER_CODE: u16 = 0x33;
const USER_DATA: u16 = 0x2b;

/// `uc_flags` (`asm/ucontext.h`): extended state is there; SS is there and will be restored.
const UC_FP_XSTATE: u64 = 1;
const UC_SIGCONTEXT_SS: u64 = 2;
const UC_STRICT_RESTORE_SS: u64 = 4;

/// `struct sigcontext` (`asm/sigcontext.h`).
#[derive(FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct MachineContext {
    r8: u64,
    r9: u64,
    r10: u64,
    r11: u64,
    r12: u64,
    r13: u64,
    r14: u64,
    r15: u64,
    rdi: u64,
    rsi: u64,
    rbp: u64,
    rbx: u64,
    rdx: u64,
    rax: u64,
    rcx: u64,
    rsp: u64,
    rip: u64,
    rflags: u64,
    cs: u16,
    gs: u16,
    fs: u16,
    ss: u16,
    error: u64,
    vector: u64,
    old_mask: u64,
    fault_address: u64,
    fp_state: u64,
    reserved: [u64; 8],
}

/// `struct ucontext`, as the kernel has it.
#[derive(FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Context {
    flags: u64,
    link: u64,
    stack: AltStack,
    machine: MachineContext,
    mask: SigSet,
}

/// `struct rt_sigframe`.
#[derive(FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Frame {
    return_address: u64,
    context: Context,
    info: SigInfo,
}

const _: () = assert!(size_of::<MachineContext>() == 256 && size_of::<Frame>() == 440);

/// The most that a frame takes on an alternate stack, AT_MINSIGSTKSZ of the auxiliary vector: with AVX-512 state, the
/// largest that user mode can have, and each part moved down to its alignment.
pub const MIN_STACK: u64 = size_of::<Frame>() as u64 + fpstate::LARGEST + fpstate::ALIGNMENT + 16 + 8;

/// Puts a frame for `handler` on the stack and points the registers to it. `mask` is what `rt_sigreturn` goes back to.
///
/// # Errors
/// `EFAULT` when the frame cannot be written, or the action names no code to return to. Nothing has changed then.
pub(super) fn push(
    current: &Current,
    info: &SigInfo,
    action: &Action,
    handler: u64,
    mask: SigSet,
) -> Result<(), Errno> {
    if !action.flags().contains(ActionFlags::RESTORER) {
        return Err(Errno::EFAULT);
    }
    let (altstack, fault) = {
        let own = current.task.signals.own.lock();
        (own.altstack, own.last_fault)
    };
    fpstate::save(current);
    let at = {
        let user = current.user.borrow();
        let fp = FpFrame::of(user.fpu().bytes());
        let room =
            Room::find(user.regs.rsp, &altstack, action.flags(), fp.len() as u64).ok_or(Errno::EFAULT)?;
        fp.write(room.fp_state)?;
        let extended = if fp.is_extended() { UC_FP_XSTATE } else { 0 };
        let machine = MachineContext {
            error: fault.error,
            vector: fault.vector,
            fault_address: fault.address,
            old_mask: mask.0,
            fp_state: room.fp_state,
            ..MachineContext::of(&user.regs)
        };
        let flags = extended | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS;
        let context = Context { flags, link: 0, stack: altstack, machine, mask };
        user::write(room.frame, &Frame { return_address: action.restorer, context, info: info.clone() })?;
        room.frame
    };
    current.task.signals.own.lock().disarm_altstack();

    let mut user = current.user.borrow_mut();
    let regs = &mut user.regs;
    regs.rdi = info.signal().number().into();
    regs.rsi = at + offset_of!(Frame, info) as u64;
    regs.rdx = at + offset_of!(Frame, context) as u64;
    regs.rax = 0;
    regs.rsp = at;
    regs.rip = handler;
    regs.set_rflags(regs.rflags() & !(DIRECTION_FLAG | TRAP_FLAG));
    Ok(())
}

const TRAP_FLAG: u64 = 1 << 8;
const DIRECTION_FLAG: u64 = 1 << 10;

/// Where the parts of a frame go.
struct Room {
    fp_state: u64,
    frame: u64,
}

impl Room {
    /// Finds room on the alternate stack, or below the red zone of the present one. `None`: there is none.
    fn find(rsp: u64, altstack: &AltStack, flags: ActionFlags, fp_len: u64) -> Option<Self> {
        let already_there = altstack.is_in_use(rsp);
        let (top, on_altstack) = match altstack.top() {
            Some(top) if flags.contains(ActionFlags::ON_STACK) && !already_there => (top, true),
            _ => (rsp.checked_sub(RED_ZONE)?, already_there),
        };
        let fp_state = top.checked_sub(fp_len)? & !(fpstate::ALIGNMENT - 1);
        // As after a call: the stack is aligned to 16 before the return address is pushed.
        let frame = (fp_state.checked_sub(size_of::<Frame>() as u64)? & !15).checked_sub(8)?;
        (!on_altstack || !altstack.is_overrun_by(frame)).then_some(Self { fp_state, frame })
    }
}

impl MachineContext {
    fn of(regs: &Registers) -> Self {
        Self {
            r8: regs.r8,
            r9: regs.r9,
            r10: regs.r10,
            r11: regs.r11,
            r12: regs.r12,
            r13: regs.r13,
            r14: regs.r14,
            r15: regs.r15,
            rdi: regs.rdi,
            rsi: regs.rsi,
            rbp: regs.rbp,
            rbx: regs.rbx,
            rdx: regs.rdx,
            rax: regs.rax,
            rcx: regs.rcx,
            rsp: regs.rsp,
            rip: regs.rip,
            rflags: regs.rflags(),
            cs: USER_CODE,
            gs: 0,
            fs: 0,
            ss: USER_DATA,
            error: 0,
            vector: 0,
            old_mask: 0,
            fault_address: 0,
            fp_state: 0,
            reserved: [0; 8],
        }
    }

    /// Puts the registers back. Segments stay what they are: user mode has no others.
    fn restore(&self, regs: &mut Registers) {
        regs.r8 = self.r8;
        regs.r9 = self.r9;
        regs.r10 = self.r10;
        regs.r11 = self.r11;
        regs.r12 = self.r12;
        regs.r13 = self.r13;
        regs.r14 = self.r14;
        regs.r15 = self.r15;
        regs.rdi = self.rdi;
        regs.rsi = self.rsi;
        regs.rbp = self.rbp;
        regs.rbx = self.rbx;
        regs.rdx = self.rdx;
        regs.rax = self.rax;
        regs.rcx = self.rcx;
        regs.rsp = self.rsp;
        regs.rip = self.rip;
        regs.set_rflags(self.rflags);
        // What is in RAX now is no result of a call that could be restarted.
        regs.orig_rax = u64::MAX;
    }
}

/// Goes back to what a signal interrupted: the frame that the handler has returned from is below the stack pointer.
///
/// A frame that cannot be read is SIGSEGV.
pub fn sigreturn(current: &Current) {
    if pop(current).is_err() {
        send::force(current, SigInfo::from_kernel(Signal::SEGV));
    }
}

fn pop(current: &Current) -> Result<(), Errno> {
    let rsp = current.user.borrow().regs.rsp;
    let frame: Frame = user::read(rsp.wrapping_sub(size_of::<u64>() as u64))?;
    let context = &frame.context;
    fpstate::restore(current, context.machine.fp_state)?;
    context.machine.restore(&mut current.user.borrow_mut().regs);
    set_mask(current, context.mask);
    // As on Linux, an alternate stack that cannot be taken into use stays what it was.
    let _ = current.task.signals.own.lock().set_altstack(context.stack, context.machine.rsp);
    Ok(())
}
