//! Processes that fork processes that fork, until the kernel refuses, kills, or a limit is reached. Then all of them end, and
//! none is left.

use anyhow::{Context, ensure};
use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::wait::wait;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;
use userland::children::{Child, exit_now, in_child};
use userland::memory::{Pages, WORDS};
use userland::program;
use userland::shared::Shared;

const USAGE: &str = "fork_bomb [--limit N] [--pages N] [--verbose]
  --limit N  processes at which it stops by itself (500)
  --pages N  pages that each process writes to (16)
  --verbose  also say what stopped it, and at how many processes";

/// What all processes of the bomb know.
#[derive(Default)]
struct Bomb {
    started: AtomicU64,
    refused: AtomicBool,
    /// Set when nobody shall fork any more, and everybody shall end.
    over: AtomicBool,
}

fn main() -> ExitCode {
    program::run(USAGE, |mut options| {
        let limit: u64 = options.value("--limit", 500)?;
        let pages: usize = options.value("--pages", 16)?;
        let verbose = options.flag("--verbose");
        options.finish()?;
        // Orphans come back to this process to be waited for; the first process of a machine has that anyway.
        let _ = prctl::set_child_subreaper(true);
        let bomb = &Shared::<Bomb>::new(1, |_| Bomb::default())?[0];
        let first = Child::start(|| explode(bomb, limit, pages))?;
        first.forget();
        while !bomb.over.load(SeqCst) && !nothing_is_left()? {
            thread::sleep(Duration::from_millis(1));
        }
        bomb.over.store(true, SeqCst);
        let killed = wait_for_all()?;
        if verbose {
            let refused = bomb.refused.load(SeqCst);
            println!("{} processes; refused: {refused}, killed: {killed}", bomb.started.load(SeqCst));
        }
        ensure!(bomb.started.load(SeqCst) > 10, "the bomb did not even start");
        in_child(|| Ok(())).context("after the bomb")?;
        println!("SUCCESS: the fork bomb is over, and nothing is left of it");
        Ok(())
    })
}

/// What each process of the bomb does.
fn explode(bomb: &Bomb, limit: u64, pages: usize) -> i32 {
    let Ok(memory) = Pages::private(pages.max(1)) else {
        bomb.refused.store(true, SeqCst);
        bomb.over.store(true, SeqCst);
        return 0;
    };
    (0..memory.len()).for_each(|page| memory.store(page * WORDS, 1));
    while !bomb.over.load(SeqCst) {
        if bomb.started.fetch_add(1, SeqCst) >= limit {
            bomb.over.store(true, SeqCst);
            break;
        }
        match Child::try_start(|| exit_now(explode(bomb, limit, pages))) {
            Ok(child) => child.forget(),
            Err(_) => {
                bomb.refused.store(true, SeqCst);
                bomb.over.store(true, SeqCst);
            }
        }
        thread::yield_now();
    }
    while let Ok(_) | Err(Errno::EINTR) = wait() {}
    0
}

/// Whether all of the bomb was killed before it was over.
fn nothing_is_left() -> anyhow::Result<bool> {
    use nix::sys::wait::{WaitPidFlag, waitpid};
    match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        Ok(_) => Ok(false),
        Err(Errno::ECHILD) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Waits for all children and inherited orphans; returns how many were killed.
fn wait_for_all() -> anyhow::Result<u64> {
    let mut killed = 0;
    loop {
        match wait() {
            Ok(nix::sys::wait::WaitStatus::Signaled(..)) => killed += 1,
            Ok(_) => {}
            Err(Errno::ECHILD) => return Ok(killed),
            Err(error) => return Err(error.into()),
        }
    }
}
