//! `/dev`: character devices.

mod log;
mod memory;
pub mod random;
mod results;

use super::directory::{Builder, Directory};
use super::symlink::Symlink;
use super::{DeviceId, File, Inode, Kind, Metadata};
use crate::errno::Errno;
use crate::task::Current;
use crate::tty::serial::{self, Input};
use crate::tty::{self, Controlling, Multiplexer, Terminal};
use alloc::sync::Arc;

/// The file system of device nodes.
const FILE_SYSTEM: DeviceId = DeviceId::new(0, 6);

/// A name for a device.
struct Node {
    metadata: Metadata,
    open: fn(Metadata) -> Arc<dyn File>,
}

impl Inode for Node {
    fn metadata(&self) -> Metadata {
        self.metadata
    }

    fn open(self: Arc<Self>) -> Result<Arc<dyn File>, Errno> {
        Ok((self.open)(self.metadata))
    }

    fn check_writable(&self) -> Result<(), Errno> {
        Ok(())
    }
}

/// Name, device number (Linux `Documentation/admin-guide/devices.txt`), and what opening it gives.
type Row = (&'static str, DeviceId, fn(Metadata) -> Arc<dyn File>);

const CONSOLE: DeviceId = DeviceId::new(5, 1);
const MULTIPLEXER: DeviceId = DeviceId::new(5, 2);

/// `results` is Tine's own, with a number from the range for local use.
const NODES: &[Row] = &[
    ("null", DeviceId::new(1, 3), |metadata| Arc::new(memory::Null(metadata))),
    ("zero", DeviceId::new(1, 5), |metadata| Arc::new(memory::Zero(metadata))),
    ("full", DeviceId::new(1, 7), |metadata| Arc::new(memory::Full(metadata))),
    ("random", DeviceId::new(1, 8), |metadata| Arc::new(random::Random(metadata))),
    ("urandom", DeviceId::new(1, 9), |metadata| Arc::new(random::Random(metadata))),
    ("kmsg", DeviceId::new(1, 11), |metadata| Arc::new(log::Log(metadata))),
    ("tty", DeviceId::new(5, 0), |metadata| Arc::new(Controlling::new(metadata))),
    ("console", CONSOLE, |metadata| Arc::new(Terminal::new(metadata, serial::tty(), true))),
    ("ttyS0", serial::DEVICE, |metadata| Arc::new(Terminal::new(metadata, serial::tty(), false))),
    ("results", DeviceId::new(240, 0), |metadata| Arc::new(results::Results::new(metadata))),
];

fn node_metadata(number: u64, represents: DeviceId) -> Metadata {
    Metadata { represents, ..Metadata::new(Kind::CharDevice, 0o666, number, FILE_SYSTEM) }
}

/// Opens the device that a node elsewhere stands for.
///
/// # Errors
/// `ENXIO` when there is none with that number.
pub fn open(metadata: Metadata) -> Result<Arc<dyn File>, Errno> {
    let row = NODES.iter().find(|(_, device, _)| *device == metadata.represents);
    row.map(|(_, _, open)| open(metadata)).ok_or(Errno::ENXIO)
}

/// Standard input, output and error of the first process.
pub fn standard() -> Arc<dyn File> {
    match serial::input() {
        Input::Stream => tty::Stream::get(),
        Input::Off => Arc::new(Terminal::new(node_metadata(1, CONSOLE), serial::tty(), true)),
        Input::Terminal => Arc::new(Terminal::new(node_metadata(1, serial::DEVICE), serial::tty(), false)),
    }
}

/// `shared_memory` is `/dev/shm`.
pub fn directory(shared_memory: Arc<dyn Inode>) -> Arc<Directory> {
    let mut directory = Builder::new(Metadata::new(Kind::Directory, 0o755, 1, FILE_SYSTEM));
    for (number, (name, device, open)) in (2..).zip(NODES) {
        let metadata = node_metadata(number, *device);
        directory.insert(name, Arc::new(Node { metadata, open: *open }));
    }
    let number = 2 + NODES.len() as u64;
    directory.insert("ptmx", Arc::new(Multiplexer(node_metadata(number, MULTIPLEXER))));
    directory.insert("pts", tty::pseudo_directory());
    directory.insert("shm", shared_memory);
    let links = [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ];
    for (number, (name, target)) in (100..).zip(links) {
        directory.insert(name, Arc::new(Symlink::new(target, number, FILE_SYSTEM)));
    }
    directory.build()
}

/// Gives other threads their turn in the middle of a long transfer. False when the transfer should end here, because a
/// signal has come.
fn may_go_on(current: &Current) -> bool {
    if crate::cpus::needs_reschedule() {
        current.schedule(sched::Leave::Preempt);
    }
    !current.task.is_interrupted()
}
