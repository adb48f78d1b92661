//! One run: the first program from its start to its end, and what is reported about it.

use crate::options::Options;
use crate::sabotage::Sabotage;
use crate::task::{self, ExitStatus, Process, Strings};
use crate::{cpus, fs, leaks, results, syscall, trace, tty};
use alloc::{boxed::Box, format, string::String, sync::Arc};
use formats::record::{
    Accounting, Boot, CpuStats, Event, Exit, FailureKind, Resources, Scheduler, SystemCalls,
};
use formats::{Duration, Instant, exit};
use spin::Once;

/// How long the threads that the first program leaves behind get to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the first program finds in its environment.
const ENVIRONMENT: [&str; 3] = [
    "PATH=/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin",
    "HOME=/",
    "TINE_RESULTS=/dev/results",
];

pub struct Run {
    /// The first process, until its end is being reported.
    first: Option<Arc<Process>>,
    before: Resources,
    started: Instant,
    ended: Option<Instant>,
}

/// The first program's arguments or environment.
fn strings(words: impl Iterator<Item = impl AsRef<str>>) -> Result<Strings, String> {
    let mut strings = Strings::new();
    for word in words {
        strings
            .push(word.as_ref().as_bytes())
            .map_err(|_| String::from("there is no memory for the first program"))?;
    }
    Ok(strings)
}

/// What is known of the machine before the first program runs: all of the boot record but its time and size.
static MACHINE: Once<Boot> = Once::new();

/// How to break the kernel, if a test wants that.
static SABOTAGE: Once<Sabotage> = Once::new();

/// Reports that the boot is over. Called by the first thread, right before it enters user mode.
pub fn announce() {
    let boot_ns = arch::time::now().as_ticks();
    let kernel_bytes = mm::usage().total();
    if let Some(machine) = MACHINE.get() {
        results::write(&Event::Boot(Box::new(Boot { boot_ns, kernel_bytes, ..machine.clone() })));
    }
    if let Some(sabotage) = SABOTAGE.get() {
        sabotage.commit();
    }
}

impl Run {
    /// Starts the first program.
    ///
    /// # Errors
    /// A sentence that says why it cannot be started.
    pub fn start(options: &Options, machine: Boot) -> Result<Self, String> {
        MACHINE.call_once(|| machine);
        if let Some(sabotage) = options.fail {
            SABOTAGE.call_once(|| sabotage);
        }
        let before = leaks::count();
        let name = options.init_name.as_ref().unwrap_or(&options.init).clone();
        let words = [name].into_iter().chain(options.arguments.iter().cloned());
        let arguments = strings(words)?;
        let environment = strings(ENVIRONMENT.into_iter())?;
        let started = arch::time::now();
        let first = task::first_process(&options.init, arguments, environment)
            .map_err(|error| format!("the program {} cannot be started: {error:?}", options.init))?;
        Ok(Self { first: Some(first), before, started, ended: None })
    }

    /// Ends the machine if the first program has ended and all others with it. Called when this CPU is idle.
    pub fn conclude_if_over(&mut self) {
        let Some(status) = self.first.as_ref().and_then(|first| first.status.get().copied()) else { return };
        let ended = *self.ended.get_or_insert_with(arch::time::now);
        if task::live_threads() == 0 {
            self.conclude(status, ended - self.started);
        }
        task::kill_all();
        if arch::time::now() - ended > PATIENCE {
            let left = task::live_threads();
            results::fatal_failure(
                FailureKind::Leak,
                format!("LEAK: {left} threads do not end when they are killed"),
            );
        }
    }

    fn conclude(&mut self, status: ExitStatus, elapsed: Duration) -> ! {
        task::forget_all();
        tty::serial::close();
        self.first = None;
        let elapsed_ns = elapsed.as_ticks();
        let with_idle_time =
            |stats: CpuStats| CpuStats { idle_ns: elapsed_ns.saturating_sub(stats.busy_ns), ..stats };
        let cpus = cpus::stats().into_iter().map(with_idle_time).collect();
        let violations = cpus::violations();
        results::write(&Event::Scheduler(Scheduler {
            elapsed_ns,
            violation_ns: violations.total(arch::time::now()).as_ticks(),
            longest_violation_ns: violations.longest().as_ticks(),
            violations: violations.count(),
            swaps: cpus::policies::swap_counts(),
            cpus,
        }));
        results::write(&Event::SystemCalls(SystemCalls { unknown: syscall::unknown_counts() }));
        cpus::policies::restore();
        fs::reset();
        let before = self.before;
        let after = leaks::settle(&before);
        results::write(&Event::Accounting(Accounting { before, after }));
        if after != before {
            results::failure(FailureKind::Leak, format!("LEAK: in use before: {before:?}, after: {after:?}"));
        }
        let how = match status {
            ExitStatus::Exited(status) => Exit::Exited { status: status.into() },
            ExitStatus::Killed { signal, .. } => Exit::Killed { signal: signal.into() },
        };
        results::write(&Event::Exit(how));
        trace::write_out();
        arch::power::exit(match how {
            _ if results::has_failed() => exit::KERNEL_FAILURE,
            Exit::Exited { status: 0 } => exit::PASS,
            _ => exit::PROGRAM_FAILED,
        })
    }
}
