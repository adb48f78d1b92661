//! Earliest eligible virtual deadline first.
//!
//! I. Stoica and H. Abdel-Wahab, "Earliest eligible virtual deadline first: a flexible and accurate mechanism for
//! proportional share resource allocation", Old Dominion University TR-95-22, 1995; with the amendments of Linux 6.6 and
//! later (`sched-eevdf.rst`): lag is kept across sleep and migration within a bound, and a thread may ask for a shorter slice
//! to be served sooner.
//!
//! ```text
//! V           = average of the vruntimes of all that compete, by weight
//! lag(i)      = V - vruntime(i)                    what i is owed, in virtual time
//! eligible(i) : lag(i) >= 0
//! deadline(i) = vruntime(i) + request(i) / weight(i), renewed when the request is served
//! next        = of the eligible, the one with the earliest deadline
//! running     : until its request is served, unless an earlier deadline with a shorter request comes
//! leaving     : the lag is kept, at most one request and a tick of it
//! sleeping    : what it owes (lag < 0) it pays while V goes on without it; what it is owed is kept
//! joining     : vruntime = V - lag * (W + weight) / W: it is owed after joining what it was owed before
//! ```

use super::virtual_time::{UNIT, advance, average, scaled};
use super::{Enqueue, Entry, RunQueue};
use crate::{Config, Entity, Runnable, Tree};
use alloc::boxed::Box;
use formats::{CpuId, Duration, Instant, ThreadId};

pub static EEVDF: Entry = Entry {
    name: "eevdf",
    summary: "the eligible thread with the earliest virtual deadline, as Linux since 6.6",
    preemptive: true,
    new: |config| Box::new(Eevdf::new(config)),
};

struct Eevdf {
    /// By vruntime; the rank is the deadline.
    waiting: Tree,
    /// Of all that compete: the sum of the weights, and of weight times vruntime.
    weight: i64,
    weighted: i128,
    /// V when the last one left.
    last: i64,
    slice: Duration,
    tick: Duration,
}

impl Eevdf {
    fn new(config: &Config) -> Self {
        let (slice, tick) = (config.quantum, config.tick);
        Self { waiting: Tree::new(), weight: 0, weighted: 0, last: 0, slice, tick }
    }

    /// V, the virtual time of the queue.
    fn now(&self) -> i64 {
        match self.weight {
            0 => self.last,
            weight => average(self.weighted, weight),
        }
    }

    fn request(&self, entity: &Entity) -> Duration {
        entity.policy().slice().unwrap_or(self.slice)
    }

    fn request_virtual(&self, entity: &Entity) -> i64 {
        scaled(self.request(entity), entity.weight())
    }

    fn is_eligible(&self, entity: &Entity) -> bool {
        entity.fair().vruntime.get() <= self.now()
    }

    /// Its request is served. Time is given out in ticks: the tick that ends nearest to the request's end ends it.
    fn is_served(&self, current: &Entity) -> bool {
        let fair = current.fair();
        let left = fair.deadline.get() - fair.vruntime.get();
        left <= 0 || current.slice_expired() && left <= scaled(self.tick / 2, current.weight())
    }

    /// A new request.
    fn renew(&self, entity: &Entity) {
        let fair = entity.fair();
        fair.deadline.set(fair.vruntime.get() + self.request_virtual(entity));
    }

    /// The most that a thread is owed when it joins, or owes: what one request and the tick in which it ends may cause.
    fn most_lag(&self, entity: &Entity) -> i64 {
        scaled(self.request(entity) + self.tick, entity.weight())
    }

    /// `entity` competes from now on.
    fn join(&mut self, entity: &Entity, why: Enqueue) {
        let (fair, own) = (entity.fair(), i64::from(entity.weight()));
        let stayed = fair.left_at.get() == Some(entity.thread().cpu());
        let lag = match (why, fair.lag.get()) {
            (Enqueue::Fork | Enqueue::Order, _) => 0,
            // Linux's DELAY_DEQUEUE: as if it had stayed until it was eligible.
            (Enqueue::Wake, lag) if lag < 0 && stayed => (self.now() - fair.vruntime.get()).clamp(lag, 0),
            (_, lag) => lag,
        };
        // V moves towards those who join, so that they must be put further away than they are to be.
        let inflated = match self.weight {
            0 => 0,
            others => average(i128::from(lag) * i128::from(others + own), others),
        };
        let left_of_request = fair.deadline.get();
        fair.vruntime.set(self.now() - inflated);
        fair.lag.set(0);
        self.renew(entity);
        if why == Enqueue::Migrate && left_of_request > 0 {
            fair.deadline.set(fair.vruntime.get() + left_of_request.min(self.request_virtual(entity)));
        }
        if why == Enqueue::Fork {
            // Half a request of head start, as Linux's PLACE_DEADLINE_INITIAL.
            fair.deadline.set(fair.vruntime.get() + self.request_virtual(entity) / 2);
        }
        self.weight += own;
        self.weighted += i128::from(own) * i128::from(fair.vruntime.get());
    }

    /// `entity` does not compete any more. Its lag is kept, and how much of its request is left.
    fn leave(&mut self, entity: &Entity) {
        let (fair, most, now) = (entity.fair(), self.most_lag(entity), self.now());
        let vruntime = fair.vruntime.get();
        fair.lag.set((now - vruntime).clamp(-most, most));
        fair.deadline.set(fair.deadline.get() - vruntime);
        self.last = now;
        self.weight -= i64::from(entity.weight());
        self.weighted -= i128::from(entity.weight()) * i128::from(vruntime);
    }

    /// `current`, which competes, has moved on.
    fn moved(&mut self, current: &Entity, by: i64) {
        self.weighted += i128::from(current.weight()) * i128::from(by);
    }

    /// Whether `best`, which waits, goes before `current`.
    fn goes_before(&self, best: &Entity, current: &Entity) -> bool {
        let served = self.is_served(current);
        let deadline = match served {
            true => current.fair().vruntime.get() + self.request_virtual(current),
            false => current.fair().deadline.get(),
        };
        let earlier = best.fair().deadline.get() < deadline;
        match served {
            true => earlier || !self.is_eligible(current),
            false => earlier && self.request(best) < self.request(current),
        }
    }

    fn best(&self) -> Option<&Entity> {
        self.waiting.least_rank_up_to(self.now())
    }
}

impl RunQueue for Eevdf {
    fn enqueue(&mut self, thread: Runnable, why: Enqueue, _now: Instant) {
        match why {
            Enqueue::Preempt => {
                if self.is_served(&thread) {
                    self.renew(&thread);
                }
            }
            Enqueue::Yield => {
                // It forgoes the rest of its request.
                let fair = thread.fair();
                let forgone = (fair.deadline.get() - fair.vruntime.get()).max(0);
                fair.vruntime.set(fair.vruntime.get() + forgone);
                self.moved(&thread, forgone);
                self.renew(&thread);
            }
            _ => self.join(&thread, why),
        }
        let (vruntime, deadline) = (thread.fair().vruntime.get(), thread.fair().deadline.get());
        self.waiting.insert(thread, vruntime, deadline);
    }

    fn dequeue(&mut self, id: ThreadId) -> Option<Runnable> {
        let thread = self.waiting.remove(|entity| entity.id() == id)?;
        self.leave(&thread);
        Some(thread)
    }

    fn pick(&mut self, current: Option<&Entity>, _now: Instant) -> Option<Runnable> {
        if let Some(current) = current {
            let goes = self.best().is_some_and(|best| self.goes_before(best, current));
            if !goes {
                if self.is_served(current) {
                    self.renew(current);
                }
                return None;
            }
        }
        // When the current one has left all of the others behind it, none is eligible.
        self.waiting.pop_least_rank_up_to(self.now()).or_else(|| self.waiting.pop_first())
    }

    fn give(&mut self, to: CpuId) -> Option<Runnable> {
        let thread = self.waiting.remove(|entity| entity.may_run_on(to))?;
        self.leave(&thread);
        Some(thread)
    }

    fn charge(&mut self, current: &Entity, ran: Duration) {
        let moved = advance(current, ran);
        self.moved(current, moved);
    }

    fn adopt(&mut self, current: &Entity) {
        self.join(current, Enqueue::Policy);
    }

    fn depart(&mut self, current: &Entity) {
        self.leave(current);
    }

    fn preempts(&self, current: &Entity) -> bool {
        self.best().is_some_and(|best| best.may_preempt() && self.goes_before(best, current))
    }

    fn slice(&self, current: &Entity) -> Option<Duration> {
        // What it has had of its request in this turn, and what is left of it.
        let fair = current.fair();
        let left = i128::from((fair.deadline.get() - fair.vruntime.get()).max(0));
        let left = (left * i128::from(current.weight()) / i128::from(UNIT)) as u64;
        let had = if left == 0 { Duration::from_ticks(0) } else { current.slice_used() };
        Some(had + Duration::from_ticks(left))
    }

    fn each(&self, visit: &mut dyn FnMut(&Entity)) {
        self.waiting.each(visit);
    }
}

#[cfg(test)]
mod tests {
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
            let expired =
                self.queue.slice(current).is_some_and(|slice| slice <= current.slice_used() + TICK / 2);
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
                Op::Fork { cpu, nice, slice } => {
                    machine[cpu].join(token(id as u32, nice, slice), Enqueue::Fork)
                }
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
}
