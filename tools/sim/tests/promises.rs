//! What a simulated run promises, whatever the policy.

use formats::trace::Event;
use formats::{CpuId, Instant};
use sched::{Config as Scheduler, Topology, balance, order};
use sim::workload::{MessageStorm, SpinStress};
use sim::{Calibration, Config, Error, Outcome, Sink, Workload};
use std::sync::{Arc, Mutex};

fn config(topology: Topology, order: &str, balancer: &str, seed: u64) -> Config {
    let scheduler = Scheduler {
        order: order::by_name(order).expect("it is registered"),
        balancer: balance::by_name(balancer).expect("it is registered"),
        seed,
        ..Scheduler::default()
    };
    Config { topology, scheduler, costs: Calibration::default(), slowdown: 1.0 }
}

fn run(topology: Topology, order: &str, balancer: &str, seed: u64, workload: &Workload) -> Outcome {
    let config = config(topology, order, balancer, seed);
    let outcome = sim::run(config, workload, None, |_| true);
    outcome.unwrap_or_else(|error| panic!("{order} with {balancer}: {error}"))
}

/// Threads that do a bit of everything at random times.
fn mixed() -> Workload {
    let text = r#"
        [channel.jobs]
        capacity = 3
        [[start]]
        program = "worker"
        count = 6
        spread = true
        [[start]]
        program = "boss"
        [program.boss]
        steps = [
            { repeat = { times = 60, steps = [{ compute = { exponential = "300 us" } }, { send = "jobs" }] } },
            { repeat = { times = 5, steps = [{ fork = "child" }] } },
            "wait",
        ]
        [program.worker]
        steps = [
            { repeat = { times = 10, steps = [{ receive = "jobs" }, { compute = { uniform = ["1 ms", "20 ms"] } }, "yield"] } },
        ]
        [program.child]
        steps = [{ pin = [0, 3] }, { compute = { exponential = "25 ms" } }, { sleep = { exponential = "5 ms" } }, { compute = "1 ms" }]
    "#;
    Workload::parse(text, 4).unwrap_or_else(|error| panic!("{error}"))
}

fn bytes(outcome: &Outcome) -> String {
    serde_json::to_string(outcome).expect("a record is plain data")
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
    for order in order::orders() {
        for balancer in balance::balancers() {
            let once =
                |seed| bytes(&run(Topology::regular(2, 2, 2), order.name, balancer.name, seed, &mixed()));
            let first = once(7);
            assert_eq!(first, once(7), "{} with {}", order.name, balancer.name);
            assert_ne!(first, once(8), "{} with {}", order.name, balancer.name);
        }
    }
}

#[test]
fn all_threads_finish_and_are_charged_exactly_what_they_used() {
    for order in order::orders() {
        for balancer in balance::balancers() {
            let workloads = [mixed(), SpinStress::default().workload(), MessageStorm::default().workload()];
            for (workload, threads) in workloads.iter().zip([12, 52, 41]) {
                let outcome = run(Topology::regular(1, 2, 2), order.name, balancer.name, 3, workload);
                let name = format!("{} with {}", order.name, balancer.name);
                assert_eq!(outcome.problems, [""; 0], "{name}");
                assert_eq!(outcome.threads.len(), threads, "{name}");
                assert!(outcome.threads.iter().all(|thread| thread.finished.is_some()), "{name}");
            }
        }
    }
}

#[test]
fn what_cpus_are_said_to_have_worked_is_what_programs_asked_for() {
    let stress = SpinStress { children: 20, millis: 15, ..SpinStress::default() };
    let outcome = run(Topology::flat(3), "eevdf", "two_choices", 1, &stress.workload());
    assert_eq!(outcome.work_ns.iter().sum::<u64>(), 20 * 15_000_000);
    let busy: u64 = outcome.scheduler.cpus.iter().map(|cpu| cpu.busy_ns).sum();
    let used: u64 = outcome.threads.iter().map(|thread| thread.work_ns + thread.overhead_ns).sum();
    assert_eq!(busy, used);
}

#[test]
fn no_cpu_idles_while_others_have_work_for_longer_than_a_call_takes() {
    let stress = SpinStress { children: 100, ..SpinStress::default() };
    for balancer in balance::balancers().iter().filter(|balancer| balancer.conserves_work) {
        let outcome = run(Topology::regular(2, 8, 1), "round_robin", balancer.name, 5, &stress.workload());
        let longest = outcome.scheduler.longest_violation_ns;
        assert!(longest < 100_000, "{}: {longest} ns", balancer.name);
    }
    let control = run(Topology::flat(16), "round_robin", "none", 5, &stress.workload());
    assert!(control.scheduler.longest_violation_ns > 100_000_000, "the measure sees what is there to see");
}

#[test]
fn without_balancing_one_cpu_does_everything() {
    let stress = SpinStress { children: 8, millis: 10, ..SpinStress::default() };
    let outcome = run(Topology::flat(4), "round_robin", "none", 1, &stress.workload());
    assert_eq!(outcome.work_ns, [80_000_000, 0, 0, 0]);
    let balanced = run(Topology::flat(4), "round_robin", "two_choices", 1, &stress.workload());
    assert!(
        balanced.work_ns.iter().all(|work| (10_000_000..=30_000_000).contains(work)),
        "{:?}",
        balanced.work_ns
    );
}

#[test]
fn a_sleeper_wakes_when_its_time_has_come_and_a_pinned_thread_runs_where_it_may() {
    let text = r#"
        [[start]]
        program = "sleeper"
        [program.sleeper]
        steps = [{ pin = [2] }, { sleep = "40 ms" }, { compute = "5 ms" }]
    "#;
    let workload = Workload::parse(text, 4).unwrap_or_else(|error| panic!("{error}"));
    let outcome = run(Topology::flat(4), "eevdf", "two_choices", 1, &workload);
    assert_eq!(outcome.work_ns, [0, 0, 5_000_000, 0]);
    let finished = outcome.threads[0].finished.expect("it ends");
    assert!((45_000_000..45_300_000).contains(&finished), "{finished}");
}

#[test]
fn threads_that_wait_for_each_other_for_ever_are_reported() {
    let text =
        "[channel.a]\ncapacity = 1\n[[start]]\nprogram = \"p\"\n[program.p]\nsteps = [{ receive = \"a\" }]";
    let workload = Workload::parse(text, 1).unwrap_or_else(|error| panic!("{error}"));
    let outcome = sim::run(config(Topology::flat(1), "fifo", "none", 1), &workload, None, |_| true);
    let Err(Error::Deadlock { count: 1, first: 1, at, .. }) = outcome else { panic!("{outcome:?}") };
    assert_eq!(at, "step 1 of `p`: Receive(0)");
}

#[test]
fn a_run_without_an_end_stops_when_its_duration_is_over() {
    let text = "duration = \"1 s\"\n[[start]]\nprogram = \"p\"\ncount = 3\n[program.p]\nsteps = [{ forever = [{ compute = \"1 ms\" }] }]";
    let workload = Workload::parse(text, 2).unwrap_or_else(|error| panic!("{error}"));
    let outcome = run(Topology::flat(2), "stride", "two_choices", 1, &workload);
    assert_eq!(outcome.scheduler.elapsed_ns, 1_000_000_001);
    let busy = outcome.scheduler.cpus.iter().map(|cpu| cpu.busy_ns).sum::<u64>() as f64;
    assert!(busy > 1.99e9, "{busy}");
    assert_eq!(outcome.scheduler.cpus[1].cpu, CpuId(1).0);
}

#[test]
fn one_shot_timers_end_slices_as_ticks_do() {
    let mut config = config(Topology::flat(2), "round_robin", "two_choices", 1);
    config.scheduler.timer = sched::Timer::OneShot;
    let stress = SpinStress { children: 8, ..SpinStress::default() };
    let outcome =
        sim::run(config, &stress.workload(), None, |_| true).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(outcome.problems, [""; 0]);
    let preemptions: u64 = outcome.scheduler.cpus.iter().map(|cpu| cpu.preemptions).sum();
    assert!((12..40).contains(&preemptions), "{preemptions}");
}

type Recorded = Arc<Mutex<Vec<(Instant, CpuId, Event)>>>;

struct Recorder(Recorded);

impl Sink for Recorder {
    fn record(&mut self, time: Instant, cpu: CpuId, event: &Event) {
        self.0.lock().expect("one thread").push((time, cpu, *event));
    }
}

#[test]
fn a_replayed_run_does_the_same_work_in_the_same_time() {
    for workload in [mixed(), SpinStress::default().workload(), MessageStorm::default().workload()] {
        let recorded = Recorded::default();
        let config = || config(Topology::flat(4), "eevdf", "two_choices", 2);
        let sink = Box::new(Recorder(recorded.clone()));
        let first =
            sim::run(config(), &workload, Some(sink), |_| true).unwrap_or_else(|error| panic!("{error}"));
        let events = std::mem::take(&mut *recorded.lock().expect("one thread"));
        let again = sim::workload::replay(events, &Calibration::default());
        let second = sim::run(config(), &again, None, |_| true).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(second.problems, [""; 0]);
        assert_eq!(first.threads.len(), second.threads.len());
        let busy = |it: &Outcome| it.scheduler.cpus.iter().map(|cpu| cpu.busy_ns).sum::<u64>() as f64;
        let ratios = [
            busy(&second) / busy(&first),
            second.scheduler.elapsed_ns as f64 / first.scheduler.elapsed_ns as f64,
        ];
        assert!(ratios.iter().all(|ratio| (0.9..1.1).contains(ratio)), "{ratios:?}");
    }
}
