//! What it costs to trace: the time of `message_storm` with and without.

use super::figure::{Estimate, Figure};
use super::{Group, boot};
use crate::machine::{Failure, Machine, Outcome};
use crate::trace::Level;
use serde::Deserialize;

const PROGRAM: &str = "message_storm";
/// Messages enough to fill the pipes many times, so that senders and receivers wait for each other.
const ARGUMENTS: [&str; 6] = ["--groups", "4", "--pairs", "5", "--loops", "1000"];

/// The line that the program writes to `/dev/results`.
#[derive(Deserialize)]
struct Line {
    program: String,
    elapsed_ns: f64,
}

/// Adds the cost in percent of the time without. Each pair has one seed and is booted in a row, every other one in
/// reverse order.
pub fn tracing(group: &mut Group, machine: &Machine, boots: u32) -> Result<(), Failure> {
    let machine = machine.clone().program(PROGRAM).args(ARGUMENTS);
    let mut costs = Vec::new();
    for round in 1..=boots {
        let machine = machine.clone().seed(round.into());
        let time = group.time.word();
        let mut run = |machine: Machine, how: &str| {
            let outcome = boot(&machine, &format!("{PROGRAM} in {time} time, {how}, {round} of {boots}"))?;
            group.reproduce.push(outcome.record.reproduce.clone());
            elapsed(&outcome)
        };
        let (plain, traced) = (machine.clone(), machine.trace(Level::Sched));
        let (without, with) = if round % 2 == 1 {
            let without = run(plain, "not traced")?;
            (without, run(traced, "traced")?)
        } else {
            let with = run(traced, "traced")?;
            (run(plain, "not traced")?, with)
        };
        costs.push(100.0 * (with / without - 1.0));
    }
    group.figures.extend(Estimate::of(costs).and_then(|estimate| Figure::new("trace_cost", estimate, boots)));
    Ok(())
}

fn elapsed(outcome: &Outcome) -> Result<f64, Failure> {
    let lines = outcome.record.results().filter_map(|line| serde_json::from_value::<Line>(line).ok());
    let mut lines = lines.filter(|line| line.program == PROGRAM);
    lines
        .next()
        .map(|line| line.elapsed_ns)
        .ok_or_else(|| outcome.failure(vec!["its figures are missing".into()]))
}
