//! Processes as files (man 2 pidfd_open).

use super::{DeviceId, File, Kind, Metadata, Readiness};
use crate::task::Process;
use crate::wait::WaitQueue;
use alloc::sync::Arc;

const FILE_SYSTEM: DeviceId = DeviceId::new(0, 14);

/// A name of a process that never becomes another's. Readable when the process has ended.
pub struct ProcessFile(pub Arc<Process>);

impl File for ProcessFile {
    fn metadata(&self) -> Metadata {
        Metadata::new(Kind::Anonymous, 0o700, self.0.id.into(), FILE_SYSTEM)
    }

    fn readiness(&self) -> Readiness {
        if self.0.has_ended() { Readiness::READABLE } else { Readiness::empty() }
    }

    fn label(&self) -> &'static str {
        "[pidfd]"
    }

    fn queues<'f>(&'f self, each: &mut dyn FnMut(&'f WaitQueue)) {
        each(&self.0.thread_ended);
    }
}
