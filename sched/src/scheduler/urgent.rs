//! Real-time threads that wait go where they can run, whatever the balancer.
//!
//! The most urgent threads of the machine are to run, as far as affinities allow (Linux's `push_rt_tasks` and
//! `pull_rt_task`):
//!
//! - A thread that must wait is *pushed* to a CPU where something less urgent runs.
//! - A CPU that turns to something less urgent *pulls* a thread that waits elsewhere.
//!
//! That a thread waits is published before the ranks of other CPUs are read, and that a rank is lower before those who wait
//! are looked for. One of the two sees the other.
//!
//! Threads of the deadline class stay where their bandwidth is booked. A CPU on which the real-time class has used up its
//! share of the second neither pulls nor is pushed to.

use super::Queue;
use crate::{Cause, Core, Enqueue, Placement, Platform, Runnable};
use formats::{CpuId, Instant, ThreadId};

impl<P: Platform> Core<P> {
    /// Real-time threads that wait on `from` and would not run there next go to CPUs where they would. Others may change all
    /// of this at the same time: it ends after as many moves as could be of use.
    pub(super) fn push_urgent(&self, from: CpuId, here: CpuId) {
        let mut at = from;
        for _ in 0..2 * self.cpus.len() {
            at = match self.push_one(at, here) {
                // Something more urgent may have come there first.
                Some(to) => to,
                None if at == from => return,
                None => from,
            };
        }
    }

    /// Pushes one thread away from `from`; to where.
    fn push_one(&self, from: CpuId, here: CpuId) -> Option<CpuId> {
        if !self.machine.waits_urgent(from) {
            return None;
        }
        let now = self.platform.now();
        let mut queue = self.lock(from);
        let (id, to) = self.find_push(from, &queue, now)?;
        let token = queue.remove(from, id, &self.machine)?;
        drop(queue);
        self.bring(token, to, Cause::Push, here);
        Some(to)
    }

    /// The most urgent thread that waits in `queue` and would run elsewhere at once, and where.
    fn find_push(&self, from: CpuId, queue: &Queue, now: Instant) -> Option<(ThreadId, CpuId)> {
        let (machine, online) = (&self.machine, self.machine.online());
        // The first one may run on `from` as soon as that looks.
        let runs_here = queue.highest_real_time() > machine.rank(from);
        queue.real_time().skip(usize::from(runs_here)).find_map(|entity| {
            let allowed = entity.thread().allowed(&online);
            let others = allowed.iter().filter(|cpu| *cpu != from && !machine.is_throttled(*cpu, now));
            let to = others.min_by_key(|cpu| (machine.next_rank(*cpu), !machine.is_idle(*cpu)))?;
            let goes_first = u32::from(entity.policy().priority()) > machine.next_rank(to);
            goes_first.then_some((entity.id(), to))
        })
    }

    /// Takes to `here`, which turns to something of that `rank`, the most urgent thread that waits elsewhere and goes before
    /// it.
    pub(super) fn pull_urgent(&self, here: CpuId, rank: u32, now: Instant) {
        let machine = &self.machine;
        if machine.is_throttled(here, now) || !machine.is_online(here) {
            return;
        }
        let mut others = machine.urgent();
        others.remove(here);
        while let Some(from) = others.iter().max_by_key(|cpu| machine.waiting_rank(*cpu)) {
            others.remove(from);
            if machine.waiting_rank(from) <= rank {
                return;
            }
            let token = self.lock(from).give_real_time(from, here, rank, machine);
            if let Some(token) = token {
                return self.bring(token, here, Cause::Pull, here);
            }
        }
    }

    /// Takes the token in hand to `to`; elsewhere, if its affinity has changed or the CPU has gone offline.
    fn bring(&self, token: Runnable, to: CpuId, cause: Cause, here: CpuId) {
        self.migrate(&token, to, cause);
        if let Err(token) = self.land(token, to, Enqueue::Migrate, here) {
            self.settle_in(token, Placement::Move, Cause::Affinity, Enqueue::Migrate, here);
        }
    }
}
