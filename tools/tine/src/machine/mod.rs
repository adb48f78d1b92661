//! A machine: what it consists of, one boot of it, and what came of that.
//!
//! Start at [`Machine`].

pub mod accel;
pub mod command;
pub mod config;
mod error;
#[cfg(test)]
mod fake;
pub mod input;
pub mod plan;
mod probe_image;
pub mod watch;

pub use error::{Cause, Failure};

use crate::build::host_files::HostFiles;
use crate::build::{self, Guest, Profile};
use crate::figures;
use crate::host;
use crate::record::{Ending, Host, Record, SCHEMA, Time, Versions};
use crate::setup::qemu::{self, Qemu};
use crate::trace::{self, Level};
use crate::ui::Ui;
use crate::workspace::Workspace;
use accel::{Accelerator, Choice};
use anyhow::Result;
use config::{Accel, Config, Tick};
use formats::record::Event;
use input::Keyboard;
use plan::{Plan, quoted};
use std::fs::{self, File};
use std::io;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;
use tempfile::NamedTempFile;
use watch::{Ended, Seen};

pub const DEFAULT_CONFIG: &str = "default";

/// A machine that can be booted: a configuration of `qemu-configs/` and what to change about it.
///
/// ```no_run
/// let outcome = tine::machine().smp(4).hz(100).program("fork_progress_test").run()?;
/// outcome.check()?;
/// # Ok::<(), tine::Failure>(())
/// ```
#[derive(Clone, Debug)]
pub struct Machine {
    config: String,
    changes: Vec<Change>,
    seed: Option<u64>,
    profile: Profile,
    program: String,
    arguments: Vec<String>,
    trace: Option<Level>,
    input: Option<input::Kind>,
    ui: Ui,
    measure_host: bool,
}

/// The machine of `qemu-configs/default.toml`.
pub fn machine() -> Machine {
    Machine::named(DEFAULT_CONFIG)
}

/// Something that differs from the configuration.
#[derive(Clone, Debug)]
enum Change {
    Smp(u32),
    Memory(u32),
    Tick(Tick),
    Order(String),
    Balancer(String),
    Accel(Accel),
    Virtual,
    Timeout(u32),
    Append(String),
    With(String),
}

impl Change {
    fn apply(&self, config: &mut Config) {
        match self {
            Self::Smp(cpus) => config.cpus = *cpus,
            Self::Memory(mib) => config.memory_mib = *mib,
            Self::Tick(tick) => config.hz = *tick,
            Self::Order(name) => config.order.clone_from(name),
            Self::Balancer(name) => config.balancer.clone_from(name),
            Self::Accel(accel) => config.accel = *accel,
            Self::Virtual => config.virtual_time = true,
            Self::Timeout(seconds) => config.limits.run_s = *seconds,
            // Not a matter of the machine.
            Self::With(_) => {}
            Self::Append(options) if config.append.is_empty() => config.append.clone_from(options),
            Self::Append(options) => config.append = format!("{} {options}", config.append),
        }
    }

    /// The option of `tine run` that does the same.
    fn option(&self) -> String {
        match self {
            Self::Smp(cpus) => format!("--smp {cpus}"),
            Self::Memory(mib) => format!("--memory {mib}"),
            Self::Tick(tick) => format!("--hz {tick}"),
            Self::Order(name) => format!("--order {name}"),
            Self::Balancer(name) => format!("--balancer {name}"),
            Self::Accel(accel) => format!("--accel {accel:?}").to_lowercase(),
            Self::Virtual => "--virtual".into(),
            Self::Timeout(seconds) => format!("--timeout {seconds}"),
            Self::Append(options) => format!("--append {}", quoted(options)),
            Self::With(what) => format!("--with {}", quoted(what)),
        }
    }
}

impl Machine {
    /// The machine of `qemu-configs/NAME.toml`.
    pub fn named(config: impl Into<String>) -> Self {
        Self {
            config: config.into(),
            changes: Vec::new(),
            seed: None,
            profile: Profile::Release,
            program: figures::SPIN_PROGRAM.into(),
            arguments: Vec::new(),
            trace: None,
            input: None,
            ui: Ui::Quiet,
            measure_host: false,
        }
    }

    fn change(mut self, change: Change) -> Self {
        self.changes.push(change);
        self
    }

    /// The number of CPUs.
    pub fn smp(self, cpus: u32) -> Self {
        self.change(Change::Smp(cpus))
    }

    pub fn memory_mib(self, mib: u32) -> Self {
        self.change(Change::Memory(mib))
    }

    /// Ticks per second.
    pub fn hz(self, hz: u32) -> Self {
        self.tick(Tick::Hz(hz))
    }

    /// No ticks: the timer fires when a slice ends.
    pub fn oneshot(self) -> Self {
        self.tick(Tick::OneShot)
    }

    pub fn tick(self, tick: Tick) -> Self {
        self.change(Change::Tick(tick))
    }

    pub fn order(self, name: impl Into<String>) -> Self {
        self.change(Change::Order(name.into()))
    }

    pub fn balancer(self, name: impl Into<String>) -> Self {
        self.change(Change::Balancer(name.into()))
    }

    pub fn accel(self, accel: Accel) -> Self {
        self.change(Change::Accel(accel))
    }

    /// Time counts instructions.
    pub fn virtual_time(self) -> Self {
        self.change(Change::Virtual)
    }

    /// How long the machine may take in real time; rounded up to seconds.
    pub fn timeout(self, limit: Duration) -> Self {
        let seconds = limit.as_secs_f64().ceil() as u32;
        self.change(Change::Timeout(seconds))
    }

    /// More options for the kernel, for example `sched.first_run=off`.
    pub fn append(self, options: impl Into<String>) -> Self {
        self.change(Change::Append(options.into()))
    }

    /// Gives the guest a program of the host, by its name or its path, with all that it needs; or another file, or a directory.
    /// Each is where it is on the host.
    pub fn with(self, what: impl Into<String>) -> Self {
        self.change(Change::With(what.into()))
    }

    /// The seed of everything that is random; without it, each run has another.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// A kernel with its debug assertions.
    pub fn checked(mut self) -> Self {
        self.profile = Profile::Checked;
        self
    }

    /// With the kernel that has policies that are wrong on purpose.
    pub fn planted(mut self) -> Self {
        self.profile = Profile::Planted;
        self
    }

    /// With the kernel whose scheduler measures nothing: the run's figures of it are empty.
    pub fn unmeasured(mut self) -> Self {
        self.profile = Profile::Unmeasured;
        self
    }

    /// The user program to run, by its name.
    pub fn program(mut self, name: impl Into<String>) -> Self {
        self.program = name.into();
        self
    }

    /// Adds arguments for the program.
    pub fn args<A: Into<String>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Notes what happens on its CPUs: see [`Outcome::trace`].
    pub fn trace(mut self, level: Level) -> Self {
        self.trace = Some(level);
        self
    }

    /// Lets somebody type at the program, or feed it, by [`Prepared::run_with`]. BusyBox is in the machine then.
    pub fn input(mut self, kind: input::Kind) -> Self {
        self.input = Some(kind);
        self
    }

    /// Tells the user what is done, and shows the machine's console as it comes.
    pub fn live(mut self) -> Self {
        self.ui = Ui::Talkative;
        self.measure_host = true;
        self
    }

    /// Says nothing, as is the default.
    pub fn quiet(mut self) -> Self {
        self.ui = Ui::Quiet;
        self.measure_host = false;
        self
    }

    /// Also measures what the host can run at once, which takes 0.1 s.
    pub fn measure_host(mut self) -> Self {
        self.measure_host = true;
        self
    }

    /// Decides everything about one boot.
    pub fn plan(&self, workspace: &Workspace) -> Result<Plan> {
        let mut config = Config::load(&workspace.configs(), &self.config)?;
        self.changes.iter().for_each(|change| change.apply(&mut config));
        config.settle();
        config.check()?;
        let name = self.program.strip_prefix("/bin/").unwrap_or(&self.program);
        let plan = Plan {
            config_name: self.config.clone(),
            config,
            profile: self.profile,
            // Short enough to be typed.
            seed: self.seed.unwrap_or_else(|| fastrand::u64(1..1_000_000)),
            program: name.to_owned(),
            program_path: format!("/bin/{name}"),
            arguments: self.arguments.clone(),
            trace: self.trace,
            input: self.input,
            changes: self.changes.iter().map(Change::option).collect(),
        };
        plan.check_policies()?;
        Ok(plan)
    }

    /// Makes everything that a boot needs: the plan, the guest, and QEMU.
    pub fn prepare(&self) -> Result<Prepared> {
        let workspace = Workspace::find()?;
        let mut plan = self.plan(&workspace)?;
        let mut host = HostFiles::take(self.changes.iter().filter_map(|change| match change {
            Change::With(what) => Some(what),
            _ => None,
        }))?;
        let qemu = qemu::ensure(&workspace, self.ui)?;
        let guest = build::guest(&workspace, self.profile, self.ui)?;
        if self.input.is_some() {
            build::shell::add(&mut host, |name| guest.programs.contains_key(name))?;
        }
        match host.program(&self.program) {
            Some(path) => plan.program_path = path.display().to_string(),
            None => {
                let known = guest.programs.keys().map(String::as_str).chain(host.names());
                build::programs::check(&self.program, known)?;
            }
        }
        let guest = guest.with(&workspace, &host, plan.config.memory_mib)?;
        let config = &plan.config;
        let choice = accel::choose(config.accel, config.virtual_time, &qemu, &workspace.state()?)?;
        Ok(Prepared { plan, qemu, guest, choice })
    }

    /// Boots it and waits for its end. A machine that ends in good order is `Ok`, whatever the program's status:
    /// [`Outcome::check`] tells whether it passed.
    pub fn run(&self) -> Result<Outcome, Failure> {
        let prepared = self.prepare().map_err(Failure::before_start)?;
        prepared.announce(self.ui);
        prepared.run(self.ui, self.measure_host)
    }
}

/// A machine that only has to be switched on.
#[derive(Clone, Debug)]
pub struct Prepared {
    pub plan: Plan,
    pub qemu: Qemu,
    pub guest: Guest,
    pub choice: Choice,
}

impl Prepared {
    /// QEMU's command but for the descriptors of its serial ports.
    pub fn command(&self) -> std::process::Command {
        command::command(&self.qemu, &self.plan, &self.guest, self.choice.accelerator)
    }

    /// The same with another seed.
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.plan.seed = seed;
        self
    }

    fn announce(&self, ui: Ui) {
        let Plan { config, config_name, seed, .. } = &self.plan;
        let Choice { accelerator, reason } = &self.choice;
        ui.note(format!(
            "`{config_name}`: {} CPUs, {} MiB, {} Hz, {}, {}, seed {seed}; {accelerator} ({reason})",
            config.cpus, config.memory_mib, config.hz, config.order, config.balancer
        ));
    }

    /// Boots it with `keyboard` at its first serial port, of which `cable` is QEMU's end, and shows what it writes there.
    pub fn run_with(self, keyboard: Keyboard, cable: UnixStream) -> Result<Outcome, Failure> {
        let reproduce = self.plan.reproduce();
        let limits = &self.plan.config.limits;
        let seen = watch::watch(self.command(), limits, true, None, Some((keyboard, cable)));
        let seen = seen.map_err(|error| Failure::of_machine(Cause::Start(error), "", reproduce.clone()))?;
        match judge(&seen, &self.plan) {
            Ok(ending) => Ok(self.outcome(seen, ending, None)),
            Err(cause) => Err(Failure::of_machine(cause, &seen.console, reproduce)),
        }
    }

    /// Boots it and waits for its end, as [`Machine::run`].
    pub(crate) fn run(self, ui: Ui, measure_host: bool) -> Result<Outcome, Failure> {
        let in_turn = self.choice.accelerator == Accelerator::TcgIcount;
        let cpus = self.plan.config.cpus as usize;
        let measure = || (measure_host && !in_turn).then(|| host::measure_parallelism(cpus));
        let before = measure();
        let reproduce = self.plan.reproduce();
        let start = |error| Failure::of_machine(Cause::Start(error), "", reproduce.clone());
        let file = self.plan.trace.map(|_| NamedTempFile::new()).transpose().map_err(start)?;
        let handle = file.as_ref().map(for_writing).transpose().map_err(start)?;
        let limits = &self.plan.config.limits;
        let seen = watch::watch(self.command(), limits, ui == Ui::Talkative, handle, None).map_err(start)?;
        let trace = file.map(|file| fs::read(file.path())).transpose().map_err(start)?;
        match judge(&seen, &self.plan) {
            Ok(ending) => {
                // Others may come and go while the machine runs.
                let parallelism = before.zip(measure()).map(|(before, after)| (before + after) / 2.0);
                Ok(Outcome { trace, ..self.outcome(seen, ending, parallelism) })
            }
            Err(cause) => Err(Failure::of_machine(cause, &seen.console, reproduce)),
        }
    }

    fn outcome(self, seen: Seen, ending: Ending, parallelism: Option<f64>) -> Outcome {
        let cpus = f64::from(self.plan.config.cpus);
        let time = Time::of(self.choice.accelerator);
        let at_once = match time {
            Time::Virtual => 1.0,
            Time::Wall => parallelism.unwrap_or(host::processors() as f64).min(cpus),
        };
        let reproduce = self.plan.reproduce();
        let kernel = seen.events.iter().find_map(|event| match event {
            Event::Boot(boot) => Some(boot.kernel_version.clone()),
            _ => None,
        });
        let record = Record {
            schema: SCHEMA,
            config: self.plan.config_name,
            machine: self.plan.config,
            program: self.plan.program,
            arguments: self.plan.arguments,
            seed: self.plan.seed,
            checked: self.plan.profile == Profile::Checked,
            versions: Versions {
                tine: env!("CARGO_PKG_VERSION").into(),
                kernel,
                rustc: self.guest.compiler,
                qemu: self.qemu.description,
            },
            accelerator: self.choice,
            time,
            boots: 1,
            host: Host { processors: host::processors(), parallelism },
            host_seconds: seen.wall.as_secs_f64(),
            ending,
            reproduce,
            figures: figures::derive(&seen.events, at_once),
            events: seen.events,
            garbled: seen.garbled,
        };
        Outcome { record, console: seen.console, trace: None }
    }
}

/// QEMU takes no descriptor that can be read as well.
fn for_writing(file: &NamedTempFile) -> io::Result<File> {
    File::options().append(true).open(file.path())
}

/// How the machine ended by itself, or why that is not what happened.
fn judge(seen: &Seen, plan: &Plan) -> Result<Ending, Cause> {
    let limits = &plan.config.limits;
    let status = match seen.ended {
        Ended::Exited(status) => status,
        Ended::Silent => return Err(Cause::Silent(limits.boot())),
        Ended::TimedOut => return Err(Cause::TimedOut(limits.run())),
        Ended::Interrupted => return Err(Cause::Interrupted),
        Ended::Left => return Err(Cause::Left),
    };
    match status.code() {
        None => Err(Cause::Signal(status.signal().unwrap_or_default())),
        Some(0) => Err(Cause::Reset),
        Some(code) => Ending::of_qemu_status(code)
            .ok_or_else(|| Cause::Qemu { status: code, complaints: seen.complaints.trim().to_owned() }),
    }
}

/// What came of a run that ended in good order.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub record: Record,
    /// Everything that the machine wrote to COM1.
    pub console: String,
    /// What happened on the CPUs, in the kernel's own format, if that was wanted.
    pub trace: Option<Vec<u8>>,
}

impl Outcome {
    /// Whether the program exited with status 0, no check failed, and all resources came back.
    pub fn passed(&self) -> bool {
        self.record.problems().is_empty()
    }

    /// The number by which the trace is known again, if there is one.
    pub fn trace_hash(&self) -> Option<u64> {
        self.trace.as_deref().map(trace::hash)
    }

    /// Fails with everything that keeps the run from having passed.
    pub fn check(&self) -> Result<(), Failure> {
        match self.record.problems() {
            problems if problems.is_empty() => Ok(()),
            problems => Err(self.failure(problems)),
        }
    }

    /// A failure of this run for other reasons, with its last output and the command that does it again.
    pub fn failure(&self, problems: Vec<String>) -> Failure {
        Failure::of_machine(Cause::Failed(problems), &self.console, self.record.reproduce.clone())
    }
}

#[cfg(test)]
pub(crate) mod tests;
