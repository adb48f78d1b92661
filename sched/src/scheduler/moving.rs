//! Moving threads that may not stay where they are.

use super::cpu::NEVER;
use super::placement::takers;
use super::switch::rank_of;
use crate::thread::Booking;
use crate::{Cause, Class, Core, Enqueue, Fault, Placement, Platform, Policy, Reservation, Thread};
use core::sync::atomic::Ordering::SeqCst;
use formats::{CpuId, CpuSet};

/// How much of a CPU the deadline class may have: 95 %, as Linux's default.
const MOST_BANDWIDTH: u64 = Reservation::WHOLE * 95 / 100;

/// No CPU has the bandwidth left that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoBandwidth;

impl<P: Platform> Core<P> {
    /// From now on `thread` runs only on CPUs of `set`. A waiting thread moves at once; a running one leaves its CPU
    /// as soon as that reschedules, for which it is called: when it is the caller's own thread, the caller must see
    /// to that. CPUs that the machine does not have are ignored. When none of `set` is online, the thread runs
    /// anywhere.
    pub fn set_affinity(&self, thread: &Thread, set: CpuSet, here: CpuId) {
        thread.store_affinity(set, self.machine.topology().all());
        self.platform.interleave();
        // Whoever takes it elsewhere from here on will look at the new set on arrival, because that writes `cpu` first.
        let at = thread.cpu();
        let mut queue = self.lock(at);
        if self.may_stay(thread, at, queue.online) {
            let waits = queue.review(at, thread.id(), &self.machine);
            drop(queue);
            let now = self.platform.now();
            if waits {
                // It may have become welcome on a CPU that is idle.
                self.offer(at, &takers(thread), now, here);
                self.push_urgent(at, here);
            }
            self.note_progress(now);
            return;
        }
        if queue.current().id() == thread.id() {
            drop(queue);
            self.call(at, here);
            return;
        }
        // If it is not in the queue, it sleeps or is in somebody's hands.
        let token = queue.remove(at, thread.id(), &self.machine);
        drop(queue);
        if let Some(token) = token {
            self.settle_in(token, Placement::Move, Cause::Affinity, Enqueue::Migrate, here);
            self.note_progress(self.platform.now());
        }
    }

    /// From now on `thread` competes by `policy`; at once, if it waits or runs.
    ///
    /// # Errors
    /// For the deadline class, when no CPU where it may run has so much bandwidth left.
    pub fn set_policy(&self, thread: &Thread, policy: Policy, here: CpuId) -> Result<(), NoBandwidth> {
        self.reserve(thread, &policy)?;
        thread.store_policy(policy);
        self.platform.interleave();
        // As for the affinity: a mover writes `cpu`, and reads the policy under the lock of the queue where it arrives.
        let at = thread.cpu();
        let mut queue = self.lock(at);
        if queue.current().id() == thread.id() {
            let now = self.settle(at, &mut queue);
            queue.refresh_current(at, now, &self.machine);
            self.machine.set_current(at, true, rank_of(&policy, false));
            drop(queue);
            self.call(at, here);
            return Ok(());
        }
        let token = queue.remove(at, thread.id(), &self.machine);
        drop(queue);
        match token {
            Some(token) if policy.class() == Class::Fair => {
                if let Err(token) = self.land(token, at, Enqueue::Policy, here) {
                    self.settle_in(token, Placement::Move, Cause::Affinity, Enqueue::Migrate, here);
                }
            }
            Some(token) => self.settle_in(token, Placement::Wake, Cause::Push, Enqueue::Policy, here),
            None => {}
        }
        Ok(())
    }

    /// Books the bandwidth that `policy` needs, and gives back what `thread` had; on failure it keeps that.
    fn reserve(&self, thread: &Thread, policy: &Policy) -> Result<(), NoBandwidth> {
        let Policy::Deadline(reservation) = policy else {
            self.release_bandwidth(thread);
            return Ok(());
        };
        let bandwidth = reservation.bandwidth();
        // Whoever takes the old booking out decides about it, if several change the policy of one thread.
        let old = thread.replace_booking(None);
        let allowed = thread.affinity().and(&self.machine.online());
        let stays = old.filter(|old| allowed.contains(old.cpu));
        let others = allowed.iter().filter(|cpu| Some(*cpu) != stays.map(|old| old.cpu));
        // Where it is already, it gives up what it had there.
        let given_up = |cpu| old.filter(|old| old.cpu == cpu).map_or(0, |old| old.bandwidth.into());
        let home = stays
            .map(|old| old.cpu)
            .into_iter()
            .chain(others)
            .find(|cpu| self.book(*cpu, bandwidth, given_up(*cpu)));
        let Some(cpu) = home else {
            self.give_back(thread.replace_booking(old));
            return Err(NoBandwidth);
        };
        let new = Booking { cpu, bandwidth: bandwidth as u32 };
        self.give_back(old.filter(|old| old.cpu != cpu));
        self.give_back(thread.replace_booking(Some(new)));
        if thread.is_dead() {
            // It has given back what it had, and will not do so again.
            self.release_bandwidth(thread);
        }
        Ok(())
    }

    /// Books bandwidth on `cpu` in the place of what was booked there before; whether there is as much.
    fn book(&self, cpu: CpuId, bandwidth: u64, before: u64) -> bool {
        let fits = |used: u64| {
            let used = used.saturating_sub(before).saturating_add(bandwidth);
            (used <= MOST_BANDWIDTH).then_some(used)
        };
        self.cpu(cpu).bandwidth.fetch_update(SeqCst, SeqCst, fits).is_ok()
    }

    fn give_back(&self, booking: Option<Booking>) {
        if let Some(Booking { cpu, bandwidth }) = booking {
            self.cpu(cpu).bandwidth.fetch_sub(bandwidth.into(), SeqCst);
        }
    }

    /// Where a thread that has booked bandwidth runs. If it may not be there any more, it books elsewhere; where there is not
    /// as much left, more than there is: late is better than never.
    pub(super) fn home_among(&self, thread: &Thread, allowed: &CpuSet) -> CpuId {
        let fallback = || allowed.first().unwrap_or(thread.cpu());
        match thread.booking() {
            Some(booking) if allowed.contains(booking.cpu) => booking.cpu,
            None => fallback(),
            Some(_) => {
                let Some(old) = thread.replace_booking(None) else { return fallback() };
                let bandwidth = u64::from(old.bandwidth);
                let home = allowed.iter().find(|cpu| self.book(*cpu, bandwidth, 0)).unwrap_or_else(|| {
                    self.cpu(fallback()).bandwidth.fetch_add(bandwidth, SeqCst);
                    fallback()
                });
                self.give_back(Some(old));
                self.give_back(thread.replace_booking(Some(Booking { cpu: home, ..old })));
                home
            }
        }
    }

    /// Gives back what a thread of the deadline class has booked. The thread's owner may call it when the thread is about to
    /// end; when it has, that has been done.
    pub fn release_bandwidth(&self, thread: &Thread) {
        self.give_back(thread.replace_booking(None));
    }

    /// What the deadline class has booked on `cpu`, in units of 1 / [`Reservation::WHOLE`].
    pub fn booked_bandwidth(&self, cpu: CpuId) -> u64 {
        self.cpu(cpu).bandwidth.load(SeqCst)
    }

    /// Makes the CPU on which `thread` runs enter the kernel soon, if it is another: for a thread that must notice
    /// something there, such as a signal.
    pub fn interrupt(&self, thread: &Thread, here: CpuId) {
        let at = thread.cpu();
        if at != here {
            self.call(at, here);
        }
    }

    /// `cpu` runs no more threads: those that wait there go elsewhere, and the one that runs leaves when the CPU
    /// reschedules, for which it is called. At least one other CPU must be online.
    pub fn take_offline(&self, cpu: CpuId, here: CpuId) {
        self.machine.online.remove(cpu);
        let late = self.has_fault(Fault::RefusesLate);
        self.lock(cpu).online = late;
        self.machine.idle.remove(cpu);
        self.cpu(cpu).next_balance.store(NEVER, SeqCst);
        loop {
            let mut queue = self.lock(cpu);
            let Some(token) = queue.evict(cpu, self.platform.now(), &self.machine) else { break };
            drop(queue);
            self.settle_in(token, Placement::Move, Cause::Offline, Enqueue::Migrate, here);
        }
        if late {
            self.lock(cpu).online = false;
        }
        self.call(cpu, here);
    }

    /// `cpu`, which was taken offline, may be given threads again. Its idle thread is still the one with which it was
    /// brought online. Not while another call takes the same CPU offline.
    pub fn set_online(&self, cpu: CpuId, here: CpuId) {
        self.lock(cpu).online = true;
        self.machine.online.insert(cpu);
        self.plan_balance(cpu, here);
        // It becomes one of the idle CPUs, which are called when work waits, by looking for work once.
        self.call(cpu, here);
        for other in self.machine.online().iter().filter(|other| *other != cpu) {
            self.send_home(other, here);
        }
    }

    /// Moves those away from `cpu` that are there only because no CPU was online where they may run.
    fn send_home(&self, cpu: CpuId, here: CpuId) {
        loop {
            let mut queue = self.lock(cpu);
            let mut stray = None;
            queue.each(&mut |entity| {
                if !self.may_stay(entity.thread(), cpu, true) {
                    stray = Some(entity.id());
                }
            });
            let is_stray = !queue.current().is_idle() && !self.may_stay(queue.current().thread(), cpu, true);
            let token = stray.and_then(|id| queue.remove(cpu, id, &self.machine));
            drop(queue);
            let Some(token) = token else {
                if is_stray {
                    self.call(cpu, here);
                }
                return;
            };
            self.settle_in(token, Placement::Move, Cause::Affinity, Enqueue::Migrate, here);
        }
    }
}
