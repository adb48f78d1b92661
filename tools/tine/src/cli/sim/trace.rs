//! Traces out of the simulator and into it.

use super::options::Setup;
use crate::workspace::write_whole;
use anyhow::{Context, Result};
use formats::trace::{Event, Header, Place, Trace, Track};
use formats::{CpuId, Instant};
use sim::Sink;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Keeps the events of a run.
pub struct Recorder {
    header: Header,
    tracks: Arc<Mutex<Vec<Track>>>,
}

struct Into(Arc<Mutex<Vec<Track>>>);

impl Sink for Into {
    fn record(&mut self, time: Instant, cpu: CpuId, event: &Event) {
        let mut tracks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tracks[cpu.index()].events.push((time, *event));
    }
}

impl Recorder {
    pub fn new(setup: &Setup) -> Self {
        let cpus = || CpuId::first(setup.topology.cpus());
        let place = |cpu| {
            let place = setup.topology.place(cpu);
            Place { socket: place.socket, core: place.core, thread: place.thread, node: place.node }
        };
        let scheduler = &setup.scheduler;
        let orders = sched::order::orders();
        let balancers = sched::balance::balancers();
        let header = Header {
            places: cpus().map(place).collect(),
            orders: orders.iter().map(|entry| entry.name.to_owned()).collect(),
            balancers: balancers.iter().map(|entry| entry.name.to_owned()).collect(),
            order: orders.iter().position(|it| it.name == scheduler.order.name).unwrap_or(0) as u32,
            balancer: balancers.iter().position(|it| it.name == scheduler.balancer.name).unwrap_or(0) as u32,
            seed: scheduler.seed,
            clock: "simulated".into(),
            level: "sched".into(),
        };
        let track = |cpu| Track { cpu, events: Vec::new(), lost: 0, complete_since: None };
        Self { header, tracks: Arc::new(Mutex::new(cpus().map(track).collect())) }
    }

    pub fn sink(&self) -> Box<dyn Sink> {
        Box::new(Into(self.tracks.clone()))
    }

    /// Writes what was recorded, in the format of the kernel's traces.
    pub fn write(self, path: &Path) -> Result<()> {
        let tracks = std::mem::take(&mut *self.tracks.lock().unwrap_or_else(PoisonError::into_inner));
        let trace = Trace { header: self.header, tracks, unknown: 0, truncated: false };
        let bytes = trace.encode().context("the header of the trace is too long")?;
        write_whole(&std::path::absolute(path)?, &bytes)
    }
}
