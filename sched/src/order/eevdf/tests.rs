//! How far threads get from what they are owed.

use super::*;
use crate::{CpuSet, Kind, NewThread, Policy, Share, Thread};
use alloc::{sync::Arc, vec::Vec};
use proptest::prelude::*;

const NOW: Instant = Instant::from_ticks(0);
const TICK: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_millis(40);

fn token(id: u32, nice: i8, slice: u64) -> Runnable {
    let policy = Policy::Normal(Share { nice, slice: Some(Duration::from_millis(slice)) });
    let affinity = CpuSet::ALL;
    let new = NewThread { id: ThreadId(id), kind: Kind::User, affinity, policy, task: Arc::new(()) };
    Runnable::new(Arc::new(Thread::new(new, CpuId::BOOT, affinity)))
}

/// A queue with the thread that it runs.
struct OneCpu {
    queue: Eevdf,
    current: Option<Runnable>,
}

impl OneCpu {
    fn new() -> Self {
        let config = Config { order: &EEVDF, ..Config::default() };
        Self { queue: Eevdf::new(&config), current: None }
    }

    fn join(&mut self, thread: Runnable, why: Enqueue) {
        self.queue.enqueue(thread, why, NOW);
        self.switch(None);
    }

    /// Picks the next thread; the current one comes back for that reason, or keeps the CPU if there is none.
    fn switch(&mut self, why: Option<Enqueue>) {
        let competing = if why.is_none() { self.current.as_deref() } else { None };
        if let Some(next) = self.queue.pick(competing, NOW)
            && let Some(previous) = self.current.replace(next)
        {
            self.queue.enqueue(previous, why.unwrap_or(Enqueue::Preempt), NOW);
        }
        if let Some(current) = &mut self.current {
            current.entity().slice = crate::entity::Slice::FRESH;
        }
    }

    fn run(&mut self, ran: Duration) {
        let Some(current) = &mut self.current else { return };
        current.entity().charge(ran);
        self.queue.charge(current, ran);
    }

    fn tick(&mut self) {
        self.run(TICK);
        let Some(current) = &mut self.current else { return };
        let expired = self.queue.slice(current).is_some_and(|slice| slice <= current.slice_used() + TICK / 2);
        if expired {
            current.entity().slice.expired = true;
            self.switch(None);
        }
    }

    fn leave(&mut self) -> Option<Runnable> {
        let current = self.current.take()?;
        self.queue.depart(&current);
        current.fair.left_at.set(Some(CpuId::BOOT));
        self.switch(None);
        Some(current)
    }

    /// For each that competes: its lag in units of what one request and one tick are for it.
    fn lags(&self) -> Vec<f64> {
        let (mut lags, now) = (Vec::new(), self.queue.now());
        let mut note = |entity: &Entity| {
            let bound = scaled(LONGEST + TICK, entity.weight());
            lags.push((now - entity.fair().vruntime.get()) as f64 / bound as f64);
        };
        self.queue.each(&mut note);
        self.current.as_deref().into_iter().for_each(note);
        lags
    }

    /// The sums are those of the threads that compete.
    fn sums(&self) -> (i64, i128) {
        let (mut weight, mut weighted) = (0, 0);
        let mut add = |entity: &Entity| {
            weight += i64::from(entity.weight());
            weighted += i128::from(entity.weight()) * i128::from(entity.fair().vruntime.get());
        };
        self.queue.each(&mut add);
        self.current.as_deref().into_iter().for_each(add);
        (weight, weighted)
    }
}

#[derive(Clone, Debug)]
enum Op {
    Fork {
        cpu: usize,
        nice: i8,
        slice: u64,
    },
    Tick {
        cpu: usize,
    },
    /// The current thread runs for so many microseconds, and then sleeps.
    Sleep {
        cpu: usize,
        after: u64,
    },
    Yield {
        cpu: usize,
        after: u64,
    },
    Exit {
        cpu: usize,
    },
    /// The `n`th of those that sleep wakes up, on a CPU.
    Wake {
        cpu: usize,
        n: usize,
    },
    /// A waiting thread goes to another CPU.
    Migrate {
        from: usize,
        to: usize,
    },
}

fn op(cpus: usize, nices: core::ops::RangeInclusive<i8>) -> impl Strategy<Value = Op> {
    let cpu = move || 0..cpus;
    prop_oneof![
        2 => (cpu(), nices, 1..40u64).prop_map(|(cpu, nice, slice)| Op::Fork { cpu, nice, slice }),
        12 => cpu().prop_map(|cpu| Op::Tick { cpu }),
        3 => (cpu(), 0..10_000u64).prop_map(|(cpu, after)| Op::Sleep { cpu, after }),
        1 => (cpu(), 0..10_000u64).prop_map(|(cpu, after)| Op::Yield { cpu, after }),
        1 => cpu().prop_map(|cpu| Op::Exit { cpu }),
        4 => (cpu(), 0..5usize).prop_map(|(cpu, n)| Op::Wake { cpu, n }),
        2 => (cpu(), cpu()).prop_map(|(from, to)| Op::Migrate { from, to }),
    ]
}

/// Carries out `ops`, with a check of each CPU after each of them. Returns those that sleep in the end.
fn play(cpus: usize, ops: &[Op], check: &mut dyn FnMut(&OneCpu)) -> Vec<Runnable> {
    let mut machine: Vec<_> = (0..cpus).map(|_| OneCpu::new()).collect();
    let mut asleep: Vec<Runnable> = Vec::new();
    for (id, op) in ops.iter().enumerate() {
        match *op {
            Op::Fork { cpu, nice, slice } => machine[cpu].join(token(id as u32, nice, slice), Enqueue::Fork),
            Op::Tick { cpu } => machine[cpu].tick(),
            Op::Sleep { cpu, after } => {
                machine[cpu].run(Duration::from_ticks(after * 1_000));
                asleep.extend(machine[cpu].leave());
            }
            Op::Yield { cpu, after } => {
                machine[cpu].run(Duration::from_ticks(after * 1_000));
                machine[cpu].switch(Some(Enqueue::Yield));
            }
            Op::Exit { cpu } => drop(machine[cpu].leave()),
            Op::Wake { cpu, n } if n < asleep.len() => {
                let thread = asleep.swap_remove(n);
                thread.thread().set_cpu(CpuId(cpu as u32));
                machine[cpu].join(thread, Enqueue::Wake);
            }
            Op::Wake { .. } => {}
            Op::Migrate { from, to } => {
                if let Some(thread) = machine[from].queue.give(CpuId::BOOT) {
                    machine[to].join(thread, Enqueue::Migrate);
                }
            }
        }
        machine.iter().for_each(&mut *check);
    }
    asleep
}

/// The greatest lag there is, either way, in units of what the longest request and a tick are for its thread.
fn greatest_lag(cpu: &OneCpu) -> f64 {
    cpu.lags().into_iter().map(f64::abs).fold(0.0, f64::max)
}

fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    /// The theorem of Stoica and Abdel-Wahab, of threads that stay.
    #[test]
    fn the_lag_stays_within_one_request_and_one_tick(
        ops in proptest::collection::vec(op(1, -20..=19), 0..300),
    ) {
        let stays = |op: &Op| matches!(op, Op::Fork { .. } | Op::Tick { .. });
        let ops: Vec<_> = ops.into_iter().filter(stays).collect();
        play(1, &ops, &mut |cpu| assert!(greatest_lag(cpu) <= 1.0, "{:?}", cpu.lags()));
    }

    #[test]
    fn equals_stay_within_that_when_they_sleep_wake_yield_and_migrate(
        ops in proptest::collection::vec(op(2, 0..=0), 0..300),
    ) {
        play(2, &ops, &mut |cpu| assert!(greatest_lag(cpu) <= 1.0, "{:?}", cpu.lags()));
    }

    /// One that leaves with a lag shifts it to the others, and most to those of little weight.
    #[test]
    fn threads_of_any_weight_stay_within_twice_that(
        ops in proptest::collection::vec(op(2, -20..=19), 0..300),
    ) {
        play(2, &ops, &mut |cpu| assert!(greatest_lag(cpu) <= 2.0, "{:?}", cpu.lags()));
    }

    #[test]
    fn the_virtual_time_is_that_of_all_who_compete(ops in proptest::collection::vec(op(2, -20..=19), 0..200)) {
        play(2, &ops, &mut |cpu| assert_eq!((cpu.queue.weight, cpu.queue.weighted), cpu.sums()));
    }

    /// By a request and a tick of its own, whatever the others ask for.
    #[test]
    fn what_is_kept_of_the_lag_is_bounded(ops in proptest::collection::vec(op(2, -20..=19), 0..200)) {
        for thread in play(2, &ops, &mut |_| {}) {
            assert!(thread.fair().lag.get().abs() <= OneCpu::new().queue.most_lag(&thread));
        }
    }
}
