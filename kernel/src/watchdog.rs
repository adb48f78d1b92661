//! Noticing that the machine is stuck, or that a policy fails.
//!
//! Four things are noticed: a CPU whose timer should have fired long ago, a spin lock that is waited for without end,
//! (by the scheduler) a thread that is dispatched over and over without getting anywhere, and a run that takes longer than
//! `debug.limit=` allows. Each ends the run with what every CPU was doing. A fifth does not: a policy that starves threads, wastes CPUs, proposes the impossible or panics is
//! replaced by one that is known to work, and the run goes on, but counts as failed.

use crate::symbols::Address;
use crate::{clock, cpus, results};
use alloc::{format, string::String};
use arch::backtrace::Backtrace;
use arch::sync::Stuck;
use arch::traps::KernelFrame;
use core::fmt::Write;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use formats::record::FailureKind;
use formats::{CpuId, Duration, Instant};
use sched::Livelock;

/// A CPU whose timer is overdue by this much is stalled. Long, as an emulated CPU can be kept waiting by a busy host.
const STALL: Duration = Duration::from_secs(10);

/// How long the other CPUs get to say what they are doing.
const REPORT_TIME: Duration = Duration::from_millis(500);

/// How often the policies are looked at, in nanoseconds.
const AUDIT: u64 = 1_000_000_000;

/// When, and whether a CPU's timer has found that time to have come.
static NEXT_AUDIT: AtomicU64 = AtomicU64::new(AUDIT);
static AUDIT_DUE: AtomicBool = AtomicBool::new(false);

/// When the run has taken too long, in nanoseconds.
static LIMIT: AtomicU64 = AtomicU64::new(u64::MAX);

/// Starts to watch over spin locks, and over the time if the run has a limit.
pub fn init(limit: Option<Duration>) {
    LIMIT.store(limit.map_or(u64::MAX, |limit| limit.as_ticks()), Relaxed);
    arch::sync::set_watch(arch::time::now, on_stuck);
}

/// Looks whether any CPU, or the run, is overdue. Called from each CPU's timer interrupt; cheap.
pub fn look(now: Instant) {
    let limit = LIMIT.load(Relaxed);
    if now.as_ticks() > limit {
        let seconds = limit / 1_000_000_000;
        end(FailureKind::Late, format!("LATE: the run has not ended {seconds} s after the boot"))
    }
    if let Some((cpu, due)) = clock::overdue(now, STALL) {
        let late = (now - due).as_millis();
        end(FailureKind::Stall, format!("STALL: {cpu} has not served its timer for {late} ms"))
    }
}

/// Whether it is time to look at the policies, and this CPU is the one to do it as soon as it leaves interrupt context.
/// Called from each CPU's timer interrupt; cheap.
pub fn plan_audit(now: Instant) -> bool {
    let (now, next) = (now.as_ticks(), NEXT_AUDIT.load(Relaxed));
    if now < next || NEXT_AUDIT.compare_exchange(next, now + AUDIT, Relaxed, Relaxed).is_err() {
        return false;
    }
    AUDIT_DUE.store(true, Relaxed);
    true
}

/// Whether [`audit`] should be called.
#[inline]
pub fn is_audit_due() -> bool {
    AUDIT_DUE.load(Relaxed)
}

/// Replaces a policy that fails, and says what it saw. Takes the locks of all run queues, one after the other: not for
/// interrupt context.
pub fn audit() {
    if !AUDIT_DUE.swap(false, Relaxed) {
        return;
    }
    if let Some((fault, view)) = cpus::policies::replace_failing() {
        view.lines().for_each(|line| log::error!("{line}"));
        let (order, balancer) = (cpus::policies::order().name, cpus::policies::balancer().name);
        let message = format!("POLICY: {fault}; {order} and {balancer} go on");
        results::failure(FailureKind::Policy, message);
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
