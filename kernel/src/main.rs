//! The Tine kernel: what makes a system out of scheduling, memory and hardware.
//!
//! Processes and threads, system calls, files, signals and the machine's start live here; what decides where a thread
//! runs is in `sched`, page tables are in `mm`, and everything that touches hardware is in `arch`. This crate is safe
//! Rust but for two named modules: [`early`] (the steps of the boot that must come once and first) and `task::context`
//! (where stacks are switched).
//!
//! Start at [`start::kernel_main`], then [`task::run`]: a thread's whole kernel life is that loop.
#![no_std]
#![no_main]
#![deny(unsafe_code)]

extern crate alloc;

mod clock;
mod console;
mod cpus;
mod early;
mod errno;
mod fs;
mod futex;
mod interrupts;
mod ipc;
mod leaks;
mod limits;
mod lock;
mod oom;
mod options;
mod panic;
mod perturb;
mod results;
mod rseq;
mod run;
mod sabotage;
mod signal;
mod start;
mod symbols;
mod syscall;
mod task;
mod timers;
mod topology;
mod trace;
mod tty;
mod user;
mod vdso;
mod wait;
mod watch;
mod watchdog;

arch::boot::entry!(start::kernel_main);
