//! The policies in force: asking them, changing them while the machine runs, and finding those that fail.

use super::cpu::{NEVER, since};
use crate::measure::MEASURED;
use crate::{
    Balancer, Core, Entity, Fault, MachineView, Placement, Platform, ThreadView, Victims, balance, order,
};
use alloc::boxed::Box;
use core::fmt;
use core::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst,
};
use formats::trace::Event;
use formats::{CpuId, Duration, Instant, ThreadId};
use once_cell::race::OnceBox;

/// After so long, and [`TURNS`] times what its turn should take to come, a thread that waits under an order that promises
/// turns is starved. Shorter where policies are planted that starve threads, so that tests need not wait.
const STARVATION: Duration = Duration::from_secs(if cfg!(feature = "planted") { 2 } else { 20 });
const TURNS: u64 = 8;

/// After so long, a balancer that promises to conserve work has broken the promise.
const IDLENESS: Duration = Duration::from_secs(2);

/// So many audits in a row must find a thread waiting that an idle CPU could run. One may find a CPU that is about to be
/// called.
const IDLE_AUDITS: u32 = 3;

/// So many impossible proposals are no accident. (A few are: a CPU may go offline while a policy thinks.)
const REPAIRS: u64 = 1_000;

/// In which part of a tick a more urgent thread looks again whether a new one has retired an instruction.
const HELD: u32 = 16;

/// How many threads go over to another order at a time, under the lock of their queue: the fewer, the shorter the pause.
const MOVED_AT_ONCE: usize = 1;

/// What takes over from a policy that failed.
const FALLBACK_ORDER: &order::Entry = &order::ROUND_ROBIN;
const FALLBACK_BALANCER: &balance::Entry = &balance::IDLE_STEAL;

/// The policies that can be in force. A balancer is made when it is first chosen, and kept: whoever is asking it at the
/// moment of a change may finish.
pub(super) struct Policies {
    balancers: Box<[Slot]>,
    balancer: AtomicUsize,
    /// What the balancer said of itself, which is asked for at every switch: [`PULLS`], [`SHARES_QUEUE`].
    traits: AtomicU8,
    /// How often the order has been changed, and below it, in 32 bits, which one it is. Of two changes at once the later
    /// one wins, on every CPU.
    order: AtomicU64,
    /// A balancer has panicked.
    panicked: AtomicBool,
    /// How many repairs there were when the balancer began its work.
    repairs: AtomicU64,
    /// How many audits in a row have found CPUs idle that were wanted.
    idle_audits: AtomicU32,
    orders: Box<[&'static order::Entry]>,
}

const PULLS: u8 = 1;
const SHARES_QUEUE: u8 = 2;

struct Slot {
    entry: &'static balance::Entry,
    policy: OnceBox<Box<dyn Balancer>>,
}

/// How a policy failed. `Display` says it in the words of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyFault {
    /// A thread has waited too long under an order that promises turns.
    Starved {
        order: &'static str,
        thread: ThreadId,
        cpu: CpuId,
        waited: Duration,
    },
    /// CPUs idle while threads wait, under a balancer that promises that none do.
    Idle {
        balancer: &'static str,
        lasted: Duration,
    },
    /// It keeps proposing CPUs where threads may not run.
    Impossible {
        balancer: &'static str,
        proposals: u64,
    },
    Panicked {
        balancer: &'static str,
    },
}

impl fmt::Display for PolicyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starved { order, thread, cpu, waited } => {
                write!(
                    f,
                    "the order `{order}` starves {thread}: it has waited on {cpu} for {} ms",
                    waited.as_millis()
                )
            }
            Self::Idle { balancer, lasted } => write!(
                f,
                "the balancer `{balancer}` leaves CPUs idle while threads wait, for {} ms now",
                lasted.as_millis()
            ),
            Self::Impossible { balancer, proposals } => write!(
                f,
                "the balancer `{balancer}` has proposed CPUs where threads may not run, {proposals} times"
            ),
            Self::Panicked { balancer } => write!(f, "the balancer `{balancer}` panicked"),
        }
    }
}

impl Policies {
    pub fn new(config: &crate::Config) -> Self {
        let mut balancers: alloc::vec::Vec<_> = balance::balancers().to_vec();
        let balancer = index_of(&mut balancers, config.balancer);
        let mut orders: alloc::vec::Vec<_> = order::orders().to_vec();
        let order = index_of(&mut orders, config.order);
        let balancers: Box<[Slot]> =
            balancers.into_iter().map(|entry| Slot { entry, policy: OnceBox::new() }).collect();
        let traits = AtomicU8::new(balancers[balancer].traits(config));
        Self {
            balancers,
            balancer: AtomicUsize::new(balancer),
            traits,
            order: AtomicU64::new(order as u64),
            panicked: AtomicBool::new(false),
            repairs: AtomicU64::new(0),
            idle_audits: AtomicU32::new(0),
            orders: orders.into(),
        }
    }
}

impl Slot {
    #[inline]
    fn policy(&self, config: &crate::Config) -> &dyn Balancer {
        &**self.policy.get_or_init(|| Box::new((self.entry.new)(config)))
    }

    fn traits(&self, config: &crate::Config) -> u8 {
        let policy = self.policy(config);
        (if policy.pulls() { PULLS } else { 0 }) | (if policy.shares_queue() { SHARES_QUEUE } else { 0 })
    }
}

/// Where `wanted` is in `all`; at the end, if it was not there.
fn index_of<T>(all: &mut alloc::vec::Vec<&'static T>, wanted: &'static T) -> usize {
    all.iter().position(|entry| core::ptr::eq(*entry, wanted)).unwrap_or_else(|| {
        all.push(wanted);
        all.len() - 1
    })
}

impl<P: Platform> Core<P> {
    /// Makes all balancers now, so that changing them later needs no memory.
    pub fn make_balancers(&self) {
        for slot in &self.policies.balancers {
            slot.policy(&self.config);
        }
    }

    fn slot(&self) -> &Slot {
        &self.policies.balancers[self.policies.balancer.load(Relaxed)]
    }

    #[inline]
    fn balancer(&self) -> &dyn Balancer {
        self.slot().policy(&self.config)
    }

    /// [`Balancer::pulls`] of the one in force.
    #[inline]
    pub(super) fn pulls(&self) -> bool {
        self.policies.traits.load(Relaxed) & PULLS != 0
    }

    /// [`Balancer::shares_queue`] of the one in force.
    #[inline]
    pub(super) fn shares_queue(&self) -> bool {
        self.policies.traits.load(Relaxed) & SHARES_QUEUE != 0
    }

    /// The order in force.
    pub fn order(&self) -> &'static order::Entry {
        self.policies.orders[self.policies.order.load(Relaxed) as u32 as usize]
    }

    /// The balancer in force.
    pub fn balancer_entry(&self) -> &'static balance::Entry {
        self.slot().entry
    }

    /// Asks the balancer; `None` if it panicked.
    fn ask<T>(&self, here: CpuId, question: impl FnOnce(&dyn Balancer, &MachineView) -> T) -> Option<T> {
        let counters = &self.cpu(here).counters;
        let begun = MEASURED.then(|| self.platform.now());
        let (mut question, mut answer) = (Some(question), None);
        let survived = self.platform.protect(&mut || {
            if let Some(question) = question.take() {
                answer = Some(question(self.balancer(), &self.machine));
            }
        });
        if !survived {
            self.policies.panicked.store(true, SeqCst);
        }
        counters.balancer_calls.bump();
        if let Some(begun) = begun {
            counters.balancer_ns.add(since(self.platform.now(), begun).as_ticks());
        }
        answer
    }

    pub(super) fn ask_place(&self, view: &ThreadView, why: Placement) -> CpuId {
        let chosen =
            self.ask(view.here, |balancer, machine| balancer.place(view, why, machine)).unwrap_or(view.last);
        self.platform.trace(view.here, || Event::Placed {
            thread: view.id,
            chosen,
            idle: self.machine.idle().len() as u32,
            waiting_there: if chosen.index() < self.cpus.len() { self.machine.waiting(chosen) } else { 0 },
            waiting_here: self.machine.waiting(view.here),
        });
        chosen
    }

    pub(super) fn ask_on_idle(&self, here: CpuId) -> Victims {
        self.ask(here, |balancer, machine| balancer.on_idle(here, machine)).unwrap_or(Victims::NONE)
    }

    /// Periodic balancing, if it is due on `here`, which then looks at its queue.
    pub(super) fn balance_if_due(&self, here: CpuId) {
        let due = self.cpu(here).next_balance.load(Relaxed);
        if due == NEVER || self.platform.now().as_ticks() < due {
            return;
        }
        let wanted = self.ask(here, |balancer, machine| balancer.on_balance(here, machine)).flatten();
        if let Some(wanted) = wanted {
            self.carry_out(wanted, here);
        }
        self.plan_balance(here, here);
    }

    /// Puts another balancer in force: from the next decision on, everywhere.
    ///
    /// # Errors
    /// When `entry` is not one of [`balance::balancers`] nor the one with which the scheduler was made.
    pub fn set_balancer(&self, entry: &'static balance::Entry, here: CpuId) -> Result<(), Unknown> {
        let slots = &self.policies.balancers;
        let index = slots.iter().position(|slot| core::ptr::eq(slot.entry, entry)).ok_or(Unknown)?;
        let traits = slots[index].traits(&self.config);
        self.policies.balancer.store(index, SeqCst);
        self.policies.traits.store(traits, SeqCst);
        self.policies.repairs.store(self.all_repairs(), Relaxed);
        self.policies.panicked.store(false, SeqCst);
        self.policies.idle_audits.store(0, Relaxed);
        self.platform.trace(here, || Event::Policy { order: false, number: index as u32 });
        for cpu in self.machine.online().iter() {
            self.plan_balance(cpu, here);
            // It looks at the queues of others again, which it may have been told not to.
            if !self.has_fault(Fault::SwapNotCalled) {
                self.call(cpu, here);
            }
        }
        Ok(())
    }

    /// Notes when the balancer wants to be called on `cpu`.
    pub(super) fn plan_balance(&self, cpu: CpuId, here: CpuId) {
        loop {
            let asked = self.policies.balancer.load(SeqCst);
            let pause = self.ask(here, |balancer, machine| balancer.next_balance(cpu, machine)).flatten();
            let next = pause.map_or(NEVER, |pause| (self.platform.now() + pause).as_ticks());
            self.platform.interleave();
            self.cpu(cpu).next_balance.store(next, SeqCst);
            if !self.machine.is_online(cpu) {
                // Whoever takes a CPU offline says so first, and then that there is no next time.
                self.cpu(cpu).next_balance.store(NEVER, SeqCst);
            }
            if self.policies.balancer.load(SeqCst) == asked {
                return;
            }
            // Another took over meanwhile, and may have planned already what was overwritten here.
        }
    }

    /// Puts another order in force, CPU by CPU: from then on threads join the new one, and those that wait go over to it, a
    /// few at a time. Returns the longest time that a queue was locked for it. The queues with which the CPUs were made are
    /// kept for the return to their order, so that the memory in use is then what it was.
    ///
    /// # Errors
    /// As [`set_balancer`](Self::set_balancer).
    pub fn set_order(&self, entry: &'static order::Entry, here: CpuId) -> Result<Duration, Unknown> {
        let mut longest = Duration::from_ticks(0);
        self.set_order_measured(entry, here, &mut |pause| longest = longest.max(pause))?;
        Ok(longest)
    }

    /// As [`set_order`](Self::set_order); tells `pause` each time that a queue was locked for it.
    ///
    /// # Errors
    /// As [`set_balancer`](Self::set_balancer).
    pub fn set_order_measured(
        &self,
        entry: &'static order::Entry,
        here: CpuId,
        pause: &mut dyn FnMut(Duration),
    ) -> Result<(), Unknown> {
        let orders = &self.policies.orders;
        let index = orders.iter().position(|known| core::ptr::eq(*known, entry)).ok_or(Unknown)?;
        let next = |order: u64| ((order >> 32) + 1) << 32 | index as u64;
        let before = self.policies.order.fetch_update(SeqCst, SeqCst, |order| Some(next(order)));
        let change = (next(before.unwrap_or(0)) >> 32) as u32;
        for cpu in CpuId::first(self.cpus.len()) {
            self.change_order_on(cpu, entry, change, pause);
            if self.machine.is_online(cpu) {
                // Its timer may be armed for a slice that is another one now.
                self.call(cpu, here);
            }
        }
        self.platform.trace(here, || Event::Policy { order: true, number: index as u32 });
        Ok(())
    }

    /// `change` numbers the changes; one that has been overtaken by a later one does nothing.
    fn change_order_on(
        &self,
        cpu: CpuId,
        entry: &'static order::Entry,
        change: u32,
        pause: &mut dyn FnMut(Duration),
    ) {
        let is_first = core::ptr::eq(entry, self.config.order);
        let new = (!is_first).then(|| (entry.new)(&self.config.of_cpu(cpu)));
        let mut queue = self.lock(cpu);
        if queue.last_change > change {
            return;
        }
        queue.last_change = change;
        let begun = self.settle(cpu, &mut queue);
        // Another CPU may be in the middle of a change.
        let unfinished = queue.move_over(usize::MAX, cpu, begun);
        queue.change_order(new, begun);
        let lasted = since(self.platform.now(), begun);
        drop(queue);
        drop(unfinished);
        pause(lasted);
        loop {
            let mut queue = self.lock(cpu);
            let begun = self.platform.now();
            let moved = queue.move_over(MOVED_AT_ONCE, cpu, begun);
            let lasted = since(self.platform.now(), begun);
            drop(queue);
            pause(lasted);
            if moved.is_ok() {
                return;
            }
        }
    }

    fn all_repairs(&self) -> u64 {
        CpuId::first(self.cpus.len()).map(|cpu| self.repairs(cpu)).sum()
    }

    /// Looks whether a policy fails. Takes the locks of all queues, one after the other, and looks at all threads that wait:
    /// to be called now and then.
    pub fn audit(&self) -> Option<PolicyFault> {
        let now = self.platform.now();
        let (order, entry) = (self.order(), self.balancer_entry());
        if self.policies.panicked.load(SeqCst) {
            return Some(PolicyFault::Panicked { balancer: entry.name });
        }
        let proposals = self.all_repairs() - self.policies.repairs.load(Relaxed).min(self.all_repairs());
        if proposals >= REPAIRS {
            return Some(PolicyFault::Impossible { balancer: entry.name, proposals });
        }
        if let Some(lasted) = self.wasted(now).filter(|_| entry.conserves_work) {
            return Some(PolicyFault::Idle { balancer: entry.name, lasted });
        }
        if !order.preemptive {
            return None;
        }
        self.machine.online().iter().find_map(|cpu| {
            let weight = self.machine.weight(cpu);
            let mut starved = None;
            self.lock(cpu).each(&mut |entity| {
                let waited = entity.waited(now).unwrap_or(Duration::from_ticks(0));
                let share = weight / u64::from(entity.weight()).max(1);
                let turn = self.config.quantum.as_ticks().saturating_mul(TURNS * share);
                let patience = STARVATION.as_ticks().saturating_add(turn);
                if waited.as_ticks() > patience && entity.policy().class() == crate::Class::Fair {
                    starved = Some((entity.id(), waited));
                }
            });
            let (thread, waited) = starved?;
            Some(PolicyFault::Starved { order: order.name, thread, cpu, waited })
        })
    }

    /// For how long threads have waited while CPUs idled that could have run them, if that is beyond what may be. A
    /// violation may be a chain of short ones that look like one: it must be there at each audit.
    fn wasted(&self, now: Instant) -> Option<Duration> {
        let audits = &self.policies.idle_audits;
        let lasted = self.machine.violations.present(now).filter(|_| self.wastes());
        if lasted.is_none() {
            audits.store(0, Relaxed);
        }
        let lasted = lasted?;
        (audits.fetch_add(1, Relaxed) + 1 >= IDLE_AUDITS && lasted > IDLENESS).then_some(lasted)
    }

    /// Replaces a policy that has failed by one that is known to work.
    pub fn replace(&self, fault: &PolicyFault, here: CpuId) {
        let replaced = match fault {
            PolicyFault::Starved { .. } => self.set_order(FALLBACK_ORDER, here).map(drop),
            PolicyFault::Idle { .. } | PolicyFault::Impossible { .. } | PolicyFault::Panicked { .. } => {
                self.set_balancer(FALLBACK_BALANCER, here)
            }
        };
        debug_assert!(replaced.is_ok(), "the fallbacks are registered");
    }

    /// Calls `visit` for each thread that waits on `cpu`.
    pub fn each_waiting(&self, cpu: CpuId, visit: &mut dyn FnMut(&Entity)) {
        self.lock(cpu).each(visit);
    }

    /// When `here` must be interrupted although nothing happens: the end of a slice in one-shot mode is
    /// [`slice_end`](Self::slice_end), a budget's or the next balancing is this.
    pub fn next_event(&self, here: CpuId) -> Option<Instant> {
        let balance = self.cpu(here).next_balance.load(Relaxed);
        let balance = (balance != NEVER).then(|| Instant::from_ticks(balance));
        if !self.machine.has_urgent(here) {
            return balance;
        }
        let now = self.platform.now();
        let queue = self.lock(here);
        // It was held (Leave::Hold): soon it will have retired an instruction.
        let held = queue.is_outranked(now).then(|| now + self.config.tick / HELD);
        queue.next_event(now).into_iter().chain(held).chain(balance).min()
    }
}

/// A policy that the scheduler does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unknown;
