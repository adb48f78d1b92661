//! What happens on the CPUs, as the kernel and the simulator note it and the tools draw it.
//!
//! A trace is a [`Header`] and then blocks of records, each of one CPU. A [`Record`] is an [`Event`] with its time in 32
//! bytes, so that a ring of them needs no framing and can be read from any record on. All numbers are little-endian.
//! `docs/tracing.md` has the layout byte by byte.
//!
//! Nothing here says what events mean together: that a thread waits, or a CPU idles, is for whoever reads them.
//!
//! Start at [`Event`]. The kernel writes with [`file::preamble`] and [`file::block`], others with [`Trace::encode`];
//! [`Trace::decode`] reads.

mod event;
pub mod file;
mod record;
#[cfg(test)]
mod tests;

pub use event::{Event, Left, Moved, Name, Ticked};
pub use file::{Broken, Header, Place, Trace, Track};
pub use record::Record;

/// The version of this format. Readers accept no other; new kinds of events do not change it.
pub const VERSION: u32 = 1;
