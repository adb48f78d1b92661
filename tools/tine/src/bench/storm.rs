//! What it costs to measure and to trace: the time of `message_storm` with and without.

use super::figure::{Estimate, Figure, MEASURE_COST, TRACE_COST};
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

/// Adds both costs, each in percent of the time without. The three boots of a round have one seed and follow each other,
/// every other time in reverse order.
pub fn costs(group: &mut Group, machine: &Machine, boots: u32) -> Result<(), Failure> {
    let machine = machine.clone().program(PROGRAM).args(ARGUMENTS);
    let (mut measuring, mut tracing) = (Vec::new(), Vec::new());
    for round in 1..=boots {
        let machine = machine.clone().seed(round.into());
        let mut variants = [
            (machine.clone().unmeasured(), "not measured"),
            (machine.clone(), "as always"),
            (machine.trace(Level::Sched), "traced"),
        ];
        let reversed = round % 2 == 0;
        if reversed {
            variants.reverse();
        }
        let mut times = Vec::new();
        for (machine, how) in variants {
            let time = group.time.word();
            let outcome = boot(&machine, &format!("{PROGRAM} in {time} time, {how}, {round} of {boots}"))?;
            group.reproduce.push(outcome.record.reproduce.clone());
            times.push(elapsed(&outcome)?);
        }
        if reversed {
            times.reverse();
        }
        measuring.push(percent_more(times[1], times[0]));
        tracing.push(percent_more(times[2], times[1]));
    }
    for (name, costs) in [(MEASURE_COST, measuring), (TRACE_COST, tracing)] {
        group.figures.extend(Estimate::of(costs).and_then(|estimate| Figure::new(name, estimate, boots)));
    }
    Ok(())
}

fn percent_more(with: f64, without: f64) -> f64 {
    100.0 * (with / without - 1.0)
}

fn elapsed(outcome: &Outcome) -> Result<f64, Failure> {
    let lines = outcome.record.results().filter_map(|line| serde_json::from_value::<Line>(line).ok());
    let mut lines = lines.filter(|line| line.program == PROGRAM);
    lines
        .next()
        .map(|line| line.elapsed_ns)
        .ok_or_else(|| outcome.failure(vec!["its figures are missing".into()]))
}
