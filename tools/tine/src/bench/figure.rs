//! What is measured, how it is judged, and how a row of the table shows it. Boots nothing.

use crate::report;
use serde::Serialize;

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
    operation(SWAP_PAUSE, "queue locked to change its order, p99", Some(100_000.0), None),
    operation("boot", "entry to first user instruction", Some(50e6), None),
    Known {
        name: "kernel_memory",
        what: "kernel and its tables",
        unit: Unit::Bytes,
        limit: Some(Limit::AtMost(8.0 * MIB)),
        linux: None,
    },
    Known {
        name: OF_BOUND,
        what: "spin stress, of the bound",
        unit: Unit::Percent,
        limit: Some(Limit::AtLeast(95.0)),
        linux: None,
    },
    Known {
        name: "tick_cost",
        what: "what 1000 Hz costs against 10",
        unit: Unit::Percent,
        limit: Some(Limit::AtMost(2.0)),
        linux: None,
    },
    Known {
        name: MEASURE_COST,
        what: "what the measures cost message_storm",
        unit: Unit::Percent,
        limit: Some(Limit::AtMost(1.0)),
        linux: None,
    },
    Known {
        name: TRACE_COST,
        what: "what tracing costs message_storm",
        unit: Unit::Percent,
        limit: Some(Limit::AtMost(5.0)),
        linux: None,
    },
];

pub const OF_BOUND: &str = "spin_of_bound";
pub const MEASURE_COST: &str = "measure_cost";
pub const TRACE_COST: &str = "trace_cost";
pub const SWAP_PAUSE: &str = "swap_pause";
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
pub enum Unit {
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
pub enum Limit {
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

    fn judge(self, estimate: Estimate) -> Verdict {
        match (self.is_met(estimate.lowest), self.is_met(estimate.highest)) {
            (true, true) => Verdict::Met,
            (false, false) => Verdict::Missed,
            _ => Verdict::Unclear,
        }
    }

    fn shown(self, unit: Unit) -> String {
        match self {
            Self::AtMost(limit) => format!("≤ {}", unit.shown(limit)),
            Self::AtLeast(limit) => format!("≥ {}", unit.shown(limit)),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Met,
    Missed,
    /// The limit is between the lowest and the highest value.
    Unclear,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::Missed => "MISSED",
            Self::Unclear => "unclear",
        }
    }
}

/// A median and the range that it is from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    pub median: f64,
    pub lowest: f64,
    pub highest: f64,
}

impl Estimate {
    pub fn exactly(value: f64) -> Self {
        Self { median: value, lowest: value, highest: value }
    }

    /// `None` of no values.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
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
pub struct Figure {
    name: &'static str,
    #[serde(skip)]
    what: &'static str,
    unit: Unit,
    #[serde(flatten)]
    estimate: Estimate,
    limit: Option<Limit>,
    verdict: Option<Verdict>,
    linux: Option<f64>,
    /// How many times as long Linux takes.
    linux_over_tine: Option<f64>,
    boots: u32,
}

impl Figure {
    pub fn new(name: &str, estimate: Estimate, boots: u32) -> Option<Self> {
        let known = KNOWN.iter().find(|known| known.name == name)?;
        Some(Self {
            name: known.name,
            what: known.what,
            unit: known.unit,
            estimate,
            limit: known.limit,
            verdict: known.limit.map(|limit| limit.judge(estimate)),
            linux: known.linux,
            linux_over_tine: known.linux.map(|linux| linux / estimate.median),
            boots,
        })
    }

    /// Whether some run did more than the host can.
    pub fn is_impossible(&self) -> bool {
        self.name == OF_BOUND && self.estimate.highest > 105.0
    }

    pub fn row(&self) -> [String; 7] {
        let or_dash = |cell: Option<String>| cell.unwrap_or_else(|| "-".into());
        let Estimate { median, lowest, highest } = self.estimate;
        [
            self.what.to_owned(),
            self.unit.shown(median),
            match lowest < highest {
                true => format!("{} to {}", self.unit.shown(lowest), self.unit.shown(highest)),
                false => "-".into(),
            },
            or_dash(
                self.limit
                    .zip(self.verdict)
                    .map(|(limit, verdict)| format!("{} {}", limit.shown(self.unit), verdict.word())),
            ),
            or_dash(self.linux.map(|linux| self.unit.shown(linux))),
            or_dash(self.linux_over_tine.map(|ratio| format!("{ratio:.1}"))),
            self.boots.to_string(),
        ]
    }
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
    fn a_limit_within_the_range_is_neither_met_nor_missed() {
        let estimate = Estimate { median: 3.0, lowest: 1.0, highest: 5.0 };
        let verdicts = [5.0, 4.0, 0.5].map(|limit| Limit::AtMost(limit).judge(estimate));
        assert_eq!(verdicts, [Verdict::Met, Verdict::Unclear, Verdict::Missed]);
        assert_eq!(Limit::AtLeast(2.0).judge(estimate), Verdict::Unclear);
    }

    #[test]
    fn a_row_judges_and_compares() {
        let estimate = Estimate { median: 571_000.0, lowest: 560_000.0, highest: 580_000.0 };
        let figure = Figure::new("fork_exit_wait", estimate, 1).expect("a known figure");
        assert_eq!(
            figure.row(),
            ["fork, exit, wait", "571 µs", "560 µs to 580 µs", "≤ 280 µs MISSED", "1.14 ms", "2.0", "1"]
        );
        let figure = Figure::new(OF_BOUND, Estimate::exactly(96.0), 6).expect("a known figure");
        assert_eq!(
            figure.row(),
            ["spin stress, of the bound", "96.00 %", "-", "≥ 95.00 % met", "-", "-", "6"]
        );
    }

    #[test]
    fn more_than_the_bound_is_called_impossible() {
        let of_bound = |highest| {
            let estimate = Estimate { median: 97.0, lowest: 95.0, highest };
            Figure::new(OF_BOUND, estimate, 6).expect("a known figure").is_impossible()
        };
        assert!(of_bound(130.0) && !of_bound(101.0));
    }

    #[test]
    fn each_figure_is_known_once_and_others_have_no_row() {
        assert!(Figure::new("stray", Estimate::exactly(1.0), 1).is_none());
        let names = |name| KNOWN.iter().filter(|known| known.name == name).count();
        assert!(KNOWN.iter().all(|known| names(known.name) == 1));
    }
}
