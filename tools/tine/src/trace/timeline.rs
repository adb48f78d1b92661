//! A trace in the terminal: a column for each CPU, time downwards.

use super::labels::Labels;
use super::replay::{Change, Replay, replay};
use anyhow::{Result, bail, ensure};
use formats::trace::{Event, Moved, Trace};
use formats::{CpuId, ThreadId};
use std::fmt::{self, Write};
use std::ops::Range;
use std::str::FromStr;

/// A point in time, in nanoseconds since boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub u64);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} ms", self.0 as f64 / 1e6)
    }
}

impl FromStr for Time {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let scale = match unit {
            "s" => 1e9,
            "ms" => 1e6,
            "us" | "µs" => 1e3,
            "ns" => 1.0,
            _ => bail!("`{text}` is no time: it needs a unit, as in `12.5ms`; there are s, ms, us and ns"),
        };
        let number: f64 = match number.parse() {
            Ok(number) => number,
            Err(_) => bail!("`{text}` is no time: `{number}` is no number"),
        };
        Ok(Self((number * scale) as u64))
    }
}

/// What to draw, and how large.
#[derive(Clone, Copy, Debug)]
pub struct View {
    pub from: Option<Time>,
    pub to: Option<Time>,
    /// Lines, each for an equal part of the time.
    pub rows: usize,
    /// Characters in a line.
    pub width: usize,
}

/// The characters that the time takes, and the mark of a violation after it.
const MARGIN: usize = 16;
/// Narrower columns show one character for each thread, without a blank between them.
const NARROW: usize = 4;
/// Wider columns would be blank for the most part.
const WIDE: usize = 26;

const LEGEND: &str = "\
+ begins to run   * first run   < moved here   | goes on   . idle   ~ several in turn   ! a CPU idles while a thread waits";

/// What a CPU did in the time of one line.
#[derive(Clone, Debug, Default)]
struct Cell {
    /// The thread that ran longest, and for how long.
    longest: Option<(ThreadId, u64)>,
    begun: usize,
    first_run: bool,
    moved: bool,
}

struct Runs {
    since: u64,
    thread: ThreadId,
}

struct Canvas {
    times: Range<u64>,
    rows: usize,
    cells: Vec<Vec<Cell>>,
    violated: Vec<bool>,
    running: Vec<Option<Runs>>,
    violation: Option<u64>,
    arrived: Vec<ThreadId>,
}

/// The picture as text.
///
/// # Errors
/// When there is nothing to draw in that time.
pub fn draw(trace: &Trace, view: &View) -> Result<String> {
    let whole = replay(trace, |_, _| {});
    let begin = first_switch(trace).unwrap_or(whole.begin).max(whole.begin);
    let (from, to) = (view.from.map_or(begin, |it| it.0), view.to.map_or(whole.end, |it| it.0));
    ensure!(whole.begin < whole.end, "the trace has no events");
    ensure!(
        from < to && from < whole.end && to > whole.begin,
        "there is nothing between {} and {}: the trace goes from {} to {}",
        Time(from),
        Time(to),
        Time(whole.begin),
        Time(whole.end)
    );
    let mut canvas = Canvas::new(from..to, view.rows.max(1), trace.tracks.len());
    let replayed = replay(trace, |time, change| canvas.take(time.as_ticks(), change));
    canvas.end(replayed.end);
    Ok(canvas.text(&Labels::of(trace), view.width, &replayed))
}

/// Before the first thread runs, there is only the boot.
fn first_switch(trace: &Trace) -> Option<u64> {
    let switches = trace.tracks.iter().flat_map(|track| &track.events);
    let switches = switches.filter(|(_, event)| matches!(event, Event::Switch { .. }));
    switches.map(|(time, _)| time.as_ticks()).min()
}

impl Canvas {
    fn new(times: Range<u64>, rows: usize, cpus: usize) -> Self {
        Self {
            times,
            rows,
            cells: vec![vec![Cell::default(); cpus]; rows],
            violated: vec![false; rows],
            running: (0..cpus).map(|_| None).collect(),
            violation: None,
            arrived: Vec::new(),
        }
    }

    /// The line of `time`, which is in the picture.
    fn row(&self, time: u64) -> Option<usize> {
        let span = u128::from(self.times.end - self.times.start);
        let offset = u128::from(time.checked_sub(self.times.start)?);
        let row = (offset * self.rows as u128 / span) as usize;
        (time < self.times.end).then_some(row)
    }

    fn begin_of(&self, row: usize) -> u64 {
        let span = u128::from(self.times.end - self.times.start);
        self.times.start + (span * row as u128 / self.rows as u128) as u64
    }

    /// The lines that a span of time touches, and how much of it is in each.
    fn spread(&self, from: u64, to: u64) -> impl Iterator<Item = (usize, u64)> + use<> {
        let (from, to) = (from.max(self.times.start), to.min(self.times.end));
        let rows = match (from < to).then(|| self.row(from).zip(self.row(to - 1))).flatten() {
            Some((first, last)) => first..last + 1,
            None => 0..0,
        };
        let bounds: Vec<_> = rows.clone().map(|row| (self.begin_of(row), self.begin_of(row + 1))).collect();
        rows.zip(bounds).map(move |(row, (begin, end))| (row, to.min(end).saturating_sub(from.max(begin))))
    }

    fn take(&mut self, time: u64, change: Change) {
        match change {
            Change::Runs { cpu, thread, .. } => {
                self.running[cpu.index()] = Some(Runs { since: time, thread });
                let moved = self.arrived.iter().position(|it| *it == thread);
                let moved = moved.map(|index| self.arrived.swap_remove(index)).is_some();
                if let Some(row) = self.row(time) {
                    let cell = &mut self.cells[row][cpu.index()];
                    cell.begun += 1;
                    cell.moved |= moved;
                }
            }
            Change::Stops { cpu, .. } => self.stop(cpu, time),
            Change::ViolationBegins { .. } => self.violation = Some(time),
            Change::ViolationEnds => self.end_violation(time),
            Change::Event { cpu, event: Event::FirstRun { .. }, .. } => {
                if let Some(row) = self.row(time) {
                    self.cells[row][cpu.index()].first_run = true;
                }
            }
            Change::Event { event: Event::Migrate { thread, why, .. }, .. }
                if !matches!(why, Moved::Fork | Moved::Wake) =>
            {
                self.arrived.push(*thread);
            }
            Change::Event { .. } | Change::Waits { .. } | Change::Leaves { .. } | Change::Queue { .. } => {}
        }
    }

    fn stop(&mut self, cpu: CpuId, time: u64) {
        let Some(Runs { since, thread }) = self.running[cpu.index()].take() else { return };
        for (row, share) in self.spread(since, time) {
            let cell = &mut self.cells[row][cpu.index()];
            if cell.longest.is_none_or(|(_, longest)| share > longest) {
                cell.longest = Some((thread, share));
            }
        }
    }

    fn end_violation(&mut self, time: u64) {
        let Some(since) = self.violation.take() else { return };
        for (row, _) in self.spread(since, time) {
            self.violated[row] = true;
        }
    }

    fn end(&mut self, time: u64) {
        for cpu in CpuId::first(self.running.len()) {
            self.stop(cpu, time);
        }
        self.end_violation(time);
    }

    fn text(&self, labels: &Labels, width: usize, replayed: &Replay) -> String {
        let cpus = self.running.len();
        let room = width.saturating_sub(MARGIN).max(1);
        let column = (room / cpus.max(1)).clamp(1, WIDE);
        let column = if column < NARROW { 1 } else { column };
        let shown = cpus.min(room / column);
        let mut text = String::new();
        let title = |cpu: usize| match column {
            1 => (cpu % 10).to_string(),
            _ => fit(&CpuId(cpu as u32).to_string(), column - 1),
        };
        line(&mut text, "", false, column, (0..shown).map(title));
        for (row, cells) in self.cells.iter().enumerate() {
            let cells = cells[..shown].iter().map(|cell| cell.text(labels, column));
            let time = format!("{:.3}", self.begin_of(row) as f64 / 1e6);
            line(&mut text, &time, self.violated[row], column, cells);
        }
        let span = (self.times.end - self.times.start) as f64 / self.rows as f64;
        let _ = writeln!(text, "\nTimes in ms since boot; a line is {:.3} ms.\n{LEGEND}", span / 1e6);
        let _ = writeln!(
            text,
            "Work was not conserved {} times, {:.3} ms in all.",
            replayed.violations,
            replayed.violation_ns as f64 / 1e6
        );
        if let Some(first) = replayed.problems.first() {
            let count = replayed.problems.len();
            let _ = writeln!(text, "The trace contradicts itself {count} times; first: {first}.");
        }
        if shown < cpus {
            let _ = writeln!(text, "{} more CPUs do not fit in this width.", cpus - shown);
        }
        text
    }
}

fn line(text: &mut String, time: &str, violated: bool, column: usize, cells: impl Iterator<Item = String>) {
    let mut line = format!("{time:>12} {}  ", if violated { '!' } else { ' ' });
    for cell in cells {
        let _ = write!(line, "{cell:<column$}");
    }
    let _ = writeln!(text, "{}", line.trim_end());
}

/// `text`, cut off at `width` characters.
fn fit(text: &str, width: usize) -> String {
    text.chars().take(width).collect()
}

impl Cell {
    fn mark(&self) -> char {
        match self {
            Self { first_run: true, .. } => '*',
            Self { moved: true, .. } => '<',
            Self { begun: 2.., .. } => '~',
            Self { begun: 1, .. } => '+',
            Self { longest: Some(_), .. } => '|',
            Self { .. } => '.',
        }
    }

    fn text(&self, labels: &Labels, column: usize) -> String {
        let mark = self.mark();
        let Some((thread, _)) = self.longest.filter(|_| column > 1) else { return mark.to_string() };
        // The number tells threads apart, so it is the name that is cut off.
        let number = thread.0.to_string();
        let room = (column - 1).saturating_sub(number.len() + 3);
        let name = fit(labels.name(thread), room);
        let blank = if name.is_empty() { "" } else { " " };
        fit(&format!("{mark} {name}{blank}{number}"), column - 1)
    }
}
