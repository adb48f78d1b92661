//! A recorded run as a workload, to be run again under another policy.
//!
//! From the switches follows how long each thread computed between two sleeps, and from the wake-ups who ended which
//! sleep: a thread that was running on the CPU where it happened, or, where none ran, the timer. So a thread that was
//! woken by another is woken by the same step of that one again, whenever that comes now, and one that waited for time
//! sleeps as long as it did. A wake-up by the timer of a CPU where a thread ran counts as that thread's.
//!
//! What the kernel did for a thread, its system calls and interrupts, is part of its recorded time; it is not charged
//! again.
//!
//! So no thread waits for ever, whatever the policy: each wait is for a step that came before the wait's end when it was
//! recorded, and of the steps that are left the one that was recorded first can always be done.

use super::{Channel, Program, Start, Step, Workload};
use crate::Calibration;
use crate::time::Time;
use formats::trace::{Event, Left, Trace};
use formats::{CpuId, Instant, ThreadId};
use std::collections::BTreeMap;

/// Derives the workload from a trace, from when on all of it is known. `costs` are those of the recorded machine. A thread
/// of the workload is called after the recorded one and its number: `message_storm (thread 4)`.
pub fn recorded(trace: &Trace, costs: &Calibration) -> Workload {
    let since = trace.complete_since();
    let known = |time: Instant, event: &Event| {
        // Names are there even of what was lost.
        matches!(event, Event::Named { .. }) || since.is_none_or(|since| time >= since)
    };
    let mut events: Vec<(Instant, CpuId, Event)> = Vec::new();
    for track in &trace.tracks {
        let of_track = track.events.iter().filter(|(time, event)| known(*time, event));
        events.extend(of_track.map(|(time, event)| (*time, track.cpu, *event)));
    }
    events.sort_by_key(|(time, cpu, _)| (*time, *cpu));
    replay(events, costs)
}

/// Derives the workload from what happened on all CPUs, in the order of time. `costs` are those of the recorded machine.
pub fn replay(events: impl IntoIterator<Item = (Instant, CpuId, Event)>, costs: &Calibration) -> Workload {
    let mut recording = Recording { switch: costs.switch.0, ..Recording::default() };
    for (time, cpu, event) in events {
        if !matches!(event, Event::Named { .. }) {
            recording.begin.get_or_insert(time.as_ticks());
        }
        recording.now = time.as_ticks();
        recording.note(cpu, &event);
    }
    recording.workload()
}

#[derive(Default)]
struct Recording {
    /// Nanoseconds of each dispatch that are not the thread's own.
    switch: u64,
    begin: Option<u64>,
    now: u64,
    threads: Vec<Thread>,
    /// Those that have not ended: the kernel may give the number of one that has to another.
    known: BTreeMap<ThreadId, usize>,
    /// The names of those that were not seen to do anything yet.
    names: BTreeMap<ThreadId, String>,
    /// What runs on each CPU, and since when that is not yet in its steps.
    running: BTreeMap<CpuId, (usize, u64)>,
}

struct Thread {
    id: ThreadId,
    name: Option<String>,
    steps: Vec<Step>,
    computed: u64,
    /// Since when it sleeps, if it does; its last step then is the sleep.
    asleep: Option<u64>,
    forked: bool,
}

impl Thread {
    fn flush(&mut self) {
        if self.computed > 0 {
            self.steps.push(Step::Compute(Time::Fixed(self.computed)));
            self.computed = 0;
        }
    }

    fn push(&mut self, step: Step) {
        self.flush();
        self.steps.push(step);
    }

    /// Its sleep was for a time.
    fn slept_until(&mut self, now: u64) {
        if let Some(since) = self.asleep.take()
            && let Some(last) = self.steps.last_mut()
        {
            *last = Step::Sleep(Time::Fixed(now.saturating_sub(since)));
        }
    }
}

impl Recording {
    fn note(&mut self, cpu: CpuId, event: &Event) {
        match *event {
            Event::Switch { previous, next, why } => {
                self.left(cpu, previous, why);
                self.running.remove(&cpu);
                if next != ThreadId(0) {
                    let next = self.thread(next, None);
                    let now = self.now;
                    // Nobody is seen to have woken it.
                    self.threads[next].slept_until(now);
                    self.running.insert(cpu, (next, now + self.switch));
                }
            }
            Event::Born { thread, .. } => {
                self.thread(thread, Some(cpu));
            }
            Event::Named { thread, name } => match self.known.get(&thread) {
                Some(known) => self.threads[*known].name = Some(name.to_string()),
                None => drop(self.names.insert(thread, name.to_string())),
            },
            Event::Wake { thread, .. } => {
                let woken = self.thread(thread, Some(cpu));
                if self.threads[woken].asleep.is_none() {
                    return;
                }
                match self.compute_up_to_now(cpu) {
                    Some(waker) => {
                        self.threads[woken].asleep = None;
                        self.threads[waker].push(Step::Send(woken));
                    }
                    None => self.threads[woken].slept_until(self.now),
                }
            }
            _ => {}
        }
    }

    /// `thread`, which is new if it was not seen before: forked by what runs on the CPU, or there from the beginning.
    fn thread(&mut self, id: ThreadId, forked_on: Option<CpuId>) -> usize {
        if let Some(known) = self.known.get(&id) {
            return *known;
        }
        let index = self.threads.len();
        self.known.insert(id, index);
        let parent = forked_on.and_then(|cpu| self.compute_up_to_now(cpu));
        let mut thread = Thread {
            id,
            name: self.names.remove(&id),
            steps: Vec::new(),
            computed: 0,
            asleep: None,
            forked: parent.is_some(),
        };
        match parent {
            Some(parent) => self.threads[parent].push(Step::Fork(index)),
            None => {
                let late = self.now - self.begin.unwrap_or(self.now);
                if forked_on.is_some() && late > 0 {
                    thread.push(Step::Sleep(Time::Fixed(late)));
                }
            }
        }
        self.threads.push(thread);
        index
    }

    /// Puts what the thread that runs on `cpu` has computed so far into its account.
    fn compute_up_to_now(&mut self, cpu: CpuId) -> Option<usize> {
        let (thread, since) = self.running.get_mut(&cpu)?;
        self.threads[*thread].computed += self.now.saturating_sub(*since);
        *since = (*since).max(self.now);
        Some(*thread)
    }

    fn left(&mut self, cpu: CpuId, previous: ThreadId, why: Left) {
        if previous == ThreadId(0) {
            return;
        }
        let thread = self.thread(previous, None);
        if !self.running.contains_key(&cpu) {
            // It ran when the recording began.
            self.running.insert(cpu, (thread, self.begin.unwrap_or(self.now)));
        }
        self.compute_up_to_now(cpu);
        let left = &mut self.threads[thread];
        match why {
            Left::Slept => {
                left.push(Step::Receive(thread));
                left.asleep = Some(self.now);
            }
            Left::Yielded => left.push(Step::Yield),
            Left::Exited => {
                left.push(Step::Exit);
                self.known.remove(&previous);
            }
            Left::Preempted | Left::Idle => {}
        }
    }

    fn workload(mut self) -> Workload {
        let cpus: Vec<CpuId> = self.running.keys().copied().collect();
        for cpu in cpus {
            self.compute_up_to_now(cpu);
        }
        let mut workload = Workload { calls_are_free: true, ..Workload::default() };
        for (index, mut thread) in self.threads.into_iter().enumerate() {
            thread.flush();
            if thread.asleep.is_some() {
                // It still slept at the end of the recording.
                thread.steps.pop();
            }
            if !thread.forked {
                workload.start.push(Start { program: index, count: 1, spread: true });
            }
            let name = match thread.name {
                Some(name) => format!("{name} ({})", thread.id),
                None => thread.id.to_string(),
            };
            workload.programs.push(Program { name, steps: thread.steps.into() });
            workload.channels.push(Channel { capacity: u64::MAX, wake_room: 1 });
        }
        workload
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Step::{Compute, Exit, Fork, Receive, Send, Sleep};
    use Time::Fixed;

    fn switch(previous: u32, next: u32, why: Left) -> Event {
        Event::Switch { previous: ThreadId(previous), next: ThreadId(next), why }
    }

    fn wake(thread: u32) -> Event {
        Event::Wake { thread: ThreadId(thread), to: CpuId(1), waiting: 1 }
    }

    #[test]
    fn bursts_sleeps_forks_and_wake_ups_are_derived_from_a_trace() {
        let costs = Calibration::default();
        let lag = costs.switch.0;
        let at = |time: u64, cpu: u32, event| (Instant::from_ticks(time), CpuId(cpu), event);
        let events = [
            at(1_000_000, 0, switch(0, 1, Left::Idle)),
            at(2_000_000, 0, wake(2)),
            at(2_000_000, 1, switch(0, 2, Left::Idle)),
            // The child waits for its parent, is preempted no time, and is woken by it.
            at(3_000_000, 1, switch(2, 0, Left::Slept)),
            at(5_000_000, 0, wake(2)),
            at(5_000_000, 1, switch(0, 2, Left::Idle)),
            // The parent is preempted and goes on elsewhere; the child waits for the timer of an idle CPU.
            at(6_000_000, 0, switch(1, 0, Left::Preempted)),
            at(7_000_000, 1, switch(2, 1, Left::Slept)),
            at(9_000_000, 0, wake(2)),
            at(9_000_000, 0, switch(0, 2, Left::Idle)),
            at(9_500_000, 0, switch(2, 0, Left::Exited)),
            at(10_000_000, 1, switch(1, 0, Left::Exited)),
        ];
        let workload = replay(events, &costs);
        let [parent, child] = &workload.programs[..] else { panic!("two threads") };
        assert_eq!((workload.threads(), workload.start[0].program), (1, 0));
        let ms = 1_000_000;
        let (first, second, third) = (ms - lag, 3 * ms, ms + 3 * ms - lag);
        assert!(
            matches!(parent.steps[..], [Compute(Fixed(a)), Fork(1), Compute(Fixed(b)), Send(1), Compute(Fixed(c)), Exit]
                if (a, b, c) == (first, second, third)),
            "{parent:?}"
        );
        let (first, last) = (ms - lag, 500_000 - lag);
        assert!(
            matches!(child.steps[..], [Compute(Fixed(a)), Receive(1), Compute(Fixed(b)), Sleep(Fixed(s)), Compute(Fixed(c)), Exit]
                if (a, b, s, c) == (first, 2 * ms - lag, 2 * ms, last)),
            "{child:?}"
        );
    }

    #[test]
    fn the_next_thread_of_a_number_is_another_one() {
        let at = |time: u64, event| (Instant::from_ticks(time), CpuId(0), event);
        let born = Event::Born { thread: ThreadId(2), process: 2, parent: ThreadId(1) };
        let events = [
            at(0, switch(0, 1, Left::Idle)),
            at(1_000_000, born),
            at(2_000_000, switch(1, 2, Left::Preempted)),
            at(3_000_000, switch(2, 1, Left::Exited)),
            at(4_000_000, born),
            at(5_000_000, switch(1, 2, Left::Exited)),
            at(6_000_000, switch(2, 0, Left::Exited)),
        ];
        let workload = replay(events, &Calibration::default());
        let steps: Vec<_> = workload.programs.iter().map(|program| &program.steps[..]).collect();
        let [first, second, third] = steps[..] else { panic!("three threads: {steps:?}") };
        assert!(matches!(first, [Compute(_), Fork(1), Compute(_), Fork(2), Compute(_), Exit]), "{first:?}");
        assert!([second, third].iter().all(|steps| matches!(steps, [Compute(_), Exit])), "{steps:?}");
    }

    #[test]
    fn what_comes_before_lost_events_is_left_out_but_for_names() {
        let at = |time: u64, event| (Instant::from_ticks(time), event);
        let name = formats::trace::Name::new(b"late");
        let events = vec![
            at(10, Event::Named { thread: ThreadId(1), name }),
            at(10, Event::Named { thread: ThreadId(9), name }),
            at(1_000_000, switch(0, 1, Left::Idle)),
            at(3_000_000, switch(1, 0, Left::Exited)),
        ];
        let since = Some(Instant::from_ticks(1_000_000));
        let track = formats::trace::Track { cpu: CpuId(0), events, lost: 7, complete_since: since };
        let header = formats::trace::Header::default();
        let trace = Trace { header, tracks: vec![track], unknown: 0, truncated: false };
        let workload = recorded(&trace, &Calibration::default());
        let [only] = &workload.programs[..] else { panic!("{:?}", workload.programs) };
        assert_eq!(only.name, "late (thread 1)");
        assert!(matches!(only.steps[..], [Compute(Fixed(_)), Exit]), "{only:?}");
    }
}
