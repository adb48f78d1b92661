//! System calls on the system as a whole, and on what a thread has in the processor.

use super::sessions;
use crate::errno::Errno;
use crate::fs;
use crate::task::{self, Current};
use crate::user;
use alloc::string::String;
use arch::user::USER_END;
use core::sync::atomic::Ordering::Relaxed;
use linux_raw_sys::general as linux;
use linux_raw_sys::prctl;
use mm::VirtAddr;
use zerocopy::{FromBytes, Immutable, IntoBytes};

const NAME_LENGTH: usize = 65;

/// `struct new_utsname`.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Names {
    system: [u8; NAME_LENGTH],
    node: [u8; NAME_LENGTH],
    release: [u8; NAME_LENGTH],
    version: [u8; NAME_LENGTH],
    machine: [u8; NAME_LENGTH],
    domain: [u8; NAME_LENGTH],
}

const fn name(text: &str) -> [u8; NAME_LENGTH] {
    let mut name = [0; NAME_LENGTH];
    name.split_at_mut(text.len()).0.copy_from_slice(text.as_bytes());
    name
}

/// The system-call interface is Linux's, and programs look at the release to know what it has: the C library does not start
/// on one that it takes for too old. So Tine names the Linux that it follows.
const NAMES: Names = Names {
    system: name("Linux"),
    node: name("tine"),
    release: name("6.12.0-tine"),
    version: name(concat!("#1 SMP Tine ", env!("CARGO_PKG_VERSION"))),
    machine: name("x86_64"),
    domain: name("(none)"),
};

pub fn uname(_: &Current, to: u64) -> Result<u64, Errno> {
    user::write(to, &NAMES)?;
    Ok(0)
}

/// `struct sysinfo`.
#[derive(FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct SystemInfo {
    /// Seconds since boot.
    uptime: i64,
    /// Tine keeps no load averages.
    loads: [u64; 3],
    total_memory: u64,
    free_memory: u64,
    shared_memory: u64,
    buffers: u64,
    total_swap: u64,
    free_swap: u64,
    threads: u16,
    padding: [u16; 3],
    total_high: u64,
    free_high: u64,
    /// Bytes in which memory is counted.
    unit: u32,
    end: u32,
}

pub fn sysinfo(_: &Current, to: u64) -> Result<u64, Errno> {
    let info = SystemInfo {
        uptime: (arch::time::now().as_ticks() / 1_000_000_000) as i64,
        loads: [0; 3],
        total_memory: mm::frames::total() as u64,
        free_memory: mm::frames::free() as u64,
        shared_memory: 0,
        buffers: 0,
        total_swap: 0,
        free_swap: 0,
        threads: task::live_threads().try_into().unwrap_or(u16::MAX),
        padding: [0; 3],
        total_high: 0,
        free_high: 0,
        unit: mm::PAGE as u32,
        end: 0,
    };
    user::write(to, &info)?;
    Ok(0)
}

/// The generator is ready from boot on: no flag makes a difference.
pub fn getrandom(current: &Current, to: u64, length: usize, flags: u32) -> Result<u64, Errno> {
    const EXCLUSIVE: u32 = linux::GRND_RANDOM | linux::GRND_INSECURE;
    const CHUNK: usize = 256;
    if flags & !(linux::GRND_NONBLOCK | EXCLUSIVE) != 0 || flags & EXCLUSIVE == EXCLUSIVE {
        return Err(Errno::EINVAL);
    }
    let mut done = 0;
    let mut bytes = [0; CHUNK];
    while done < length {
        let now = CHUNK.min(length - done);
        fs::random::fill(&mut bytes[..now]);
        match user::write_bytes(to.wrapping_add(done as u64), &bytes[..now]) {
            Ok(()) => done += now,
            Err(error) if done == 0 => return Err(error),
            Err(_) => break,
        }
        if current.task.is_interrupted() {
            break;
        }
    }
    Ok(done as u64)
}

pub fn set_tid_address(current: &Current, address: u64) -> Result<u64, Errno> {
    current.task.clear_child_tid.store(address, Relaxed);
    Ok(current.task.id.0.into())
}

/// The longest name with its terminator (man 2 prctl, PR_SET_NAME).
const THREAD_NAME: usize = 16;

pub fn prctl(current: &Current, option: u32, argument: u64) -> Result<u64, Errno> {
    match option {
        prctl::PR_SET_NAME => set_name(current, argument),
        prctl::PR_GET_NAME => {
            let mut bytes = [0; THREAD_NAME];
            let name = current.task.process.identity.lock().name.clone();
            let length = name.len().min(THREAD_NAME - 1);
            bytes[..length].copy_from_slice(&name.as_bytes()[..length]);
            user::write(argument, &bytes)?;
            Ok(0)
        }
        prctl::PR_SET_PDEATHSIG => sessions::set_death_signal(current, argument),
        prctl::PR_GET_PDEATHSIG => sessions::get_death_signal(current, argument),
        _ => Err(Errno::EINVAL),
    }
}

/// Names the process after its first thread. Names of other threads are not kept.
fn set_name(current: &Current, from: u64) -> Result<u64, Errno> {
    let mut bytes = [0; THREAD_NAME - 1];
    let mut length = 0;
    while length < bytes.len() {
        let byte: u8 = user::read(from.wrapping_add(length as u64))?;
        if byte == 0 {
            break;
        }
        bytes[length] = byte;
        length += 1;
    }
    let task = &current.task;
    if task.id.0 == task.process.id {
        task.process.identity.lock().name = String::from_utf8_lossy(&bytes[..length]).into_owned();
        crate::trace::named(task);
    }
    Ok(0)
}

/// `asm/prctl.h`.
const ARCH_SET_GS: u32 = 0x1001;
const ARCH_SET_FS: u32 = linux::ARCH_SET_FS;
const ARCH_GET_FS: u32 = 0x1003;
const ARCH_GET_GS: u32 = 0x1004;

/// Reads and sets the segment bases.
///
/// # Errors
/// `EPERM` for a base that is no user address, `EINVAL` for what else Linux has here.
pub fn arch_prctl(current: &Current, code: u32, argument: u64) -> Result<u64, Errno> {
    let base = VirtAddr::try_new(argument).ok().filter(|base| *base < USER_END);
    let found = {
        let _off = arch::interrupts::off();
        let mut user = current.user.borrow_mut();
        // The program may have set its bases by itself: those in the processor count.
        user.save();
        match code {
            ARCH_SET_FS => user.set_fs_base(base.ok_or(Errno::EPERM)?),
            ARCH_SET_GS => user.set_gs_base(base.ok_or(Errno::EPERM)?),
            ARCH_GET_FS | ARCH_GET_GS => {}
            _ => return Err(Errno::EINVAL),
        }
        user.load();
        if code == ARCH_GET_FS { user.fs_base() } else { user.gs_base() }
    };
    if matches!(code, ARCH_GET_FS | ARCH_GET_GS) {
        user::write(argument, &found.as_u64())?;
    }
    Ok(0)
}

/// A run ends with its first program, which is how a program ends it.
pub fn reboot(_: &Current) -> Result<u64, Errno> {
    Err(Errno::EPERM)
}
