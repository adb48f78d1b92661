//! Executes all files of a directory, whatever they are, each in a process of its own that does not get long.
//!
//! What becomes of them is their own affair: this looks only whether the kernel bears it.

use anyhow::Context;
use nix::sys::signal::Signal;
use nix::unistd::execve;
use std::ffi::{CStr, CString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;
use userland::children::Child;
use userland::program;

/// How often a process is looked at, and how long in between, before it is killed.
const LOOKS: u32 = 50;
const BETWEEN: Duration = Duration::from_millis(2);

fn main() -> ExitCode {
    program::run("damaged_programs DIRECTORY", |mut options| {
        let directory = options.word()?.context("the directory is missing")?;
        options.finish()?;
        let mut count = 0;
        for entry in fs::read_dir(&directory)? {
            let path = CString::new(entry?.path().as_os_str().as_bytes())?;
            // Both ways of ending are good.
            let child =
                Child::start(|| execve(&path, &[&path], &[] as &[&CStr]).map_or(1, |never| match never {}))?;
            let mut looks = 0;
            while !child.has_ended()? && looks < LOOKS {
                thread::sleep(BETWEEN);
                looks += 1;
            }
            child.signal(Signal::SIGKILL)?;
            child.wait()?;
            count += 1;
        }
        println!("{count} files were executed");
        Ok(())
    })
}
