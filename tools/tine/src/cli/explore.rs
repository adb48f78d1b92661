//! `tine explore`: the same machine under many seeds, until one fails.

use super::ExploreOptions;
use crate::interrupt;
use crate::machine::{Cause, Failure, Machine, Prepared};
use crate::trace::Level;
use crate::ui::Ui;
use anyhow::{Result, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

/// At one of how many points CPUs pause, unless the user says: see `kernel/src/perturb.rs`.
const PERTURB: &str = "debug.perturb=8";
/// How long a run may take by the machine's own clock, unless the user says: a hang then ends with a trace.
const LIMIT: &str = "debug.limit=60";
/// What each CPU keeps of the trace, unless the user says: more takes long to write.
const BUFFER: &str = "trace.buffer=128";

/// How long a run may take in real time, where the machine's own clock says when it takes too long.
const PATIENCE: Duration = Duration::from_secs(600);

/// How many machines run at once in virtual time, where how fast they run makes no difference.
const SIDE_BY_SIDE: usize = 2;

/// One seed that failed.
struct Found {
    seed: u64,
    failure: Failure,
    /// The number by which the trace of the same run is known again; none if the machine left no trace.
    trace_hash: Option<u64>,
}

/// Boots one seed after the other; fails unless all passed.
pub fn explore(options: &ExploreOptions) -> Result<()> {
    ensure!(options.machine.seed.is_none(), "`--seed` is one seed; `--from` and `--seeds` say which to try");
    let machine = machine(options);
    let mut prepared = machine.prepare()?;
    if !options.wall {
        prepared.plan.config.limits.boot_s = PATIENCE.as_secs() as u32;
    }
    let program = prepared.plan.program.clone();
    let at_once = if options.wall { 1 } else { SIDE_BY_SIDE };
    let started = Instant::now();
    let found = search(&prepared, options, at_once);
    ensure!(!interrupt::requested(), "ended because you asked for it");
    let seconds = started.elapsed().as_secs_f64();
    if found.is_empty() {
        let last = options.last();
        println!("`{program}` passed with all seeds from {} to {last}, in {seconds:.1} s", options.from);
        return Ok(());
    }
    let seeds: Vec<String> = found.iter().map(|found| found.seed.to_string()).collect();
    bail!("`{program}` failed with seed {}", seeds.join(", "))
}

/// The machine with what exploring needs, as options of `tine run`, so that the command to run it again has them.
fn machine(options: &ExploreOptions) -> Machine {
    let mut machine = options.machine.machine().quiet().trace(Level::Sched);
    if !options.wall && !options.machine.virtual_time {
        machine = machine.virtual_time();
    }
    if !options.wall && options.machine.timeout.is_none() {
        machine = machine.timeout(PATIENCE);
    }
    for default in [PERTURB, LIMIT, BUFFER] {
        let name = default.split_inclusive('=').next().unwrap_or(default);
        if !options.machine.append.iter().any(|words| words.contains(name)) {
            machine = machine.append(default);
        }
    }
    machine
}

/// All failures, in the order of their seeds; unless told to go on, those of the seeds that were under way when the first
/// one failed.
fn search(prepared: &Prepared, options: &ExploreOptions, at_once: usize) -> Vec<Found> {
    let bar = ProgressBar::new(options.seeds);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos} of {len} seeds, {elapsed}, {eta} to go") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_secs(1));
    let seeds = Mutex::new(options.from..=options.last());
    let found = Mutex::new(Vec::new());
    let work = || {
        loop {
            // Not in the condition of a `while`: the lock would be held while the machine runs.
            let seed = seeds.lock().expect("no worker panics").next();
            let Some(seed) = seed.filter(|_| !interrupt::requested()) else { break };
            if let ControlFlow::Break(failed) = try_seed(prepared, seed) {
                bar.suspend(|| println!("seed {seed}: {}", shown_failure(&failed)));
                found.lock().expect("no worker panics").push(failed);
                if !options.keep_going {
                    // None is left for anybody.
                    seeds.lock().expect("no worker panics").by_ref().for_each(drop);
                }
            }
            bar.inc(1);
        }
    };
    thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(work);
        }
    });
    bar.finish_and_clear();
    let mut found = found.into_inner().expect("no worker panicked");
    found.sort_by_key(|found: &Found| found.seed);
    found
}

fn try_seed(prepared: &Prepared, seed: u64) -> ControlFlow<Found> {
    let (failure, trace_hash) = match prepared.clone().with_seed(seed).run(Ui::Quiet, false) {
        Err(Failure { cause: Cause::Interrupted, .. }) => return ControlFlow::Continue(()),
        Err(failure) => (failure, None),
        Ok(outcome) => match outcome.check() {
            Ok(()) => return ControlFlow::Continue(()),
            Err(failure) => (failure, outcome.trace_hash()),
        },
    };
    ControlFlow::Break(Found { seed, failure, trace_hash })
}

fn shown_failure(found: &Found) -> String {
    let hash = match found.trace_hash {
        Some(hash) => format!("trace hash {hash:016x}"),
        None => "the machine left no trace".into(),
    };
    format!("{}\n{hash}\n", found.failure)
}
