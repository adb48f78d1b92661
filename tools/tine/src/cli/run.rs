//! `tine run`, and `tine` alone.

use super::{MachineOptions, RunOptions};
use crate::machine::{Cause, Failure, Machine};
use crate::report;
use crate::trace::{hash, is_raw, perfetto, remarks};
use crate::workspace::write_whole;
use anyhow::{Context, Result, anyhow};
use formats::trace::Trace;
use std::path::Path;
use std::time::Duration;

impl MachineOptions {
    pub fn machine(&self) -> Machine {
        let mut machine = Machine::named(self.config.as_str()).live();
        // Each option that is there is one change, in the order of the help.
        let mut change = |change: &dyn Fn(Machine) -> Machine| machine = change(machine.clone());
        if let Some(cpus) = self.smp {
            change(&|machine| machine.smp(cpus));
        }
        if let Some(mib) = self.memory {
            change(&|machine| machine.memory_mib(mib));
        }
        if let Some(tick) = self.hz {
            change(&|machine| machine.tick(tick));
        }
        if let Some(name) = &self.order {
            change(&|machine| machine.order(name));
        }
        if let Some(name) = &self.balancer {
            change(&|machine| machine.balancer(name));
        }
        if let Some(seed) = self.seed {
            change(&|machine| machine.seed(seed));
        }
        if let Some(seconds) = self.timeout {
            change(&|machine| machine.timeout(Duration::from_secs(seconds.into())));
        }
        if self.virtual_time {
            change(&|machine| machine.virtual_time());
        }
        for options in &self.append {
            change(&|machine| machine.append(options));
        }
        if let Some(accel) = self.accel {
            change(&|machine| machine.accel(accel));
        }
        if self.checked {
            change(&|machine| machine.checked());
        }
        if self.planted {
            change(&|machine| machine.planted());
        }
        if self.unmeasured {
            change(&|machine| machine.unmeasured());
        }
        for what in &self.with {
            change(&|machine| machine.with(what));
        }
        if let Some((program, arguments)) = self.program.split_first() {
            change(&|machine| machine.program(program).args(arguments));
        }
        machine
    }
}

/// Boots, reports, and fails unless the run passed.
pub fn run(options: &RunOptions) -> Result<()> {
    let mut machine = options.machine.machine();
    if options.trace.is_some() {
        machine = machine.trace(options.trace_level);
    }
    let outcome = machine.run().map_err(shown)?;
    if let Some(path) = &options.trace {
        write_trace(path, outcome.trace.as_deref().unwrap_or_default())?;
    }
    if let Some(path) = &options.json {
        let path = std::path::absolute(path)?;
        write_whole(&path, &serde_json::to_vec_pretty(&outcome.record)?)?;
    }
    println!("\n{}", report::report(&outcome.record).trim_end());
    outcome.check().map_err(shown)
}

/// Writes a trace in the format that the file's name asks for.
fn write_trace(path: &Path, bytes: &[u8]) -> Result<()> {
    let trace = Trace::decode(bytes).context("the kernel wrote no trace")?;
    let path = std::path::absolute(path)?;
    if is_raw(&path) {
        write_whole(&path, bytes)?;
    } else {
        write_whole(&path, &perfetto::encode(&trace))?;
    }
    println!("\ntrace hash {:016x}", hash(bytes));
    remarks(&trace).iter().for_each(|remark| println!("{remark}"));
    Ok(())
}

/// The failure as an error of the command. The machine's last output is repeated: what came before it was long.
pub fn shown(failure: Failure) -> anyhow::Error {
    match failure.cause {
        Cause::Setup(error) => error,
        _ => anyhow!("{failure}"),
    }
}
