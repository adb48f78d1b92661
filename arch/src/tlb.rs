//! Dropping stale translations, here and on other CPUs.
//!
//! Each CPU has one request slot of its own to send from, and one set of senders that wait for it. A sender
//! fills its slot, adds itself to the set of each receiver, and waits until all have answered, answering
//! others meanwhile; so any number of CPUs may send at once, with interrupts off too. Nothing is allocated.
//! Which CPUs use an address space is `mm`'s knowledge.
//!
//! On the host there is nothing to flush and nobody to ask: only the tests in here send.

use crate::cpu;
use crate::sync::Spinner;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crossbeam_utils::CachePadded;
use formats::{CpuId, CpuSet};
use x86_64::VirtAddr;

/// Above this many pages it is cheaper to drop everything (as Linux's `tlb_single_page_flush_ceiling`).
const PAGES_ONE_BY_ONE: u64 = 33;
const PAGE: u64 = 4096;
/// So often a sender looks for answers before it calls again: some hundredths of a second.
const ROUNDS_PER_CALL: u32 = 1 << 19;
const WORDS: usize = CpuSet::CAPACITY / 64;

/// Which translations are stale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    /// Those of `count` pages of 4 KiB from `first` on.
    Pages { first: VirtAddr, count: u64 },
    /// All that are not global, that is, those of user space.
    All,
}

impl Flush {
    /// The page that `address` is in.
    pub fn page(address: VirtAddr) -> Self {
        Self::Pages { first: address.align_down(PAGE), count: 1 }
    }

    /// Drops what is stale from this CPU's TLB.
    fn apply(self) {
        match self {
            Self::Pages { first, count } if count <= PAGES_ONE_BY_ONE => {
                for page in 0..count {
                    hardware::flush(VirtAddr::new_truncate(first.as_u64().wrapping_add(page * PAGE)));
                }
            }
            _ => hardware::flush_all(),
        }
    }
}

#[cfg(target_os = "none")]
use x86_64::instructions::tlb as hardware;

/// Stand-ins for the host.
#[cfg(all(not(target_os = "none"), not(test)))]
mod hardware {
    pub fn flush(_: x86_64::VirtAddr) {}
    pub fn flush_all() {}
}

#[cfg(test)]
use tests::hardware;

/// Drops the translation of the page that `address` is in from this CPU's TLB.
#[inline]
pub fn flush_page(address: VirtAddr) {
    hardware::flush(address);
}

/// Drops all translations that are not global from this CPU's TLB.
#[inline]
pub fn flush_all() {
    hardware::flush_all();
}

/// What one CPU sends and receives.
struct Mailbox {
    /// The request of this CPU: the first page and how many, 0 for all. Valid while `unanswered` is not 0.
    first: AtomicU64,
    count: AtomicU64,
    /// How many receivers have not answered yet.
    unanswered: AtomicU32,
    /// Bit `n` of word `w`: CPU `64 w + n` waits for this CPU's answer.
    senders: [AtomicU64; WORDS],
}

impl Mailbox {
    const fn new() -> Self {
        Self {
            first: AtomicU64::new(0),
            count: AtomicU64::new(0),
            unanswered: AtomicU32::new(0),
            senders: [const { AtomicU64::new(0) }; WORDS],
        }
    }

    fn request(&self) -> Flush {
        match self.count.load(Ordering::Relaxed) {
            0 => Flush::All,
            count => {
                Flush::Pages { first: VirtAddr::new_truncate(self.first.load(Ordering::Relaxed)), count }
            }
        }
    }
}

static MAILBOXES: [CachePadded<Mailbox>; CpuSet::CAPACITY] =
    [const { CachePadded::new(Mailbox::new()) }; CpuSet::CAPACITY];

/// Drops stale translations on all of `cpus`, this one included if it is among them. When it returns, none of
/// them can reach anything through them any more.
///
/// The caller has changed the page tables before. It holds no [`IrqLock`](crate::sync::IrqLock) that another
/// CPU may take without waiting in a [`Spinner`], and is not in an interrupt handler.
pub fn shootdown(cpus: &CpuSet, flush: Flush) {
    if cfg!(not(any(target_os = "none", test))) {
        return;
    }
    let here = cpu::id();
    let mut others = *cpus;
    others.remove(here);
    if !others.is_empty() {
        send(here, &others, flush);
    }
    if cpus.contains(here) {
        flush.apply();
    }
    if !others.is_empty() {
        let unanswered = &MAILBOXES[here.index()].unanswered;
        let mut spinner = Spinner::new(core::ptr::from_ref(unanswered).addr(), None);
        let mut rounds = 0_u32;
        while unanswered.load(Ordering::Acquire) != 0 {
            spinner.pause();
            rounds = rounds.wrapping_add(1);
            if rounds.is_multiple_of(ROUNDS_PER_CALL) {
                call_again(here, &others);
            }
        }
    }
}

/// Interrupts those again that have not looked yet. Under emulation on a busy host, CPUs have been seen to sleep on with a
/// request in their mailbox.
#[cold]
fn call_again(here: CpuId, others: &CpuSet) {
    let bit = 1 << (here.0 % 64);
    let waits =
        |cpu: &CpuId| MAILBOXES[cpu.index()].senders[here.index() / 64].load(Ordering::Relaxed) & bit != 0;
    others.iter().filter(waits).for_each(notify);
}

fn send(here: CpuId, others: &CpuSet, flush: Flush) {
    let mine = &MAILBOXES[here.index()];
    debug_assert_eq!(mine.unanswered.load(Ordering::Relaxed), 0, "a shootdown within a shootdown");
    let (first, count) = match flush {
        Flush::Pages { first, count } if count <= PAGES_ONE_BY_ONE => (first.as_u64(), count),
        _ => (0, 0),
    };
    mine.first.store(first, Ordering::Relaxed);
    mine.count.store(count, Ordering::Relaxed);
    mine.unanswered.store(others.len() as u32, Ordering::Relaxed);
    for cpu in others.iter() {
        let word = &MAILBOXES[cpu.index()].senders[here.index() / 64];
        // If the word was not empty, an interrupt is on its way already: `serve` empties it only as a whole.
        // Sequentially consistent, so that the receiver's page walks after it answers come after our change
        // of the page tables.
        if word.fetch_or(1 << (here.0 % 64), Ordering::SeqCst) == 0 {
            notify(cpu);
        }
    }
}

#[cfg(target_os = "none")]
fn notify(cpu: CpuId) {
    crate::apic::send(cpu, crate::vectors::TLB);
}

/// The CPUs of tests are threads of the host: they look by themselves.
#[cfg(not(target_os = "none"))]
fn notify(_: CpuId) {}

/// Answers all requests to this CPU. To be called for [`vectors::TLB`](crate::vectors::TLB); loops that wait
/// call it as well. Cheap when there are none.
#[inline]
pub fn serve() {
    let here = cpu::id();
    let mine = &MAILBOXES[here.index()];
    for (index, word) in mine.senders.iter().enumerate() {
        if word.load(Ordering::Relaxed) != 0 {
            answer(index, word);
        }
    }
}

#[cold]
fn answer(index: usize, word: &AtomicU64) {
    let mut senders = word.swap(0, Ordering::SeqCst);
    while senders != 0 {
        let sender = 64 * index + senders.trailing_zeros() as usize;
        senders &= senders - 1;
        let theirs = &MAILBOXES[sender];
        theirs.request().apply();
        theirs.unanswered.fetch_sub(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    /// Counts what each thread dropped.
    pub(super) mod hardware {
        use std::cell::RefCell;
        use x86_64::VirtAddr;

        std::thread_local! {
            pub static DROPPED: RefCell<Vec<Option<VirtAddr>>> = const { RefCell::new(Vec::new()) };
        }
        pub fn flush(address: VirtAddr) {
            DROPPED.with_borrow_mut(|list| list.push(Some(address)));
        }
        pub fn flush_all() {
            DROPPED.with_borrow_mut(|list| list.push(None));
        }
    }

    fn address(sender: u32, round: u64) -> VirtAddr {
        VirtAddr::new((u64::from(sender) << 32) + round * PAGE)
    }

    #[test]
    fn concurrent_shootdowns_reach_every_receiver_exactly_once() {
        // Numbers in different words of the set of senders.
        const CPUS: [u32; 4] = [100, 101, 163, 164];
        const ROUNDS: u64 = 500;
        let everyone: CpuSet = CPUS.into_iter().map(CpuId).collect();
        let done = AtomicU32::new(0);
        let start = Barrier::new(CPUS.len());
        std::thread::scope(|scope| {
            for me in CPUS {
                let (done, start, everyone) = (&done, &start, &everyone);
                scope.spawn(move || {
                    cpu::pretend_to_be(CpuId(me));
                    start.wait();
                    for round in 1..=ROUNDS {
                        shootdown(everyone, Flush::page(address(me, round)));
                    }
                    done.fetch_add(1, Ordering::SeqCst);
                    let mut spinner = Spinner::new(0, None);
                    while done.load(Ordering::SeqCst) < CPUS.len() as u32 {
                        spinner.pause();
                    }
                    let mut dropped = hardware::DROPPED.take();
                    dropped.sort();
                    let expected =
                        CPUS.iter().flat_map(|cpu| (1..=ROUNDS).map(|round| Some(address(*cpu, round))));
                    assert!(dropped.into_iter().eq(expected));
                });
            }
        });
    }

    #[test]
    fn many_pages_are_dropped_as_a_whole() {
        let first = VirtAddr::new(0x1000);
        Flush::Pages { first, count: 2 }.apply();
        Flush::Pages { first, count: 1000 }.apply();
        Flush::All.apply();
        assert_eq!(hardware::DROPPED.take(), [Some(first), Some(first + PAGE), None, None]);
    }
}
