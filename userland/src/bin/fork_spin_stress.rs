//! Forks many children that compute all at once, and checks that each of them really did its share.
//!
//! The work of a child is fixed, and so is the result of it: its exit status is right only if no step of the
//! computation was lost or disturbed, wherever and however often it was preempted and migrated. Before that, one child
//! alone shows what a processor can do.

use anyhow::{Context, bail, ensure};
use nix::errno::Errno;
use nix::sys::wait::{WaitStatus, waitpid};
use serde::Serialize;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use userland::children::Child;
use userland::cpus;
use userland::program::{self, Options};
use userland::results;
use userland::shared::Shared;
use userland::work::Chain;

const USAGE: &str =
    "fork_spin_stress [--children N] [--work OPERATIONS | --millis M] [--rounds R] [--solo-millis M] \
                     [--verbose]
  --children N       children per round (50)
  --work OPERATIONS  what each child computes; default: what takes --millis alone
  --millis M         the work of a child as the time it takes one child alone (30)
  --rounds R         how often all of that is done (1)
  --solo-millis M    how long one child alone is measured first (100)
  --verbose          also print figures, which differ from run to run";

/// Operations between two looks at the clock and at the processor's number.
const BATCH: u64 = 100_000;
const WRONG_RESULT: i32 = 1;
const UNKNOWN_CPU: i32 = 2;

/// The status of child `index` that did its work.
fn right_status(index: usize) -> i32 {
    40 + (index % 7) as i32
}

fn main() -> ExitCode {
    program::run(USAGE, |mut options| {
        let plan = Plan::from_options(&mut options)?;
        let verbose = options.flag("--verbose");
        options.finish()?;
        stress(&plan, verbose)
    })
}

struct Plan {
    children: usize,
    work: Option<u64>,
    millis: u64,
    rounds: usize,
    solo: Duration,
}

impl Plan {
    fn from_options(options: &mut Options) -> anyhow::Result<Self> {
        Ok(Self {
            children: options.value("--children", 50)?,
            work: options.optional("--work")?,
            millis: options.value("--millis", 30)?,
            rounds: options.value("--rounds", 1)?,
            solo: Duration::from_millis(options.value("--solo-millis", 100)?),
        })
    }
}

/// What goes to the results file.
#[derive(Serialize)]
struct Record {
    program: &'static str,
    children: usize,
    rounds: usize,
    ok: bool,
    /// What one child alone reaches.
    solo_ops_per_s: f64,
    /// From the first fork to the last wait, over all rounds.
    elapsed_ns: u64,
    total_ops: u64,
    ops_per_cpu: Vec<u64>,
    ops_per_child: Vec<u64>,
    /// From just before its fork to its last operation, over all rounds.
    child_wall_ns: Vec<u64>,
}

/// What the children write. All of it is summed over the rounds.
struct Progress {
    per_cpu: Shared<AtomicU64>,
    per_child: Shared<AtomicU64>,
    wall_ns: Shared<AtomicU64>,
}

impl Progress {
    fn new(children: usize) -> anyhow::Result<Self> {
        let cpus = cpus::allowed()?.last().context("no processor may be used")? + 1;
        Ok(Self {
            per_cpu: Shared::zeroed(cpus)?,
            per_child: Shared::zeroed(children)?,
            wall_ns: Shared::zeroed(children)?,
        })
    }
}

fn stress(plan: &Plan, verbose: bool) -> anyhow::Result<()> {
    let solo = solo_ops_per_s(plan.solo)?;
    let work = plan.work.unwrap_or((solo * plan.millis as f64 / 1e3) as u64).max(1);
    let progress = Progress::new(plan.children)?;
    let mut elapsed = Duration::ZERO;
    let mut outcome = Ok(());
    for round in 1..=plan.rounds {
        let started = Instant::now();
        outcome = run_round(plan.children, work, &progress);
        elapsed += started.elapsed();
        if outcome.is_err() {
            break;
        }
        println!("round {round} of {}: {} children finished", plan.rounds, plan.children);
    }
    let total_ops = sum(&progress.per_cpu);
    let due = work * (plan.children * plan.rounds) as u64;
    if outcome.is_ok() && total_ops != due {
        outcome = Err(anyhow::anyhow!("{total_ops} operations were counted instead of {due}"));
    }
    results::publish(&Record {
        program: "fork_spin_stress",
        children: plan.children,
        rounds: plan.rounds,
        ok: outcome.is_ok(),
        solo_ops_per_s: solo,
        elapsed_ns: elapsed.as_nanos() as u64,
        total_ops,
        ops_per_cpu: values(&progress.per_cpu),
        ops_per_child: values(&progress.per_child),
        child_wall_ns: values(&progress.wall_ns),
    })?;
    outcome?;
    if verbose {
        let rate = total_ops as f64 / elapsed.as_secs_f64();
        println!(
            "alone {solo:.3e} operations/s, together {rate:.3e} in {elapsed:?}: {:.2} times",
            rate / solo
        );
        println!("per CPU: {:?}", values(&progress.per_cpu));
    }
    println!("SUCCESS: All {} children completed!", plan.children);
    Ok(())
}

/// Operations per second of one child that has the machine to itself.
fn solo_ops_per_s(time: Duration) -> anyhow::Result<f64> {
    let measured = &Shared::<AtomicU64>::zeroed(2)?;
    Child::start(|| {
        let started = Instant::now();
        let mut chain = Chain::new(0);
        let mut operations = 0;
        while operations == 0 || started.elapsed() < time {
            chain.advance(BATCH);
            operations += BATCH;
        }
        measured[0].store(operations, Relaxed);
        measured[1].store(started.elapsed().as_nanos() as u64, Relaxed);
        if chain == Chain::new(0).after(operations) { 0 } else { WRONG_RESULT }
    })?
    .expect_exit(0)
    .context("the child that computes alone")?;
    Ok(measured[0].load(Relaxed) as f64 * 1e9 / measured[1].load(Relaxed) as f64)
}

fn run_round(count: usize, work: u64, progress: &Progress) -> anyhow::Result<()> {
    let mut children = Vec::with_capacity(count);
    for index in 0..count {
        let forked = Instant::now();
        let child = Child::start(|| compute(index, work, forked, progress))
            .with_context(|| format!("child {index} of {count}"))?;
        children.push(child);
    }
    let mut failures = Vec::new();
    for (index, child) in children.into_iter().enumerate() {
        let expected = WaitStatus::Exited(child.pid(), right_status(index));
        let how = child.wait()?;
        if how != expected {
            failures.push(format!("child {index}: expected {expected:?}, got {how:?}"));
        }
    }
    ensure!(failures.is_empty(), "{}", failures.join("; "));
    match waitpid(None, None) {
        Err(Errno::ECHILD) => Ok(()),
        other => bail!("all children were waited for, but there is one more: {other:?}"),
    }
}

/// What a child does; returns its exit status.
fn compute(index: usize, work: u64, forked: Instant, progress: &Progress) -> i32 {
    let mut chain = Chain::new(index as u64);
    let mut done = 0;
    while done < work {
        let batch = BATCH.min(work - done);
        chain.advance(batch);
        done += batch;
        let Some(here) = progress.per_cpu.get(cpus::current()) else { return UNKNOWN_CPU };
        here.fetch_add(batch, Relaxed);
        progress.per_child[index].fetch_add(batch, Relaxed);
    }
    progress.wall_ns[index].fetch_add(forked.elapsed().as_nanos() as u64, Relaxed);
    if chain == Chain::new(index as u64).after(work) { right_status(index) } else { WRONG_RESULT }
}

fn values(counters: &[AtomicU64]) -> Vec<u64> {
    counters.iter().map(|counter| counter.load(Relaxed)).collect()
}

fn sum(counters: &[AtomicU64]) -> u64 {
    counters.iter().map(|counter| counter.load(Relaxed)).sum()
}
