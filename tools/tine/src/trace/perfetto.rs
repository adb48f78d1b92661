//! A trace as ui.perfetto.dev opens it.
//!
//! A track for each CPU and one for each thread, a counter for each queue, a track for the times in which work was not
//! conserved, and an arrow from each wake-up and each move to where the thread runs next.

use super::labels::Labels;
use super::proto::{self, DebugAnnotation, TracePacket, TrackDescriptor, TrackEvent, Type};
use super::replay::{Change, Flow, replay};
use formats::trace::{Event, Left, Moved, Ticked, Trace};
use formats::{CpuId, Instant, ThreadId};
use prost::Message;
use std::collections::BTreeMap;
use syscalls::x86_64::Sysno;

/// All packets are of one writer.
const SEQUENCE: u32 = 1;

/// The numbers of tracks. Perfetto wants them to be unique in a trace and not 0.
mod track {
    use formats::{CpuId, ThreadId};

    pub const MACHINE: u64 = 1;
    pub const VIOLATIONS: u64 = 2;

    const fn numbered(kind: u64, number: u32) -> u64 {
        kind << 32 | number as u64
    }

    pub const fn cpu(cpu: CpuId) -> u64 {
        numbered(1, cpu.0)
    }

    pub const fn queue(cpu: CpuId) -> u64 {
        numbered(2, cpu.0)
    }

    pub const fn process(process: u32) -> u64 {
        numbered(3, process)
    }

    pub const fn thread(thread: ThreadId) -> u64 {
        numbered(4, thread.0)
    }

    pub const fn calls(thread: ThreadId) -> u64 {
        numbered(5, thread.0)
    }
}

/// The trace in Perfetto's own format.
pub fn encode(trace: &Trace) -> Vec<u8> {
    let mut writer = Writer {
        labels: Labels::of(trace),
        trace,
        packets: Vec::new(),
        described: BTreeMap::new(),
        calls: BTreeMap::new(),
    };
    writer.describe_machine();
    let replayed = replay(trace, |time, change| writer.write(time, change));
    writer.close_calls(Instant::from_ticks(replayed.end));
    proto::Trace { packet: writer.packets }.encode_to_vec()
}

struct Writer<'a> {
    labels: Labels,
    trace: &'a Trace,
    packets: Vec<TracePacket>,
    /// The threads, and below their negated number the processes, that have a track.
    described: BTreeMap<Described, ()>,
    /// The system call that each thread is in.
    calls: BTreeMap<ThreadId, u32>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Described {
    Process(u32),
    Thread(ThreadId),
    Calls(ThreadId),
}

impl Writer<'_> {
    fn describe(&mut self, descriptor: TrackDescriptor) {
        let first = self.packets.is_empty();
        self.packets.push(TracePacket {
            trusted_packet_sequence_id: Some(SEQUENCE),
            sequence_flags: first.then_some(proto::SEQ_INCREMENTAL_STATE_CLEARED),
            track_descriptor: Some(descriptor),
            ..TracePacket::default()
        });
    }

    fn describe_machine(&mut self) {
        let named = |uuid, name: &str| TrackDescriptor {
            uuid: Some(uuid),
            name: Some(name.to_owned()),
            ..TrackDescriptor::default()
        };
        let header = &self.trace.header;
        let policy = |names: &[String], number: u32| names.get(number as usize).cloned().unwrap_or_default();
        let (order, balancer) =
            (policy(&header.orders, header.order), policy(&header.balancers, header.balancer));
        let title = format!("CPUs: {order}, {balancer}, seed {}", header.seed);
        self.describe(named(track::MACHINE, &title));
        let parent_uuid = Some(track::MACHINE);
        self.describe(TrackDescriptor {
            parent_uuid,
            ..named(track::VIOLATIONS, "CPUs idle while threads wait")
        });
        for cpu in CpuId::first(header.places.len()) {
            self.describe(TrackDescriptor { parent_uuid, ..named(track::cpu(cpu), &cpu.to_string()) });
            let counter = Some(proto::CounterDescriptor { unit: Some(proto::Unit::Count.into()) });
            let name = format!("{cpu}: waiting threads");
            self.describe(TrackDescriptor { parent_uuid, counter, ..named(track::queue(cpu), &name) });
        }
    }

    /// The track of `thread`, which is made when it is first needed.
    fn thread(&mut self, thread: ThreadId) -> u64 {
        let process = self.labels.process(thread);
        if self.described.insert(Described::Process(process), ()).is_none() {
            let name = self.labels.name(ThreadId(process)).to_owned();
            self.describe(TrackDescriptor {
                uuid: Some(track::process(process)),
                process: Some(proto::ProcessDescriptor {
                    pid: Some(process as i32),
                    process_name: Some(name),
                }),
                ..TrackDescriptor::default()
            });
        }
        if self.described.insert(Described::Thread(thread), ()).is_none() {
            let name = self.labels.name(thread).to_owned();
            self.describe(TrackDescriptor {
                uuid: Some(track::thread(thread)),
                parent_uuid: Some(track::process(process)),
                thread: Some(proto::ThreadDescriptor {
                    pid: Some(process as i32),
                    tid: Some(thread.0 as i32),
                    thread_name: Some(name),
                }),
                ..TrackDescriptor::default()
            });
        }
        track::thread(thread)
    }

    /// The track of the system calls of `thread`. They go on while the thread does not run.
    fn calls(&mut self, thread: ThreadId) -> u64 {
        let parent = self.thread(thread);
        if self.described.insert(Described::Calls(thread), ()).is_none() {
            self.describe(TrackDescriptor {
                uuid: Some(track::calls(thread)),
                name: Some(format!("system calls of {}", self.labels.full(thread))),
                parent_uuid: Some(parent),
                ..TrackDescriptor::default()
            });
        }
        track::calls(thread)
    }

    fn push(&mut self, time: Instant, event: TrackEvent) {
        self.packets.push(TracePacket {
            timestamp: Some(time.as_ticks()),
            trusted_packet_sequence_id: Some(SEQUENCE),
            track_event: Some(event),
            ..TracePacket::default()
        });
    }

    fn begin(&mut self, time: Instant, track: u64, category: &str, name: String, flows: &[Flow]) {
        let event =
            TrackEvent { terminating_flow_ids: flows.to_vec(), ..event(Type::SliceBegin, track, category) };
        self.push(time, TrackEvent { name: Some(name), ..event });
    }

    fn end(&mut self, time: Instant, track: u64) {
        let event = TrackEvent {
            r#type: Some(Type::SliceEnd.into()),
            track_uuid: Some(track),
            ..TrackEvent::default()
        };
        self.push(time, event);
    }

    fn write(&mut self, time: Instant, change: Change) {
        match change {
            Change::Runs { cpu, thread, flows } => {
                let name = self.labels.full(thread);
                self.begin(time, track::cpu(cpu), "run", name, flows);
                let track = self.thread(thread);
                self.begin(time, track, "run", format!("on {cpu}"), &[]);
            }
            Change::Stops { cpu, thread } => {
                self.end(time, track::cpu(cpu));
                self.end(time, track::thread(thread));
            }
            Change::Waits { cpu, thread } => {
                let track = self.thread(thread);
                self.begin(time, track, "wait", format!("waits for {cpu}"), &[]);
            }
            Change::Leaves { thread, .. } => self.end(time, track::thread(thread)),
            Change::Queue { cpu, waiting } => {
                let event = TrackEvent {
                    counter_value: Some(waiting as i64),
                    ..event(Type::Counter, track::queue(cpu), "queue")
                };
                self.push(time, event);
            }
            Change::ViolationBegins { idle, busy } => {
                let name = format!("{idle} idles, a thread waits on {busy}");
                self.begin(time, track::VIOLATIONS, "violation", name, &[]);
            }
            Change::ViolationEnds => self.end(time, track::VIOLATIONS),
            Change::Event { cpu, event, flow } => self.write_event(time, cpu, event, flow),
        }
    }

    fn write_event(&mut self, time: Instant, cpu: CpuId, it: &Event, flow: Option<Flow>) {
        match *it {
            Event::SyscallEnter { thread, number } => {
                let track = self.calls(thread);
                if self.calls.insert(thread, number).is_some() {
                    self.end(time, track);
                }
                let name = Sysno::new(number as usize);
                let name = name.map_or_else(|| format!("call {number}"), |call| call.name().to_owned());
                return self.begin(time, track, "syscall", name, &[]);
            }
            Event::SyscallExit { thread, .. } => {
                if self.calls.remove(&thread).is_some() {
                    self.end(time, track::calls(thread));
                }
                return;
            }
            _ => {}
        }
        let Some((category, name)) = self.describe_event(it) else { return };
        let track = match it {
            Event::PageFault { thread, .. } | Event::Step { thread, .. } | Event::Resume { thread, .. } => {
                self.thread(*thread)
            }
            // The arrow begins where the thread was.
            Event::Migrate { from, .. } => track::cpu(*from),
            _ => track::cpu(cpu),
        };
        let instant = TrackEvent {
            name: Some(name),
            flow_ids: flow.into_iter().collect(),
            debug_annotations: annotations(it),
            ..event(Type::Instant, track, category)
        };
        self.push(time, instant);
    }

    /// The category and the name of an event that is a moment; `None` if it is shown in another way.
    fn describe_event(&self, event: &Event) -> Option<(&'static str, String)> {
        let who = |thread: ThreadId| self.labels.full(thread);
        let header = &self.trace.header;
        Some(match *event {
            Event::Switch { previous, why: Left::Exited, .. } => ("exit", format!("{} ends", who(previous))),
            Event::Switch { .. } | Event::SyscallEnter { .. } | Event::SyscallExit { .. } => return None,
            Event::Wake { thread, to, .. } => ("wake", format!("wakes {} on {to}", who(thread))),
            Event::Born { thread, .. } => ("birth", format!("makes {}", who(thread))),
            Event::Named { .. } => return None,
            Event::Migrate { thread, from, to, why } => {
                ("move", format!("{} goes from {from} to {to}: {}", who(thread), reason(why)))
            }
            Event::Tick { verdict, .. } => ("tick", format!("tick: {}", verdict_word(verdict))),
            Event::FirstRun { thread, .. } => ("first run", format!("first run of {}", who(thread))),
            Event::Placed { thread, chosen, .. } => {
                ("balance", format!("places {} on {chosen}", who(thread)))
            }
            Event::Stole { threads: 0, .. } => ("balance", "steals nothing".into()),
            Event::Stole { threads, .. } => ("balance", format!("steals {threads}")),
            Event::Kick { to } => ("ipi", format!("calls {to}")),
            Event::Policy { order, number } => {
                let (what, names) =
                    if order { ("order", &header.orders) } else { ("balancer", &header.balancers) };
                let name = names.get(number as usize).cloned().unwrap_or_else(|| format!("number {number}"));
                ("policy", format!("{what} {name}"))
            }
            Event::PageFault { address, .. } => ("fault", format!("page fault at {address:#x}")),
            Event::Resume { rip, .. } => ("run", format!("goes on at {rip:#x}")),
            Event::Contended { rank, .. } => ("lock", format!("has waited for a lock of rank {rank}")),
            Event::Step { rip, .. } => ("step", format!("{rip:#x}")),
            Event::Interrupt { vector } => ("interrupt", format!("interrupt {vector:#x}")),
            Event::Halt => ("idle", "halts".into()),
        })
    }

    fn close_calls(&mut self, time: Instant) {
        for thread in std::mem::take(&mut self.calls).into_keys() {
            self.end(time, track::calls(thread));
        }
    }
}

fn event(kind: Type, track: u64, category: &str) -> TrackEvent {
    TrackEvent {
        r#type: Some(kind.into()),
        track_uuid: Some(track),
        categories: vec![category.to_owned()],
        ..TrackEvent::default()
    }
}

/// Details that are shown when an event is selected.
fn annotations(event: &Event) -> Vec<DebugAnnotation> {
    let number = |name: &str, value: u64| DebugAnnotation {
        name: Some(name.into()),
        uint_value: Some(value),
        ..DebugAnnotation::default()
    };
    let address = |name: &str, value: u64| DebugAnnotation {
        name: Some(name.into()),
        pointer_value: Some(value),
        ..DebugAnnotation::default()
    };
    match *event {
        Event::Wake { waiting, .. } => vec![number("waiting", waiting.into())],
        Event::Born { process, parent, .. } => {
            vec![number("process", process.into()), number("parent", parent.0.into())]
        }
        Event::FirstRun { latency, .. } => vec![number("nanoseconds since it was started", latency)],
        Event::Placed { idle, waiting_there, waiting_here, .. } => vec![
            number("idle CPUs", idle.into()),
            number("waiting there", waiting_there.into()),
            number("waiting here", waiting_here.into()),
        ],
        Event::Stole { victims, .. } => vec![number("victims", victims.into())],
        Event::PageFault { address: at, .. } => vec![address("address", at)],
        Event::Resume { rip, cr3, .. } => vec![address("rip", rip), address("cr3", cr3)],
        Event::Contended { nanoseconds, .. } => vec![number("nanoseconds", nanoseconds)],
        _ => Vec::new(),
    }
}

fn reason(why: Moved) -> &'static str {
    match why {
        Moved::Fork => "placed at its start",
        Moved::Exec => "placed at exec",
        Moved::Wake => "placed when woken",
        Moved::Steal => "stolen",
        Moved::Pull => "pulled",
        Moved::Push => "pushed",
        Moved::Affinity => "its affinity",
        Moved::Offline => "the CPU went offline",
    }
}

fn verdict_word(verdict: Ticked) -> &'static str {
    match verdict {
        Ticked::Charged => "charged",
        Ticked::Granted => "granted to a first run",
        Ticked::Spared => "spared, no progress yet",
        Ticked::Rearmed => "re-armed, no progress twice",
    }
}
