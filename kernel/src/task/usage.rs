//! What threads, processes and their children have used (man 2 getrusage).

use super::{Process, Task};
use crate::cpus;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Sums over some threads. There are no major faults: no page is ever read from a disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// In nanoseconds.
    pub cpu_time: u64,
    pub minor_faults: u64,
    pub voluntary_switches: u64,
    pub involuntary_switches: u64,
    /// The most pages that were in memory at once, of the largest process.
    pub peak_pages: u64,
}

impl Usage {
    fn add(&mut self, other: &Self) {
        self.cpu_time += other.cpu_time;
        self.minor_faults += other.minor_faults;
        self.voluntary_switches += other.voluntary_switches;
        self.involuntary_switches += other.involuntary_switches;
        self.peak_pages = self.peak_pages.max(other.peak_pages);
    }
}

/// What those have used that are gone, but for their CPU time, which [`Process`] has.
#[derive(Default)]
pub struct PastUsage {
    minor_faults: AtomicU64,
    voluntary_switches: AtomicU64,
    involuntary_switches: AtomicU64,
    peak_pages: AtomicU64,
}

impl PastUsage {
    pub fn add(&self, usage: &Usage) {
        self.minor_faults.fetch_add(usage.minor_faults, Relaxed);
        self.voluntary_switches.fetch_add(usage.voluntary_switches, Relaxed);
        self.involuntary_switches.fetch_add(usage.involuntary_switches, Relaxed);
        self.note_peak(usage.peak_pages);
    }

    /// Notes that a process has had so many pages in memory.
    pub fn note_peak(&self, pages: u64) {
        self.peak_pages.fetch_max(pages, Relaxed);
    }

    fn read(&self, cpu_time: u64) -> Usage {
        Usage {
            cpu_time,
            minor_faults: self.minor_faults.load(Relaxed),
            voluntary_switches: self.voluntary_switches.load(Relaxed),
            involuntary_switches: self.involuntary_switches.load(Relaxed),
            peak_pages: self.peak_pages.load(Relaxed),
        }
    }
}

impl Task {
    /// Counts a page fault of this thread, which is the caller.
    pub fn count_fault(&self) {
        // The thread is the only one to write.
        self.minor_faults.store(self.minor_faults.load(Relaxed) + 1, Relaxed);
    }

    pub fn usage(&self) -> Usage {
        let minor_faults = self.minor_faults.load(Relaxed);
        self.thread().map_or(Usage::default(), |thread| Usage {
            cpu_time: cpus::cpu_time(&thread).as_ticks(),
            minor_faults,
            voluntary_switches: thread.stats().voluntary_switches(),
            involuntary_switches: thread.stats().involuntary_switches(),
            peak_pages: self.process.space().map_or(0, |space| space.peak_resident()),
        })
    }
}

impl Process {
    /// What all its threads have used, those that have ended included.
    pub fn usage(&self) -> Usage {
        let peak = self.space().map_or(0, |space| space.peak_resident());
        let mut sum = self.dead_threads.read(self.dead_threads_ns.load(Relaxed));
        sum.peak_pages = sum.peak_pages.max(peak);
        // With the lock held, a thread is either among the living or counted with the dead.
        let threads = self.threads.lock();
        for (task, thread) in threads.iter().filter_map(|task| Some((task, task.thread()?))) {
            sum.add(&Usage {
                cpu_time: cpus::cpu_time(&thread).as_ticks(),
                minor_faults: task.minor_faults.load(Relaxed),
                voluntary_switches: thread.stats().voluntary_switches(),
                involuntary_switches: thread.stats().involuntary_switches(),
                peak_pages: 0,
            });
        }
        sum
    }

    /// What its children have used that it has waited for, and theirs.
    pub fn children_usage(&self) -> Usage {
        self.children_past.read(self.children_ns.load(Relaxed))
    }
}
