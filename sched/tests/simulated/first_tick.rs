//! The first-run guarantee on a whole machine: rules R2 to R5 and R7, and what happens without them.

use crate::machine::{Doing, Machine, RAN, STUCK};
use crate::promises::{A, B, machine, now, spawn, stay};
use sched::balance::IDLE_STEAL;
use sched::order::Entry;
use sched::{
    Config, CpuId, CpuSet, Duration, Enqueue, Entity, Instant, Leave, List, RunQueue, Runnable, ThreadId,
    Tick, Timer,
};

#[test]
fn a_new_thread_is_preempted_at_its_second_tick_and_not_at_its_first() {
    let mut machine = machine(1, stay());
    let ids = spawn(&mut machine, 2);
    for id in ids.iter().chain(&ids) {
        assert_eq!(machine.running(A), Some(*id));
        if machine.model(*id).ticks == 0 {
            assert_eq!(machine.tick(A, RAN), Ok(Tick::Continue));
        }
        assert_eq!(machine.tick(A, RAN), Ok(Tick::Reschedule));
        machine.settle().unwrap();
    }
    assert_eq!(machine.core.cpu_stats(A).first_runs, 2);
    assert_eq!(machine.core.cpu_stats(A).preemptions, 4);
}

/// Moves a new thread from A to B in the given way; there it must get its full first tick while another waits.
fn keeps_its_first_tick(moved: impl Fn(&mut Machine, ThreadId)) {
    let mut machine = machine(2, stay());
    machine.spawn(B, CpuSet::of(B)).unwrap();
    machine.settle().unwrap();
    machine.tick(B, RAN).unwrap();
    let id = machine.spawn(A, CpuSet::ALL).unwrap();
    moved(&mut machine, id);
    for _ in 0..2 {
        machine.settle().unwrap();
        if machine.running(B) != Some(id) {
            machine.tick(B, RAN).unwrap();
        }
    }
    assert_has_its_first_tick(&mut machine, id);
    machine.drain().unwrap();
}

/// `id` runs on B, where another waits: the first tick is granted, the second is not.
fn assert_has_its_first_tick(machine: &mut Machine, id: ThreadId) {
    assert_eq!(machine.running(B), Some(id));
    assert!(machine.core.machine().waiting(B) > 0);
    assert_eq!(machine.tick(B, RAN), Ok(Tick::Continue), "it was preempted at its first tick");
    assert_eq!(machine.running(B), Some(id));
    assert_eq!(machine.tick(B, RAN), Ok(Tick::Reschedule));
}

#[test]
fn a_stolen_child_gets_its_full_first_tick() {
    let mut machine = machine(2, Config { balancer: &IDLE_STEAL, ..Config::default() });
    let busy = [A, B].map(|cpu| machine.spawn(cpu, CpuSet::of(cpu)).unwrap());
    machine.settle().unwrap();
    let child = machine.spawn(A, CpuSet::ALL).unwrap();
    machine.sleep(B).unwrap();
    machine.settle().unwrap();
    assert_eq!(machine.core.migrations(B).steal, 1);
    machine.wake(busy[1], B).unwrap();
    assert_has_its_first_tick(&mut machine, child);
    machine.drain().unwrap();
}

#[test]
fn a_child_that_is_re_affined_while_it_waits_gets_its_full_first_tick() {
    keeps_its_first_tick(|machine, id| machine.set_affinity(id, CpuSet::of(B), A).unwrap());
}

#[test]
fn a_child_that_is_moved_during_its_first_tick_gets_a_full_one_where_it_then_runs() {
    keeps_its_first_tick(|machine, id| {
        machine.settle().unwrap();
        assert_eq!(machine.running(A), Some(id));
        machine.tick(A, STUCK).unwrap();
        machine.set_affinity(id, CpuSet::of(B), B).unwrap();
        machine.settle().unwrap();
        assert_eq!(machine.core.migrations(B).affinity, 1);
    });
}

#[test]
fn a_child_whose_cpu_goes_offline_gets_its_full_first_tick() {
    keeps_its_first_tick(|machine, _| {
        machine.settle().unwrap();
        machine.offline(A, B).unwrap();
        machine.settle().unwrap();
        assert_eq!(machine.core.migrations(B).offline, 1);
    });
}

/// Two threads on one CPU, each hit by a tick as soon as it is dispatched, until one gets somewhere or `limit` ticks.
fn storm(first_run: bool, limit: usize) -> (Option<Tick>, Machine) {
    let mut machine = machine(1, Config { first_run, ..stay() });
    spawn(&mut machine, 2);
    for _ in 0..limit {
        match machine.tick(A, STUCK).unwrap() {
            found @ (Tick::Livelock(_) | Tick::Rearm) => return (Some(found), machine),
            _ => machine.settle().unwrap(),
        }
    }
    (None, machine)
}

#[test]
fn a_storm_without_the_guarantee_is_a_live_lock_and_is_reported_in_these_words() {
    let Some(Tick::Livelock(livelock)) = storm(false, 250).0 else { panic!("it was not noticed") };
    assert_eq!(
        livelock.to_string(),
        format!(
            "LIVELOCK: {} dispatched 100 times at RIP 0x1000 without retiring an instruction",
            livelock.thread
        )
    );
}

#[test]
fn a_storm_with_the_guarantee_leaves_a_full_period_to_the_thread_that_it_hits() {
    let (answer, mut machine) = storm(true, 250);
    assert_eq!(answer, Some(Tick::Rearm));
    let hit = machine.running(A);
    assert_eq!(machine.core.cpu_stats(A).preemptions, 0);
    assert_eq!(machine.tick(A, RAN), Ok(Tick::Continue));
    assert_eq!(machine.running(A), hit);
    assert_eq!(machine.core.cpu_stats(A).no_progress_ticks, 2);
}

#[test]
fn a_one_instruction_loop_shares_its_cpu() {
    let mut machine = machine(1, stay());
    let ids = spawn(&mut machine, 2);
    for _ in 0..60 {
        let progress = if machine.running(A) == Some(ids[0]) { STUCK } else { RAN };
        machine.tick(A, progress).unwrap();
        machine.settle().unwrap();
    }
    let (spinner, other) = (machine.model(ids[0]).ticks, machine.model(ids[1]).ticks);
    assert!(spinner <= 3 * other + 3, "the loop ran for {spinner} ticks and the other thread for {other}");
}

/// An order in which everybody preempts everybody.
struct Impatient(List);

static IMPATIENT: Entry = Entry {
    name: "impatient",
    summary: "each new arrival at once",
    preemptive: true,
    new: |_| Box::new(Impatient(List::new())),
};

impl RunQueue for Impatient {
    fn enqueue(&mut self, thread: Runnable, _: Enqueue, _: Instant) {
        self.0.push_back(thread);
    }

    fn dequeue(&mut self, id: ThreadId) -> Option<Runnable> {
        self.0.remove(|entity| entity.id() == id)
    }

    fn pick(&mut self, _: Option<&Entity>, _: Instant) -> Option<Runnable> {
        self.0.pop_front()
    }

    fn give(&mut self, to: CpuId) -> Option<Runnable> {
        self.0.remove(|entity| entity.may_run_on(to))
    }

    fn preempts(&self, _: &Entity) -> bool {
        true
    }

    fn slice(&self, _: &Entity) -> Option<Duration> {
        None
    }

    fn each(&self, visit: &mut dyn FnMut(&Entity)) {
        self.0.iter().for_each(visit);
    }
}

#[test]
fn an_order_that_preempts_at_once_must_wait_for_the_first_tick() {
    let mut machine = machine(1, Config { order: &IMPATIENT, ..stay() });
    let first = spawn(&mut machine, 1)[0];
    let second = machine.spawn(A, CpuSet::ALL).unwrap();
    assert!(!machine.core.needs_reschedule(A));
    assert!(machine.core.reschedule(A, Leave::Preempt).is_none());
    assert_eq!(machine.running(A), Some(first));
    machine.tick(A, RAN).unwrap();
    let third = machine.spawn(A, CpuSet::ALL).unwrap();
    assert!(machine.core.needs_reschedule(A));
    machine.settle().unwrap();
    assert_eq!(machine.running(A), Some(second));
    assert_eq!(machine.model(third).doing, Doing::Ready);
}

#[test]
fn a_first_slice_is_at_least_one_tick_long() {
    let quantum = Duration::from_ticks(1);
    let mut machine = machine(1, Config { timer: Timer::OneShot, quantum, ..stay() });
    let dispatched = now(&machine);
    spawn(&mut machine, 2);
    let end = machine.core.slice_end(A).expect("another waits");
    assert!(end >= dispatched + machine.core.config().tick);
}
