//! What the events of a trace mean together.
//!
//! Goes through all events in the order of time, keeps who runs and who waits on each CPU, and tells an observer of each
//! change. Says as well what cannot be: a thread on two CPUs, a CPU that leaves a thread that it did not run.

use formats::trace::{Event, Left, Trace};
use formats::{CpuId, Instant, ThreadId};
use std::collections::BTreeMap;
use std::mem;

/// Connects what one CPU does to a thread with the moment at which that thread runs next.
pub type Flow = u64;

/// Something that changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// A thread begins to run; `flows` are what made it run here.
    Runs {
        cpu: CpuId,
        thread: ThreadId,
        flows: &'a [Flow],
    },
    /// The thread no longer runs.
    Stops {
        cpu: CpuId,
        thread: ThreadId,
    },
    /// The thread can run and waits in the queue of `cpu`.
    Waits {
        cpu: CpuId,
        thread: ThreadId,
    },
    /// The thread no longer waits in that queue.
    Leaves {
        cpu: CpuId,
        thread: ThreadId,
    },
    /// So many threads wait in the queue of `cpu` from now on.
    Queue {
        cpu: CpuId,
        waiting: usize,
    },
    /// From now on `idle` idles although a thread waits elsewhere, on `busy`.
    ViolationBegins {
        idle: CpuId,
        busy: CpuId,
    },
    ViolationEnds,
    /// An event as it is in the trace. The flow, if any, leads to the thread's next run.
    Event {
        cpu: CpuId,
        event: &'a Event,
        flow: Option<Flow>,
    },
}

/// What came of a replay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replay {
    /// From when on everything is known.
    pub begin: Nanoseconds,
    /// The time of the last event.
    pub end: Nanoseconds,
    /// What cannot be, in words.
    pub problems: Vec<String>,
    pub violations: usize,
    /// For how long work was not conserved, in nanoseconds.
    pub violation_ns: u64,
}

/// Since boot.
type Nanoseconds = u64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Running(CpuId),
    Waiting(CpuId),
    /// It sleeps or has ended.
    Away,
}

#[derive(Debug, Default)]
struct Cpu {
    /// 0 for the idle thread; `None` while it is not known.
    current: Option<ThreadId>,
    waiting: usize,
}

impl Cpu {
    fn is_idle(&self) -> bool {
        self.current == Some(ThreadId(0))
    }

    /// It idles and has nothing to take up.
    fn is_free(&self) -> bool {
        self.is_idle() && self.waiting == 0
    }

    /// It cannot take up at once all that waits here. What an idle CPU has been given it is about to run.
    fn is_loaded(&self) -> bool {
        self.waiting > usize::from(self.is_idle())
    }
}

struct Player<'a, F> {
    now: Instant,
    cpus: Vec<Cpu>,
    threads: BTreeMap<ThreadId, State>,
    /// Where each thread ran, waited or was sent last.
    homes: BTreeMap<ThreadId, CpuId>,
    /// Flows that lead to the next run of a thread.
    open: BTreeMap<ThreadId, Vec<Flow>>,
    next_flow: Flow,
    free: usize,
    loaded: usize,
    violation_since: Option<Instant>,
    replay: Replay,
    observe: &'a mut F,
}

/// Tells `observe` of each change from the beginning of what is completely known to the end.
pub fn replay(trace: &Trace, mut observe: impl FnMut(Instant, Change)) -> Replay {
    let begin = trace.complete_since();
    let mut events: Vec<(Instant, CpuId, &Event)> = trace
        .tracks
        .iter()
        .flat_map(|track| track.events.iter().map(|(time, event)| (*time, track.cpu, event)))
        .filter(|(time, _, _)| begin.is_none_or(|begin| *time >= begin))
        .collect();
    events.sort_by_key(|(time, _, _)| *time);
    let first = events.first().map_or(Instant::from_ticks(0), |(time, _, _)| *time);
    let mut player = Player {
        now: first,
        cpus: trace.tracks.iter().map(|_| Cpu::default()).collect(),
        threads: BTreeMap::new(),
        homes: BTreeMap::new(),
        open: BTreeMap::new(),
        next_flow: 1,
        free: 0,
        loaded: 0,
        violation_since: None,
        replay: Replay { begin: first.as_ticks(), ..Replay::default() },
        observe: &mut observe,
    };
    player.begin(&events, begin.is_some());
    for (time, cpu, event) in events {
        player.now = time;
        player.play(cpu, event);
    }
    player.end()
}

impl<F: FnMut(Instant, Change)> Player<'_, F> {
    /// Finds out what each CPU does at the beginning: what its first switch leaves, or what the events before that say.
    fn begin(&mut self, events: &[(Instant, CpuId, &Event)], in_the_middle: bool) {
        for index in 0..self.cpus.len() {
            let cpu = CpuId(index as u32);
            let tells = events.iter().filter(|(_, at, _)| *at == cpu).find_map(|(_, _, event)| match event {
                Event::Switch { previous: thread, .. }
                | Event::Tick { thread, .. }
                | Event::SyscallEnter { thread, .. }
                | Event::SyscallExit { thread, .. } => Some(*thread),
                Event::Halt => Some(ThreadId(0)),
                _ => None,
            });
            // A trace from the boot on begins with idle CPUs.
            let current = tells.or_else(|| (!in_the_middle).then_some(ThreadId(0)));
            self.change_cpu(cpu, |it| it.current = current);
            if let Some(thread) = current.filter(|thread| thread.0 != 0) {
                self.threads.insert(thread, State::Running(cpu));
                self.tell(Change::Runs { cpu, thread, flows: &[] });
            }
        }
        self.look();
    }

    fn play(&mut self, cpu: CpuId, event: &Event) {
        let flow = match *event {
            Event::Wake { thread, to, .. } => {
                self.require_home(thread, to, "is woken on");
                self.wait(thread, to);
                Some(self.open_flow(thread))
            }
            Event::Migrate { thread, from, to, .. } => {
                self.require_home(thread, from, "moves away from");
                self.homes.insert(thread, to);
                // One that is woken, or new, waits only when it has arrived.
                if let Some(State::Waiting(_)) = self.threads.get(&thread) {
                    self.wait(thread, to);
                }
                Some(self.open_flow(thread))
            }
            _ => None,
        };
        self.tell(Change::Event { cpu, event, flow });
        if let Event::Switch { previous, next, why } = *event {
            self.switch(cpu, previous, next, why);
        }
        self.look();
    }

    /// A thread is where it was last, unless it has moved.
    fn require_home(&mut self, thread: ThreadId, cpu: CpuId, what: &str) {
        let home = self.homes.insert(thread, cpu);
        if let Some(home) = home.filter(|home| *home != cpu) {
            self.object(format!("{thread} {what} {cpu} and did not move there from {home}"));
        }
    }

    fn open_flow(&mut self, thread: ThreadId) -> Flow {
        let flow = self.next_flow;
        self.next_flow += 1;
        self.open.entry(thread).or_default().push(flow);
        flow
    }

    /// `thread` waits on `cpu`, wherever it waited before.
    fn wait(&mut self, thread: ThreadId, cpu: CpuId) {
        if cpu.index() >= self.cpus.len() {
            return self.object(format!("{thread} waits on {cpu}, which is not there"));
        }
        match self.threads.insert(thread, State::Waiting(cpu)) {
            Some(State::Waiting(before)) => self.leave_queue(before, thread),
            Some(State::Running(on)) => {
                self.object(format!("{thread} is made to wait on {cpu} while it runs on {on}"))
            }
            Some(State::Away) | None => {}
        }
        self.change_cpu(cpu, |it| it.waiting += 1);
        self.tell(Change::Waits { cpu, thread });
        self.tell_queue(cpu);
    }

    fn leave_queue(&mut self, cpu: CpuId, thread: ThreadId) {
        self.change_cpu(cpu, |it| it.waiting -= 1);
        self.tell(Change::Leaves { cpu, thread });
        self.tell_queue(cpu);
    }

    fn switch(&mut self, cpu: CpuId, previous: ThreadId, next: ThreadId, why: Left) {
        let before = self.cpus[cpu.index()].current;
        if before.is_some_and(|before| before != previous) {
            self.object(format!("{cpu} leaves {previous} and did not run it"));
        }
        if previous.0 != 0 {
            self.tell(Change::Stops { cpu, thread: previous });
            self.threads.insert(previous, State::Away);
            if matches!(why, Left::Preempted | Left::Yielded) {
                self.wait(previous, cpu);
            }
        }
        self.change_cpu(cpu, |it| it.current = Some(next));
        if next.0 == 0 {
            return;
        }
        self.homes.insert(next, cpu);
        match self.threads.insert(next, State::Running(cpu)) {
            Some(State::Running(other)) => {
                self.object(format!("{next} runs on {cpu} while it runs on {other}"))
            }
            Some(State::Waiting(on)) => {
                if on != cpu {
                    self.object(format!("{next} runs on {cpu} while it waits on {on}"));
                }
                self.leave_queue(on, next);
            }
            Some(State::Away) => self.object(format!("{next} runs on {cpu} and was not woken")),
            None => {}
        }
        let flows = self.open.remove(&next).unwrap_or_default();
        self.tell(Change::Runs { cpu, thread: next, flows: &flows });
    }

    /// Looks whether work is conserved.
    fn look(&mut self) {
        let violated = self.free > 0 && self.loaded > 0;
        match self.violation_since {
            None if violated => {
                let find = |is: fn(&Cpu) -> bool| self.cpus.iter().position(is).unwrap_or_default() as u32;
                let (idle, busy) = (CpuId(find(Cpu::is_free)), CpuId(find(Cpu::is_loaded)));
                self.violation_since = Some(self.now);
                self.tell(Change::ViolationBegins { idle, busy });
            }
            Some(since) if !violated => {
                self.violation_since = None;
                self.replay.violations += 1;
                self.replay.violation_ns += self.now.as_ticks() - since.as_ticks();
                self.tell(Change::ViolationEnds);
            }
            _ => {}
        }
    }

    fn change_cpu(&mut self, cpu: CpuId, change: impl FnOnce(&mut Cpu)) {
        let it = &mut self.cpus[cpu.index()];
        self.free -= usize::from(it.is_free());
        self.loaded -= usize::from(it.is_loaded());
        change(it);
        self.free += usize::from(it.is_free());
        self.loaded += usize::from(it.is_loaded());
    }

    fn tell(&mut self, change: Change) {
        (self.observe)(self.now, change);
    }

    fn tell_queue(&mut self, cpu: CpuId) {
        let waiting = self.cpus[cpu.index()].waiting;
        self.tell(Change::Queue { cpu, waiting });
    }

    fn object(&mut self, what: String) {
        self.replay.problems.push(format!("at {} ns, {what}", self.now.as_ticks()));
    }

    /// What still runs or waits does so to the end.
    fn end(mut self) -> Replay {
        for (thread, state) in mem::take(&mut self.threads) {
            match state {
                State::Running(cpu) => self.tell(Change::Stops { cpu, thread }),
                State::Waiting(cpu) => self.tell(Change::Leaves { cpu, thread }),
                State::Away => {}
            }
        }
        if self.violation_since.is_some() {
            (self.free, self.loaded) = (0, 0);
            self.look();
        }
        self.replay.end = self.now.as_ticks();
        self.replay
    }
}
