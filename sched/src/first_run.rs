//! The first-run guarantee: a new thread gets one full tick before it can be preempted, and no thread is preempted
//! before it has retired an instruction.
//!
//! Pure logic: one small state machine per thread, which moves with the thread from CPU to CPU. It is told what each
//! tick found, and says what the tick may do. `docs/first-run.md` has the rules R1 to R7 that the comments name.

use formats::{Duration, ThreadId};

/// So many dispatches at one instruction without its retiring are a live-lock.
pub const LIVELOCK_DISPATCHES: u32 = 100;

/// After so many ticks in a row without progress the timer handler is assumed to outlast the tick.
const BARREN_TICKS: u8 = 2;

/// What a tick found the running thread to be doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// In the kernel: in a system call or a fault, or on its way to user mode. Counts as progress from half a period
    /// after dispatch on, so that a thread that lives in system calls gains no time.
    Kernel,
    /// In user mode.
    User {
        /// Whether it is seen to have retired a user instruction since it was last dispatched. A one-instruction loop
        /// may be reported as not having: see [`FirstRun`].
        retired: bool,
        /// Where it was interrupted.
        rip: u64,
    },
}

/// A thread that is dispatched over and over and never gets anywhere. `Display` says so in the words of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Livelock {
    pub thread: ThreadId,
    pub rip: u64,
    pub dispatches: u32,
}

impl core::fmt::Display for Livelock {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { thread, rip, dispatches } = self;
        write!(
            f,
            "LIVELOCK: {thread} dispatched {dispatches} times at RIP {rip:#x} without retiring an instruction"
        )
    }
}

/// What a tick may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Charge it to the thread's time slice; preempt when that is used up.
    Charge,
    /// This was the first tick of a new thread (R2): do not preempt.
    Grant,
    /// It got nowhere yet: do not preempt (R3).
    Spare,
    /// It got nowhere for two ticks in a row: do not preempt, and re-arm the timer a full period later (R3).
    Rearm,
    /// It has been at the same instruction for [`LIVELOCK_DISPATCHES`] ticks.
    Livelock { rip: u64 },
}

/// How far a thread is in its first run. Starts with `first_run = false, ticks_run = 0` (R1).
///
/// A thread that is found at the instruction where it was dispatched may be one that never ran, or a loop of one
/// instruction (`jmp .`). The second must not gain unlimited time from looking like the first, so the tick after a
/// full period that was armed at the end of the handler counts as progress: user code had all that time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FirstRun {
    first_run: bool,
    ticks_run: u32,
    /// Ticks in a row, since dispatch, that found no progress.
    barren: u8,
    /// Whether the timer was re-armed for a full period since dispatch.
    rearmed: bool,
    /// Where the thread was last found without progress, and how often in a row.
    stuck: Option<(u64, u32)>,
}

impl FirstRun {
    pub fn is_complete(&self) -> bool {
        self.first_run
    }

    pub fn ticks_run(&self) -> u32 {
        self.ticks_run
    }

    /// It begins to run on a CPU. What earlier ticks found on another CPU, or before others ran, says nothing now.
    pub fn dispatch(&mut self) {
        self.barren = 0;
        self.rearmed = false;
    }

    /// A tick hit the thread `since_dispatch` after it began to run. With `guarantee` off, R2 and R3 do not hold.
    pub fn tick(
        &mut self,
        progress: Progress,
        since_dispatch: Duration,
        period: Duration,
        guarantee: bool,
    ) -> Verdict {
        match progress {
            Progress::Kernel if !guarantee => self.charge(),
            // Just dispatched: it may be on its way to user mode still.
            Progress::Kernel if since_dispatch * 2 < period => Verdict::Spare,
            Progress::Kernel => self.grant_or_charge(guarantee),
            Progress::User { retired: true, .. } => {
                self.advance();
                self.grant_or_charge(guarantee)
            }
            Progress::User { retired: false, rip } => self.found_at(rip, guarantee),
        }
    }

    fn found_at(&mut self, rip: u64, guarantee: bool) -> Verdict {
        if core::mem::take(&mut self.rearmed) {
            self.advance();
            self.complete();
            return self.charge();
        }
        let dispatches = match self.stuck {
            Some((at, count)) if at == rip => count + 1,
            _ => 1,
        };
        self.stuck = Some((rip, dispatches));
        self.barren = self.barren.saturating_add(1);
        if dispatches >= LIVELOCK_DISPATCHES {
            self.stuck = None;
            Verdict::Livelock { rip }
        } else if !guarantee {
            Verdict::Charge
        } else if self.barren >= BARREN_TICKS {
            self.rearmed = true;
            Verdict::Rearm
        } else {
            Verdict::Spare
        }
    }

    fn grant_or_charge(&mut self, guarantee: bool) -> Verdict {
        if self.complete() && guarantee { Verdict::Grant } else { self.charge() }
    }

    /// It got somewhere.
    fn advance(&mut self) {
        self.barren = 0;
        self.rearmed = false;
        self.stuck = None;
    }

    /// Ends the first run; whether it ends now.
    fn complete(&mut self) -> bool {
        let ends = !core::mem::replace(&mut self.first_run, true);
        if ends {
            self.ticks_run = 1;
        }
        ends
    }

    fn charge(&mut self) -> Verdict {
        self.ticks_run = self.ticks_run.saturating_add(1);
        Verdict::Charge
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_ticks(10_000_000);
    const AT: u64 = 0x1000_0018;
    const RAN: Progress = Progress::User { retired: true, rip: AT };
    const STUCK: Progress = Progress::User { retired: false, rip: AT };

    fn tick(thread: &mut FirstRun, progress: Progress) -> Verdict {
        thread.tick(progress, PERIOD, PERIOD, true)
    }

    #[test]
    fn the_first_tick_with_progress_is_granted_and_the_next_is_charged() {
        let mut new = FirstRun::default();
        assert_eq!((new.is_complete(), new.ticks_run()), (false, 0));
        assert_eq!(tick(&mut new, RAN), Verdict::Grant);
        assert_eq!((new.is_complete(), new.ticks_run()), (true, 1));
        assert_eq!(tick(&mut new, RAN), Verdict::Charge);
        assert_eq!(new.ticks_run(), 2);
    }

    #[test]
    fn a_tick_without_progress_never_preempts_and_the_second_in_a_row_re_arms() {
        for old in [false, true] {
            let mut thread = FirstRun { first_run: old, ..FirstRun::default() };
            assert_eq!(tick(&mut thread, STUCK), Verdict::Spare);
            assert_eq!(tick(&mut thread, STUCK), Verdict::Rearm);
            assert_eq!(thread.is_complete(), old);
        }
    }

    #[test]
    fn a_one_instruction_loop_is_charged_at_least_each_third_tick() {
        let mut spinner = FirstRun::default();
        let charged = (0..300).filter(|_| tick(&mut spinner, STUCK) == Verdict::Charge).count();
        assert_eq!(charged, 100);
        assert!(spinner.is_complete());
    }

    #[test]
    fn a_re_armed_period_that_another_cpu_cut_short_does_not_count_as_progress() {
        let mut new = FirstRun::default();
        tick(&mut new, STUCK);
        assert_eq!(tick(&mut new, STUCK), Verdict::Rearm);
        new.dispatch();
        assert_eq!(tick(&mut new, STUCK), Verdict::Spare);
        assert!(!new.is_complete());
    }

    #[test]
    fn a_thread_that_lives_in_system_calls_has_no_endless_first_run() {
        let mut new = FirstRun::default();
        assert_eq!(tick(&mut new, Progress::Kernel), Verdict::Grant);
        assert_eq!(tick(&mut new, Progress::Kernel), Verdict::Charge);
    }

    #[test]
    fn a_thread_on_its_way_to_user_mode_is_spared() {
        for first_run in [false, true] {
            let mut thread = FirstRun { first_run, ..FirstRun::default() };
            let soon = PERIOD / 4;
            assert_eq!(thread.tick(Progress::Kernel, soon, PERIOD, true), Verdict::Spare);
            assert_eq!(thread.is_complete(), first_run);
        }
    }

    #[test]
    fn without_the_guarantee_a_storm_is_reported_at_the_hundredth_dispatch() {
        let mut victim = FirstRun::default();
        let mut storm = || {
            victim.dispatch();
            victim.tick(STUCK, Duration::from_ticks(1), PERIOD, false)
        };
        assert!((1..LIVELOCK_DISPATCHES).all(|_| storm() == Verdict::Charge));
        assert_eq!(storm(), Verdict::Livelock { rip: AT });
    }

    #[test]
    fn an_instruction_that_retires_starts_the_count_of_a_live_lock_again() {
        let mut thread = FirstRun::default();
        for round in 0..10 * LIVELOCK_DISPATCHES {
            thread.dispatch();
            let progress = if round % 90 == 89 { RAN } else { STUCK };
            let verdict = thread.tick(progress, Duration::from_ticks(1), PERIOD, false);
            assert_eq!(verdict, Verdict::Charge);
        }
    }

    #[test]
    fn the_guarantee_outlives_a_storm_of_re_dispatches() {
        // Each dispatch is hit at once, and the thread is never preempted: it keeps its CPU until it gets somewhere.
        let mut new = FirstRun::default();
        new.dispatch();
        let storm: [Verdict; 3] = core::array::from_fn(|_| new.tick(STUCK, PERIOD / 1000, PERIOD, true));
        assert_eq!(storm, [Verdict::Spare, Verdict::Rearm, Verdict::Charge]);
        let mut new = FirstRun::default();
        new.dispatch();
        let storm = [STUCK, STUCK, RAN, RAN].map(|found| tick(&mut new, found));
        assert_eq!(storm, [Verdict::Spare, Verdict::Rearm, Verdict::Grant, Verdict::Charge]);
    }
}
