//! What to simulate, from the command line.

use super::layout::{Layout, most_cpus};
use super::recorded::{self, Recorded};
use crate::machine::Machine;
use crate::machine::config::Tick;
use crate::names;
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use formats::trace::file::MAGIC;
use sched::{Duration, Timer, Topology, balance, order};
use sim::workload::{MessageStorm, SpinStress};
use sim::{Calibration, Config, Workload};
use std::fs;
use std::path::PathBuf;

/// How many CPUs there are without any option.
const DEFAULT_CPUS: usize = 4;

/// The nominal tick of one-shot mode, as in the kernel.
const NOMINAL_HZ: u64 = 100;

/// Where it is said what a workload file is.
const HOW: &str = "docs/simulator.md says how a workload is written, and tools/sim/workloads has some";

const SPIN: &str = "fork_spin_stress";
const STORM: &str = "message_storm";

#[derive(Debug, Args)]
pub struct SimOptions {
    /// Number of CPUs, up to 4096. Default: as many as the topology has, or the recorded machine had, else 4.
    #[arg(long, value_name = "N")]
    cpus: Option<usize>,
    /// Sockets, cores in each, and hardware threads in each of those. Default: one socket of single-threaded cores.
    #[arg(long, value_name = "SxCxT", conflicts_with_all = ["compare", "against"])]
    topology: Option<Layout>,
    /// The order of threads on one CPU.
    #[arg(long, value_name = "NAME")]
    order: Option<String>,
    /// The balancer between CPUs.
    #[arg(long, value_name = "NAME")]
    balancer: Option<String>,
    /// What the threads do: `fork_spin_stress`, `message_storm`, a workload file, or a recorded trace.
    #[arg(long, value_name = "FILE|fork_spin_stress|message_storm|trace:FILE", default_value = SPIN)]
    workload: String,
    /// Seed of everything that is random.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Timer ticks per second on each CPU, or `oneshot` for none.
    #[arg(long, value_name = "N|oneshot", default_value = "100")]
    hz: Tick,
    /// What the kernel's work costs; default: what was measured in virtual time.
    #[arg(long, value_name = "FILE")]
    calibration: Option<PathBuf>,
    /// Also write the record of the run to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Also write the trace of the run to this file.
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Boot a machine that runs this program, simulate the same, and print how they differ.
    #[arg(long, value_name = "PROGRAM", conflicts_with_all = ["against", "json", "trace"])]
    pub compare: Option<String>,
    /// Simulate what this record of `run --json` is of, and print how they differ.
    #[arg(long, value_name = "RECORD.json", conflicts_with_all = ["json", "trace"])]
    pub against: Option<PathBuf>,
    /// Do so for each shipped program on one CPU and on four, in virtual time, and print a page of the docs.
    #[arg(
        long,
        conflicts_with_all = ["compare", "against", "json", "trace", "cpus", "topology", "workload", "arguments"]
    )]
    pub check_against_machines: bool,
    /// With --compare: let the machine's time count instructions.
    #[arg(long = "virtual", requires = "compare")]
    pub virtual_time: bool,
    /// The program's options, for a workload that is a program: as `run` takes them.
    #[arg(last = true, value_name = "OPTIONS")]
    pub arguments: Vec<String>,
}

/// A program of `userland` that the simulator knows.
pub enum Program {
    Spin(SpinStress),
    Storm(MessageStorm),
    /// A file or a trace.
    Other,
}

impl Program {
    /// The program called `name`, with its options.
    ///
    /// # Errors
    /// For options that it does not have.
    pub fn parse(name: &str, arguments: &[String]) -> Result<Option<Self>> {
        let mut options = Options(arguments.to_vec());
        let program = match name {
            SPIN => {
                let usual = SpinStress::default();
                Self::Spin(SpinStress {
                    children: options.value("--children", usual.children)?,
                    millis: options.value("--millis", usual.millis)?,
                    rounds: options.value("--rounds", usual.rounds)?,
                    solo_millis: options.value("--solo-millis", usual.solo_millis)?,
                })
            }
            STORM => {
                let usual = MessageStorm::default();
                options.0.retain(|option| option != "--threads");
                Self::Storm(MessageStorm {
                    groups: options.value("--groups", usual.groups)?,
                    pairs: options.value("--pairs", usual.pairs)?,
                    loops: options.value("--loops", usual.loops)?,
                })
            }
            _ => return Ok(None),
        };
        options.0.retain(|option| option != "--verbose");
        match options.0.first() {
            None => Ok(Some(program)),
            Some(left) => bail!("`{name}` in the simulator has no option `{left}`"),
        }
    }

    pub fn workload(&self) -> Option<Workload> {
        match self {
            Self::Spin(stress) => Some(stress.workload()),
            Self::Storm(storm) => Some(storm.workload()),
            Self::Other => None,
        }
    }
}

/// The options of a program that are left to be understood.
struct Options(Vec<String>);

impl Options {
    fn value(&mut self, name: &str, usual: u64) -> Result<u64> {
        let Some(at) = self.0.iter().position(|option| option == name) else { return Ok(usual) };
        ensure!(at + 1 < self.0.len(), "`{name}` needs a number");
        let value = self.0.remove(at + 1);
        self.0.remove(at);
        let number = value.parse().ok().filter(|number| (1..=1_000_000).contains(number));
        number.with_context(|| format!("`{name} {value}`: it must be a number from 1 to 1000000"))
    }
}

/// A simulation that can be run.
pub struct Setup {
    pub topology: Topology,
    pub scheduler: sched::Config,
    pub tick: Tick,
    pub costs: Calibration,
    pub slowdown: f64,
    /// As the user calls it.
    pub name: String,
    pub program: Program,
    pub workload: Workload,
    /// What the user should know of the workload.
    pub remarks: Vec<String>,
}

impl Setup {
    pub fn new(options: &SimOptions) -> Result<Self> {
        let chosen = options.machine()?;
        let costs = options.costs()?;
        let name = options.workload.clone();
        if let Some(path) = name.strip_prefix("trace:") {
            options.no_arguments()?;
            return Self::recorded(options, chosen, recorded::read(path, &costs)?, costs);
        }
        let topology = chosen.unwrap_or_else(|| Topology::flat(DEFAULT_CPUS));
        let scheduler =
            scheduler(options.order.as_deref(), options.balancer.as_deref(), options.hz, options.seed)?;
        let (program, workload) = match Program::parse(&name, &options.arguments)? {
            Some(program) => {
                let workload = program.workload().unwrap_or_default();
                (program, workload)
            }
            None => {
                options.no_arguments()?;
                (Program::Other, file(&name, topology.cpus())?)
            }
        };
        let (tick, remarks) = (options.hz, Vec::new());
        Ok(Self { topology, scheduler, tick, costs, slowdown: 1.0, name, program, workload, remarks })
    }

    /// What is not chosen is as it was recorded.
    fn recorded(
        options: &SimOptions,
        chosen: Option<Topology>,
        recorded: Recorded,
        costs: Calibration,
    ) -> Result<Self> {
        let Recorded { workload, topology, order, balancer, remarks } = recorded;
        let order = options.order.as_deref().or(order.as_deref());
        let balancer = options.balancer.as_deref().or(balancer.as_deref());
        let scheduler = scheduler(order, balancer, options.hz, options.seed).context(
            "choose the policies by --order and --balancer, or leave those out that it was recorded under",
        )?;
        Ok(Self {
            topology: chosen.unwrap_or(topology),
            scheduler,
            tick: options.hz,
            costs,
            slowdown: 1.0,
            name: options.workload.clone(),
            program: Program::Other,
            workload,
            remarks,
        })
    }

    pub fn config(&self) -> Config {
        Config {
            topology: self.topology.clone(),
            scheduler: self.scheduler,
            costs: self.costs.clone(),
            slowdown: self.slowdown,
        }
    }
}

impl SimOptions {
    fn no_arguments(&self) -> Result<()> {
        let arguments = self.arguments.join(" ");
        ensure!(
            self.arguments.is_empty(),
            "only the programs {SPIN} and {STORM} have options: `{arguments}`"
        );
        Ok(())
    }

    /// The machine that was chosen, if any was.
    fn machine(&self) -> Result<Option<Topology>> {
        if let Some(cpus) = self.cpus {
            ensure!(
                (1..=most_cpus()).contains(&cpus),
                "a simulated machine has 1 to {} CPUs, not {cpus}",
                most_cpus()
            );
        }
        match (self.cpus, self.topology) {
            (None, None) => Ok(None),
            (Some(cpus), None) => Ok(Some(Topology::flat(cpus))),
            (cpus, Some(layout)) => {
                let places = layout.cpus() as usize;
                ensure!(
                    cpus.is_none_or(|cpus| cpus == places),
                    "the topology has {places} CPUs, but --cpus says {}; leave one out",
                    cpus.unwrap_or_default()
                );
                Ok(Some(layout.topology()))
            }
        }
    }

    pub fn costs(&self) -> Result<Calibration> {
        let Some(path) = &self.calibration else { return Ok(Calibration::default()) };
        let text = fs::read_to_string(path).with_context(|| {
            format!("cannot read {}; tools/sim/calibration.toml is one to copy", path.display())
        })?;
        Calibration::parse(&text).with_context(|| format!("{} is no calibration", path.display()))
    }

    /// The machine with the CPUs and policies that were chosen.
    pub fn choose(&self, mut machine: Machine) -> Machine {
        machine = machine.tick(self.hz).seed(self.seed);
        if let Some(cpus) = self.cpus {
            machine = machine.smp(u32::try_from(cpus).unwrap_or(u32::MAX));
        }
        if let Some(order) = &self.order {
            machine = machine.order(order);
        }
        if let Some(balancer) = &self.balancer {
            machine = machine.balancer(balancer);
        }
        machine
    }
}

/// How the machine schedules.
pub fn scheduler(
    order: Option<&str>,
    balancer: Option<&str>,
    tick: Tick,
    seed: u64,
) -> Result<sched::Config> {
    let mut config = sched::Config { seed, ..sched::Config::default() };
    if let Some(name) = order {
        let known = || order::orders().iter().map(|entry| entry.name);
        config.order = order::by_name(name).with_context(|| names::unknown("order", name, known()))?;
    }
    if let Some(name) = balancer {
        let known = || balance::balancers().iter().map(|entry| entry.name);
        config.balancer =
            balance::by_name(name).with_context(|| names::unknown("balancer", name, known()))?;
    }
    let hz = match tick {
        Tick::Hz(hz) => u64::from(hz),
        Tick::OneShot => NOMINAL_HZ,
    };
    config.timer = if tick == Tick::OneShot { Timer::OneShot } else { Timer::Periodic };
    config.tick = Duration::from_ticks(1_000_000_000 / hz);
    config.quantum = config.tick;
    Ok(config)
}

/// A workload from a file.
fn file(name: &str, cpus: usize) -> Result<Workload> {
    let text = match fs::read(name) {
        Ok(bytes) if bytes.starts_with(&MAGIC) => bail!("{name} is a trace: write `--workload trace:{name}`"),
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(_) if !name.contains(['/', '.']) => {
            bail!("{} Or give a file, or trace:FILE.", names::unknown("workload", name, [SPIN, STORM]))
        }
        Err(error) => return Err(error).with_context(|| format!("cannot read {name}; {HOW}")),
    };
    Workload::parse(&text, cpus).with_context(|| format!("{name} is no workload; {HOW}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Alone {
        #[command(flatten)]
        options: SimOptions,
    }

    #[test]
    fn programs_have_the_options_of_the_real_ones() {
        let parse = |name, options: &str| {
            let options: Vec<String> = options.split_whitespace().map(String::from).collect();
            Program::parse(name, &options)
        };
        let Ok(Some(Program::Spin(stress))) = parse(SPIN, "--children 7 --rounds 2 --verbose") else {
            panic!("spin")
        };
        assert_eq!((stress.children, stress.rounds, stress.millis), (7, 2, 30));
        assert!(parse(STORM, "--groups").is_err() && parse(STORM, "--groups 0").is_err());
        assert!(parse(SPIN, "--work 3").is_err_and(|error| error.to_string().contains("no option `--work`")));
        assert!(matches!(parse("hello", ""), Ok(None)));
    }

    #[test]
    fn unknown_names_are_reported_with_what_was_meant() {
        let error = |order, balancer| {
            scheduler(order, balancer, Tick::Hz(100), 1)
                .map(drop)
                .expect_err("there is no such name")
                .to_string()
        };
        assert!(error(Some("eefdv"), None).contains("did you mean `eevdf`?"));
        assert!(error(None, Some("two_choice")).contains("did you mean `two_choices`?"));
        let options = |text: &str| Alone::parse_from(text.split_whitespace()).options;
        let options = options("sim --cpus 5000");
        assert!(options.machine().is_err_and(|error| error.to_string().contains("1 to 4096 CPUs, not 5000")));
    }
}
