//! What the kernel tells of its scheduling in `/proc` can be read by programs, and the figures fit each other.
//!
//! `schedstat` is Linux's (`Documentation/scheduler/sched-stats.rst`), and there only if the kernel was built with it;
//! `/proc/tine` is Tine's. A check holds where its files are not there.

use anyhow::{Context, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;
use std::{fs, path::Path};
use userland::checks::{self, Outcome};
use userland::children::Child;
use userland::work::Chain;
use userland::{cpus, wait};

fn main() -> ExitCode {
    checks::run(
        "scheduler_figures",
        &[
            ("schedstat of a process has three figures, which do not fall", own_figures),
            ("schedstat of a thread is found by its number", figures_of_threads),
            ("schedstat of the machine has nine figures for each processor", machine_figures),
            ("the tables of /proc/tine/sched have a line for each processor, and fit each other", tables),
            ("sched.json has the figures of the tables, and they fit each other", json),
            ("each line of /proc/tine/threads fits itself", lines_of_threads),
            ("swaps and swaps.json say the same, and count a change", swaps),
            ("one order and one balancer are in force, and sched.json names them", settings),
            ("what is in use is counted", in_use),
        ],
    )
}

/// The text of a file; `None` where there is no such file.
fn read(path: &str) -> anyhow::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !must_be_there(path) => Ok(None),
        Err(error) => Err(error).context(path.to_owned()),
    }
}

fn must_be_there(path: &str) -> bool {
    is_tine() || Path::new(path).exists()
}

fn is_tine() -> bool {
    Path::new("/proc/tine").exists()
}

fn numbers(line: &str) -> anyhow::Result<Vec<u64>> {
    line.split_whitespace()
        .map(|word| word.parse().with_context(|| format!("{word:?} in {line:?}")))
        .collect()
}

/// Makes the caller run, and wait for its turn.
fn run_and_wait() {
    Chain::new(1).advance(100_000);
    thread::sleep(Duration::from_millis(2));
}

fn own_figures() -> Outcome {
    const PATH: &str = "/proc/self/schedstat";
    let Some(before) = read(PATH)? else { return Ok(()) };
    run_and_wait();
    let after = numbers(&fs::read_to_string(PATH)?)?;
    let before = numbers(&before)?;
    ensure!(before.len() == 3 && after.len() == 3, "{before:?}, then {after:?}");
    ensure!(before.iter().zip(&after).all(|(before, after)| before <= after), "{before:?}, then {after:?}");
    if is_tine() {
        ensure!(before[0] > 0 && before[0] < after[0], "it does not count time: {before:?}, then {after:?}");
        ensure!(before[2] > 0 && before[2] < after[2], "it does not count turns: {before:?}, then {after:?}");
    }
    Ok(())
}

fn figures_of_threads() -> Outcome {
    thread::spawn(|| {
        let path = format!("/proc/self/task/{}/schedstat", nix::unistd::gettid());
        run_and_wait();
        let Some(text) = read(&path)? else { return Ok(()) };
        let figures = numbers(&text)?;
        ensure!(figures.len() == 3, "{path} is {text:?}");
        ensure!(!is_tine() || figures[0] > 0 && figures[2] > 1, "{path} is {text:?}");
        Ok(())
    })
    .join()
    .expect("it does not panic")
}

fn machine_figures() -> Outcome {
    let Some(text) = read("/proc/schedstat")? else { return Ok(()) };
    let mut lines = text.lines();
    let version = lines.next().and_then(|line| line.strip_prefix("version ")).context("no version")?;
    let version: u32 = version.parse()?;
    let time = lines.next().and_then(|line| line.strip_prefix("timestamp ")).context("no timestamp")?;
    time.parse::<u64>()?;
    let mut count = 0;
    for line in lines.filter(|line| line.starts_with("cpu")) {
        let (name, figures) = line.split_once(' ').context("a processor without figures")?;
        let figures = numbers(figures)?;
        ensure!(figures.len() == 9, "{name} of version {version} has {figures:?}");
        if is_tine() {
            let [_, _, calls, to_idle, .., slices] = figures[..] else { unreachable!("there are nine") };
            ensure!(
                to_idle + slices == calls,
                "{name}: {calls} switches, {to_idle} to idle, {slices} to threads"
            );
        }
        count += 1;
    }
    ensure!(count >= cpus::allowed()?.len(), "{count} processors have figures");
    Ok(())
}

type Row = BTreeMap<String, String>;
type Table = Vec<Row>;

/// `/proc/tine/sched`: tables with a line of names above each, blank lines between them; then a name and a value on each line.
struct Shown {
    tables: Vec<Table>,
    values: Row,
}

fn shown() -> anyhow::Result<Option<Shown>> {
    let Some(text) = read("/proc/tine/sched")? else { return Ok(None) };
    let mut parts: Vec<&str> = text.split("\n\n").collect();
    let last = parts.pop().context("nothing")?;
    let tables: anyhow::Result<Vec<Table>> = parts.iter().map(|part| table(part)).collect();
    let pair = |line: &str| {
        let (name, value) = line.split_once(' ').with_context(|| format!("{line:?}"))?;
        Ok((name.to_owned(), value.to_owned()))
    };
    let values: anyhow::Result<_> = last.lines().map(pair).collect();
    Ok(Some(Shown { tables: tables?, values: values? }))
}

fn table(text: &str) -> anyhow::Result<Table> {
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().context("no names")?.split(' ').collect();
    let row = |line: &str| {
        let values: Vec<&str> = line.split(' ').collect();
        ensure!(values.len() == names.len(), "{} names, {} values: {line:?}", names.len(), values.len());
        Ok(names.iter().zip(values).map(|(name, value)| ((*name).to_owned(), value.to_owned())).collect())
    };
    lines.map(row).collect()
}

fn figure(row: &Row, name: &str) -> anyhow::Result<u64> {
    let value = row.get(name).with_context(|| format!("no {name} in {row:?}"))?;
    value.parse().with_context(|| format!("{name} is {value:?}"))
}

const CAUSES: [&str; 8] = ["fork", "exec", "wake", "steal", "pull", "push", "affinity", "offline"];

fn tables() -> Outcome {
    travel()?;
    let Some(Shown { tables, values }) = shown()? else { return Ok(()) };
    let [counts, causes, delays] = &tables[..] else { anyhow::bail!("{} tables", tables.len()) };
    let processors = counts.len();
    ensure!(processors >= cpus::allowed()?.len(), "{processors} processors have figures");
    ensure!(causes.len() == processors && delays.len() == 4 * processors, "a processor lacks figures");
    for (row, by_cause) in counts.iter().zip(causes) {
        let mut by_causes = 0;
        for cause in CAUSES {
            by_causes += figure(by_cause, cause)?;
        }
        let came = figure(row, "migrations_in")?;
        ensure!(came == by_causes, "{came} threads came to a processor, {by_causes} by their causes");
    }
    for row in delays {
        let (mean, most) = (figure(row, "mean_ns")?, figure(row, "max_ns")?);
        let (half, high) = (figure(row, "p50_ns")?, figure(row, "p99_ns")?);
        ensure!(mean <= most && half <= high && high <= most, "{row:?}");
        ensure!(figure(row, "count")? > 0 || most == 0, "{row:?}");
    }
    let jain: f64 = values.get("jain").context("no Jain's index")?.parse()?;
    ensure!(jain > 0.0 && jain <= 1.0, "Jain's index is {jain}");
    let imbalance: f64 = values.get("imbalance").context("no imbalance")?.parse()?;
    ensure!(imbalance >= 1.0 && imbalance <= processors as f64, "the imbalance is {imbalance}");
    let (all, longest) = (figure(&values, "violation_ns")?, figure(&values, "longest_violation_ns")?);
    ensure!(longest <= all, "the longest violation took {longest} ns, all {all}");
    Ok(())
}

/// Goes to each processor and back, and has a child somewhere: threads migrate for several reasons.
fn travel() -> Outcome {
    let all = cpus::allowed()?;
    for cpu in &all {
        cpus::pin_to(*cpu)?;
    }
    cpus::restrict(cpus::SELF, &all)?;
    Child::start(|| 0)?.expect_exit(0)
}

fn at(value: &Value, path: &str) -> anyhow::Result<u64> {
    value.pointer(path).and_then(Value::as_u64).with_context(|| format!("no figure {path}"))
}

fn parsed(path: &str) -> anyhow::Result<Option<Value>> {
    let Some(text) = read(path)? else { return Ok(None) };
    ensure!(text.ends_with('\n'), "{path} does not end with its line");
    Ok(Some(serde_json::from_str(&text).with_context(|| path.to_owned())?))
}

/// Each figure is read at a moment of its own: they fit each other when nothing else happens meanwhile.
fn json() -> Outcome {
    travel()?;
    let mut result = figures_fit();
    for _ in 0..100 {
        if result.is_ok() {
            break;
        }
        thread::sleep(Duration::from_millis(20));
        result = figures_fit();
    }
    result
}

fn figures_fit() -> Outcome {
    let Some(Shown { tables, .. }) = shown()? else { return Ok(()) };
    let value = parsed("/proc/tine/sched.json")?.context("no sched.json")?;
    let processors = value.pointer("/scheduler/cpus").and_then(Value::as_array).context("no processors")?;
    ensure!(processors.len() == tables[0].len(), "{} processors have figures", processors.len());
    let (mut came, mut left) = (0, 0);
    for (row, processor) in tables[0].iter().zip(processors) {
        for (name, before) in row {
            let (before, after) = (before.parse::<u64>()?, at(processor, &format!("/{name}"))?);
            ensure!(before <= after, "{name} was {before}, and then {after}");
        }
        let count = |path: &str| at(processor, path);
        let mut by_causes = 0;
        for cause in CAUSES {
            by_causes += count(&format!("/migrations/{cause}"))?;
        }
        ensure!(count("/migrations_in")? == by_causes, "migrations do not add up: {processor}");
        came += by_causes;
        left += count("/migrations_out")?;
        let (switches, turns) = (count("/switches")?, count("/run_delay_ns/count")?);
        ensure!(turns <= switches, "threads were given {turns} turns in {switches} switches");
        ensure!(count("/wake_latency_ns/count")? <= turns, "more threads were woken than ran: {processor}");
        ensure!(count("/preemptions")? <= switches, "more preemptions than switches: {processor}");
        let slices = count("/slice_ns/count")?;
        ensure!(slices <= turns && turns <= slices + 1, "{turns} turns began, {slices} ended");
        ensure!(
            count("/slice_ns/sum")? <= count("/busy_ns")?,
            "slices are longer than the time: {processor}"
        );
        ensure!(count("/steals")? <= count("/steal_attempts")?, "more was stolen than tried: {processor}");
        ensure!(count("/first_runs_delaying")? <= count("/first_runs")?, "{processor}");
        for histogram in ["run_delay_ns", "wake_latency_ns", "first_run_latency_ns", "slice_ns"] {
            let buckets = processor.pointer(&format!("/{histogram}/buckets")).and_then(Value::as_array);
            let counts = buckets.context("no buckets")?.iter().map(|bucket| at(bucket, "/1"));
            let sum = counts.sum::<anyhow::Result<u64>>()?;
            ensure!(sum == count(&format!("/{histogram}/count"))?, "{histogram} has {sum} in its buckets");
        }
    }
    ensure!(came == left, "{came} threads came to processors, {left} left some");
    Ok(())
}

fn lines_of_threads() -> Outcome {
    run_and_wait();
    let Some(text) = read("/proc/tine/threads")? else { return Ok(()) };
    let lines = table(text.trim_end())?;
    let own = std::process::id().to_string();
    let mine =
        lines.iter().find(|line| line.get("thread") == Some(&own)).context("it is not there itself")?;
    ensure!(mine.get("state").is_some_and(|state| state == "R"), "it does not run: {mine:?}");
    ensure!(mine.get("name").is_some_and(|name| "scheduler_figures".starts_with(name.as_str())), "{mine:?}");
    for line in &lines {
        let (turns, left) =
            (figure(line, "dispatches")?, figure(line, "voluntary")? + figure(line, "involuntary")?);
        ensure!(
            left <= turns && turns <= left + 1,
            "given a processor {turns} times, left it {left} times: {line:?}"
        );
        let delays = line.get("delays").context("no delays")?;
        let delays: Result<Vec<u64>, _> = delays.split(',').map(str::parse).collect();
        ensure!(delays?.iter().sum::<u64>() == turns, "the delays are not those of {turns} turns: {line:?}");
        ensure!(figure(line, "longest_delay_ns")? <= figure(line, "run_delay_ns")?, "{line:?}");
        ensure!(figure(line, "violation_ns")? <= figure(line, "run_delay_ns")?, "{line:?}");
    }
    Ok(())
}

/// The names and figures of a file that has a pair on each line.
fn pairs(path: &str) -> anyhow::Result<Option<BTreeMap<String, u64>>> {
    let Some(text) = read(path)? else { return Ok(None) };
    let pair = |line: &str| {
        let (name, value) = line.split_once(' ').with_context(|| format!("{line:?}"))?;
        Ok((name.to_owned(), value.parse()?))
    };
    text.lines().map(pair).collect::<anyhow::Result<_>>().map(Some)
}

/// The names that a setting offers, and the one in brackets.
fn choice(path: &str) -> anyhow::Result<Option<(Vec<String>, String)>> {
    let Some(text) = read(path)? else { return Ok(None) };
    let bare = |word: &str| word.trim_matches(['[', ']']).to_owned();
    let chosen: Vec<&str> = text.split_whitespace().filter(|word| word.starts_with('[')).collect();
    let [chosen] = chosen[..] else { anyhow::bail!("{path} has {chosen:?} in force") };
    Ok(Some((text.split_whitespace().map(bare).collect(), bare(chosen))))
}

fn swaps() -> Outcome {
    const ORDER: &str = "/proc/tine/order";
    let Some(before) = pairs("/proc/tine/swaps")? else { return Ok(()) };
    let (names, present) = choice(ORDER)?.context("no order")?;
    let other = names.iter().find(|name| **name != present).context("there is one order only")?;
    fs::write(ORDER, other)?;
    fs::write(ORDER, &present)?;
    let after = pairs("/proc/tine/swaps")?.context("no swaps")?;
    let value = parsed("/proc/tine/swaps.json")?.context("no swaps.json")?;
    for (text, json) in
        [("orders", "/orders"), ("balancers", "/balancers"), ("pause_max_ns", "/pause_ns/max")]
    {
        ensure!(after.get(text) == Some(&at(&value, json)?), "{text} differs: {after:?}, {value}");
    }
    ensure!(after["orders"] == before["orders"] + 2, "two changes, {before:?}, then {after:?}");
    ensure!(after["pause_p50_ns"] <= after["pause_p99_ns"], "{after:?}");
    ensure!(after["pause_p99_ns"] <= after["pause_max_ns"], "{after:?}");
    Ok(())
}

fn settings() -> Outcome {
    for name in ["order", "balancer"] {
        let Some((_, chosen)) = choice(&format!("/proc/tine/{name}"))? else { continue };
        let value = parsed("/proc/tine/sched.json")?.context("no sched.json")?;
        ensure!(value[name] == chosen.as_str(), "the {name} is {chosen}, not {}", value[name]);
    }
    Ok(())
}

fn in_use() -> Outcome {
    let Some(before) = pairs("/proc/tine/leaks")? else { return Ok(()) };
    let names = ["file_descriptions", "frames", "processes", "threads"];
    ensure!(before.keys().eq(names), "{before:?}");
    let pipe = std::io::pipe()?;
    let child = Child::start(|| {
        nix::unistd::pause();
        1
    })?;
    // Others may still be giving back what they used: counts fall by themselves, but do not grow.
    let during = pairs("/proc/tine/leaks")?.context("no leaks")?;
    child.signal(Signal::SIGKILL)?;
    child.expect_killed(Signal::SIGKILL)?;
    drop(pipe);
    wait::until("the child and the pipe are counted no more", || {
        let now = pairs("/proc/tine/leaks").ok().flatten().unwrap_or_default();
        names.iter().all(|name| now.get(*name) < during.get(*name))
    })
}
