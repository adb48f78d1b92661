//! Noticing that the machine is stuck.
//!
//! Three things are noticed: a CPU whose timer should have fired long ago, a spin lock that is waited for without end, and
//! (by the scheduler) a thread that is dispatched over and over without getting anywhere. Each ends the run with what
//! every CPU was doing.

use crate::symbols::Address;
use crate::{clock, cpus, results};
use alloc::{format, string::String};
use arch::backtrace::Backtrace;
use arch::sync::Stuck;
use arch::traps::KernelFrame;
use core::fmt::Write;
use core::sync::atomic::{AtomicU32, Ordering::SeqCst};
use formats::record::FailureKind;
use formats::{CpuId, Duration, Instant};
use sched::Livelock;

/// A CPU whose timer is overdue by this much is stalled. Long, as an emulated CPU can be kept waiting by a busy host.
const STALL: Duration = Duration::from_secs(10);

/// How long the other CPUs get to say what they are doing.
const REPORT_TIME: Duration = Duration::from_millis(500);

/// Starts to watch over spin locks.
pub fn init() {
    arch::sync::set_watch(arch::time::now, on_stuck);
}

/// Looks whether any CPU is overdue. Called from each CPU's timer interrupt; cheap.
pub fn look(now: Instant) {
    if let Some((cpu, due)) = clock::overdue(now, STALL) {
        let late = (now - due).as_millis();
        end(FailureKind::Stall, format!("STALL: {cpu} has not served its timer for {late} ms"))
    }
}

pub fn on_livelock(livelock: &Livelock) -> ! {
    end(FailureKind::Livelock, format!("{livelock}"))
}

fn on_stuck(stuck: &Stuck) {
    let waited = (stuck.now - stuck.since).as_millis();
    let what = match stuck.rank {
        Some(rank) => format!("the spin lock of rank {rank} at {:#x}", stuck.waits_for),
        None => format!("an answer to a TLB shootdown ({:#x})", stuck.waits_for),
    };
    end(FailureKind::Deadlock, format!("DEADLOCK: {} has waited for {what} for {waited} ms", stuck.cpu))
}

/// The one CPU that reports; 0 means none yet, else its number and one.
static REPORTER: AtomicU32 = AtomicU32::new(0);

fn end(kind: FailureKind, message: String) -> ! {
    let here = arch::cpu::id();
    if REPORTER.compare_exchange(0, here.0 + 1, SeqCst, SeqCst).is_err() {
        arch::power::stop();
    }
    arch::sync::rank::stop_checks();
    log::error!("{message}");
    print_state(here, Backtrace::here());
    arch::apic::send_nmi_others();
    let until = arch::time::now() + REPORT_TIME;
    while arch::time::now() < until {
        core::hint::spin_loop();
    }
    results::fatal_failure(kind, message)
}

/// Prints what this CPU was doing when the reporter's NMI arrived, and stops it.
pub fn report_here(frame: &KernelFrame) {
    if REPORTER.load(SeqCst) != 0 {
        print_state(arch::cpu::id(), Backtrace::of_frame(frame));
        arch::power::stop();
    }
}

fn print_state(cpu: CpuId, backtrace: Backtrace) {
    let mut text = String::new();
    let _ = writeln!(text, "{cpu}: {}", cpus::describe(cpu));
    for address in backtrace {
        let _ = writeln!(text, "  {}", Address(address.as_u64()));
    }
    let _ = arch::serial::com1().write_str(&text);
}
