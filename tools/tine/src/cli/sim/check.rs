//! The shipped workloads on machines and in the simulator, as a page of the docs.

use super::compare::{Row, rows, same};
use super::options::SimOptions;
use super::run;
use crate::cli::run::shown;
use crate::machine::{DEFAULT_CONFIG, Machine};
use anyhow::Result;

/// The programs that the simulator knows, with options that make each run long enough to be measured.
const PROGRAMS: [(&str, &[&str]); 2] = [("fork_spin_stress", &[]), ("message_storm", &["--loops", "400"])];

const CPUS: [u32; 2] = [1, 4];

/// The page up to the first table.
const HEAD: &str = "# The simulator against machines

What

    cargo run -- sim --check-against-machines > docs/simulator-check.md

prints. Each program runs on a machine in virtual time, one boot with the seed given, and in the simulator with the costs of
`tools/sim/calibration.toml`. The difference is how much more the simulator's figure is than the machine's; it says little
where a figure is some microseconds.

In virtual time the CPUs of a machine run in turn. So each of four simulated ones is four times slower; but a machine's CPU has
the time of those that idle, and waits for the turns of the others, which the simulator does not know.
";

/// Runs each program on machines, simulates the same, and prints the differences.
pub fn check(options: &SimOptions) -> Result<()> {
    let mut page = HEAD.to_owned();
    for (program, arguments) in PROGRAMS {
        for cpus in CPUS {
            let machine = options.choose(Machine::named(DEFAULT_CONFIG)).smp(cpus).virtual_time();
            let outcome = machine.program(program).args(arguments.iter().copied()).run().map_err(shown)?;
            outcome.check().map_err(shown)?;
            let setup = same(&outcome.record, options)?;
            let run = run(&setup, None)?;
            let title = format!(
                "`{}`, {cpus} {}, {}, {}, seed {}",
                [&[program], arguments].concat().join(" "),
                if cpus == 1 { "CPU" } else { "CPUs" },
                setup.scheduler.order.name,
                setup.scheduler.balancer.name,
                outcome.record.seed
            );
            page += &section(&title, &rows(&outcome.record, &setup, &run)?);
        }
    }
    print!("{page}");
    Ok(())
}

fn section(title: &str, rows: &[Row]) -> String {
    let mut text =
        format!("\n## {title}\n\n| figure | machine | simulator | difference |\n|---|--:|--:|--:|\n");
    for row in rows {
        let [machine, simulator, difference] = row.cells();
        text += &format!("| {} | {machine} | {simulator} | {difference} |\n", row.name);
    }
    text
}
