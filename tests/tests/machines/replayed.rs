//! A recorded run is run again in the simulator, under other policies: each thread computes as long as it did, and ends.

use formats::ThreadId;
use formats::trace::{Event, Left, Trace};
use sim::{Calibration, Config, Outcome as Simulated};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tests::{Require, pass};
use tine::trace::replay::{Change, replay};
use tine::trace::{Level, remarks};
use tine::{Machine, Outcome, machine};

/// Orders and balancers that decide much differently from each other.
const POLICIES: [(&str, &str); 2] = [("eevdf", "idle_steal"), ("stride", "none")];

/// By its number, how long each thread computed, in nanoseconds: without what a switch costs, which is the policy's. When a
/// thread that is not the first of its process executes a program, that goes on in another with the first one's number.
fn computed(trace: &Trace, switch: sched::Duration) -> BTreeMap<ThreadId, u64> {
    let (mut since, mut computed) = (BTreeMap::new(), BTreeMap::new());
    replay(trace, |now, change| match change {
        Change::Runs { thread, .. } => drop(since.insert(thread, now)),
        Change::Stops { thread, .. } => {
            let ran = since.remove(&thread).and_then(|since| now.checked_duration_since(since));
            let own = ran.map_or(0, |ran| ran.as_ticks().saturating_sub(switch.as_ticks()));
            *computed.entry(thread).or_insert(0) += own;
        }
        _ => {}
    });
    computed
}

fn simulate(trace: &Trace, (order, balancer): (&str, &str)) -> Result<Simulated, sim::Error> {
    let scheduler = sched::Config {
        order: sched::order::by_name(order).expect("it is registered"),
        balancer: sched::balance::by_name(balancer).expect("it is registered"),
        ..sched::Config::default()
    };
    let costs = Calibration::default();
    let workload = sim::workload::recorded(trace, &costs);
    let topology = sched::Topology::flat(trace.tracks.len());
    sim::run(Config { topology, scheduler, costs, slowdown: 1.0 }, &workload, None, |_| true)
}

/// The threads that ended.
fn exits(trace: &Trace) -> BTreeSet<ThreadId> {
    let ended = |event: &Event| match event {
        Event::Switch { previous, why: Left::Exited, .. } => Some(*previous),
        _ => None,
    };
    trace.tracks.iter().flat_map(|track| &track.events).filter_map(|(_, event)| ended(event)).collect()
}

/// What a simulated thread was when it was recorded; its name ends with its number, which may be in brackets.
fn recorded_as(program: &str) -> ThreadId {
    let number = program.trim_end_matches(')').rsplit(' ').next().and_then(|number| number.parse().ok());
    ThreadId(number.unwrap_or_else(|| panic!("{program:?} has no number")))
}

fn keeps_its_work(machine: Machine) {
    let machine = machine.trace(Level::Sched).append("trace.buffer=16384").timeout(Duration::from_secs(300));
    let outcome: Outcome = pass(&machine);
    let trace = Trace::decode(outcome.trace.as_deref().unwrap_or_default());
    let trace = trace.unwrap_or_else(|broken| panic!("{}", outcome.failure(vec![broken.to_string()])));
    outcome.require(remarks(&trace).is_empty(), format!("{:?}", remarks(&trace)));
    let recorded = computed(&trace, Calibration::default().switch());
    outcome
        .require(recorded.keys().all(|id| exits(&trace).contains(id)), "not each thread that ran has ended");
    for policies in POLICIES {
        let simulated = simulate(&trace, policies);
        let simulated = simulated.unwrap_or_else(|error| {
            panic!("{}", outcome.failure(vec![format!("under {policies:?}: {error}")]))
        });
        outcome
            .require(simulated.problems.is_empty(), format!("under {policies:?}: {:?}", simulated.problems));
        let unfinished = simulated.threads.iter().find(|thread| thread.finished.is_none());
        outcome.require(unfinished.is_none(), format!("under {policies:?}: {unfinished:?} does not end"));
        let mut again: BTreeMap<ThreadId, u64> = BTreeMap::new();
        for thread in &simulated.threads {
            *again.entry(recorded_as(&thread.program)).or_insert(0) += thread.work_ns;
        }
        let differs = recorded.iter().find(|(thread, ns)| again.get(*thread) != Some(*ns));
        outcome.require(
            differs.is_none() && again.len() == recorded.len(),
            format!("under {policies:?}: recorded was {differs:?}, of {} threads; {again:?}", recorded.len()),
        );
    }
}

#[test]
fn messages() {
    keeps_its_work(machine().program("message_storm"));
}

#[test]
fn forks() {
    keeps_its_work(machine().program("fork_spin_stress").args(["--millis", "5", "--solo-millis", "20"]));
}

#[test]
fn programs_that_start_programs() {
    keeps_its_work(machine().program("spawn_programs"));
}

#[test]
fn changes_of_the_policies() {
    let options = ["--threads", "40", "--swaps", "20", "--rounds", "4", "--batch", "20000"];
    keeps_its_work(machine().program("hot_swap").args(options));
}
