//! Machine-readable results: one line of JSON for whoever started the program.

use anyhow::Context;
use serde::Serialize;
use std::fs::OpenOptions;
use std::io::Write;

/// Names the file that takes the results. Tine sets it to `/dev/results`.
pub const VARIABLE: &str = "TINE_RESULTS";

/// Appends `record` as a line to the file that [`VARIABLE`] names. Writes nothing where it is unset, as usually on Linux.
pub fn publish(record: &impl Serialize) -> anyhow::Result<()> {
    let Some(path) = std::env::var_os(VARIABLE) else { return Ok(()) };
    let mut line = serde_json::to_vec(record)?;
    line.push(b'\n');
    let shown = path.display();
    let mut file =
        OpenOptions::new().append(true).create(true).open(&path).with_context(|| format!("open {shown}"))?;
    // In one call, so that lines of several processes do not mix.
    file.write_all(&line).with_context(|| format!("write to {shown}"))
}
