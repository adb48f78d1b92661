//! Child processes that run a closure, and what became of them.

use anyhow::{Context, ensure};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::{ForkResult, Pid, fork, getpid};
use std::io::Write;

/// A child process that has not been waited for. Dropping it kills it and waits.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    parent: Pid,
}

impl Child {
    /// Forks a child that runs `body` and exits with the status that it returns (0 to 255).
    pub fn start(body: impl FnOnce() -> i32) -> anyhow::Result<Self> {
        Self::try_start(body).context("fork")
    }

    /// As [`Self::start`], with the reason when the kernel refuses.
    pub fn try_start(body: impl FnOnce() -> i32) -> nix::Result<Self> {
        // What is still in the buffer would be written twice.
        let _ = std::io::stdout().flush();
        let parent = getpid();
        // SAFETY: glibc makes its allocator usable in the child even if other threads were in it, and the programs hold
        // no other lock across this call; the child runs only `body` and leaves through `exit_now`.
        match unsafe { fork() }? {
            ForkResult::Parent { child } => Ok(Self { pid: child, parent }),
            ForkResult::Child => {
                let status = body();
                let _ = std::io::stdout().flush();
                exit_now(status)
            }
        }
    }

    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Waits for exactly this child to end.
    pub fn wait(self) -> anyhow::Result<WaitStatus> {
        let how = waitpid(self.pid, None).with_context(|| format!("waitpid({})", self.pid))?;
        ensure!(how.pid() == Some(self.pid), "waited for {} and got {how:?}", self.pid);
        self.forget();
        Ok(how)
    }

    /// Leaves it to others to wait for this child.
    pub fn forget(self) {
        std::mem::forget(self);
    }

    /// Whether it has ended: asks without waiting and without reaping.
    pub fn has_ended(&self) -> anyhow::Result<bool> {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        Ok(waitid(Id::Pid(self.pid), flags).context("waitid")? != WaitStatus::StillAlive)
    }

    /// Waits, and requires that the child exited with `status`.
    pub fn expect_exit(self, status: i32) -> anyhow::Result<()> {
        let expected = WaitStatus::Exited(self.pid, status);
        let how = self.wait()?;
        ensure!(how == expected, "expected {expected:?}, got {how:?}");
        Ok(())
    }

    /// Waits, and requires that `signal` killed the child.
    pub fn expect_killed(self, signal: Signal) -> anyhow::Result<()> {
        let pid = self.pid;
        match self.wait()? {
            WaitStatus::Signaled(_, by, _) if by == signal => Ok(()),
            how => anyhow::bail!("expected {pid} to be killed by {signal}, got {how:?}"),
        }
    }

    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        kill(self.pid, signal).with_context(|| format!("kill({}, {signal})", self.pid))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // The copy of this value in another child is not responsible.
        if getpid() == self.parent {
            let _ = kill(self.pid, Signal::SIGKILL);
            let _ = waitpid(self.pid, None);
        }
    }
}

/// Runs `body` in a child and requires that it succeeds there; its error is printed by the child.
pub fn in_child(body: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    Child::start(|| report(body()))?.expect_exit(0)
}

/// The exit status for `outcome`: 0, or 1 after printing the error.
pub fn report(outcome: anyhow::Result<()>) -> i32 {
    match outcome {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("in process {}: {error:#}", getpid());
            1
        }
    }
}

/// Ends the process at once: no destructors, no exit handlers.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: `_exit` takes any value and does not return.
    unsafe { libc::_exit(status) }
}
