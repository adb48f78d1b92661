//! When memory runs out, the process that has most of it is killed, not the one that asks for the last page. Takes all memory
//! of the machine: not to be run on one that is needed.

use anyhow::{bail, ensure};
use nix::sys::signal::Signal;
use nix::sys::sysinfo::sysinfo;
use nix::sys::wait::WaitStatus;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;
use userland::children::Child;
use userland::memory::Pages;
use userland::program;
use userland::shared::Shared;

const PAGES_PER_MIB: usize = 256;
/// 64-bit words in a page.
const WORDS: usize = 512;

fn take(mib: u64) -> anyhow::Result<Vec<Pages>> {
    (0..mib)
        .map(|_| {
            let pages = Pages::private(PAGES_PER_MIB)?;
            (0..PAGES_PER_MIB).for_each(|page| pages.store(page * WORDS, 1));
            Ok(pages)
        })
        .collect()
}

fn main() -> ExitCode {
    program::run("oom_choice", |options| {
        options.finish()?;
        let free = sysinfo()?.ram_unused() >> 20;
        ensure!(free > 40, "{free} MiB are not enough for this");
        let taken = &Shared::<AtomicU64>::zeroed(1)?[0];
        let hog = Child::start(|| {
            let Ok(_kept) = take(free - 20) else { return 1 };
            taken.store(1, SeqCst);
            loop {
                thread::sleep(Duration::from_secs(60));
            }
        })?;
        while taken.load(SeqCst) == 0 {
            ensure!(!hog.has_ended()?, "the hog has ended early");
            thread::sleep(Duration::from_millis(5));
        }
        let small = Child::start(|| i32::from(take(30).is_err()))?;
        match small.wait()? {
            WaitStatus::Exited(_, 0) => {}
            how => bail!("the small process ended with {how:?}"),
        }
        match hog.wait()? {
            WaitStatus::Signaled(_, Signal::SIGKILL, _) => {}
            how => bail!("the hog ended with {how:?}"),
        }
        println!("SUCCESS: the largest process was killed");
        Ok(())
    })
}
