//! When a system call that changes a mapping returns, no processor uses the old one any more.
//!
//! One thread changes a page, one on each processor uses it all the time. What they find is judged by two counters that
//! the changing thread moves right before and right after its calls. A use that the new mapping forbids raises SIGSEGV,
//! and is tried again until the mapping allows it: the handler only counts.

use anyhow::ensure;
use nix::sys::mman::ProtFlags;
use nix::sys::signal::{SaFlags, Signal};
use std::process::ExitCode;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};
use userland::checks::{self, Outcome};
use userland::memory::{Pages, READ_WRITE, WORDS};
use userland::{cpus, signals};

/// How long a check goes on, and how many changes it makes at most and at least.
const TIME: Duration = Duration::from_millis(150);
const CHANGES: u64 = 2_000;
const LEAST_CHANGES: u64 = 5;

/// How long it goes on at most for what it waits to see, on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(20);

/// What other pages are filled with, to be recognised in a frame that was freed too early.
const FOREIGN: u64 = 0xdead_dead_dead_dead;

fn main() -> ExitCode {
    checks::run(
        "tlb_shootdown",
        &[
            ("after mprotect to read-only, no processor writes", read_only_is_final),
            ("after mprotect to nothing, no processor reads", || no_access(1, close_by_protection)),
            ("after munmap, no processor reads", || no_access(1, close_by_unmapping)),
            ("after munmap of many pages, no processor reads any", || no_access(300, close_by_unmapping)),
            ("after mmap over a page, no processor reads the old one", || replaced(Pages::renew)),
            ("after madvise(MADV_DONTNEED), no processor reads the old page", || replaced(Pages::discard)),
            ("memory that was unmapped is another's only afterwards", || replaced(unmap_and_reuse)),
        ],
    )
}

/// Runs `user` on each processor, over and over, while `change` is called with 1, 2, 3, …
fn while_in_use(user: impl Fn() -> Outcome + Sync, change: impl FnMut(u64) -> Outcome) -> Outcome {
    while_in_use_until(|| true, user, change)
}

/// As [`while_in_use`], and also until `seen` holds.
fn while_in_use_until(
    seen: impl Fn() -> bool,
    user: impl Fn() -> Outcome + Sync,
    mut change: impl FnMut(u64) -> Outcome,
) -> Outcome {
    signals::note(Signal::SIGSEGV, SaFlags::SA_NODEFER)?;
    let stop = &AtomicBool::new(false);
    let user = &user;
    let cpus = cpus::allowed()?;
    // A thread that starts maps memory for itself, which must not come to lie where a page is about to be put back.
    let started = &Barrier::new(cpus.len() + 1);
    thread::scope(|scope| {
        let users: Vec<_> = cpus
            .into_iter()
            .map(|cpu| {
                scope.spawn(move || {
                    let pinned = cpus::pin_to(cpu);
                    started.wait();
                    pinned?;
                    while !stop.load(SeqCst) {
                        (0..100).try_for_each(|_| user())?;
                    }
                    Ok(())
                })
            })
            .collect();
        started.wait();
        let since = Instant::now();
        let enough = |number| number > CHANGES || number > LEAST_CHANGES && since.elapsed() >= TIME;
        let outcome = (1..)
            .take_while(|number| !enough(*number) || !seen() && since.elapsed() < PATIENCE)
            .try_for_each(&mut change);
        stop.store(true, SeqCst);
        let used = users.into_iter().try_for_each(|thread| thread.join().expect("no check panics"));
        outcome.and(used)
    })
}

/// Lets the others run for a moment.
fn pause() {
    thread::yield_now();
    for _ in 0..500 {
        std::hint::spin_loop();
    }
}

fn read_only_is_final() -> Outcome {
    let page = Pages::private(1)?;
    let next = AtomicU64::new(1);
    while_in_use(
        || {
            page.store(0, next.fetch_add(1, SeqCst));
            Ok(())
        },
        |_| {
            pause();
            page.protect(ProtFlags::PROT_READ)?;
            let before = page.load(0);
            pause();
            let after = page.load(0);
            page.protect(READ_WRITE)?;
            ensure!(before == after, "{after} was written over {before} in a read-only page");
            Ok(())
        },
    )
}

fn close_by_protection(pages: &Pages, open: bool) -> Outcome {
    pages.protect(if open { READ_WRITE } else { ProtFlags::PROT_NONE })
}

fn close_by_unmapping(pages: &Pages, open: bool) -> Outcome {
    if open { pages.renew() } else { pages.unmap() }
}

/// `set` makes the pages accessible or not. The epoch is odd while they are not: a read that begins and ends in the same
/// odd epoch should have been impossible.
fn no_access(count: usize, set: fn(&Pages, bool) -> Outcome) -> Outcome {
    let pages = Pages::private(count)?;
    let (epoch, turn) = (AtomicU64::new(0), AtomicU64::new(0));
    let faults = AtomicU64::new(0);
    while_in_use_until(
        || faults.load(SeqCst) > 0,
        || {
            let page = turn.fetch_add(1, SeqCst) as usize % count;
            let before = epoch.load(SeqCst);
            pages.load(page * WORDS);
            let after = epoch.load(SeqCst);
            ensure!(before != after || before % 2 == 0, "page {page} was read while there was none");
            Ok(())
        },
        |_| {
            pause();
            set(&pages, false)?;
            epoch.fetch_add(1, SeqCst);
            pause();
            epoch.fetch_add(1, SeqCst);
            faults.store(signals::seen(Signal::SIGSEGV).count as u64, SeqCst);
            set(&pages, true)
        },
    )?;
    ensure!(faults.load(SeqCst) > 0, "the pages were taken away many times, and nobody noticed");
    Ok(())
}

fn unmap_and_reuse(pages: &Pages) -> Outcome {
    pages.unmap()?;
    let others = Pages::private(4)?;
    (0..4 * WORDS).for_each(|word| others.store(word, FOREIGN));
    pause();
    (0..4 * WORDS).try_for_each(|word| {
        ensure!(others.load(word) == FOREIGN, "somebody wrote to another mapping's page");
        Ok(())
    })?;
    pages.renew()
}

/// `replace` puts a page of zeroes in the place of the old one; then the number of the change is written to it. A reader that
/// knows of change `n` finds `n`, or what comes after it: zero and `n + 1`, and so on.
fn replaced(replace: fn(&Pages) -> Outcome) -> Outcome {
    let page = Pages::private(1)?;
    let published = AtomicU64::new(0);
    while_in_use(
        || {
            let known = published.load(SeqCst);
            let found = page.load(7);
            let latest = published.load(SeqCst) + 1;
            ensure!(
                found == 0 || (known..=latest).contains(&found),
                "found {found:#x}, not {known} to {latest}"
            );
            Ok(())
        },
        |number| {
            replace(&page)?;
            page.store(7, number);
            published.store(number, SeqCst);
            pause();
            Ok(())
        },
    )
}
