//! What is traced is what happened, and the same seed makes it happen again.

use formats::record::FailureKind;
use formats::trace::{Event, Trace};
use formats::{CpuId, ThreadId};
use std::collections::BTreeMap;
use std::time::Duration;
use tests::{Require, noticed, pass, run};
use tine::trace::labels::Labels;
use tine::trace::replay::{Change, replay};
use tine::trace::{Level, remarks};
use tine::{Machine, Outcome, machine};

const SPIN: [&str; 4] = ["--millis", "5", "--solo-millis", "20"];
const STORM: [&str; 6] = ["--groups", "2", "--pairs", "4", "--loops", "20"];

fn spin() -> Machine {
    machine().program("fork_spin_stress").args(SPIN)
}

fn trace(outcome: &Outcome) -> Trace {
    let bytes = outcome.trace.as_deref().unwrap_or_default();
    Trace::decode(bytes).unwrap_or_else(|broken| panic!("{}", outcome.failure(vec![broken.to_string()])))
}

type Is = fn(&Event) -> bool;

fn count(trace: &Trace, is: impl Fn(&Event) -> bool) -> usize {
    trace.tracks.iter().flat_map(|track| &track.events).filter(|(_, event)| is(event)).count()
}

/// Nothing that cannot be, and as many switches as the scheduler has counted on each CPU.
fn require_plausible(outcome: &Outcome) -> Trace {
    let trace = trace(outcome);
    let replayed = replay(&trace, |_, _| {});
    outcome.require(replayed.problems.is_empty(), format!("{:?}", replayed.problems));
    outcome.require(trace.lost() == 0 && remarks(&trace).is_empty(), format!("{:?}", remarks(&trace)));
    let stats = &outcome.record.scheduler().expect("a run that ended has it").cpus;
    for (track, stats) in trace.tracks.iter().zip(stats) {
        let switches = track.events.iter().filter(|(_, event)| matches!(event, Event::Switch { .. })).count();
        outcome.require(
            switches as u64 == stats.switches,
            format!("{}: {switches} switches are traced, {} were counted", track.cpu, stats.switches),
        );
    }
    trace
}

#[test]
fn a_trace_of_forks_is_plausible_and_names_everybody() {
    let outcome = pass(&spin().trace(Level::Sched));
    let trace = require_plausible(&outcome);
    let labels = Labels::of(&trace);
    let mut threads = BTreeMap::new();
    replay(&trace, |_, change| {
        if let Change::Runs { thread, .. } = change {
            *threads.entry(thread).or_insert(0) += 1;
        }
    });
    outcome.require(threads.len() > 50, format!("only {} threads ran", threads.len()));
    for thread in threads.keys() {
        let name = labels.name(*thread);
        outcome.require(name == "fork_spin_stres", name);
    }
    let first_runs = count(&trace, |event| matches!(event, Event::FirstRun { .. }));
    outcome.require(
        first_runs == threads.len(),
        format!("{first_runs} first runs of {} threads", threads.len()),
    );
}

#[test]
fn a_trace_of_messages_is_plausible_and_has_calls_and_faults() {
    let storm = machine().program("message_storm").args(STORM).append("trace.buffer=16384");
    let outcome = pass(&storm.trace(Level::All));
    let trace = require_plausible(&outcome);
    let kinds: [(&str, Is); 6] = [
        ("wake-up", |event| matches!(event, Event::Wake { .. })),
        ("system call", |event| matches!(event, Event::SyscallEnter { .. })),
        ("page fault", |event| matches!(event, Event::PageFault { .. })),
        ("interrupt", |event| matches!(event, Event::Interrupt { .. })),
        ("halt", |event| matches!(event, Event::Halt)),
        ("resumption", |event| matches!(event, Event::Resume { .. })),
    ];
    for (what, is) in kinds {
        outcome.require(count(&trace, is) > 0, format!("no {what} is traced"));
    }
}

#[test]
fn the_same_seed_makes_the_same_trace_in_virtual_time() {
    for machine in [spin(), machine().program("message_storm").args(STORM)] {
        let machine = machine.virtual_time().trace(Level::Sched).timeout(Duration::from_secs(300));
        let (first, again) = (pass(&machine.clone().seed(7)), pass(&machine.clone().seed(7)));
        let other = pass(&machine.seed(8));
        again.require(first.trace == again.trace, "two traces of the same seed differ");
        other.require(first.trace != other.trace, "another seed makes the same trace");
    }
}

#[test]
fn a_full_ring_keeps_the_newest_and_counts_the_lost() {
    let storm = machine().smp(1).program("message_storm").args(STORM).append("trace.buffer=64");
    let outcome = pass(&storm.trace(Level::All));
    let trace = trace(&outcome);
    outcome.require(trace.lost() > 0, "nothing is lost");
    let labels = Labels::of(&trace);
    outcome.require(labels.name(ThreadId(1)) == "message_storm", "the name of the first thread is lost");
    let replayed = replay(&trace, |_, _| {});
    outcome.require(replayed.problems.is_empty(), format!("{:?}", replayed.problems));
    let last = trace.tracks[0].events.last().map(|(_, event)| *event);
    outcome.require(
        matches!(last, Some(Event::Halt | Event::Switch { next: ThreadId(0), .. } | Event::Interrupt { .. })),
        format!("the last event is {last:?}"),
    );
}

#[test]
fn a_panic_leaves_a_trace() {
    let outcome = run(&machine().trace(Level::Sched).append("debug.fail=panic").program("hello"));
    outcome.require(noticed(&outcome, FailureKind::Panic).is_some(), "there was no panic");
    let trace = trace(&outcome);
    outcome.require(count(&trace, |event| matches!(event, Event::Switch { .. })) > 0, "nothing is traced");
}

#[test]
fn the_first_instructions_of_each_thread_are_traced() {
    const STEPS: usize = 20;
    let machine = machine().trace(Level::Sched).append(format!("debug.step={STEPS}"));
    let outcome = pass(&machine.program("fork_progress_test"));
    let trace = require_plausible(&outcome);
    let mut steps: BTreeMap<ThreadId, Vec<u64>> = BTreeMap::new();
    let mut begun: BTreeMap<ThreadId, CpuId> = BTreeMap::new();
    replay(&trace, |_, change| match change {
        Change::Event { event: Event::Step { thread, rip }, .. } => {
            steps.entry(*thread).or_default().push(*rip)
        }
        Change::Runs { cpu, thread, .. } => {
            begun.entry(thread).or_insert(cpu);
        }
        _ => {}
    });
    for thread in begun.keys() {
        let traced = steps.get(thread).map_or(0, Vec::len);
        outcome.require(traced == STEPS, format!("{traced} steps of {thread} are traced"));
    }
    let distinct = steps.values().all(|rips| rips.windows(2).any(|pair| pair[0] != pair[1]));
    outcome.require(distinct, "a thread does not get on");
}
