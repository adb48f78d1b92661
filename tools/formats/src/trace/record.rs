//! An event and its time in 32 bytes.

use super::{Event, Left, Moved, Name, Ticked};
use crate::{CpuId, Instant, ThreadId};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// An event with its time. Any 32 bytes are a record, though perhaps of no kind that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Record {
    time: U64,
    kind: u8,
    /// The event's small number: a reason, a vector.
    detail: u8,
    reserved: [u8; 2],
    words: [U32; 5],
}

const _: () = assert!(size_of::<Record>() == Record::SIZE);

/// The codes of the kinds. 0 is none, so that memory that was never written holds no event.
mod kind {
    pub const SWITCH: u8 = 1;
    pub const WAKE: u8 = 2;
    pub const BORN: u8 = 3;
    pub const NAMED: u8 = 4;
    pub const MIGRATE: u8 = 5;
    pub const TICK: u8 = 6;
    pub const FIRST_RUN: u8 = 7;
    pub const PLACED: u8 = 8;
    pub const STOLE: u8 = 9;
    pub const KICK: u8 = 10;
    pub const POLICY: u8 = 11;
    pub const SYSCALL_ENTER: u8 = 12;
    pub const SYSCALL_EXIT: u8 = 13;
    pub const PAGE_FAULT: u8 = 14;
    pub const RESUME: u8 = 15;
    pub const CONTENDED: u8 = 16;
    pub const STEP: u8 = 17;
    pub const INTERRUPT: u8 = 18;
    pub const HALT: u8 = 19;
}

const fn low(value: u64) -> u32 {
    value as u32
}

const fn high(value: u64) -> u32 {
    (value >> 32) as u32
}

const fn long(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

impl Record {
    /// How many bytes it takes.
    pub const SIZE: usize = 32;

    /// Where the event is made on the spot, little is left to do.
    #[inline(always)]
    pub fn new(time: Instant, event: &Event) -> Self {
        let (kind, detail, words) = parts(event);
        Self { time: time.as_ticks().into(), kind, detail, reserved: [0; 2], words: words.map(U32::new) }
    }

    /// As a ring keeps it that is written word by word.
    #[inline]
    pub fn to_words(self) -> [u64; 4] {
        let words: [U64; 4] = zerocopy::transmute!(self);
        words.map(U64::get)
    }

    pub fn from_words(words: [u64; 4]) -> Self {
        zerocopy::transmute!(words.map(U64::new))
    }

    /// The same event at another time.
    pub fn at(self, time: Instant) -> Self {
        Self { time: time.as_ticks().into(), ..self }
    }

    pub fn time(&self) -> Instant {
        Instant::from_ticks(self.time.get())
    }

    /// The event; `None` if it is of a kind that is not known here.
    pub fn event(&self) -> Option<Event> {
        let words = self.words.map(U32::get);
        let [a, b, c, d, e] = words;
        let (thread, code) = (ThreadId(a), usize::from(self.detail));
        Some(match self.kind {
            kind::SWITCH => Event::Switch { previous: thread, next: ThreadId(b), why: *Left::ALL.get(code)? },
            kind::WAKE => Event::Wake { thread, to: CpuId(b), waiting: c },
            kind::BORN => Event::Born { thread, process: b, parent: ThreadId(c) },
            kind::NAMED => {
                let bytes: [U32; 4] = [b, c, d, e].map(U32::new);
                Event::Named { thread, name: Name::new(bytes.as_bytes()) }
            }
            kind::MIGRATE => {
                Event::Migrate { thread, from: CpuId(b), to: CpuId(c), why: *Moved::ALL.get(code)? }
            }
            kind::TICK => Event::Tick { thread, verdict: *Ticked::ALL.get(code)? },
            kind::FIRST_RUN => Event::FirstRun { thread, latency: long(b, c) },
            kind::PLACED => {
                Event::Placed { thread, chosen: CpuId(b), idle: c, waiting_there: d, waiting_here: e }
            }
            kind::STOLE => Event::Stole { victims: a, threads: b },
            kind::KICK => Event::Kick { to: CpuId(a) },
            kind::POLICY => Event::Policy { order: self.detail != 0, number: a },
            kind::SYSCALL_ENTER => Event::SyscallEnter { thread, number: b },
            kind::SYSCALL_EXIT => Event::SyscallExit { thread, number: b },
            kind::PAGE_FAULT => Event::PageFault { thread, address: long(b, c) },
            kind::RESUME => Event::Resume { thread, rip: long(b, c), cr3: long(d, e) },
            kind::CONTENDED => Event::Contended { rank: a, nanoseconds: long(b, c) },
            kind::STEP => Event::Step { thread, rip: long(b, c) },
            kind::INTERRUPT => Event::Interrupt { vector: self.detail },
            kind::HALT => Event::Halt,
            _ => return None,
        })
    }
}

/// Kind, detail and words. A [`ThreadId`] that an event is about is its first word.
#[inline(always)]
fn parts(event: &Event) -> (u8, u8, [u32; 5]) {
    match *event {
        Event::Switch { previous, next, why } => (kind::SWITCH, why as u8, [previous.0, next.0, 0, 0, 0]),
        Event::Wake { thread, to, waiting } => (kind::WAKE, 0, [thread.0, to.0, waiting, 0, 0]),
        Event::Born { thread, process, parent } => (kind::BORN, 0, [thread.0, process, parent.0, 0, 0]),
        Event::Named { thread, name } => {
            let words: [U32; 4] = zerocopy::transmute!(*name.padded());
            let [b, c, d, e] = words.map(U32::get);
            (kind::NAMED, 0, [thread.0, b, c, d, e])
        }
        Event::Migrate { thread, from, to, why } => {
            (kind::MIGRATE, why as u8, [thread.0, from.0, to.0, 0, 0])
        }
        Event::Tick { thread, verdict } => (kind::TICK, verdict as u8, [thread.0, 0, 0, 0, 0]),
        Event::FirstRun { thread, latency } => {
            (kind::FIRST_RUN, 0, [thread.0, low(latency), high(latency), 0, 0])
        }
        Event::Placed { thread, chosen, idle, waiting_there, waiting_here } => {
            (kind::PLACED, 0, [thread.0, chosen.0, idle, waiting_there, waiting_here])
        }
        Event::Stole { victims, threads } => (kind::STOLE, 0, [victims, threads, 0, 0, 0]),
        Event::Kick { to } => (kind::KICK, 0, [to.0, 0, 0, 0, 0]),
        Event::Policy { order, number } => (kind::POLICY, order.into(), [number, 0, 0, 0, 0]),
        Event::SyscallEnter { thread, number } => (kind::SYSCALL_ENTER, 0, [thread.0, number, 0, 0, 0]),
        Event::SyscallExit { thread, number } => (kind::SYSCALL_EXIT, 0, [thread.0, number, 0, 0, 0]),
        Event::PageFault { thread, address } => {
            (kind::PAGE_FAULT, 0, [thread.0, low(address), high(address), 0, 0])
        }
        Event::Resume { thread, rip, cr3 } => {
            (kind::RESUME, 0, [thread.0, low(rip), high(rip), low(cr3), high(cr3)])
        }
        Event::Contended { rank, nanoseconds } => {
            (kind::CONTENDED, 0, [rank, low(nanoseconds), high(nanoseconds), 0, 0])
        }
        Event::Step { thread, rip } => (kind::STEP, 0, [thread.0, low(rip), high(rip), 0, 0]),
        Event::Interrupt { vector } => (kind::INTERRUPT, vector, [0; 5]),
        Event::Halt => (kind::HALT, 0, [0; 5]),
    }
}
