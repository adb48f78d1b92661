//! Traces of an imagined machine, through every writer and back.

use super::proto::{self, Type};
use super::replay::{Change, Replay, replay};
use super::timeline::{Time, View, draw};
use super::{perfetto, read};
use formats::trace::{Event, Header, Left, Moved, Name, Place, Ticked, Trace, Track};
use formats::{CpuId, Instant, ThreadId};
use proptest::prelude::*;
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

#[test]
fn the_hash_of_a_trace_is_the_one_that_everybody_computes() {
    assert_eq!(super::hash(b""), 0xcbf2_9ce4_8422_2325);
    assert_eq!(super::hash(b"a"), 0xaf63_dc4c_8601_ec8c);
    assert_eq!(super::hash(b"foobar"), 0x8594_4171_f739_67e8);
}

/// A trace of so many CPUs with these events in this order, one in each microsecond.
fn trace(cpus: usize, events: impl IntoIterator<Item = (u32, Event)>) -> Trace {
    let track = |cpu| Track { cpu, events: Vec::new(), lost: 0, complete_since: None };
    let mut tracks: Vec<Track> = CpuId::first(cpus).map(track).collect();
    for ((cpu, event), micros) in events.into_iter().zip(1_u64..) {
        tracks[cpu as usize].events.push((Instant::from_ticks(micros * 1000), event));
    }
    let header = Header { places: vec![Place::default(); cpus], ..Header::default() };
    Trace { header, tracks, unknown: 0, truncated: false }
}

fn switch(previous: u32, next: u32, why: Left) -> Event {
    Event::Switch { previous: ThreadId(previous), next: ThreadId(next), why }
}

fn wake(thread: u32, to: u32) -> Event {
    Event::Wake { thread: ThreadId(thread), to: CpuId(to), waiting: 1 }
}

fn steal(thread: u32, from: u32, to: u32) -> Event {
    let (thread, from, to) = (ThreadId(thread), CpuId(from), CpuId(to));
    Event::Migrate { thread, from, to, why: Moved::Steal }
}

/// Thread 1 runs, wakes 2 on its own CPU, and CPU 1 steals that.
fn small() -> Trace {
    let named =
        |thread: u32, name: &str| Event::Named { thread: ThreadId(thread), name: Name::new(name.as_bytes()) };
    trace(
        2,
        [
            (0, Event::Born { thread: ThreadId(1), process: 1, parent: ThreadId(0) }),
            (0, named(1, "parent")),
            (0, wake(1, 0)),
            (0, switch(0, 1, Left::Idle)),
            (0, Event::Born { thread: ThreadId(2), process: 2, parent: ThreadId(1) }),
            (0, named(2, "child")),
            (0, wake(2, 0)),
            (1, steal(2, 0, 1)),
            (1, switch(0, 2, Left::Idle)),
            (1, Event::FirstRun { thread: ThreadId(2), latency: 2000 }),
            (0, Event::Tick { thread: ThreadId(1), verdict: Ticked::Charged }),
            (1, switch(2, 0, Left::Exited)),
            (0, switch(1, 0, Left::Exited)),
        ],
    )
}

fn problems(trace: &Trace) -> Vec<String> {
    replay(trace, |_, _| {}).problems
}

#[test]
fn a_trace_that_can_be_is_not_objected_to_and_its_violation_is_measured() {
    let replayed = replay(&small(), |_, _| {});
    // CPU 1 idles from the wake-up of thread 2 to the steal.
    let expected =
        Replay { begin: 1000, end: 13_000, problems: Vec::new(), violations: 1, violation_ns: 1000 };
    assert_eq!(replayed, expected);
}

#[test]
fn what_cannot_be_is_objected_to() {
    let on_two = trace(2, [(0, wake(1, 0)), (0, switch(0, 1, Left::Idle)), (1, switch(0, 1, Left::Idle))]);
    assert!(problems(&on_two)[0].contains("thread 1 runs on CPU 1 while it runs on CPU 0"), "{on_two:?}");
    let stranger = trace(1, [(0, switch(0, 1, Left::Idle)), (0, switch(2, 0, Left::Slept))]);
    assert!(problems(&stranger)[0].contains("CPU 0 leaves thread 2 and did not run it"));
    let elsewhere = trace(2, [(0, wake(1, 0)), (1, switch(0, 1, Left::Idle))]);
    assert!(problems(&elsewhere)[0].contains("runs on CPU 1 while it waits on CPU 0"));
    let asleep = trace(
        1,
        [(0, switch(0, 1, Left::Idle)), (0, switch(1, 0, Left::Slept)), (0, switch(0, 1, Left::Idle))],
    );
    assert!(problems(&asleep)[0].contains("was not woken"));
    let moved = [(0, switch(0, 1, Left::Idle)), (0, switch(1, 0, Left::Slept)), (0, wake(1, 1))];
    assert!(problems(&trace(2, moved))[0].contains("is woken on CPU 1 and did not move there from CPU 0"));
    let awake = trace(1, [(0, switch(0, 1, Left::Idle)), (0, wake(1, 0))]);
    assert!(problems(&awake)[0].contains("is made to wait on CPU 0 while it runs"));
    let text = draw(&awake, &View { from: None, to: None, rows: 1, width: 80 }).expect("a picture");
    assert!(
        text.contains("The trace contradicts itself 1 times; first: at 2000 ns, thread 1 is made to wait")
    );
}

#[test]
fn what_an_idle_cpu_has_been_given_is_no_violation_but_a_second_thread_is() {
    let given = [(0, wake(1, 1)), (1, switch(0, 1, Left::Idle))];
    assert_eq!(replay(&trace(2, given), |_, _| {}).violations, 0);
    let two = [(0, wake(1, 1)), (0, wake(2, 1)), (1, switch(0, 1, Left::Idle)), (0, steal(2, 1, 0))];
    assert_eq!(replay(&trace(2, two), |_, _| {}).violation_ns, 2000);
}

#[test]
fn a_trace_that_begins_in_the_middle_is_told_from_where_all_is_known() {
    let mut middle = trace(
        2,
        [
            (0, switch(7, 8, Left::Slept)),
            (1, Event::Tick { thread: ThreadId(9), verdict: Ticked::Charged }),
            (0, switch(8, 0, Left::Slept)),
            (1, switch(9, 0, Left::Slept)),
        ],
    );
    middle.tracks[1].lost = 5;
    middle.tracks[1].complete_since = Some(Instant::from_ticks(2000));
    let mut runs = Vec::new();
    let replayed = replay(&middle, |time, change| {
        if let Change::Runs { cpu, thread, .. } = change {
            runs.push((time.as_ticks(), cpu.0, thread.0));
        }
    });
    assert_eq!(runs, [(2000, 0, 8), (2000, 1, 9)]);
    assert_eq!(replayed.problems, Vec::<String>::new());
    assert!(super::remarks(&middle)[0].contains("5 older events are lost"));
}

/// What an imagined machine does: the numbers choose among what can happen next.
fn imagined(cpus: usize, choices: &[(u8, u8, u8)]) -> Trace {
    #[derive(Clone, Copy, PartialEq)]
    enum State {
        Asleep,
        Waiting(u32),
        Running,
    }
    let mut threads = [State::Asleep; 8];
    let mut homes = [0_u32; 8];
    let mut current = vec![0_u32; cpus];
    let mut events = Vec::new();
    for (what, a, b) in choices.iter().map(|(what, a, b)| (what, usize::from(*a), usize::from(*b))) {
        let (cpu, index) = ((a % cpus) as u32, b % threads.len());
        let thread = index as u32 + 1;
        match (what % 4, threads[index]) {
            (0, State::Asleep) => {
                threads[index] = State::Waiting(cpu);
                let waker = ((a + b) % cpus) as u32;
                let (thread, from, to) = (ThreadId(thread), CpuId(homes[index]), CpuId(cpu));
                if from != to {
                    events.push((waker, Event::Migrate { thread, from, to, why: Moved::Wake }));
                }
                events.push((waker, wake(thread.0, cpu)));
                homes[index] = cpu;
            }
            (1, State::Waiting(from)) if from != cpu => {
                threads[index] = State::Waiting(cpu);
                homes[index] = cpu;
                events.push((cpu, steal(thread, from, cpu)));
            }
            (2, State::Waiting(on)) => {
                let previous = std::mem::replace(&mut current[on as usize], thread);
                threads[index] = State::Running;
                let why = match previous {
                    0 => Left::Idle,
                    _ => [Left::Preempted, Left::Slept, Left::Exited, Left::Yielded][a % 4],
                };
                if previous != 0 {
                    let waits = matches!(why, Left::Preempted | Left::Yielded);
                    threads[previous as usize - 1] = if waits { State::Waiting(on) } else { State::Asleep };
                }
                events.push((on, switch(previous, thread, why)));
            }
            (3, _) if current[cpu as usize] != 0 => {
                let previous = std::mem::take(&mut current[cpu as usize]);
                threads[previous as usize - 1] = State::Asleep;
                events.push((cpu, switch(previous, 0, Left::Slept)));
            }
            _ => {}
        }
    }
    trace(cpus, events)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_perfetto_gets_is_consistent(
        cpus in 1..5_usize, choices in proptest::collection::vec(any::<(u8, u8, u8)>(), 0..200)) {
        let trace = imagined(cpus, &choices);
        prop_assert_eq!(problems(&trace), Vec::<String>::new());
        let decoded = proto::Trace::decode(&*perfetto::encode(&trace)).expect("a message");
        check(&decoded, &trace);
    }

    #[test]
    fn the_terminal_shows_every_time_in_every_width(
        choices in proptest::collection::vec(any::<(u8, u8, u8)>(), 2..200),
        rows in 1..60_usize, width in 0..200_usize, cut: (u8, u8)) {
        let trace = imagined(3, &choices);
        let time = |number: u8| Some(Time(u64::from(number) * 1000));
        for (from, to) in [(None, None), (time(cut.0), None), (None, time(cut.1)), (time(cut.0), time(cut.1))] {
            if let Ok(text) = draw(&trace, &View { from, to, rows, width }) {
                prop_assert_eq!(text.split("\n\n").next().map(|picture| picture.lines().count()), Some(rows + 1));
                let too_wide = text.lines().take(rows + 1).find(|line| line.chars().count() > width.max(17));
                prop_assert_eq!(too_wide, None);
            }
        }
    }
}

/// Slices are nested, each thread runs on one CPU at a time, tracks are described before they are used, time goes on,
/// each flow ends once and after it began, and counters count.
fn check(decoded: &proto::Trace, trace: &Trace) {
    let mut described: BTreeMap<u64, String> = BTreeMap::new();
    let mut depth: BTreeMap<u64, u32> = BTreeMap::new();
    let mut running: BTreeMap<String, u32> = BTreeMap::new();
    let mut on_cpu: BTreeMap<u64, String> = BTreeMap::new();
    let (mut begun, mut ended) = (BTreeSet::new(), BTreeSet::new());
    let mut last = 0;
    for packet in &decoded.packet {
        if let Some(track) = &packet.track_descriptor {
            let name = track.name.clone().unwrap_or_default();
            assert!(described.insert(track.uuid.expect("a number"), name).is_none(), "described twice");
            assert!(track.parent_uuid.is_none_or(|parent| described.contains_key(&parent)));
        }
        let Some(event) = &packet.track_event else { continue };
        let time = packet.timestamp.expect("an event has a time");
        assert!(time >= last, "time goes back");
        last = time;
        let track = event.track_uuid.expect("a track");
        let name = described.get(&track).expect("a track that was described");
        let is_cpu = name.starts_with("CPU ");
        match event.r#type() {
            Type::SliceBegin => {
                let depth = depth.entry(track).or_default();
                *depth += 1;
                assert_eq!(*depth, 1, "a slice in a slice on `{name}`");
                if is_cpu {
                    let thread = event.name.clone().expect("a name");
                    let count = running.entry(thread.clone()).or_default();
                    *count += 1;
                    assert_eq!(*count, 1, "{thread} runs twice");
                    on_cpu.insert(track, thread);
                }
            }
            Type::SliceEnd => {
                *depth.get_mut(&track).expect("a slice that ends has begun") -= 1;
                if let Some(thread) = on_cpu.remove(&track) {
                    *running.get_mut(&thread).expect("it ran") -= 1;
                }
            }
            Type::Counter => assert!((0..=8).contains(&event.counter_value.expect("a value"))),
            Type::Instant => assert!(event.name.is_some()),
            Type::Unspecified => panic!("an event without a type"),
        }
        for flow in &event.flow_ids {
            assert!(begun.insert(*flow), "a flow begins twice");
        }
        for flow in &event.terminating_flow_ids {
            assert!(begun.contains(flow) && ended.insert(*flow), "a flow ends twice or before it began");
        }
    }
    assert!(depth.values().all(|depth| *depth == 0), "a slice has no end");
    let events = trace.tracks.iter().flat_map(|track| &track.events);
    let causes = events.filter(|(_, event)| matches!(event, Event::Wake { .. } | Event::Migrate { .. }));
    assert_eq!(begun.len(), causes.count(), "each wake-up and each move begins a flow");
}

#[test]
fn perfetto_gets_names_arrows_and_violations() {
    let decoded = proto::Trace::decode(&*perfetto::encode(&small())).expect("a message");
    check(&decoded, &small());
    let events = || decoded.packet.iter().filter_map(|packet| packet.track_event.as_ref());
    let named = |name: &str| events().filter(|event| event.name.as_deref() == Some(name)).count();
    assert_eq!(named("child 2"), 1);
    assert_eq!(named("child 2 goes from CPU 0 to CPU 1: stolen"), 1);
    assert_eq!(named("CPU 1 idles, a thread waits on CPU 0"), 1);
    assert_eq!(named("waits for CPU 0"), 2);
    let arrows = events().map(|event| event.terminating_flow_ids.len()).collect::<Vec<_>>();
    assert_eq!(arrows.iter().sum::<usize>(), 3, "to the parent, and for a wake-up and a steal to the child");
    let threads =
        decoded.packet.iter().filter_map(|packet| packet.track_descriptor.as_ref()?.thread.as_ref());
    let threads: Vec<_> = threads.map(|it| (it.pid, it.tid, it.thread_name.as_deref())).collect();
    assert_eq!(threads, [(Some(1), Some(1), Some("parent")), (Some(2), Some(2), Some("child"))]);
}

#[test]
fn the_terminal_shows_who_runs_where() {
    let view = View { from: None, to: None, rows: 9, width: 50 };
    let text = draw(&small(), &view).expect("a picture");
    let picture: Vec<&str> = text.split("\n\n").next().expect("a picture").lines().collect();
    let expected = [
        "                CPU 0            CPU 1",
        "       0.004    + parent 1       .",
        "       0.005    | parent 1       .",
        "       0.006    | parent 1       .",
        "       0.007 !  | parent 1       .",
        "       0.008    | parent 1       .",
        "       0.009    | parent 1       < child 2",
        "       0.010    | parent 1       * child 2",
        "       0.011    | parent 1       | child 2",
        "       0.012    | parent 1       .",
    ];
    assert_eq!(picture, expected, "{text}");
    let narrow = draw(&small(), &View { width: 19, ..view }).expect("a picture");
    assert!(narrow.lines().any(|line| line == "       0.010    |*"), "{narrow}");
}

#[test]
fn times_need_a_unit() {
    for (text, nanoseconds) in [("1.5s", 1_500_000_000), ("12ms", 12_000_000), ("3us", 3000), ("7ns", 7)] {
        assert_eq!(text.parse::<Time>().expect("a time"), Time(nanoseconds));
    }
    for text in ["12", "ms", "1.2.3s", "-1s", ""] {
        assert!(text.parse::<Time>().is_err(), "{text}");
    }
}

#[test]
fn a_time_outside_of_the_trace_is_refused_with_the_time_that_there_is() {
    let view = View { from: Some(Time(1_000_000)), to: None, rows: 9, width: 50 };
    let said = draw(&small(), &view).expect_err("nothing there").to_string();
    assert!(said.contains("the trace goes from 0.001 ms to 0.013 ms"), "{said}");
    let said = draw(&trace(1, []), &View { from: None, ..view }).expect_err("nothing at all").to_string();
    assert!(said.contains("no events"), "{said}");
}

#[test]
fn a_file_that_is_no_trace_is_refused_with_a_sentence() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("x.raw");
    let said = |bytes: &[u8]| {
        fs::write(&path, bytes).expect("a file");
        format!("{:#}", read(&path).expect_err("no trace"))
    };
    assert!(said(b"hello").contains("is not a trace that can be drawn: it does not begin as a trace"));
    let mut newer = small().encode().expect("a short header");
    newer[8] = 9;
    assert!(said(&newer).contains("a trace of version 9, and this program reads version 1"));
    assert!(said(&perfetto::encode(&small())).contains("does not begin as a trace"));
    fs::write(&path, small().encode().expect("a short header")).expect("a file");
    assert_eq!(read(&path).expect("a trace"), small());
    let missing = directory.path().join("y.raw");
    assert!(format!("{:#}", read(&missing).expect_err("no file")).contains("cannot read"));
}
