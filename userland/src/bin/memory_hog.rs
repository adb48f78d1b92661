//! A child takes memory until there is no more. It is refused or killed; its parent goes on, and the memory comes back.

use anyhow::{bail, ensure};
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use userland::children::{Child, in_child};
use userland::memory::{Pages, WORDS};
use userland::program;
use userland::shared::Shared;

const USAGE: &str = "memory_hog [--limit MIB] [--verbose]
  --limit MIB  where the hog stops by itself (1024)
  --verbose    also say how much it got";
const PAGES_PER_MIB: usize = 256;
/// How much is taken afterwards, to see that memory came back.
const AFTERWARDS_MIB: usize = 16;

const GOT_ALL: i32 = 10;
const REFUSED: i32 = 11;
const WRONG_CONTENTS: i32 = 12;

fn main() -> ExitCode {
    program::run(USAGE, |mut options| {
        let limit: u64 = options.value("--limit", 1024)?;
        let verbose = options.flag("--verbose");
        options.finish()?;
        let taken = &Shared::<AtomicU64>::zeroed(1)?[0];
        let hog = Child::start(|| take(limit, taken))?;
        let end = match hog.wait()? {
            WaitStatus::Exited(_, GOT_ALL) => "got all that it wanted",
            WaitStatus::Exited(_, REFUSED) => "was refused",
            WaitStatus::Signaled(_, Signal::SIGKILL, _) => "was killed",
            how => bail!("the hog ended with {how:?}"),
        };
        ensure!(taken.load(Relaxed) > 0, "the hog got nothing at all");
        in_child(|| {
            let pages = Pages::private(AFTERWARDS_MIB * PAGES_PER_MIB)?;
            (0..pages.len()).for_each(|page| pages.store(page * WORDS, 1));
            Ok(())
        })?;
        if verbose {
            println!("the hog got {} MiB", taken.load(Relaxed));
        }
        println!("SUCCESS: the memory hog {end}, and its memory came back");
        Ok(())
    })
}

/// Takes `limit` MiB, page by page; returns the exit status.
fn take(limit: u64, taken: &AtomicU64) -> i32 {
    let mut all = Vec::new();
    for number in 0..limit {
        let Ok(pages) = Pages::private(PAGES_PER_MIB) else { return REFUSED };
        for page in 0..PAGES_PER_MIB {
            if pages.load(page * WORDS) != 0 {
                return WRONG_CONTENTS;
            }
            pages.store(page * WORDS, number);
        }
        all.push(pages);
        taken.store(number + 1, Relaxed);
    }
    let kept = all.iter().zip(0..).all(|(pages, number)| pages.load(0) == number);
    if kept { GOT_ALL } else { WRONG_CONTENTS }
}
