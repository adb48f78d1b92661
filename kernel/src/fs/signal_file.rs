//! Pending signals as a file (man 2 signalfd).
//!
//! Such a file shows the signals of whoever reads it: after a fork, the child's own.

use super::{DeviceId, File, Kind, Metadata, Readiness, Request, UserBuffer};
use crate::cpus;
use crate::errno::Errno;
use crate::signal::{self, SigInfo, SigSet};
use crate::task::Task;
use crate::wait::WaitQueue;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};

const FILE_SYSTEM: DeviceId = DeviceId::new(0, 14);
/// The bytes of `struct signalfd_siginfo` (`linux/signalfd.h`).
const RECORD: usize = 128;

/// Woken whenever a signal has become pending anywhere: there are few such files, and each looks for itself.
static ARRIVED: WaitQueue = WaitQueue::new();

/// How many such files there are: without one, sending a signal touches nothing that all senders share.
static LIVE: AtomicUsize = AtomicUsize::new(0);

/// A signal has become pending.
pub fn signal_arrived() {
    if LIVE.load(SeqCst) > 0 {
        ARRIVED.wake_for(Readiness::READABLE);
    }
}

pub struct SignalFile {
    mask: AtomicU64,
}

impl SignalFile {
    pub fn new(mask: SigSet) -> Self {
        LIVE.fetch_add(1, SeqCst);
        let file = Self { mask: AtomicU64::new(0) };
        file.set_mask(mask);
        file
    }

    /// Which signals it shows. SIGKILL and SIGSTOP are never among them.
    pub fn set_mask(&self, mask: SigSet) {
        self.mask.store(mask.without(SigSet::UNBLOCKABLE).0, Relaxed);
        ARRIVED.wake_all();
    }

    fn mask(&self) -> SigSet {
        SigSet(self.mask.load(Relaxed))
    }
}

impl Drop for SignalFile {
    fn drop(&mut self) {
        LIVE.fetch_sub(1, SeqCst);
    }
}

impl File for SignalFile {
    fn metadata(&self) -> Metadata {
        Metadata::new(Kind::Anonymous, 0o600, 1, FILE_SYSTEM)
    }

    fn read(&self, request: &Request<'_>, to: &mut UserBuffer) -> Result<usize, Errno> {
        let records = to.remaining() / RECORD;
        if records == 0 {
            return Err(Errno::EINVAL);
        }
        let task = &request.current.task;
        let take = || signal::take(task, self.mask());
        let first = if request.nonblocking {
            take().ok_or(Errno::EAGAIN)?
        } else {
            ARRIVED.wait(request.current, None, take).map_err(|_| Errno::RESTART)?
        };
        let mut done = to.fill(&record(&first))?;
        for _ in 1..records {
            let Some(next) = take() else { break };
            done += to.fill(&record(&next))?;
        }
        Ok(done)
    }

    fn readiness(&self) -> Readiness {
        let thread = cpus::current_thread();
        let is_pending = Task::of(&thread).is_some_and(|task| signal::has_pending(task, self.mask()));
        if is_pending { Readiness::READABLE } else { Readiness::empty() }
    }

    fn label(&self) -> &'static str {
        "[signalfd]"
    }

    fn queues<'f>(&'f self, each: &mut dyn FnMut(&'f WaitQueue)) {
        each(&ARRIVED);
    }
}

/// `struct signalfd_siginfo`. Which fields of a siginfo mean something depends on who sent the signal.
fn record(info: &SigInfo) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    let mut put = |at: usize, bytes: &[u8]| record[at..at + bytes.len()].copy_from_slice(bytes);
    // Number, error, code.
    put(0, &info.head(0));
    put(4, &info.head(4));
    put(8, &info.head(8));
    for &(from, to, len) in signal::fields(info) {
        put(to, info.payload(from, len));
    }
    record
}
