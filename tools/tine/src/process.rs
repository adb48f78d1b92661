//! Processes that never outlive us: ended when dropped, and by the kernel when we die without dropping them.

use crate::interrupt;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A child process in a process group of its own.
///
/// On Linux it gets SIGKILL when the *thread* that spawned it ends (prctl(2), PR_SET_PDEATHSIG), so that thread has to
/// see it through.
#[derive(Debug)]
pub struct Contained(Child);

impl Contained {
    pub fn spawn(command: &mut Command) -> io::Result<Self> {
        command.process_group(0);
        die_with_parent(command);
        command.spawn().map(Self)
    }

    /// For taking the pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// Waits at most until `deadline`; `None` when it still runs then.
    pub fn wait_until(&mut self, deadline: Instant) -> io::Result<Option<ExitStatus>> {
        let mut pause = Duration::from_millis(1);
        loop {
            if let Some(status) = self.0.try_wait()? {
                return Ok(Some(status));
            }
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return Ok(None) };
            thread::sleep(pause.min(left));
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    /// Ends it and the children it may have; returns how it ended.
    pub fn end(&mut self) -> io::Result<ExitStatus> {
        if let Some(status) = self.0.try_wait()? {
            return Ok(status);
        }
        // Not reaped yet, so the group is still its own. It fails only if it has just ended.
        let _ = killpg(Pid::from_raw(self.0.id() as i32), Signal::SIGKILL);
        self.0.wait()
    }
}

impl Drop for Contained {
    fn drop(&mut self) {
        // An error here means that there is no such process any more.
        let _ = self.end();
    }
}

#[cfg(target_os = "linux")]
fn die_with_parent(command: &mut Command) {
    let parent = nix::unistd::getpid();
    let prepare = move || {
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
        match nix::unistd::getppid() == parent {
            true => Ok(()),
            // It died before the line above took effect.
            false => Err(io::ErrorKind::BrokenPipe.into()),
        }
    };
    // SAFETY: between fork and exec, `prepare` only makes two system calls that are safe after fork in a process with
    // threads, and allocates nothing: both its errors are plain codes.
    unsafe { command.pre_exec(prepare) };
}

#[cfg(not(target_os = "linux"))]
fn die_with_parent(_: &mut Command) {}

/// What a process wrote and how it ended; `status` is `None` if it had to be ended at the time limit.
#[derive(Debug)]
pub struct Finished {
    pub status: Option<ExitStatus>,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    pub fn succeeded(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }
}

/// Runs `command` without input, for at most `limit`. A user who wants us to end is obeyed at once.
pub fn run_within(command: &mut Command, limit: Duration) -> io::Result<Finished> {
    let mut process =
        Contained::spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()))?;
    let stdout = process.child().stdout.take().map(collect);
    let stderr = process.child().stderr.take().map(collect);
    let deadline = Instant::now() + limit;
    let status = loop {
        let look = deadline.min(Instant::now() + Duration::from_millis(100));
        match process.wait_until(look)? {
            None if interrupt::requested() => return Err(io::ErrorKind::Interrupted.into()),
            None if look < deadline => {}
            status => break status,
        }
    };
    process.end()?;
    let text = |reader: Option<thread::JoinHandle<String>>| {
        reader.and_then(|reader| reader.join().ok()).unwrap_or_default()
    };
    Ok(Finished { status, stdout: text(stdout), stderr: text(stderr) })
}

fn collect(mut from: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut all = Vec::new();
        // What arrived before an error is still worth having.
        let _ = from.read_to_end(&mut all);
        String::from_utf8_lossy(&all).into_owned()
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Waits for a process that was killed to be gone, or a zombie until whoever adopted it reaps it.
    pub fn assert_gone(process: &str) {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let state = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
            if state.is_empty() || state.contains(") Z ") {
                break;
            }
            assert!(Instant::now() < deadline, "still there: {state}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn what_a_process_wrote_and_its_status_come_back() {
        let finished = run_within(&mut shell("echo out; echo err >&2; exit 3"), Duration::from_secs(20));
        let finished = finished.expect("a shell");
        assert_eq!((finished.stdout.as_str(), finished.stderr.as_str()), ("out\n", "err\n"));
        assert_eq!(finished.status.and_then(|status| status.code()), Some(3));
    }

    #[test]
    fn a_process_and_its_children_end_at_the_time_limit() {
        let started = Instant::now();
        let finished = run_within(&mut shell("sleep 100 & echo $!; wait"), Duration::from_millis(300));
        let finished = finished.expect("a shell");
        assert!(finished.status.is_none());
        assert!(started.elapsed() < Duration::from_secs(50));
        assert_gone(finished.stdout.trim());
    }
}
