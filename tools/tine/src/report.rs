//! The record of a run as tables for people.

use crate::figures::{Cpu, Delay, Latency, Spin, latency, merged};
use crate::record::Record;
use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};
use formats::record::{Migrations, Scheduler};
use syscalls::x86_64::Sysno;

/// A line under the header, and nothing else that is not content.
const STYLE: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// Wider content is wrapped.
const WIDTH: u16 = 120;

/// The whole report: where the figures are from, a row per CPU, and how well the work was spread.
pub fn report(record: &Record) -> String {
    let mut text = header(record);
    if !record.figures.cpus.is_empty() {
        text += &format!("{}\n\n", cpu_table(&record.figures.cpus, record.figures.spin.is_some()).trim_fmt());
    }
    if let Some(scheduler) = record.scheduler() {
        text += &scheduler_lines(scheduler);
    }
    if let Some(spin) = &record.figures.spin {
        text += &format!("{}\n", spin_lines(spin, record.time.word(), &at_once(record)).trim_fmt());
    }
    let unknown = record.unknown_system_calls().iter().map(|(call, count)| system_call(*call, *count));
    let unknown: Vec<String> = unknown.collect();
    if !unknown.is_empty() {
        text += &format!("System calls that Tine does not have: {}\n", unknown.join(", "));
    }
    text
}

fn system_call(number: u64, count: u64) -> String {
    let name =
        Sysno::new(number as usize).map_or_else(|| format!("number {number}"), |call| call.name().to_owned());
    match count {
        1 => name,
        _ => format!("{name} ({count} times)"),
    }
}

fn header(record: &Record) -> String {
    let boots = if record.boots == 1 { "1 boot".to_owned() } else { format!("{} boots", record.boots) };
    let mut text = format!(
        "{}: {} time, {}, {boots}, {} CPUs, {} Hz, {}, {}, seed {}\n",
        record.program,
        record.time.word(),
        record.accelerator.accelerator,
        record.machine.cpus,
        record.machine.hz,
        record.machine.order,
        record.machine.balancer,
        record.seed
    );
    if let Some(boot) = record.boot().filter(|boot| !boot.dead_cpus.is_empty()) {
        text += &format!("CPUs that did not start, by APIC id: {:?}\n", boot.dead_cpus);
    }
    text
}

/// A row per CPU.
pub fn cpu_table(cpus: &[Cpu], with_operations: bool) -> Table {
    let mut table = table();
    let work: &[&str] = if with_operations { &["operations/s", "share"] } else { &[] };
    let rest = ["busy", "switches", "migr. in", "out", "steals", "first run p50", "p99", "max"];
    table.set_header(["CPU"].iter().chain(work).chain(&rest));
    for cpu in cpus {
        let mut row = vec![cpu.cpu.to_string()];
        if with_operations {
            row.push(cpu.ops_per_s.map_or("-".into(), count));
            row.push(cpu.share.map_or("-".into(), percent));
        }
        row.push(percent(cpu.utilisation));
        row.extend(
            [cpu.switches, cpu.migrations_in, cpu.migrations_out, cpu.steals].map(|it| it.to_string()),
        );
        let shown = |latency: Option<Latency>, of: fn(&Latency) -> u64| {
            latency.map_or_else(|| "-".to_owned(), |latency| time(of(&latency)))
        };
        row.extend([
            shown(cpu.first_run, |it| it.p50_ns),
            shown(cpu.first_run, |it| it.p99_ns),
            shown(cpu.first_run, |it| it.max_ns),
        ]);
        table.add_row(row);
    }
    align_right(&mut table);
    table
}

/// A delay on all CPUs together.
fn delay(scheduler: &Scheduler, what: &str, of: Delay) -> Option<String> {
    let Latency { p50_ns, p99_ns, max_ns } = latency(&merged(&scheduler.cpus, of))?;
    Some(format!("{what} p50 {}, p99 {}, max {}", time(p50_ns), time(p99_ns), time(max_ns)))
}

/// Delays, migrations by cause, violations of work conservation, and changes of the policies, each if there were any.
fn scheduler_lines(scheduler: &Scheduler) -> String {
    let by =
        |cause: fn(&Migrations) -> u64| scheduler.cpus.iter().map(|cpu| cause(&cpu.migrations)).sum::<u64>();
    let causes = [
        ("fork", by(|it| it.fork)),
        ("exec", by(|it| it.exec)),
        ("wake", by(|it| it.wake)),
        ("steal", by(|it| it.steal)),
        ("pull", by(|it| it.pull)),
        ("push", by(|it| it.push)),
        ("affinity", by(|it| it.affinity)),
        ("offline", by(|it| it.offline)),
    ];
    let causes = causes.into_iter().filter(|(_, count)| *count > 0);
    let causes: Vec<String> = causes.map(|(cause, count)| format!("{cause} {count}")).collect();
    let mut text = String::new();
    let delays = [
        delay(scheduler, "Run delay", |cpu| &cpu.run_delay_ns),
        delay(scheduler, "Wake-up latency", |cpu| &cpu.wake_latency_ns),
    ];
    for line in delays.into_iter().flatten() {
        text += &format!("{line}\n");
    }
    if !causes.is_empty() {
        text += &format!("Migrations: {}\n", causes.join(", "));
    }
    if scheduler.violations > 0 {
        text += &format!(
            "A thread waited while a CPU idled: {} times, {} in all, {} at most\n",
            scheduler.violations,
            time(scheduler.violation_ns),
            time(scheduler.longest_violation_ns)
        );
    }
    let swaps = &scheduler.swaps;
    if swaps.orders + swaps.balancers > 0 {
        let percentile = |percent| time(swaps.pause_ns.percentile(percent).unwrap_or(0));
        text += &format!(
            "Changes: {} of the order (a queue was locked for {} p50, {} p99), {} of the balancer\n",
            swaps.orders,
            percentile(50.0),
            percentile(99.0),
            swaps.balancers
        );
    }
    if text.is_empty() { text } else { text + "\n" }
}

/// Where the number of CPUs that run at once is from.
fn at_once(record: &Record) -> String {
    match (record.time, record.host.parallelism) {
        (crate::record::Time::Virtual, _) => "the CPUs run in turn".to_owned(),
        (_, Some(_)) => format!("measured, host has {} processors", record.host.processors),
        (_, None) => format!("not measured, host has {} processors", record.host.processors),
    }
}

/// How fast and how fairly `fork_spin_stress` ran, in which `kind` of time.
pub fn spin_lines(spin: &Spin, kind: &str, at_once: &str) -> Table {
    let mut table = table();
    table.add_row(["total".to_owned(), format!("{} operations/s ({kind})", count(spin.total_ops_per_s))]);
    table.add_row(["one child alone".to_owned(), format!("{} operations/s", count(spin.solo_ops_per_s))]);
    table.add_row(["speed-up over one CPU".to_owned(), format!("{:.2}", spin.speed_up)]);
    table.add_row([
        "of the bound".to_owned(),
        format!("{:.1} % of {:.2} CPUs at once ({at_once})", spin.percent_of_bound, spin.parallelism),
    ]);
    table.add_row([
        "Jain's index, children".to_owned(),
        format!("{:.4} ({} children)", spin.jain, spin.children),
    ]);
    table
}

/// A table in the one style of all tables.
pub fn table() -> Table {
    let mut table = Table::new();
    table.load_style(STYLE).set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH);
    table
}

/// Aligns all columns but the first to the right.
pub fn align_right(table: &mut Table) {
    table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
}

/// A part of the whole, 0 to 1.
pub fn percent(part: f64) -> String {
    format!("{:.1} %", 100.0 * part)
}

/// Three significant digits and a unit of a thousand, a million or a billion.
pub fn count(value: f64) -> String {
    let (scaled, unit) = match value {
        1e9.. => (value / 1e9, " G"),
        1e6.. => (value / 1e6, " M"),
        1e3.. => (value / 1e3, " k"),
        _ => (value, ""),
    };
    format!("{}{unit}", three_digits(scaled))
}

/// Three significant digits and a unit.
pub fn time(ns: u64) -> String {
    let value = ns as f64;
    let (scaled, unit) = match value {
        1e9.. => (value / 1e9, "s"),
        1e6.. => (value / 1e6, "ms"),
        1e3.. => (value / 1e3, "µs"),
        _ => return format!("{ns} ns"),
    };
    format!("{} {unit}", three_digits(scaled))
}

fn three_digits(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::tests::record;

    #[test]
    fn quantities_have_three_digits_and_a_unit() {
        let times = [999, 1_000, 12_345, 123_456_789, 2_000_000_000].map(time);
        assert_eq!(times, ["999 ns", "1.00 µs", "12.3 µs", "123 ms", "2.00 s"]);
        assert_eq!([0.0, 999.0, 45_600.0, 1.5e9].map(count), ["0.00", "999", "45.6 k", "1.50 G"]);
    }

    #[test]
    fn system_calls_have_their_names() {
        assert_eq!(system_call(334, 1), "rseq");
        assert_eq!(system_call(9_999, 3), "number 9999 (3 times)");
    }

    #[test]
    fn the_report_has_a_row_per_cpu_and_says_what_kind_of_figures_these_are() {
        let text = report(&record());
        let row = |cpu: &str| text.lines().find(|line| line.trim().starts_with(cpu));
        let cells = |line: &str| line.split("  ").filter(|cell| !cell.trim().is_empty()).count();
        let header = row("CPU").expect("a header");
        assert_eq!(cells(header), 11, "{header}");
        assert_eq!(cells(row("0").expect("CPU 0")), 11, "{text}");
        assert_eq!(cells(row("1").expect("CPU 1")), 11, "{text}");
        let first = text.lines().next().unwrap_or_default();
        for part in ["wall time", "emulation, a thread per CPU", "1 boot", "seed 7"] {
            assert!(first.contains(part), "{first}");
        }
        for part in ["75.0 % of 2.00 CPUs", "speed-up over one CPU", "1.50", "Jain's index"] {
            assert!(text.contains(part), "`{part}` is not in:\n{text}");
        }
    }
}
