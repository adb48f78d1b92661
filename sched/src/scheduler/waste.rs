//! Measuring whether work is conserved: whether a thread waits while a CPU idles that may run it.

use crate::{Core, Platform};
use formats::Instant;

impl<P: Platform> Core<P> {
    /// A CPU has found nothing to run.
    pub(super) fn note_idle(&self, now: Instant) {
        if !self.machine.has_waiting() || !self.wastes() {
            return self.end_violation(now);
        }
        self.machine.violations.begin(now);
    }

    /// A thread was given a CPU, or may not run any more where it might. Cheap unless work is wasted at this moment.
    #[inline]
    pub(super) fn note_progress(&self, now: Instant) {
        if self.machine.violations.is_on() && !self.wastes() {
            self.end_violation(now);
        }
    }

    fn end_violation(&self, now: Instant) {
        if self.machine.violations.is_on() {
            self.machine.violations.end(now);
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
