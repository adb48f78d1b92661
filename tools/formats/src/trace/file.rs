//! A whole trace: a header and blocks of records.

use super::{Event, Record, VERSION};
use crate::{CpuId, Instant};
use alloc::vec::Vec;
use alloc::{format, string::String};
use core::fmt;
use serde::{Deserialize, Serialize};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The first bytes of each trace.
pub const MAGIC: [u8; 8] = *b"TINETRC\n";

/// What was traced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Where each CPU is, in the order of their numbers.
    pub places: Vec<Place>,
    /// All orders and balancers by their numbers.
    pub orders: Vec<String>,
    pub balancers: Vec<String>,
    /// Those in force when the trace began.
    pub order: u32,
    pub balancer: u32,
    pub seed: u64,
    /// What the times come from. They are in nanoseconds.
    pub clock: String,
    /// Which events were noted: `sched`, or `all`.
    pub level: String,
}

/// Where a CPU is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub socket: u32,
    /// Unique in the whole machine.
    pub core: u32,
    /// The hardware thread within its core.
    pub thread: u32,
    /// The memory node.
    pub node: u32,
}

/// The events of one CPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Track {
    pub cpu: CpuId,
    /// In the order of time.
    pub events: Vec<(Instant, Event)>,
    /// How many are missing, all of them older than the first of `events` but for names and births.
    pub lost: u64,
    /// When the oldest of `events` that is no name or birth happened, if any before it were lost.
    pub complete_since: Option<Instant>,
}

/// A trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    pub header: Header,
    /// In the order of CPUs, one for each.
    pub tracks: Vec<Track>,
    /// How many records were of a kind that is not known.
    pub unknown: u64,
    /// The file ends in the middle of a block.
    pub truncated: bool,
}

/// Why something is no trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broken {
    NoTrace,
    Version(u32),
    Header(String),
    Block(String),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTrace => f.write_str("it does not begin as a trace of Tine does"),
            Self::Version(version) => {
                write!(f, "it is a trace of version {version}, and this program reads version {VERSION}")
            }
            Self::Header(why) => write!(f, "the header of the trace is damaged: {why}"),
            Self::Block(why) => write!(f, "a block of the trace is damaged: {why}"),
        }
    }
}

impl core::error::Error for Broken {}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Preamble {
    magic: [u8; 8],
    version: U32,
    /// Of the JSON that follows.
    header_bytes: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct BlockHead {
    cpu: U32,
    record_bytes: U32,
    count: U64,
    lost: U64,
}

/// What a trace begins with: to be followed by blocks. `None` if a header is too long.
pub fn preamble(header: &Header) -> Option<Vec<u8>> {
    let json = serde_json::to_vec(header).ok()?;
    let header_bytes = u32::try_from(json.len()).ok()?.into();
    let head = Preamble { magic: MAGIC, version: VERSION.into(), header_bytes };
    let mut bytes = Vec::from(head.as_bytes());
    bytes.extend(json);
    Some(bytes)
}

/// What a block of `count` records of `cpu` begins with, before which `lost` others were: to be followed by the records.
/// A CPU may have several blocks.
pub fn block(cpu: CpuId, count: u64, lost: u64) -> [u8; 24] {
    let record_bytes = (Record::SIZE as u32).into();
    zerocopy::transmute!(BlockHead {
        cpu: cpu.0.into(),
        record_bytes,
        count: count.into(),
        lost: lost.into()
    })
}

impl Trace {
    /// Understands a trace. Records of unknown kinds are skipped and counted.
    ///
    /// # Errors
    /// When `bytes` are no trace, one of another version, or damaged. One that only ends too early is read as far as it
    /// goes.
    pub fn decode(bytes: &[u8]) -> Result<Self, Broken> {
        let (preamble, rest) = Preamble::ref_from_prefix(bytes).map_err(|_| Broken::NoTrace)?;
        if preamble.magic != MAGIC {
            return Err(Broken::NoTrace);
        }
        if preamble.version != VERSION {
            return Err(Broken::Version(preamble.version.get()));
        }
        let (json, mut rest) = rest
            .split_at_checked(preamble.header_bytes.get() as usize)
            .ok_or_else(|| Broken::Header("it ends too early".into()))?;
        let header: Header =
            serde_json::from_slice(json).map_err(|error| Broken::Header(format!("{error}")))?;
        let tracks = CpuId::first(header.places.len()).map(|cpu| Track {
            cpu,
            events: Vec::new(),
            lost: 0,
            complete_since: None,
        });
        let mut trace = Self { tracks: tracks.collect(), header, unknown: 0, truncated: false };
        while !rest.is_empty() {
            let Ok((head, records)) = BlockHead::ref_from_prefix(rest) else {
                trace.truncated = true;
                break;
            };
            rest = trace.take_block(head, records)?;
        }
        for track in &mut trace.tracks {
            // An interrupt between a reading of the clock and a record puts later times first.
            track.events.sort_by_key(|(time, _)| *time);
        }
        Ok(trace)
    }

    /// Adds the records of a block and returns what follows it.
    fn take_block<'a>(&mut self, head: &BlockHead, records: &'a [u8]) -> Result<&'a [u8], Broken> {
        let cpu = head.cpu.get();
        let track = self
            .tracks
            .get_mut(cpu as usize)
            .ok_or_else(|| Broken::Block(format!("there is no CPU {cpu}")))?;
        if head.record_bytes.get() as usize != Record::SIZE {
            return Err(Broken::Block(format!("its records have {} bytes", head.record_bytes)));
        }
        let whole = usize::try_from(head.count.get())
            .ok()
            .and_then(|count| count.checked_mul(Record::SIZE))
            .filter(|length| *length <= records.len());
        self.truncated |= whole.is_none();
        let (records, rest) = match whole {
            Some(length) => records.split_at(length),
            None => records.split_at(records.len() / Record::SIZE * Record::SIZE),
        };
        let mut oldest = None;
        for record in records.chunks_exact(Record::SIZE) {
            let record =
                Record::read_from_bytes(record).map_err(|error| Broken::Block(format!("{error}")))?;
            match record.event() {
                Some(event) => {
                    let is_label = matches!(event, Event::Born { .. } | Event::Named { .. });
                    oldest = oldest.or_else(|| (!is_label).then(|| record.time()));
                    track.events.push((record.time(), event));
                }
                None => self.unknown += 1,
            }
        }
        let lost = head.lost.get();
        track.lost = track.lost.saturating_add(lost);
        if lost > 0 {
            track.complete_since = track.complete_since.max(oldest);
        }
        Ok(if whole.is_some() { rest } else { &[] })
    }

    /// The trace as bytes. `None` if the header is too long.
    pub fn encode(&self) -> Option<Vec<u8>> {
        let mut bytes = preamble(&self.header)?;
        for track in &self.tracks {
            bytes.extend(block(track.cpu, track.events.len() as u64, track.lost));
            for (time, event) in &track.events {
                bytes.extend(Record::new(*time, event).as_bytes());
            }
        }
        Some(bytes)
    }

    /// How many events are missing.
    pub fn lost(&self) -> u64 {
        self.tracks.iter().map(|track| track.lost).sum()
    }

    /// From when on no CPU's events are missing; `None` if none are missing at all.
    pub fn complete_since(&self) -> Option<Instant> {
        self.tracks.iter().filter_map(|track| track.complete_since).max()
    }
}
