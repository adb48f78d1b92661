//! A recorded run, to be run again.

use crate::trace::remarks;
use anyhow::{Context, Result, bail, ensure};
use formats::CpuSet;
use formats::trace::{Broken, Trace, VERSION};
use sched::{Place, Topology};
use sim::{Calibration, Workload};
use std::fs;

/// How a trace that can be replayed is made.
const HOW: &str = "`cargo run -- run --trace NAME.raw -- PROGRAM` records one";

/// What was recorded, and on which machine.
pub struct Recorded {
    pub workload: Workload,
    pub topology: Topology,
    /// The names of the policies that were in force when the recording began.
    pub order: Option<String>,
    pub balancer: Option<String>,
    /// What is to be known of what is missing.
    pub remarks: Vec<String>,
}

/// Reads the trace in `path`.
///
/// # Errors
/// With what to do, when it is none, of another version, damaged, cut off or empty.
pub fn read(path: &str, costs: &Calibration) -> Result<Recorded> {
    let bytes = fs::read(path).with_context(|| format!("cannot read the trace {path}; {HOW}"))?;
    understand(&bytes, path, costs)
}

fn understand(bytes: &[u8], path: &str, costs: &Calibration) -> Result<Recorded> {
    let trace = match Trace::decode(bytes) {
        Ok(trace) => trace,
        Err(Broken::NoTrace) => bail!(
            "{path} is no trace of Tine's own format; {HOW} (what is recorded under a name without `.raw` is for \
             ui.perfetto.dev)"
        ),
        Err(Broken::Version(version)) => bail!(
            "{path} is a trace of version {version}, and this simulator reads version {VERSION}: record it again with the \
             `tine` of this source tree; {HOW}"
        ),
        Err(broken) => bail!("{path} cannot be replayed: {broken}. Record it again; {HOW}"),
    };
    ensure!(
        !trace.truncated,
        "{path} ends in the middle of a block: it was cut off when it was copied or written, and what threads waited for is \
         missing. Copy it again, or record it again; {HOW}"
    );
    ensure!(trace.tracks.iter().any(|track| !track.events.is_empty()), "{path} has no events; {HOW}");
    let header = &trace.header;
    let cpus = header.places.len();
    ensure!(
        (1..=CpuSet::CAPACITY).contains(&cpus),
        "{path} is of a machine with {cpus} CPUs, and a simulated one has 1 to {}",
        CpuSet::CAPACITY
    );
    // A trace does not say which CPUs share a cache.
    let place = |it: &formats::trace::Place| Place {
        socket: it.socket,
        cache: it.socket,
        core: it.core,
        thread: it.thread,
        node: it.node,
    };
    Ok(Recorded {
        topology: Topology::new(header.places.iter().map(place).collect()),
        order: header.orders.get(header.order as usize).cloned(),
        balancer: header.balancers.get(header.balancer as usize).cloned(),
        remarks: remarks(&trace),
        workload: sim::workload::recorded(&trace, costs),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use formats::trace::{Event, Header, Left, Track};
    use formats::{CpuId, Instant, ThreadId};

    fn bytes() -> Vec<u8> {
        let switch =
            |previous, next, why| Event::Switch { previous: ThreadId(previous), next: ThreadId(next), why };
        let events = vec![
            (Instant::from_ticks(0), switch(0, 1, Left::Idle)),
            (Instant::from_ticks(5_000_000), switch(1, 0, Left::Exited)),
        ];
        let header = Header {
            places: vec![Default::default()],
            orders: vec!["fifo".into(), "eevdf".into()],
            balancers: vec!["none".into()],
            order: 1,
            ..Header::default()
        };
        let track = Track { cpu: CpuId(0), events, lost: 0, complete_since: None };
        let trace = Trace { header, tracks: vec![track], unknown: 0, truncated: false };
        trace.encode().expect("a short header")
    }

    fn error(bytes: &[u8]) -> String {
        let read = understand(bytes, "a.raw", &Calibration::default());
        read.map(drop).expect_err("it is broken").to_string()
    }

    #[test]
    fn a_trace_says_on_which_machine_and_by_which_policies_it_was_recorded() {
        let recorded = understand(&bytes(), "a.raw", &Calibration::default()).expect("it is whole");
        assert_eq!(recorded.topology.cpus(), 1);
        assert_eq!(recorded.workload.threads(), 1);
        assert_eq!((recorded.order.as_deref(), recorded.balancer.as_deref()), (Some("eevdf"), Some("none")));
        assert_eq!(recorded.remarks, [""; 0]);
    }

    #[test]
    fn what_cannot_be_replayed_is_reported_with_what_to_do() {
        let whole = bytes();
        let mut newer = whole.clone();
        newer[8] += 1;
        let cut = &whole[..whole.len() - 3];
        let said = [
            (error(b"{}"), "no trace of Tine's own format"),
            (error(&newer), "a trace of version 2, and this simulator reads version 1"),
            (error(cut), "ends in the middle of a block"),
            (error(&whole[..20]), "the header of the trace is damaged"),
        ];
        for (said, expected) in said {
            assert!(said.contains(expected) && said.contains("run --trace NAME.raw"), "{said}");
        }
    }
}
