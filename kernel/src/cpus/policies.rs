//! The order and the balancer in force: changing them while the machine runs, and replacing those that fail.

use super::core;
use crate::lock::{Lock, rank};
use alloc::string::String;
use core::fmt::Write;
use formats::record::Swaps;
use sched::{PolicyFault, Unknown, balance, order};
use smallvec::SmallVec;
use spin::Once;

/// What was changed so far. Held during each change, so that changes follow each other.
static SWAPS: Once<Lock<Swaps, { rank::POLICIES }>> = Once::new();

/// Before there are threads: what this allocates must not count as a leak of the first program.
pub(super) fn init() {
    SWAPS.call_once(|| Lock::new(Swaps::default()));
    core().make_balancers();
}

fn swaps() -> &'static Lock<Swaps, { rank::POLICIES }> {
    SWAPS.get().expect("cpus::init runs before any thread")
}

pub fn order() -> &'static order::Entry {
    core().order()
}

pub fn balancer() -> &'static balance::Entry {
    core().balancer_entry()
}

/// Puts another order in force, and measures for how long that kept a queue locked.
///
/// # Errors
/// When the scheduler does not know it.
pub fn set_order(entry: &'static order::Entry) -> Result<(), Unknown> {
    let mut swaps = swaps().lock();
    let pauses = &mut swaps.pause_ns;
    core().set_order_measured(entry, arch::cpu::id(), &mut |pause| pauses.record(pause.as_ticks()))?;
    swaps.orders += 1;
    Ok(())
}

/// Puts another balancer in force.
///
/// # Errors
/// When the scheduler does not know it.
pub fn set_balancer(entry: &'static balance::Entry) -> Result<(), Unknown> {
    let mut swaps = swaps().lock();
    core().set_balancer(entry, arch::cpu::id())?;
    swaps.balancers += 1;
    Ok(())
}

/// What was changed so far.
pub fn swap_counts() -> Swaps {
    swaps().lock().clone()
}

/// Goes back to the order with which the machine was started, so that no more memory is in use than then.
pub fn restore() {
    let _one_at_a_time = swaps().lock();
    let config = core().config();
    if order().name != config.order.name {
        // The one of the start is always known.
        let _ = core().set_order(config.order, arch::cpu::id());
    }
}

/// Looks for a policy that fails, and replaces it. Returns how it failed and what it saw.
pub fn replace_failing() -> Option<(PolicyFault, String)> {
    let fault = core().audit()?;
    let view = view();
    let _one_at_a_time = swaps().lock();
    core().replace(&fault, arch::cpu::id());
    Some((fault, view))
}

/// How many of those that wait on a CPU are named.
const NAMED: usize = 8;

/// The machine as policies see it, a line for each CPU, and who waits there.
fn view() -> String {
    let machine = core().machine();
    let now = arch::time::now();
    let mut text = String::new();
    for cpu in machine.online().iter() {
        let idle = if machine.is_idle(cpu) { ", idle" } else { "" };
        let (load, weight, waiting) = (machine.load(cpu), machine.weight(cpu), machine.waiting(cpu));
        let current = core().current(cpu);
        // Writing to a string does not fail.
        let _ =
            write!(text, "{cpu}: load {load}, weight {weight}, {waiting} waiting{idle}; runs {current:?}");
        let mut named = SmallVec::<[_; NAMED]>::new();
        core().each_waiting(cpu, &mut |entity| {
            if named.len() < NAMED {
                named.push((entity.id(), entity.waited(now)));
            }
        });
        for (id, waited) in named {
            let _ = write!(text, "; {id} waits for {} ms", waited.map_or(0, |waited| waited.as_millis()));
        }
        text.push('\n');
    }
    text
}

/// The fewest and the most threads that wait or run on an online CPU.
pub fn load_range() -> (u32, u32) {
    let machine = core().machine();
    let loads = || machine.online().iter().map(|cpu| machine.load(cpu));
    (loads().min().unwrap_or(0), loads().max().unwrap_or(0))
}
