use super::*;
use crate::{CpuId, Instant, ThreadId};
use proptest::prelude::*;
use proptest::sample::select;

fn threads() -> impl Strategy<Value = ThreadId> {
    any::<u32>().prop_map(ThreadId)
}

fn cpus() -> impl Strategy<Value = CpuId> {
    any::<u32>().prop_map(CpuId)
}

fn names() -> impl Strategy<Value = Name> {
    proptest::collection::vec(any::<u8>(), 0..20).prop_map(|bytes| Name::new(&bytes))
}

fn scheduling() -> impl Strategy<Value = Event> {
    let (lefts, moves, ticks) = (select(&Left::ALL[..]), select(&Moved::ALL[..]), select(&Ticked::ALL[..]));
    let counts = (any::<u32>(), any::<u32>(), any::<u32>());
    prop_oneof![
        (threads(), threads(), lefts).prop_map(|(previous, next, why)| Event::Switch { previous, next, why }),
        (threads(), cpus(), any::<u32>()).prop_map(|(thread, to, waiting)| Event::Wake {
            thread,
            to,
            waiting
        }),
        (threads(), any::<u32>(), threads()).prop_map(|(thread, process, parent)| Event::Born {
            thread,
            process,
            parent
        }),
        (threads(), names()).prop_map(|(thread, name)| Event::Named { thread, name }),
        (threads(), cpus(), cpus(), moves).prop_map(|(thread, from, to, why)| Event::Migrate {
            thread,
            from,
            to,
            why
        }),
        (threads(), ticks).prop_map(|(thread, verdict)| Event::Tick { thread, verdict }),
        (threads(), any::<u64>()).prop_map(|(thread, latency)| Event::FirstRun { thread, latency }),
        (threads(), cpus(), counts).prop_map(|(thread, chosen, (idle, waiting_there, waiting_here))| {
            Event::Placed { thread, chosen, idle, waiting_there, waiting_here }
        }),
        (any::<u32>(), any::<u32>()).prop_map(|(victims, threads)| Event::Stole { victims, threads }),
        cpus().prop_map(|to| Event::Kick { to }),
        (any::<bool>(), any::<u32>()).prop_map(|(order, number)| Event::Policy { order, number }),
    ]
}

fn events() -> impl Strategy<Value = Event> {
    prop_oneof![
        scheduling(),
        (threads(), any::<u32>()).prop_map(|(thread, number)| Event::SyscallEnter { thread, number }),
        (threads(), any::<u32>()).prop_map(|(thread, number)| Event::SyscallExit { thread, number }),
        (threads(), any::<u64>()).prop_map(|(thread, address)| Event::PageFault { thread, address }),
        (threads(), any::<u64>(), any::<u64>()).prop_map(|(thread, rip, cr3)| Event::Resume {
            thread,
            rip,
            cr3
        }),
        (any::<u32>(), any::<u64>()).prop_map(|(rank, nanoseconds)| Event::Contended { rank, nanoseconds }),
        (threads(), any::<u64>()).prop_map(|(thread, rip)| Event::Step { thread, rip }),
        any::<u8>().prop_map(|vector| Event::Interrupt { vector }),
        Just(Event::Halt),
    ]
}

fn header(cpus: usize) -> Header {
    Header {
        places: vec![Place { socket: 1, core: 2, thread: 3, node: 4 }; cpus],
        orders: vec!["fifo".into()],
        seed: 7,
        level: "sched".into(),
        ..Header::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_again(tracks in proptest::collection::vec(
        (proptest::collection::vec((any::<u64>(), events()), 0..20), 0..100_u64), 0..5)) {
        let tracks: Vec<Track> = tracks
            .into_iter()
            .zip(0..)
            .map(|((events, lost), cpu)| {
                let mut events: Vec<_> =
                    events.into_iter().map(|(time, event)| (Instant::from_ticks(time), event)).collect();
                events.sort_by_key(|(time, _)| *time);
                let is_label = |event: &Event| matches!(event, Event::Born { .. } | Event::Named { .. });
                let oldest = events.iter().find(|(_, event)| !is_label(event)).map(|(time, _)| *time);
                Track { cpu: CpuId(cpu), events, lost, complete_since: oldest.filter(|_| lost > 0) }
            })
            .collect();
        let trace = Trace { header: header(tracks.len()), tracks, unknown: 0, truncated: false };
        let bytes = trace.encode().expect("a short header");
        prop_assert_eq!(Trace::decode(&bytes), Ok(trace));
    }

    #[test]
    fn a_record_survives_a_ring_of_words(time: u64, event in events()) {
        let record = Record::new(Instant::from_ticks(time), &event);
        prop_assert_eq!(Record::from_words(record.to_words()), record);
        prop_assert_eq!(record.event(), Some(event));
        prop_assert_eq!(record.time().as_ticks(), time);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0..300_usize) {
        let _ = Trace::decode(&bytes);
        let mut file = file::preamble(&header(2)).expect("a short header");
        file.truncate(cut);
        file.extend(&bytes);
        let _ = Trace::decode(&file);
    }
}

fn one(records: &[[u8; Record::SIZE]]) -> Vec<u8> {
    let mut bytes = file::preamble(&header(1)).expect("a short header");
    bytes.extend(file::block(CpuId(0), records.len() as u64, 0));
    bytes.extend(records.as_flattened());
    bytes
}

fn halt(time: u64) -> [u8; Record::SIZE] {
    zerocopy::transmute!(Record::new(Instant::from_ticks(time), &Event::Halt))
}

#[test]
fn unknown_kinds_are_skipped_and_counted() {
    let mut stranger = halt(2);
    stranger[8] = 200;
    let trace = Trace::decode(&one(&[halt(1), stranger, halt(3)])).expect("a trace");
    assert_eq!(trace.unknown, 1);
    assert_eq!(trace.tracks[0].events.iter().map(|(time, _)| time.as_ticks()).collect::<Vec<_>>(), [1, 3]);
}

#[test]
fn events_come_out_in_the_order_of_time() {
    let trace = Trace::decode(&one(&[halt(5), halt(3)])).expect("a trace");
    assert!(trace.tracks[0].events.is_sorted_by_key(|(time, _)| *time));
}

#[test]
fn a_trace_that_ends_too_early_is_read_as_far_as_it_goes() {
    let mut bytes = one(&[halt(1), halt(2)]);
    bytes.truncate(bytes.len() - 1);
    let trace = Trace::decode(&bytes).expect("a trace");
    assert!(trace.truncated);
    assert_eq!(trace.tracks[0].events.len(), 1);
}

#[test]
fn what_is_no_trace_is_refused_for_its_own_reason() {
    assert_eq!(Trace::decode(b"hello"), Err(Broken::NoTrace));
    assert_eq!(Trace::decode(&[b'x'; 100]), Err(Broken::NoTrace));
    let mut bytes = one(&[]);
    bytes[8] = 9;
    assert_eq!(Trace::decode(&bytes), Err(Broken::Version(9)));
    let mut bytes = one(&[]);
    bytes[16] = b'?';
    assert!(matches!(Trace::decode(&bytes), Err(Broken::Header(_))));
    let mut bytes = file::preamble(&header(1)).expect("a short header");
    bytes.extend(file::block(CpuId(1), 0, 0));
    assert_eq!(Trace::decode(&bytes), Err(Broken::Block("there is no CPU 1".into())));
}
