//! `tine bench`: measures the kernel and prints the figures.

use super::BenchOptions;
use super::run::shown;
use crate::bench;
use crate::workspace::write_whole;
use anyhow::Result;

/// Boots, prints the tables, and fails if a run did not pass; a figure beyond its limit is no failure.
pub fn bench(options: &BenchOptions) -> Result<()> {
    let bench = bench::measure(options.boots).map_err(shown)?;
    if let Some(path) = &options.json {
        write_whole(&std::path::absolute(path)?, &serde_json::to_vec_pretty(&bench)?)?;
    }
    println!("\n{}", bench.tables().trim_end());
    Ok(())
}
