//! Traces: what happened on the CPUs of a machine, told again.
//!
//! The events themselves are in [`formats::trace`]. [`replay`] makes out of them what they mean together: who runs and who
//! waits where, and when work was not conserved. [`perfetto`] and [`timeline`] draw that.

pub mod labels;
pub mod perfetto;
mod proto;
pub mod replay;
#[cfg(test)]
mod tests;
pub mod timeline;

use anyhow::{Context, Result, anyhow};
use clap::ValueEnum;
use formats::trace::Trace;
use std::fmt;
use std::fs;
use std::path::Path;

/// How much of what happens is noted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Level {
    /// What the scheduler does.
    #[default]
    Sched,
    /// System calls, page faults, interrupts and contended locks as well.
    All,
}

impl fmt::Display for Level {
    /// As the kernel's command line has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sched => "sched",
            Self::All => "all",
        })
    }
}

/// A number by which the same trace is known again: FNV-1a of 64 bits (draft-eastlake-fnv, which has the
/// values of the test).
pub fn hash(bytes: &[u8]) -> u64 {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    bytes.iter().fold(OFFSET_BASIS, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}

/// The extension of files in the kernel's own format.
const RAW: &str = "raw";

/// Whether a file of this name is to have the kernel's own format.
pub fn is_raw(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == RAW)
}

/// Reads a file in the kernel's own format.
///
/// # Errors
/// A sentence that says why it is none, or damaged.
pub fn read(path: &Path) -> Result<Trace> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Trace::decode(&bytes).map_err(|broken| {
        anyhow!(
            "{} is not a trace that can be drawn: {broken}. `cargo run -- run --trace NAME.{RAW}` writes one",
            path.display()
        )
    })
}

/// What a reader of the trace must know about what is missing; nothing if nothing is.
pub fn remarks(trace: &Trace) -> Vec<String> {
    let mut remarks = Vec::new();
    if let Some(since) = trace.complete_since() {
        remarks.push(format!(
            "{} older events are lost, as the kernel keeps the newest; all is known from {} on. \
             `--append trace.buffer=KIB` keeps more.",
            trace.lost(),
            timeline::Time(since.as_ticks())
        ));
    } else if trace.lost() > 0 {
        remarks.push(format!("{} names of threads are lost.", trace.lost()));
    }
    if trace.unknown > 0 {
        remarks.push(format!("{} events are of kinds that this program does not know.", trace.unknown));
    }
    if trace.truncated {
        remarks.push("The file ends in the middle of a block.".into());
    }
    remarks
}
