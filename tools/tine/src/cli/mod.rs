//! What users type after `cargo run --`.

mod bench;
mod clippy;
mod doctor;
mod explore;
mod gdb;
mod iso;
mod lists;
mod new_balancer;
mod run;
mod shell;
mod sim;
mod timeline;

use crate::machine::config::{Accel, Tick};
use crate::trace::Level;
use crate::trace::timeline::Time;
use crate::{interrupt, machine};
use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Builds Tine, boots it in a virtual machine, and reports what came of it.
///
/// Without a command: boots the default machine and runs fork_spin_stress on it.
#[derive(Debug, Parser)]
#[command(name = "tine", version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Boot a machine and run a program on it.
    Run(RunOptions),
    /// Use a shell in a machine: on a terminal, or fed by a pipe.
    Shell(ShellOptions),
    /// Boot the same machine under many seeds, until one fails.
    Explore(ExploreOptions),
    /// Measure what the kernel's operations cost, in virtual and in wall time; takes some minutes.
    Bench(BenchOptions),
    /// Run a workload on a simulated machine of up to 4096 CPUs.
    Sim(sim::SimOptions),
    /// Draw what happened on each CPU: from a trace, or by running a program.
    Timeline(TimelineOptions),
    /// List the machine configurations.
    Configs,
    /// List the balancers, and the orders on one CPU.
    Balancers,
    /// Write the skeleton of a balancer, and register it.
    NewBalancer(NewBalancerOptions),
    /// List the programs that can be run.
    Programs,
    /// Say what is installed, what is missing, and which accelerator will be used and why.
    Doctor,
    /// Boot a machine that waits for a debugger, and print the line to attach with.
    Gdb(GdbOptions),
    /// Make an image that boots by Limine, from BIOS and UEFI.
    Iso(IsoOptions),
    /// Lint what runs in the guest, with the guest's flags.
    Clippy,
}

#[derive(Debug, Args)]
struct RunOptions {
    #[command(flatten)]
    machine: MachineOptions,
    /// Also write the record of the run to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also write what happened on each CPU to this file, for ui.perfetto.dev; in the kernel's own format if the file's
    /// name ends in `.raw`.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Which events are traced.
    #[arg(long, value_name = "LEVEL", default_value_t, value_enum, requires = "trace")]
    trace_level: Level,
}

/// Each seed makes another interleaving, and in virtual time the same one again. What is printed of a run that fails is
/// its seed, the command that runs it again, and the hash of its trace, which that command prints too.
#[derive(Debug, Args)]
struct ExploreOptions {
    /// How many seeds to try.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    seeds: u64,
    /// The first one.
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    from: u64,
    /// Go on after a failure.
    #[arg(long)]
    keep_going: bool,
    /// In wall time instead of virtual time: CPUs run at once, and a seed does not make the same run again.
    #[arg(long, conflicts_with = "virtual_time")]
    wall: bool,
    #[command(flatten)]
    machine: MachineOptions,
}

impl ExploreOptions {
    /// The last seed to try.
    fn last(&self) -> u64 {
        self.from.saturating_add(self.seeds - 1)
    }
}

#[derive(Debug, Args)]
struct ShellOptions {
    /// Arguments for the shell come after `--`, such as `-- -c 'nproc; uname -a'`. Without `--timeout`, there is no limit.
    #[command(flatten)]
    machine: MachineOptions,
}

#[derive(Debug, Args)]
struct TimelineOptions {
    /// A trace in the kernel's own format. Without it, the program is run now.
    file: Option<PathBuf>,
    /// Draw from this time on, for example `12.5ms`; times count from the boot.
    #[arg(long, value_name = "TIME")]
    from: Option<Time>,
    /// Draw up to this time.
    #[arg(long, value_name = "TIME")]
    to: Option<Time>,
    /// How many lines to draw.
    #[arg(long, value_name = "N", default_value_t = 40)]
    rows: usize,
    /// How many characters a line may have; default: as many as the terminal shows.
    #[arg(long, value_name = "N")]
    width: Option<usize>,
    #[command(flatten)]
    machine: MachineOptions,
}

#[derive(Debug, Args)]
struct BenchOptions {
    /// Also write the figures to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// How often each machine is booted in wall time. From 6 on, the median of all boots there could be is between the
    /// lowest and the highest figure with 97 % confidence.
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..))]
    boots: u32,
}

#[derive(Debug, Args)]
struct NewBalancerOptions {
    /// Its name, such as `my_policy`.
    name: String,
    /// Another source tree than the one that `tine` was built from.
    #[arg(long, value_name = "DIR")]
    tree: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct GdbOptions {
    #[command(flatten)]
    machine: MachineOptions,
    /// The TCP port that QEMU listens on for the debugger.
    #[arg(long, default_value_t = 1234)]
    port: u16,
}

#[derive(Debug, Args)]
struct IsoOptions {
    /// The directory with Limine's binaries, of version 5 to 9.
    #[arg(long, value_name = "DIR")]
    limine: PathBuf,
    /// The image to write.
    #[arg(long, value_name = "FILE", default_value = "tine.iso")]
    output: PathBuf,
    #[command(flatten)]
    machine: MachineOptions,
}

/// What to boot.
#[derive(Clone, Debug, Default, Args)]
struct MachineOptions {
    /// A machine of qemu-configs/.
    #[arg(long, value_name = "NAME", default_value = machine::DEFAULT_CONFIG)]
    config: String,
    /// Number of CPUs.
    #[arg(long, value_name = "N")]
    smp: Option<u32>,
    /// Memory in MiB.
    #[arg(long, value_name = "MIB")]
    memory: Option<u32>,
    /// Timer ticks per second on each CPU, or `oneshot` for none.
    #[arg(long, value_name = "N|oneshot")]
    hz: Option<Tick>,
    /// The order of threads on one CPU.
    #[arg(long, value_name = "NAME")]
    order: Option<String>,
    /// The balancer between CPUs.
    #[arg(long, value_name = "NAME")]
    balancer: Option<String>,
    /// Seed of everything that is random; default: another one each time.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Seconds of real time after which the machine is ended.
    #[arg(long, value_name = "S")]
    timeout: Option<u32>,
    /// Let time count instructions: repeatable figures, but CPUs run in turn.
    #[arg(long = "virtual")]
    virtual_time: bool,
    /// More options for the kernel's command line.
    #[arg(long, value_name = "KERNEL OPTIONS", allow_hyphen_values = true)]
    append: Vec<String>,
    /// What runs the guest's instructions.
    #[arg(long)]
    accel: Option<Accel>,
    /// Build the kernel with its debug assertions.
    #[arg(long)]
    checked: bool,
    /// Build the kernel with policies that are wrong on purpose, named `planted_…`, to see how they are noticed.
    #[arg(long, conflicts_with = "checked")]
    planted: bool,
    /// Also give the guest a program of this host, with the libraries that it needs; or another file, or a directory. May be
    /// given several times.
    #[arg(long, value_name = "PROGRAM|PATH")]
    with: Vec<String>,
    /// Build the kernel without the scheduler's measures, to see what they cost.
    #[arg(long, conflicts_with_all = ["checked", "planted"])]
    unmeasured: bool,
    /// The program to run, and its arguments. Default: fork_spin_stress.
    #[arg(last = true, value_name = "PROGRAM ARGS")]
    program: Vec<String>,
}

/// Does what the command line says; the exit status is 0 only if all went well.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match interrupt::handle().and_then(|()| dispatch(cli)) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("tine: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(cli: Cli) -> Result<ExitCode> {
    let done = match cli.command {
        None => {
            let machine = MachineOptions { config: machine::DEFAULT_CONFIG.into(), ..Default::default() };
            run::run(&RunOptions { machine, json: None, trace: None, trace_level: Level::Sched })
        }
        Some(Command::Run(options)) => run::run(&options),
        Some(Command::Shell(options)) => return shell::shell(&options),
        Some(Command::Explore(options)) => explore::explore(&options),
        Some(Command::Bench(options)) => bench::bench(&options),
        Some(Command::Sim(options)) => sim::sim(&options),
        Some(Command::Timeline(options)) => timeline::timeline(&options),
        Some(Command::Configs) => lists::configs(),
        Some(Command::Balancers) => {
            lists::policies();
            Ok(())
        }
        Some(Command::NewBalancer(options)) => new_balancer::new_balancer(&options),
        Some(Command::Programs) => lists::programs(),
        Some(Command::Doctor) => doctor::doctor(),
        Some(Command::Gdb(options)) => gdb::gdb(&options),
        Some(Command::Iso(options)) => iso::iso(&options),
        Some(Command::Clippy) => clippy::clippy(),
    };
    done.map(|()| ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_follows_two_dashes_belongs_to_the_program() {
        let cli =
            Cli::parse_from(["tine", "run", "--hz", "oneshot", "--virtual", "--", "hello", "--verbose"]);
        let Some(Command::Run(options)) = cli.command else { panic!("run") };
        assert_eq!(options.machine.hz, Some(Tick::OneShot));
        assert_eq!(options.machine.program, ["hello", "--verbose"]);
        assert!(Cli::try_parse_from(["tine", "run", "--hz", "often"]).is_err());
    }

    #[test]
    fn the_seeds_to_explore_are_counted_from_the_first() {
        let cli = Cli::parse_from(["tine", "explore", "--from", "5", "--seeds", "3", "--", "hello"]);
        let Some(Command::Explore(options)) = cli.command else { panic!("explore") };
        assert_eq!((options.from, options.last()), (5, 7));
        assert!(Cli::try_parse_from(["tine", "explore", "--seeds", "0"]).is_err());
    }
}
