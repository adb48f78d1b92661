//! Processors that run programs: they walk page tables, keep what they found in a TLB for as long as nobody tells them to
//! forget it, and fault where the tables do not allow what the program does.

use super::walk::{Found, translate};
use crate::frames::{Frame, hhdm};
use crate::{Access, AddressSpace, FaultError, PAGE, Page, VirtAddr};
use arch::tlb::Flush;
use formats::{CpuId, CpuSet};
use std::cell::RefCell;
use std::collections::HashMap;

std::thread_local! {
    static TLBS: RefCell<HashMap<(CpuId, Page), Found>> = RefCell::default();
    static ROUNDS: RefCell<Vec<CpuSet>> = RefCell::default();
}

/// Forgets all translations of all processors of this thread.
pub fn reset() {
    TLBS.with_borrow_mut(HashMap::clear);
    take_rounds();
    arch::cpu::pretend_to_be(CpuId::BOOT);
}

/// Who was told to forget something since the last call, round by round.
pub fn take_rounds() -> Vec<CpuSet> {
    ROUNDS.take()
}

/// What `machine::shootdown` does in tests. What a processor could reach until now must not be free yet.
pub fn shootdown(cpus: &CpuSet, flush: Flush) {
    ROUNDS.with_borrow_mut(|rounds| rounds.push(*cpus));
    TLBS.with_borrow_mut(|tlbs| {
        for ((cpu, page), found) in tlbs.iter() {
            assert!(owners(found) != 0, "{cpu} can still reach a free frame through {page:?}");
        }
        tlbs.retain(|(cpu, page), _| !(cpus.contains(*cpu) && covers(flush, *page)));
    });
}

fn covers(flush: Flush, page: Page) -> bool {
    match flush {
        Flush::All => true,
        Flush::Pages { first, count } => {
            (Page::containing(first)..Page::containing(first).plus(count)).contains(&page)
        }
    }
}

fn owners(found: &Found) -> u32 {
    // SAFETY: looked at only; the tests have no other thread that frees frames.
    let frame = unsafe { Frame::borrow(found.frame) };
    frame.owners().load(std::sync::atomic::Ordering::Relaxed)
}

/// Puts `to`, or nothing, on a processor that has `from`.
pub fn switch(cpu: CpuId, from: Option<&AddressSpace>, to: Option<&AddressSpace>) {
    arch::cpu::pretend_to_be(cpu);
    AddressSpace::switch(from, to);
    TLBS.with_borrow_mut(|tlbs| tlbs.retain(|(of, _), _| *of != cpu));
}

/// Checks that no processor which has `space` loaded could do more, or reach another frame, than its tables say.
pub fn check_tlbs(space: &AddressSpace) {
    TLBS.with_borrow(|tlbs| {
        for ((cpu, page), cached) in tlbs.iter().filter(|((cpu, _), _)| space.active_on().contains(*cpu)) {
            let now = translate(space.root, page.start());
            let granted = now.is_some_and(|now| {
                now.frame == cached.frame && now.write >= cached.write && now.execute >= cached.execute
            });
            assert!(granted, "{cpu} has a stale translation of {page:?}: {cached:?}, now {now:?}");
        }
    });
}

/// A program's access on a processor that has `space` loaded: where the byte is.
fn access(
    cpu: CpuId,
    space: &AddressSpace,
    address: VirtAddr,
    access: Access,
) -> Result<*mut u8, FaultError> {
    assert!(space.active_on().contains(cpu));
    arch::cpu::pretend_to_be(cpu);
    let page = Page::containing(address);
    let allows =
        |found: &Found| found.user && (found.write || !access.write) && (found.execute || !access.execute);
    // A fault may have to be taken twice: for the page, and for the copy of it.
    for _ in 0..3 {
        let cached = TLBS.with_borrow(|tlbs| tlbs.get(&(cpu, page)).copied()).filter(allows);
        if let Some(found) = cached.or_else(|| translate(space.root, address).filter(allows)) {
            TLBS.with_borrow_mut(|tlbs| tlbs.insert((cpu, page), found));
            return Ok((hhdm() + found.frame.as_u64() + address.as_u64() % PAGE as u64).as_mut_ptr());
        }
        // A fault drops the page's translation by itself (Intel SDM vol. 3, 4.10.4.1).
        TLBS.with_borrow_mut(|tlbs| tlbs.remove(&(cpu, page)));
        space.fault(address, access)?;
    }
    panic!("the fault at {address:#x} was resolved, but the access is not possible");
}

pub fn write(cpu: CpuId, space: &AddressSpace, address: VirtAddr, value: u64) -> Result<(), FaultError> {
    let to = access(cpu, space, address, Access::WRITE)?.cast::<u64>();
    // SAFETY: the page tables lead to simulated memory, and tests access aligned words.
    unsafe { to.write(value) };
    Ok(())
}

pub fn read(cpu: CpuId, space: &AddressSpace, address: VirtAddr) -> Result<u64, FaultError> {
    let from = access(cpu, space, address, Access::READ)?.cast::<u64>();
    // SAFETY: as for `write`.
    Ok(unsafe { from.read() })
}

pub fn execute(cpu: CpuId, space: &AddressSpace, address: VirtAddr) -> Result<(), FaultError> {
    access(cpu, space, address, Access::EXECUTE).map(drop)
}
