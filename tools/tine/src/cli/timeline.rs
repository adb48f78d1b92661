//! `tine timeline`: what happened on the CPUs, in the terminal.

use super::TimelineOptions;
use super::run::shown;
use crate::trace::timeline::{View, draw};
use crate::trace::{Level, read, remarks};
use anyhow::{Context, Result, ensure};
use formats::trace::Trace;

/// The width where there is no terminal.
const WIDTH: usize = 100;

/// Draws a file, or boots a machine and draws what happened on it.
pub fn timeline(options: &TimelineOptions) -> Result<()> {
    let trace = match &options.file {
        Some(file) => {
            ensure!(
                options.machine.program.is_empty(),
                "either a file is drawn, or a program is run: give one of both"
            );
            read(file)?
        }
        None => {
            let outcome = options.machine.machine().trace(Level::Sched).run().map_err(shown)?;
            Trace::decode(&outcome.trace.unwrap_or_default()).context("the kernel wrote no trace")?
        }
    };
    let width = options
        .width
        .unwrap_or_else(|| terminal_size::terminal_size().map_or(WIDTH, |(width, _)| usize::from(width.0)));
    let view = View { from: options.from, to: options.to, rows: options.rows, width };
    print!("\n{}", draw(&trace, &view)?);
    remarks(&trace).iter().for_each(|remark| println!("{remark}"));
    Ok(())
}
