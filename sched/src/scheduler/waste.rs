//! Measuring whether work is conserved: whether a thread waits while a CPU idles that may run it.

use crate::measure::MEASURED;
use crate::{Core, Fault, Platform};
use formats::Instant;

impl<P: Platform> Core<P> {
    /// Begins or ends a violation, as it is at this moment. Others decide at the same time on what they saw a little
    /// earlier or later: whoever changes the state looks once more, and so the last one leaves it right.
    pub(super) fn look_for_waste(&self, now: Instant) {
        if !MEASURED {
            return;
        }
        let violations = &self.machine.violations;
        loop {
            let wastes = self.wastes();
            self.platform.interleave();
            match (wastes, violations.is_on()) {
                (true, false) => violations.begin(now),
                (false, true) => violations.end(now),
                _ => return,
            }
            if self.has_fault(Fault::WasteSeenOnce) {
                return;
            }
            self.platform.interleave();
        }
    }

    /// A thread has begun to wait, and a CPU idles that might have it.
    #[inline]
    pub(super) fn note_wait(&self, now: Instant) {
        if MEASURED && !self.machine.violations.is_on() {
            self.look_for_waste(now);
        }
    }

    /// A thread was given a CPU, or may not run any more where it might. Cheap unless work is wasted at this moment.
    #[inline]
    pub(super) fn note_progress(&self, now: Instant) {
        if MEASURED && self.machine.violations.is_on() {
            self.look_for_waste(now);
        }
    }

    /// Whether a CPU idles that may take a thread which waits. Where all that wait are bound to some CPUs, it takes the
    /// locks of their queues, one after the other.
    pub(super) fn wastes(&self) -> bool {
        if !self.machine.has_idle() || !self.machine.has_waiting() {
            return false;
        }
        if self.machine.has_free() {
            return true;
        }
        let idle = self.machine.idle();
        self.machine.loaded().iter().any(|cpu| {
            let mut wanted = false;
            self.lock(cpu).each(&mut |entity| wanted = wanted || entity.thread().may_be_taken_to(&idle));
            wanted
        })
    }
}
