//! The fixed set of measurements: what single operations cost, how large the kernel is, what ticks cost.
//!
//! Boots the machines one after the other and judges the figures by [`KNOWN`]. Figures of virtual and of wall time are
//! kept apart from the first boot to the last table. It is no test: a figure beyond its limit is shown as such.

use crate::machine::{DEFAULT_CONFIG, Failure, Machine, Outcome, machine};
use crate::record::{Record, SCHEMA, Time, Versions};
use crate::report;
use crate::ui::Ui;
use serde::{Deserialize, Serialize};
use std::time::Duration;

const MICRO_PROGRAM: &str = "micro_bench";
const CPUS: u32 = 4;
const SLOW_HZ: u32 = 10;
const FAST_HZ: u32 = 1000;
/// A machine that counts instructions runs a tenth as fast as the others.
const TIMEOUT: Duration = Duration::from_secs(600);

/// What is known about a figure before it is measured.
struct Known {
    name: &'static str,
    /// For the table.
    what: &'static str,
    unit: Unit,
    limit: Option<Limit>,
    /// In the figure's unit.
    linux: Option<f64>,
}

/// All figures, in the order of the tables; names of operations are those of `micro_bench`. The limits are the goals that
/// the kernel was built to ("speed and size to reach", issue 2). Linux is 6.12, Debian's cloud kernel, with 4 CPUs and in
/// virtual time, which is the only kind of time that it is compared in.
const KNOWN: &[Known] = &[
    operation("getppid", "getppid", Some(300.0), Some(650.0)),
    operation("sched_yield", "sched_yield", Some(600.0), Some(1_700.0)),
    operation("page_first_touch", "first touch of a page", Some(5_000.0), Some(14_900.0)),
    operation("fork_exit_wait", "fork, exit, wait", Some(280_000.0), Some(1_142_000.0)),
    operation("vfork_exec_wait", "vfork, exec, wait", Some(580_000.0), Some(2_317_000.0)),
    operation("pipe_round_trip", "pipe round trip", None, Some(60_000.0)),
    operation("context_switch_pipe", "pipe round trip, one CPU", None, None),
    operation("thread_create_join", "thread create, join", None, None),
    operation("futex_ping_pong", "futex round trip, one CPU", None, None),
    operation("boot", "kernel entry to first user instruction", Some(50e6), None),
    Known {
        name: "kernel_memory",
        what: "kernel and its tables after boot",
        unit: Unit::Bytes,
        limit: Some(Limit::AtMost(8.0 * MIB)),
        linux: None,
    },
    Known {
        name: "spin_of_bound",
        what: "fork_spin_stress, part of the bound",
        unit: Unit::Percent,
        limit: Some(Limit::AtLeast(95.0)),
        linux: None,
    },
    Known {
        name: "tick_cost",
        what: "throughput that 1000 Hz costs against 10 Hz",
        unit: Unit::Percent,
        limit: Some(Limit::AtMost(2.0)),
        linux: None,
    },
];

const MIB: f64 = (1 << 20) as f64;

/// Something that takes time, in nanoseconds.
const fn operation(
    name: &'static str,
    what: &'static str,
    at_most: Option<f64>,
    linux: Option<f64>,
) -> Known {
    let limit = match at_most {
        Some(ns) => Some(Limit::AtMost(ns)),
        None => None,
    };
    Known { name, what, unit: Unit::Nanoseconds, limit, linux }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Unit {
    Nanoseconds,
    Bytes,
    Percent,
}

impl Unit {
    fn shown(self, value: f64) -> String {
        match self {
            Self::Nanoseconds => report::time(value.round() as u64),
            Self::Bytes => format!("{:.2} MiB", value / MIB),
            Self::Percent => format!("{value:.2} %"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

impl Limit {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
        }
    }

    fn shown(self, unit: Unit) -> String {
        match self {
            Self::AtMost(limit) => format!("≤ {}", unit.shown(limit)),
            Self::AtLeast(limit) => format!("≥ {}", unit.shown(limit)),
        }
    }
}

/// A median and the range that it is from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Estimate {
    median: f64,
    lowest: f64,
    highest: f64,
}

impl Estimate {
    fn exactly(value: f64) -> Self {
        Self { median: value, lowest: value, highest: value }
    }

    /// `None` of no values.
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (lowest, highest) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = match values.len() % 2 {
            1 => values[middle],
            _ => (values[middle - 1] + values[middle]) / 2.0,
        };
        Some(Self { median, lowest, highest })
    }
}

/// One row.
#[derive(Clone, Debug, Serialize)]
struct Figure {
    name: &'static str,
    #[serde(skip)]
    what: &'static str,
    unit: Unit,
    #[serde(flatten)]
    estimate: Estimate,
    limit: Option<Limit>,
    met: Option<bool>,
    linux: Option<f64>,
    /// How many times as long Linux takes.
    linux_over_tine: Option<f64>,
    boots: u32,
}

impl Figure {
    fn new(name: &str, estimate: Estimate, boots: u32) -> Option<Self> {
        let known = KNOWN.iter().find(|known| known.name == name)?;
        Some(Self {
            name: known.name,
            what: known.what,
            unit: known.unit,
            estimate,
            limit: known.limit,
            met: known.limit.map(|limit| limit.is_met(estimate.median)),
            linux: known.linux,
            linux_over_tine: known.linux.map(|linux| linux / estimate.median),
            boots,
        })
    }

    fn row(&self) -> [String; 7] {
        let or_dash = |cell: Option<String>| cell.unwrap_or_else(|| "-".into());
        let Estimate { median, lowest, highest } = self.estimate;
        let verdict = |met| if met { "met" } else { "MISSED" };
        [
            self.what.to_owned(),
            self.unit.shown(median),
            match lowest < highest {
                true => format!("{} to {}", self.unit.shown(lowest), self.unit.shown(highest)),
                false => "-".into(),
            },
            or_dash(
                self.limit
                    .zip(self.met)
                    .map(|(limit, met)| format!("{} {}", limit.shown(self.unit), verdict(met))),
            ),
            or_dash(self.linux.map(|linux| self.unit.shown(linux))),
            or_dash(self.linux_over_tine.map(|ratio| format!("{ratio:.1}"))),
            self.boots.to_string(),
        ]
    }
}

/// Figures of one kind of time.
#[derive(Debug, Serialize)]
struct Group {
    time: Time,
    accelerator: String,
    cpus: u32,
    figures: Vec<Figure>,
    /// The commands that boot the machines again.
    reproduce: Vec<String>,
}

impl Group {
    fn of(first: &Record) -> Self {
        Self {
            time: first.time,
            accelerator: first.accelerator.accelerator.to_string(),
            cpus: first.machine.cpus,
            figures: Vec::new(),
            reproduce: Vec::new(),
        }
    }

    fn shown(&self) -> String {
        let mut table = report::table();
        table.set_header([
            "figure",
            "median",
            "lowest to highest",
            "limit",
            "Linux 6.12",
            "Linux/Tine",
            "boots",
        ]);
        table.add_rows(self.figures.iter().map(Figure::row));
        report::align_right(&mut table);
        let time = self.time.word();
        format!("In {time} time: {}, {} CPUs\n{}\n", self.accelerator, self.cpus, table.trim_fmt())
    }
}

/// All that was measured.
#[derive(Debug, Serialize)]
pub struct Bench {
    schema: u32,
    versions: Versions,
    groups: Vec<Group>,
}

impl Bench {
    /// A table per kind of time.
    pub fn tables(&self) -> String {
        self.groups.iter().map(Group::shown).collect::<Vec<_>>().join("\n")
    }
}

/// Boots everything there is to measure: in virtual time once, in wall time `boots` times. Fails with the first run that
/// does not pass.
pub fn measure(boots: u32) -> Result<Bench, Failure> {
    let basis = machine().smp(CPUS).timeout(TIMEOUT);
    basis.clone().program(MICRO_PROGRAM).live().prepare().map_err(Failure::before_start)?;
    let counted = basis.virtual_time().seed(1);
    let micro = boot(&counted.clone().program(MICRO_PROGRAM), "micro_bench in virtual time")?;
    let mut in_virtual = Group::of(&micro.record);
    in_virtual.reproduce.push(micro.record.reproduce.clone());
    in_virtual.figures = operations(&micro)?;
    spin(&mut in_virtual, &counted, 1)?;

    let default = Machine::named(DEFAULT_CONFIG).measure_host();
    let first = boot(&default.clone().seed(1), "fork_spin_stress in wall time, to warm up")?;
    let mut in_wall = Group::of(&first.record);
    spin(&mut in_wall, &default, boots)?;
    let versions = micro.record.versions;
    Ok(Bench { schema: SCHEMA, versions, groups: vec![in_virtual, in_wall] })
}

fn boot(machine: &Machine, what: &str) -> Result<Outcome, Failure> {
    let _busy = Ui::Talkative.long(what);
    let outcome = machine.run()?;
    outcome.check()?;
    Ok(outcome)
}

/// The line that `micro_bench` writes to `/dev/results`.
#[derive(Deserialize)]
struct MicroResult {
    program: String,
    figures: Vec<MicroFigure>,
}

#[derive(Deserialize)]
struct MicroFigure {
    name: String,
    median_ns: f64,
    min_ns: f64,
    max_ns: f64,
}

/// What one boot of `micro_bench` says.
fn operations(outcome: &Outcome) -> Result<Vec<Figure>, Failure> {
    let mut results =
        outcome.record.results().filter_map(|line| serde_json::from_value::<MicroResult>(line).ok());
    let (Some(result), Some(boot)) =
        (results.find(|result| result.program == MICRO_PROGRAM), outcome.record.boot())
    else {
        return Err(outcome.failure(vec!["its figures are missing".into()]));
    };
    let mut figures: Vec<Figure> = result.figures.iter().filter_map(micro_figure).collect();
    figures.extend(Figure::new("boot", Estimate::exactly(boot.boot_ns as f64), 1));
    figures.extend(Figure::new("kernel_memory", Estimate::exactly(boot.kernel_bytes as f64), 1));
    Ok(figures)
}

fn micro_figure(of: &MicroFigure) -> Option<Figure> {
    let estimate = Estimate { median: of.median_ns, lowest: of.min_ns, highest: of.max_ns };
    Figure::new(&of.name, estimate, 1)
}

/// Adds the figures of `fork_spin_stress`. Each pair of slow and fast ticks has one seed and is booted in a row, every
/// other one in reverse order, so that neither profits from a host that gets quicker or slower.
fn spin(group: &mut Group, machine: &Machine, boots: u32) -> Result<(), Failure> {
    let (mut of_bound, mut costs) = (Vec::new(), Vec::new());
    for round in 1..=boots {
        let machine = machine.clone().seed(round.into());
        let mut run = |machine: Machine, rate: &str| {
            let time = group.time.word();
            let outcome =
                boot(&machine, &format!("fork_spin_stress in {time} time, {rate}, {round} of {boots}"))?;
            group.reproduce.push(outcome.record.reproduce.clone());
            let spin = outcome.record.figures.spin.clone();
            spin.ok_or_else(|| outcome.failure(vec!["its figures are missing".into()]))
        };
        of_bound.push(run(machine.clone(), "usual ticks")?.percent_of_bound);
        let mut at = |hz| Ok(run(machine.clone().hz(hz), &format!("{hz} Hz"))?.total_ops_per_s);
        let (slow, fast) = if round % 2 == 1 {
            let slow = at(SLOW_HZ)?;
            (slow, at(FAST_HZ)?)
        } else {
            let fast = at(FAST_HZ)?;
            (at(SLOW_HZ)?, fast)
        };
        costs.push(cost_percent(slow, fast));
    }
    for (name, values) in [("spin_of_bound", of_bound), ("tick_cost", costs)] {
        group.figures.extend(Estimate::of(values).and_then(|estimate| Figure::new(name, estimate, boots)));
    }
    Ok(())
}

/// By how much `fast` ticks lower the throughput of `slow` ones; negative if they raise it.
fn cost_percent(slow: f64, fast: f64) -> f64 {
    100.0 * (1.0 - fast / slow)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle_of_an_odd_and_the_mean_of_an_even_number() {
        let odd = Estimate::of(vec![5.0, 1.0, 3.0]);
        assert_eq!(odd, Some(Estimate { median: 3.0, lowest: 1.0, highest: 5.0 }));
        assert_eq!(Estimate::of(vec![4.0, 1.0, 2.0, 9.0]).map(|it| it.median), Some(3.0));
        assert_eq!(Estimate::of(Vec::new()), None);
    }

    #[test]
    fn limits_are_met_up_to_and_including_themselves() {
        assert!(Limit::AtMost(2.0).is_met(2.0) && !Limit::AtMost(2.0).is_met(2.1));
        assert!(Limit::AtLeast(95.0).is_met(95.0) && !Limit::AtLeast(95.0).is_met(94.9));
    }

    #[test]
    fn a_tick_that_lowers_throughput_has_a_cost() {
        assert!((cost_percent(200.0, 196.0) - 2.0).abs() < 1e-9);
        assert!(cost_percent(100.0, 101.0) < 0.0);
    }

    #[test]
    fn a_row_judges_and_compares() {
        let estimate = Estimate { median: 571_000.0, lowest: 560_000.0, highest: 580_000.0 };
        let figure = Figure::new("fork_exit_wait", estimate, 1).expect("a known figure");
        assert_eq!(
            figure.row(),
            ["fork, exit, wait", "571 µs", "560 µs to 580 µs", "≤ 280 µs MISSED", "1.14 ms", "2.0", "1"]
        );
        let figure = Figure::new("spin_of_bound", Estimate::exactly(96.0), 6).expect("a known figure");
        assert_eq!(
            figure.row(),
            ["fork_spin_stress, part of the bound", "96.00 %", "-", "≥ 95.00 % met", "-", "-", "6"]
        );
    }

    #[test]
    fn a_figure_that_nobody_knows_has_no_row() {
        let stray = MicroFigure { name: "stray".into(), median_ns: 1.0, min_ns: 1.0, max_ns: 1.0 };
        assert!(micro_figure(&stray).is_none());
        let names = |name| KNOWN.iter().filter(|known| known.name == name).count();
        assert!(KNOWN.iter().all(|known| names(known.name) == 1));
    }
}
