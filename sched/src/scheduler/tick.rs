//! What a timer interrupt does to the thread that it hits.

use super::cpu::since;
use crate::entity::Slice;
use crate::first_run::{LIVELOCK_DISPATCHES, Livelock, Progress, Verdict};
use crate::{Core, Platform, Timer};
use core::sync::atomic::Ordering::Relaxed;
use formats::trace::{Event, Ticked};
use formats::{CpuId, Duration, Instant};

/// What the timer handler does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tick {
    /// Goes on with the same thread.
    Continue,
    /// Goes on with the same thread, and arms the timer so that it fires a full period after the handler's end.
    Rearm,
    /// Calls [`Core::reschedule`] on the way back to user mode; the idle thread, at once.
    Reschedule,
    /// Reports it: the machine makes no progress.
    Livelock(Livelock),
}

impl<P: Platform> Core<P> {
    /// The tick of `here`, or in one-shot mode the end of a slice. Called by the timer's interrupt handler; neither
    /// allocates nor logs.
    pub fn tick(&self, here: CpuId, progress: Progress) -> Tick {
        let cpu = self.cpu(here);
        cpu.counters.ticks.keep_count();
        let mut queue = self.lock(here);
        let now = self.settle(here, &mut queue);
        let waiting = queue.waiting() > 0 || self.has_competitors(here);
        if queue.current().is_idle() {
            return self.answer(here, waiting);
        }
        if matches!(progress, Progress::User { retired: false, .. }) {
            cpu.counters.no_progress_ticks.bump();
        }
        let (config, ran) = (&self.config, since(now, queue.dispatched));
        queue.replenish(here, now, &self.machine);
        let outranked = queue.is_outranked(now);
        let slice = queue.slice();
        let current = queue.current_mut();
        let verdict = current.first_run.tick(progress, ran, config.tick, config.first_run);
        if current.first_run.is_complete() && !current.thread().first_run.load(Relaxed) {
            current.thread().first_run.store(true, Relaxed);
            cpu.counters.first_runs.bump();
        }
        let thread = current.id();
        self.platform.trace(here, || Event::Tick { thread, verdict: ticked(verdict) });
        match verdict {
            Verdict::Charge => {}
            Verdict::Grant => {
                current.slice = Slice::FRESH;
                if waiting {
                    cpu.counters.first_runs_delaying.bump();
                }
                return self.answer(here, outranked);
            }
            Verdict::Spare => return Tick::Continue,
            Verdict::Rearm => return Tick::Rearm,
            Verdict::Livelock { rip } => {
                return Tick::Livelock(Livelock {
                    thread: current.id(),
                    rip,
                    dispatches: LIVELOCK_DISPATCHES,
                });
            }
        }
        let used = &mut current.slice;
        used.ticks += 1;
        used.expired = slice.is_some_and(|slice| match config.timer {
            Timer::Periodic => config.tick * used.ticks >= slice,
            Timer::OneShot => used.ran >= slice,
        });
        let expired = used.expired;
        if expired && !waiting {
            *used = Slice::FRESH;
        }
        drop(queue);
        if waiting && !expired {
            self.offer_in_turn(cpu.counters.ticks.get(), here);
        }
        self.answer(here, expired && waiting || outranked)
    }

    /// The time at which the thread that runs on `here` has used up its slice, when others wait for it; `None` when
    /// nobody does, or when it may run for as long as it likes. A first slice is at least one nominal tick long (R7).
    ///
    /// To be asked for again after each [`reschedule`](Self::reschedule), also one that changed nothing: it may have been
    /// requested because a thread waits now. And after each [`tick`](Self::tick).
    pub fn slice_end(&self, here: CpuId) -> Option<Instant> {
        // Nobody tells this CPU when a thread begins to wait in a queue that all share: its slices always end.
        let shared = self.shares_queue();
        if self.machine.waiting(here) == 0 && !shared {
            return None;
        }
        let queue = self.lock(here);
        let current = queue.current();
        if queue.waiting() == 0 && !shared || current.is_idle() {
            return None;
        }
        let mut slice = queue.slice()?;
        if !current.first_run.is_complete() {
            slice = slice.max(self.config.tick);
        }
        let slice = slice.as_ticks();
        let left = slice.saturating_sub(current.slice_used().as_ticks());
        Some(queue.since + Duration::from_ticks(left))
    }

    fn answer(&self, here: CpuId, reschedule: bool) -> Tick {
        if !reschedule {
            return Tick::Continue;
        }
        self.cpu(here).needs_reschedule.store(true, Relaxed);
        Tick::Reschedule
    }
}

fn ticked(verdict: Verdict) -> Ticked {
    match verdict {
        Verdict::Charge | Verdict::Livelock { .. } => Ticked::Charged,
        Verdict::Grant => Ticked::Granted,
        Verdict::Spare => Ticked::Spared,
        Verdict::Rearm => Ticked::Rearmed,
    }
}
