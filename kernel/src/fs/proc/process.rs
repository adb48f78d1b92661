//! `/proc/PID` and `/proc/PID/task/TID`: one process, or one of its threads (man 5 proc_pid).
//!
//! Both have the same files. Those of a process are about all of its threads, those of a thread about it alone, as far as
//! threads have something of their own.

use super::descriptors::{self, Descriptors};
use super::threads::Threads;
use super::{FILE_SYSTEM, maps, schedstat, status, tables};
use crate::errno::Errno;
use crate::fs::text::Text;
use crate::fs::{Dentry, Entry, Inode, Kind, Metadata, root};
use crate::task::{Process, ProcessId, Task};
use alloc::{boxed::Box, format, string::String, sync::Arc, sync::Weak, vec::Vec};

/// Nanoseconds of a clock tick as programs count them (`USER_HZ` is 100).
pub const TICK_NS: u64 = 10_000_000;

/// What a directory is about, whether it is still there or not.
#[derive(Clone)]
pub struct Subject {
    pub process: Weak<Process>,
    /// The thread; `None`: all of them.
    pub task: Option<Weak<Task>>,
    /// The inode number of the directory; those of its files follow.
    pub number: u64,
}

/// What a directory is about, while a file is made.
pub struct About {
    pub process: Arc<Process>,
    pub task: Option<Arc<Task>>,
}

impl Subject {
    pub fn of_process(process: &Arc<Process>) -> Self {
        let number = directory_number(process.id);
        Self { process: Arc::downgrade(process), task: None, number }
    }

    /// # Errors
    /// `ESRCH` once it is gone.
    pub fn about(&self) -> Result<About, Errno> {
        let process = self.process.upgrade().ok_or(Errno::ESRCH)?;
        let task = match &self.task {
            Some(task) => Some(task.upgrade().ok_or(Errno::ESRCH)?),
            None => None,
        };
        Ok(About { process, task })
    }

    fn metadata(&self, kind: Kind, permissions: u32, number: u64) -> Metadata {
        let process = self.process.upgrade();
        let who = process.map(|process| process.fs.lock().credentials().clone()).unwrap_or_default();
        let metadata = Metadata::new(kind, permissions, number, FILE_SYSTEM);
        Metadata { owner: who.user.effective, group: who.group.effective, ..metadata }
    }
}

impl About {
    /// The threads that it is about.
    pub fn tasks(&self) -> Vec<Arc<Task>> {
        match &self.task {
            Some(task) => alloc::vec![task.clone()],
            None => self.process.threads.lock().clone(),
        }
    }

    /// The thread whose scheduling stands for the whole: the only one, or the first, which bears the number of the process.
    pub fn leader(&self) -> Option<Arc<Task>> {
        let tasks = self.tasks();
        let is_leader = |task: &&Arc<Task>| task.id.0 == self.process.id;
        tasks.iter().find(is_leader).or(tasks.first()).cloned()
    }

    pub fn thread(&self) -> Option<Arc<sched::Thread>> {
        self.leader()?.thread()
    }

    /// The number of the process or of the thread.
    pub fn id(&self) -> u32 {
        self.task.as_ref().map_or(self.process.id, |task| task.id.0)
    }
}

type Generate = fn(&About) -> Result<Vec<u8>, Errno>;
type Follow = fn(&Process) -> Result<Arc<Dentry>, Errno>;

enum Child {
    Text(Generate),
    /// Readable by its owner alone.
    Private(Generate),
    Link(Follow),
    Descriptors(descriptors::Shown),
    Threads,
}

const CHILDREN: &[(&str, Child)] = &[
    ("cmdline", Child::Text(command_line)),
    ("comm", Child::Text(name)),
    ("cwd", Child::Link(|process| Ok(process.fs.lock().directory().clone()))),
    ("environ", Child::Private(|_| Ok(Vec::new()))),
    ("exe", Child::Link(executable)),
    ("fd", Child::Descriptors(descriptors::Shown::Links)),
    ("fdinfo", Child::Descriptors(descriptors::Shown::Infos)),
    ("io", Child::Private(tables::io)),
    ("limits", Child::Text(tables::limits)),
    ("maps", Child::Text(|about| maps::maps(&about.process))),
    ("mountinfo", Child::Text(tables::mountinfo)),
    ("mounts", Child::Text(tables::mounts)),
    ("oom_score", Child::Text(|_| Ok(b"0\n".to_vec()))),
    ("oom_score_adj", Child::Text(|_| Ok(b"0\n".to_vec()))),
    ("root", Child::Link(|_| Ok(root()))),
    ("sched", Child::Text(status::sched)),
    ("schedstat", Child::Text(|about| Ok(schedstat::thread(about.thread().as_deref())))),
    ("stat", Child::Text(status::stat)),
    ("statm", Child::Text(status::statm)),
    ("status", Child::Text(status::status)),
    ("wchan", Child::Text(|_| Ok(b"0".to_vec()))),
    ("task", Child::Threads),
];

/// The inode number of a process's directory.
pub fn directory_number(id: ProcessId) -> u64 {
    (u64::from(id) + 1) << 16
}

pub struct ProcessDirectory(pub Subject);

impl ProcessDirectory {
    /// A thread has no directory of threads, which is the last.
    fn children(&self) -> &'static [(&'static str, Child)] {
        let count = CHILDREN.len() - usize::from(self.0.task.is_some());
        &CHILDREN[..count]
    }

    fn child_number(&self, at: usize) -> u64 {
        self.0.number + 1 + at as u64
    }

    fn text(&self, number: u64, generate: Generate, permissions: u32) -> Arc<dyn Inode> {
        let subject = self.0.clone();
        let metadata = self.0.metadata(Kind::Regular, permissions, number);
        Arc::new(Text::with_metadata(metadata, move || generate(&subject.about()?)))
    }

    /// `comm` can also be written: the name becomes the first 15 bytes.
    fn comm(&self, number: u64) -> Arc<dyn Inode> {
        let (subject, target) = (self.0.clone(), self.0.process.clone());
        let metadata = self.0.metadata(Kind::Regular, 0o644, number);
        let accept = move |text: &str| {
            let process = target.upgrade().ok_or(Errno::ESRCH)?;
            let end = text.floor_char_boundary(15);
            process.identity.lock().name = String::from(&text[..end]);
            Ok(())
        };
        let text = Text::with_metadata(metadata, move || name(&subject.about()?));
        Arc::new(text.accepting(Box::new(accept)))
    }
}

impl Inode for ProcessDirectory {
    fn metadata(&self) -> Metadata {
        self.0.metadata(Kind::Directory, 0o555, self.0.number)
    }

    fn lookup(&self, name: &str) -> Result<Arc<dyn Inode>, Errno> {
        let children = self.children();
        let at = children.iter().position(|(child, _)| *child == name).ok_or(Errno::ENOENT)?;
        let number = self.child_number(at);
        let process = self.0.process.clone();
        Ok(match children[at].1 {
            Child::Text(_) if name == "comm" => self.comm(number),
            Child::Text(generate) => self.text(number, generate, 0o444),
            Child::Private(generate) => self.text(number, generate, 0o400),
            Child::Link(follow) => {
                let metadata = self.0.metadata(Kind::Symlink, 0o777, number);
                Arc::new(Link { metadata, process, follow })
            }
            Child::Descriptors(shown) => {
                let metadata = self.0.metadata(Kind::Directory, 0o500, number);
                Arc::new(Descriptors { metadata, process, shown, first: self.0.number | 1 << 13 })
            }
            Child::Threads => Arc::new(Threads { number, process }),
        })
    }

    fn entries(&self) -> Result<Vec<Entry>, Errno> {
        let entries = self.children().iter().enumerate().map(|(at, (name, child))| Entry {
            name: String::from(*name),
            number: self.child_number(at),
            kind: match child {
                Child::Text(_) | Child::Private(_) => Kind::Regular,
                Child::Link(_) => Kind::Symlink,
                Child::Descriptors(_) | Child::Threads => Kind::Directory,
            },
        });
        Ok(entries.collect())
    }
}

/// The process, unless it is gone.
pub(super) fn living(process: &Weak<Process>) -> Result<Arc<Process>, Errno> {
    process.upgrade().ok_or(Errno::ESRCH)
}

/// A link that leads to a place, whatever paths say.
struct Link {
    metadata: Metadata,
    process: Weak<Process>,
    follow: Follow,
}

impl Link {
    fn place(&self) -> Result<Arc<Dentry>, Errno> {
        let process = living(&self.process)?;
        if process.has_ended() {
            return Err(Errno::ENOENT);
        }
        (self.follow)(&process)
    }
}

impl Inode for Link {
    fn metadata(&self) -> Metadata {
        self.metadata
    }

    fn read_link(&self) -> Result<String, Errno> {
        let place = self.place()?;
        Ok(descriptors::shown_path(&place))
    }

    fn follow(&self) -> Option<Result<Arc<Dentry>, Errno>> {
        Some(self.place())
    }
}

fn executable(process: &Process) -> Result<Arc<Dentry>, Errno> {
    let path = process.identity.lock().executable.clone();
    if path.is_empty() {
        return Err(Errno::ENOENT);
    }
    crate::fs::lookup(&path, &crate::fs::FsContext::new())
}

fn command_line(about: &About) -> Result<Vec<u8>, Errno> {
    // It is in memory, which a process that has ended has not.
    if about.process.space().is_none() {
        return Ok(Vec::new());
    }
    Ok(about.process.identity.lock().command_line.clone())
}

fn name(about: &About) -> Result<Vec<u8>, Errno> {
    Ok(format!("{}\n", about.process.identity.lock().name).into_bytes())
}
