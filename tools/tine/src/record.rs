//! The record of a run: what the guest reported, joined with what only the host knows.

use crate::figures::{self, Figures};
use crate::machine::accel::{Accelerator, Choice};
use crate::machine::config::Config;
use formats::record::{Accounting, Boot, Event, Exit, Failure, FailureKind, Scheduler};
use serde::{Deserialize, Serialize};

/// The version of this schema. It grows when a field changes its meaning or goes.
pub const SCHEMA: u32 = 1;

/// Everything there is to know about one run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    pub schema: u32,
    /// The name of the configuration that `machine` began as.
    pub config: String,
    pub machine: Config,
    pub program: String,
    pub arguments: Vec<String>,
    pub seed: u64,
    /// Whether the kernel had its debug assertions.
    pub checked: bool,
    pub versions: Versions,
    pub accelerator: Choice,
    pub time: Time,
    /// Runs that the figures are from.
    pub boots: u32,
    pub host: Host,
    /// From the start of QEMU to its end, in real time.
    pub host_seconds: f64,
    pub ending: Ending,
    /// The command that does it again.
    pub reproduce: String,
    /// What the guest wrote to COM2.
    pub events: Vec<Event>,
    /// Lines of COM2 that are no events.
    pub garbled: Vec<String>,
    pub figures: Figures,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Versions {
    pub tine: String,
    /// As the kernel says; `None` if it did not come that far.
    pub kernel: Option<String>,
    pub rustc: String,
    pub qemu: String,
}

/// What the guest's clock counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Time {
    Wall,
    /// Instructions.
    Virtual,
}

impl Time {
    pub fn of(accelerator: Accelerator) -> Self {
        match accelerator {
            Accelerator::TcgIcount => Self::Virtual,
            Accelerator::Kvm | Accelerator::TcgMulti => Self::Wall,
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Wall => "wall",
            Self::Virtual => "virtual",
        }
    }
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Host {
    /// Logical processors that we may use.
    pub processors: usize,
    /// How many threads' work gets done at once, measured right before and after the run; `None` if it was not asked for.
    pub parallelism: Option<f64>,
}

/// How the machine ended, by the byte that it wrote to its exit device (see [`formats::exit`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    Pass,
    ProgramFailed,
    KernelFailure,
    Panic,
}

impl Ending {
    /// The ending that QEMU's exit status stands for.
    pub fn of_qemu_status(status: i32) -> Option<Self> {
        use formats::exit::{KERNEL_FAILURE, PANIC, PASS, PROGRAM_FAILED, qemu_status};
        let endings = [
            (PASS, Self::Pass),
            (PROGRAM_FAILED, Self::ProgramFailed),
            (KERNEL_FAILURE, Self::KernelFailure),
            (PANIC, Self::Panic),
        ];
        endings.into_iter().find_map(|(byte, ending)| (qemu_status(byte) == status).then_some(ending))
    }
}

impl Record {
    pub fn boot(&self) -> Option<&Boot> {
        self.events.iter().find_map(|event| match event {
            Event::Boot(boot) => Some(&**boot),
            _ => None,
        })
    }

    pub fn scheduler(&self) -> Option<&Scheduler> {
        self.events.iter().find_map(|event| match event {
            Event::Scheduler(scheduler) => Some(scheduler),
            _ => None,
        })
    }

    pub fn accounting(&self) -> Option<&Accounting> {
        self.events.iter().find_map(|event| match event {
            Event::Accounting(accounting) => Some(accounting),
            _ => None,
        })
    }

    /// System calls that Tine does not have: number and how often.
    pub fn unknown_system_calls(&self) -> &[(u64, u64)] {
        let calls = self.events.iter().find_map(|event| match event {
            Event::SystemCalls(calls) => Some(calls.unknown.as_slice()),
            _ => None,
        });
        calls.unwrap_or_default()
    }

    pub fn exit(&self) -> Option<Exit> {
        self.events.iter().find_map(|event| match event {
            Event::Exit(exit) => Some(*exit),
            _ => None,
        })
    }

    pub fn failures(&self) -> impl Iterator<Item = &Failure> {
        self.events.iter().filter_map(|event| match event {
            Event::Failure(failure) => Some(failure),
            _ => None,
        })
    }

    /// What programs wrote to `/dev/results`, each line parsed.
    pub fn results(&self) -> impl Iterator<Item = serde_json::Value> {
        self.events.iter().filter_map(|event| match event {
            Event::User { line, .. } => serde_json::from_str(line).ok(),
            _ => None,
        })
    }

    /// Everything that keeps this run from having passed, in words; empty if it passed.
    pub fn problems(&self) -> Vec<String> {
        // The accounting, below, says the same with less words.
        let noticed = self.failures().filter(|it| it.kind != FailureKind::Leak);
        let mut problems: Vec<String> = noticed
            .map(|it| format!("the kernel noticed a {} on {}: {}", kind(it), it.cpu, it.message))
            .collect();
        match self.exit() {
            Some(Exit::Exited { status: 0 }) => {}
            Some(Exit::Exited { status }) => {
                problems.push(format!("`{}` exited with status {status}", self.program));
            }
            Some(Exit::Killed { signal }) => {
                problems.push(format!("`{}` was killed by signal {signal}", self.program));
            }
            None => problems.push(format!("the kernel did not say how `{}` ended", self.program)),
        }
        match self.accounting() {
            Some(it) if it.before == it.after => {}
            Some(it) => problems.push(format!("not everything came back: {}", difference(it))),
            None => problems.push("the kernel wrote no accounting".into()),
        }
        if self.ending != Ending::Pass && problems.is_empty() {
            problems.push(format!("the machine ended with {:?}", self.ending));
        }
        if let Some(line) = self.garbled.first() {
            problems.push(format!("COM2 carried something that is no event ({line})"));
        }
        if self.program == figures::SPIN_PROGRAM && !self.figures.spin.as_ref().is_some_and(|spin| spin.ok) {
            problems.push("the program did not report that all its checks passed".into());
        }
        problems
    }
}

/// Which resources did not come back, or more of them than there were.
fn difference(accounting: &Accounting) -> String {
    let (before, after) = (accounting.before, accounting.after);
    let kinds = [
        ("frames", before.frames, after.frames),
        ("threads", before.threads, after.threads),
        ("processes", before.processes, after.processes),
        ("file descriptions", before.file_descriptions, after.file_descriptions),
    ];
    let differ = kinds.into_iter().filter(|(_, before, after)| before != after);
    let words =
        differ.map(|(kind, before, after)| format!("{before} {kind} were in use before and {after} after"));
    words.collect::<Vec<_>>().join(", ")
}

fn kind(failure: &Failure) -> String {
    format!("{:?}", failure.kind).to_lowercase()
}
