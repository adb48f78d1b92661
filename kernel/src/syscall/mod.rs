//! System calls: from number and registers to a function and back.
//!
//! Each call is a function of the current thread and its arguments in one of the modules here, named as in section 2 of
//! the manual. A call that Tine does not have is `ENOSYS`, and counted.

mod files;
mod memory;
mod process;
mod scheduling;
mod signals;
mod system;
pub mod time;
mod unknown;

pub use unknown::counts as unknown_counts;

use crate::errno::Errno;
use crate::futex;
use crate::task::Current;
use linux_raw_sys::general::*;

/// Runs the system call that the thread's registers ask for and stores its result.
pub fn dispatch(current: &Current) {
    let (number, args) = {
        let user = current.user.borrow();
        let regs = &user.regs;
        (regs.orig_rax, [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9])
    };
    let result = call(current, number, args);
    let value = match result {
        Ok(value) => value,
        // `rt_sigreturn` and `execve` have set all registers themselves.
        Err(Errno::KEEP_REGISTERS) => return,
        Err(error) => error.to_register(),
    };
    current.user.borrow_mut().regs.rax = value;
}

/// The table. Arguments are truncated to the type that the call takes, as on Linux.
fn call(current: &Current, number: u64, args: [u64; 6]) -> Result<u64, Errno> {
    let [a, b, c, d, e, f] = args;
    let Ok(number) = u32::try_from(number) else { return unknown::call(number) };
    match number {
        __NR_exit => process::exit(current, a as i32),
        __NR_exit_group => process::exit_group(current, a as i32),
        __NR_fork => process::fork(current),
        __NR_vfork => process::vfork(current),
        __NR_clone => process::clone(current, a, b, c, d, e),
        __NR_clone3 => process::clone3(current, a, b as usize),
        __NR_execve => process::execve(current, a, b, c),
        __NR_wait4 => process::wait4(current, a as i32, b, c as u32, d),
        __NR_waitid => process::waitid(current, a as u32, b as u32, c, d as u32, e),
        __NR_futex => futex::futex(current, a, b as u32, c as u32, d, e, f as u32),
        _ => unknown::call(number.into()),
    }
}
