//! `/proc/PID`: one process (man 5 proc_pid).

use super::threads::{self, Threads};
use super::{FILE_SYSTEM, maps, schedstat};
use crate::errno::Errno;
use crate::fs::text::Text;
use crate::fs::{Entry, Inode, Kind, Metadata};
use crate::task::{Process, ProcessId};
use alloc::{format, string::String, sync::Arc, sync::Weak, vec::Vec};
use core::sync::atomic::Ordering::Relaxed;
use formats::Instant;
use mm::PAGE;

/// Nanoseconds of a clock tick as programs count them (`USER_HZ` is 100).
pub const TICK_NS: u64 = 10_000_000;

pub struct ProcessDirectory {
    id: ProcessId,
    process: Weak<Process>,
}

type Generate = fn(&Process) -> Result<Vec<u8>, Errno>;
type Follow = fn(&Process) -> String;

enum Child {
    Text(Generate),
    Link(Follow),
    Threads,
}

const CHILDREN: &[(&str, Child)] = &[
    ("cmdline", Child::Text(command_line)),
    ("comm", Child::Text(name)),
    ("cwd", Child::Link(|process| path(process.fs.lock().directory().path()))),
    ("exe", Child::Link(|process| process.identity.lock().executable.clone())),
    ("maps", Child::Text(maps::maps)),
    ("mounts", Child::Text(mounts)),
    ("root", Child::Link(|_| String::from("/"))),
    ("schedstat", Child::Text(|process| Ok(schedstat::thread(leader(process).as_deref())))),
    ("stat", Child::Text(stat)),
    ("status", Child::Text(status)),
    ("task", Child::Threads),
];

/// The inode number of a process's directory; those of its files follow.
pub fn directory_number(id: ProcessId) -> u64 {
    (u64::from(id) + 1) << 16
}

impl ProcessDirectory {
    pub fn new(process: &Arc<Process>) -> Self {
        Self { id: process.id, process: Arc::downgrade(process) }
    }

    fn child_number(&self, at: usize) -> u64 {
        directory_number(self.id) + 1 + at as u64
    }
}

impl Inode for ProcessDirectory {
    fn metadata(&self) -> Metadata {
        Metadata::new(Kind::Directory, 0o555, directory_number(self.id), FILE_SYSTEM)
    }

    fn lookup(&self, name: &str) -> Result<Arc<dyn Inode>, Errno> {
        let at = CHILDREN.iter().position(|(child, _)| *child == name).ok_or(Errno::ENOENT)?;
        let number = self.child_number(at);
        let process = self.process.clone();
        Ok(match CHILDREN[at].1 {
            Child::Text(generate) => {
                Arc::new(Text::new(number, FILE_SYSTEM, move || generate(&*living(&process)?)))
            }
            Child::Link(follow) => Arc::new(ProcessLink { number, process, follow }),
            Child::Threads => Arc::new(Threads { number, process }),
        })
    }

    fn entries(&self) -> Result<Vec<Entry>, Errno> {
        let entries = CHILDREN.iter().enumerate().map(|(at, (name, child))| Entry {
            name: String::from(*name),
            number: self.child_number(at),
            kind: match child {
                Child::Text(_) => Kind::Regular,
                Child::Link(_) => Kind::Symlink,
                Child::Threads => Kind::Directory,
            },
        });
        Ok(entries.collect())
    }
}

/// The process, unless it is gone.
pub(super) fn living(process: &Weak<Process>) -> Result<Arc<Process>, Errno> {
    process.upgrade().ok_or(Errno::ESRCH)
}

/// The first thread, which bears the number of the process; `None` once it has ended.
fn leader(process: &Process) -> Option<Arc<sched::Thread>> {
    process.threads.lock().iter().find(|task| task.id.0 == process.id)?.thread()
}

struct ProcessLink {
    number: u64,
    process: Weak<Process>,
    follow: Follow,
}

impl Inode for ProcessLink {
    fn metadata(&self) -> Metadata {
        Metadata::new(Kind::Symlink, 0o777, self.number, FILE_SYSTEM)
    }

    fn read_link(&self) -> Result<String, Errno> {
        let path = (self.follow)(&*living(&self.process)?);
        // A process without a program, or one that has ended.
        if path.is_empty() { Err(Errno::ENOENT) } else { Ok(path) }
    }
}

/// The root directory's path as a path.
fn path(path: String) -> String {
    if path.is_empty() { String::from("/") } else { path }
}

fn command_line(process: &Process) -> Result<Vec<u8>, Errno> {
    Ok(process.identity.lock().command_line.clone())
}

fn name(process: &Process) -> Result<Vec<u8>, Errno> {
    Ok(format!("{}\n", process.identity.lock().name).into_bytes())
}

/// Device, place, type, options; dump and check order are of no use.
fn mounts(_: &Process) -> Result<Vec<u8>, Errno> {
    Ok(b"rootfs / rootfs ro 0 0\nproc /proc proc rw 0 0\ndevtmpfs /dev devtmpfs rw 0 0\nsysfs /sys sysfs rw 0 0\n".to_vec())
}

/// What is common to `stat` and `status`.
struct Summary {
    name: String,
    state: char,
    threads: usize,
    started: Instant,
    /// In bytes.
    virtual_size: u64,
    /// In pages.
    resident: u64,
}

impl Summary {
    fn of(process: &Process) -> Result<Self, Errno> {
        let threads: Vec<_> = process.threads.lock().iter().filter_map(|task| task.thread()).collect();
        let state = if process.has_ended() {
            'Z'
        } else if threads.iter().all(|thread| thread.is_asleep()) {
            'S'
        } else {
            'R'
        };
        let (virtual_size, resident) = match process.space() {
            Some(space) => {
                let areas = space.areas()?;
                (areas.iter().map(|area| area.end - area.start).sum(), space.resident())
            }
            None => (0, 0),
        };
        Ok(Self {
            name: process.identity.lock().name.clone(),
            state,
            threads: threads.len(),
            started: threads.first().map_or(Instant::from_ticks(0), |thread| thread.started_at()),
            virtual_size,
            resident,
        })
    }
}

/// One line of 52 fields (man 5 proc_pid_stat). Those that Tine does not count are 0.
fn stat(process: &Process) -> Result<Vec<u8>, Errno> {
    let summary = Summary::of(process)?;
    let own_time = process.cpu_time().as_ticks() / TICK_NS;
    let children_time = process.children_ns.load(Relaxed) / TICK_NS;
    let text = format!(
        "{id} ({name}) {state} {parent} {group} {session} 0 -1 0 0 0 0 0 {own_time} 0 {children_time} 0 20 0 {threads} 0 \
         {start} {size} {resident} {limit} 0 0 0 0 0 0 0 0 0 0 0 0 {signal} 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n",
        id = process.id,
        name = summary.name,
        state = summary.state,
        parent = process.parent_id(),
        group = process.group.load(Relaxed),
        session = process.session.load(Relaxed),
        threads = summary.threads,
        start = summary.started.as_ticks() / TICK_NS,
        size = summary.virtual_size,
        resident = summary.resident,
        limit = u64::MAX,
        signal = process.exit_signal.load(Relaxed),
    );
    Ok(text.into_bytes())
}

fn status(process: &Process) -> Result<Vec<u8>, Errno> {
    let summary = Summary::of(process)?;
    let state = match summary.state {
        'R' => "R (running)",
        'S' => "S (sleeping)",
        _ => "Z (zombie)",
    };
    let umask = process.fs.lock().umask();
    let descriptors = process.files().size();
    let kib = PAGE as u64 / 1024;
    let text = format!(
        "Name:\t{name}\nUmask:\t{umask:04o}\nState:\t{state}\nTgid:\t{id}\nNgid:\t0\nPid:\t{id}\nPPid:\t{parent}\n\
         TracerPid:\t0\nUid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nFDSize:\t{descriptors}\nGroups:\t\n\
         VmSize:\t{size:8} kB\nVmRSS:\t{resident:8} kB\nThreads:\t{threads}\n{scheduling}",
        name = summary.name,
        id = process.id,
        parent = process.parent_id(),
        size = summary.virtual_size / 1024,
        resident = summary.resident * kib,
        threads = summary.threads,
        scheduling = threads::scheduling(leader(process).as_deref()),
    );
    Ok(text.into_bytes())
}
