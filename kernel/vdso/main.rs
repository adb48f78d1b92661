//! The vDSO: a shared object that the kernel maps into every program, with system calls that need not enter the kernel
//! (man 7 vdso).
//!
//! The kernel's build script compiles it, `kernel/src/vdso.rs` maps it. It has no data of its own: what it reads is the page
//! before it, [`data::Data`]. What it cannot serve, it asks the kernel.
#![no_std]
#![no_main]

mod data;

use core::arch::asm;
use core::arch::x86_64::{__rdtscp, _mm_lfence, _rdtsc};
use core::ptr::addr_of;
use core::sync::atomic::{Ordering, fence};
use data::{ASK, CPU_BITS, Data, RDPID, RDTSCP};

const SECOND_NS: u64 = 1_000_000_000;

/// Numbers of system calls (`asm/unistd_64.h`).
const GETTIMEOFDAY: u64 = 96;
const TIME: u64 = 201;
const CLOCK_GETTIME: u64 = 228;
const CLOCK_GETRES: u64 = 229;
const GETCPU: u64 = 309;

/// Clocks (`linux/time.h`).
const REALTIME: i32 = 0;
const MONOTONIC: i32 = 1;
const MONOTONIC_RAW: i32 = 4;
const REALTIME_COARSE: i32 = 5;
const MONOTONIC_COARSE: i32 = 6;
const BOOTTIME: i32 = 7;
const TAI: i32 = 11;

#[repr(C)]
pub struct TimeSpec {
    seconds: i64,
    nanoseconds: i64,
}

#[repr(C)]
pub struct TimeVal {
    seconds: i64,
    microseconds: i64,
}

#[repr(C)]
pub struct TimeZone {
    minutes_west: i32,
    daylight_saving: i32,
}

/// The kernel's page.
fn data() -> *const Data {
    let page: *const Data;
    // SAFETY: computes an address. The linker script gives it the place before the first page.
    unsafe { asm!("lea {}, [rip + vdso_data]", out(reg) page, options(pure, nomem, nostack)) };
    page
}

/// A field of the kernel's page.
macro_rules! read {
    ($field:ident) => {
        // SAFETY: the kernel maps the page wherever it maps this code, and never takes it away. It may change meanwhile, so
        // each field is read at once.
        unsafe { addr_of!((*data()).$field).read_volatile() }
    };
}

/// A system call with up to three arguments.
fn call(number: u64, a: u64, b: u64, c: u64) -> i64 {
    let result;
    // SAFETY: the kernel checks all arguments; the instruction changes RCX and R11 only, besides the result.
    unsafe {
        asm!(
            "syscall", inlateout("rax") number => result, in("rdi") a, in("rsi") b, in("rdx") c,
            lateout("rcx") _, lateout("r11") _, options(nostack)
        );
    }
    result
}

/// The monotonic and the real-time clock in nanoseconds; `None` if only the kernel can tell.
fn clocks() -> Option<(u64, u64)> {
    loop {
        let sequence = read!(sequence);
        fence(Ordering::Acquire);
        let (start, scale, epoch_ns) = (read!(start), read!(scale), read!(epoch_ns));
        // SAFETY: reads a counter that every x86-64 processor has, after all loads before it (Intel SDM vol. 2, RDTSC).
        let ticks = unsafe {
            _mm_lfence();
            _rdtsc()
        };
        fence(Ordering::Acquire);
        if sequence & 1 == 0 && sequence == read!(sequence) {
            if scale == 0 {
                return None;
            }
            let elapsed = u128::from(ticks.saturating_sub(start)) * u128::from(scale);
            let monotonic = (elapsed >> 32) as u64;
            return Some((monotonic, epoch_ns.wrapping_add(monotonic)));
        }
        core::hint::spin_loop();
    }
}

/// # Safety
/// `to` can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __vdso_clock_gettime(clock: i32, to: *mut TimeSpec) -> i32 {
    let now = match clock {
        REALTIME | REALTIME_COARSE | TAI => clocks().map(|(_, realtime)| realtime),
        MONOTONIC | MONOTONIC_RAW | MONOTONIC_COARSE | BOOTTIME => clocks().map(|(monotonic, _)| monotonic),
        _ => None,
    };
    match now {
        Some(ns) => {
            let time = TimeSpec { seconds: (ns / SECOND_NS) as i64, nanoseconds: (ns % SECOND_NS) as i64 };
            // SAFETY: our caller promises it.
            unsafe { to.write(time) };
            0
        }
        None => call(CLOCK_GETTIME, clock as u64, to.addr() as u64, 0) as i32,
    }
}

/// # Safety
/// `to` is null or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __vdso_clock_getres(clock: i32, to: *mut TimeSpec) -> i32 {
    call(CLOCK_GETRES, clock as u64, to.addr() as u64, 0) as i32
}

/// # Safety
/// Each is null or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __vdso_gettimeofday(time: *mut TimeVal, zone: *mut TimeZone) -> i32 {
    let Some((_, ns)) = clocks() else {
        return call(GETTIMEOFDAY, time.addr() as u64, zone.addr() as u64, 0) as i32;
    };
    let now = TimeVal { seconds: (ns / SECOND_NS) as i64, microseconds: (ns % SECOND_NS / 1000) as i64 };
    // SAFETY: our caller promises it.
    unsafe {
        if !time.is_null() {
            time.write(now);
        }
        if !zone.is_null() {
            zone.write(TimeZone { minutes_west: 0, daylight_saving: 0 });
        }
    }
    0
}

/// # Safety
/// `to` is null or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __vdso_time(to: *mut i64) -> i64 {
    let Some((_, ns)) = clocks() else { return call(TIME, to.addr() as u64, 0, 0) };
    let seconds = (ns / SECOND_NS) as i64;
    if !to.is_null() {
        // SAFETY: our caller promises it.
        unsafe { to.write(seconds) };
    }
    seconds
}

/// # Safety
/// `cpu` and `node` are null or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __vdso_getcpu(cpu: *mut u32, node: *mut u32, unused: *mut u8) -> i32 {
    let number = match read!(cpu_number) {
        RDPID => {
            let number: u64;
            // SAFETY: the kernel has found that the processor has the instruction.
            unsafe { asm!("rdpid {}", out(reg) number, options(nomem, nostack, preserves_flags)) };
            number as u32
        }
        RDTSCP => {
            let mut number = 0;
            // SAFETY: as above.
            unsafe { __rdtscp(&mut number) };
            number
        }
        ASK | _ => {
            return call(GETCPU, cpu.addr() as u64, node.addr() as u64, unused.addr() as u64) as i32;
        }
    };
    // SAFETY: our caller promises it.
    unsafe {
        if !cpu.is_null() {
            cpu.write(number & ((1 << CPU_BITS) - 1));
        }
        if !node.is_null() {
            node.write(number >> CPU_BITS);
        }
    }
    0
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
