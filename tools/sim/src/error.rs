//! What can go wrong, in words for the user.

use formats::Instant;
use sched::Livelock;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be understood; the text says where and why.
    #[error("{0}")]
    File(String),
    /// Nothing will ever happen again, and threads are left.
    #[error(
        "after {} ms all {count} threads that are left wait for ever; the first of them is thread {first}, at {at}",
        now.as_ticks() / 1_000_000
    )]
    Deadlock {
        now: Instant,
        count: usize,
        first: u32,
        /// The step at which it waits.
        at: String,
    },
    #[error("{0}")]
    Livelock(Livelock),
    /// The caller does not want it to go on.
    #[error("interrupted")]
    Interrupted,
}
