//! `tine sim`: runs a workload on a simulated machine.

mod check;
mod compare;
mod layout;
mod options;
mod pages;
mod recorded;
mod report;
mod trace;

pub use options::SimOptions;

use crate::figures::{self, Figures};
use crate::interrupt;
use crate::workspace::write_whole;
use anyhow::{Context, Result, bail};
use formats::ThreadId;
use formats::record::Event;
use indicatif::{ProgressBar, ProgressStyle};
use nix::time::{ClockId, clock_gettime};
use options::{Program, Setup};
use serde::Serialize;
use sim::Outcome;
use std::time::{Duration, Instant};

/// The version of the record.
const SCHEMA: u32 = 1;

/// Progress is shown of what takes longer.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is written with `--json`: all that the run depended on, and what came of it. Nothing in it depends on the host.
#[derive(Serialize)]
struct Record<'a> {
    schema: u32,
    simulator: &'a str,
    cpus: usize,
    hz: String,
    order: &'a str,
    balancer: &'a str,
    seed: u64,
    workload: &'a str,
    /// How many times slower the CPUs are than those that were calibrated.
    slowdown: f64,
    outcome: &'a Outcome,
    figures: &'a Figures,
}

/// A run and its figures.
struct Run {
    outcome: Outcome,
    figures: Figures,
    /// Real time, and that of the processor.
    took: Duration,
    computed: Duration,
}

/// Runs and reports; fails if the run broke a promise.
pub fn sim(options: &SimOptions) -> Result<()> {
    if options.compare.is_some() || options.against.is_some() {
        return compare::compare(options);
    }
    if options.check_against_machines {
        return check::check(options);
    }
    pages::use_huge();
    let setup = Setup::new(options)?;
    setup.remarks.iter().for_each(|remark| eprintln!("tine: {remark}"));
    let recorder = options.trace.is_some().then(|| trace::Recorder::new(&setup));
    let run = run(&setup, recorder.as_ref().map(trace::Recorder::sink))?;
    if let Some((path, recorder)) = options.trace.as_ref().zip(recorder) {
        recorder.write(path)?;
    }
    if let Some(path) = &options.json {
        let record = Record {
            schema: SCHEMA,
            simulator: env!("CARGO_PKG_VERSION"),
            cpus: setup.topology.cpus(),
            hz: setup.tick.to_string(),
            order: setup.scheduler.order.name,
            balancer: setup.scheduler.balancer.name,
            seed: setup.scheduler.seed,
            workload: &setup.name,
            slowdown: setup.slowdown,
            outcome: &run.outcome,
            figures: &run.figures,
        };
        write_whole(&std::path::absolute(path)?, &serde_json::to_vec_pretty(&record)?)?;
    }
    println!("\n{}", report::report(&setup, &run).trim_end());
    match run.outcome.problems.split_first() {
        None => Ok(()),
        Some((first, rest)) => bail!("the run broke a promise: {first} (and {} more)", rest.len()),
    }
}

/// Simulates what `setup` says.
fn run(setup: &Setup, sink: Option<Box<dyn sim::Sink>>) -> Result<Run> {
    let (started, computing) = (Instant::now(), processor_time()?);
    let bar = ProgressBar::new_spinner();
    let mut shown = false;
    let progress = |progress: sim::Progress| {
        if started.elapsed() > PATIENCE {
            if !shown && let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {msg}") {
                bar.set_style(style);
                shown = true;
            }
            let ms = progress.now.as_ticks() / 1_000_000;
            bar.set_message(format!("{ms} ms, {} events, {} threads", progress.events, progress.threads));
            bar.tick();
        }
        !interrupt::requested()
    };
    let outcome = sim::run(setup.config(), &setup.workload, sink, progress);
    bar.finish_and_clear();
    let outcome = outcome.with_context(|| format!("`{}` on {} CPUs", setup.name, setup.topology.cpus()))?;
    let (took, computed) = (started.elapsed(), processor_time()?.saturating_sub(computing));
    let mut events = vec![Event::Scheduler(outcome.scheduler.clone())];
    if let Program::Spin(stress) = &setup.program {
        events.push(Event::User {
            thread: ThreadId(1),
            line: report::spin_line(stress, &outcome, setup.slowdown)?,
        });
    }
    let figures = figures::derive(&events, setup.topology.cpus() as f64);
    Ok(Run { outcome, figures, took, computed })
}

/// What this thread has had of a processor.
fn processor_time() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}
