//! `/proc`: what the kernel knows, as text in Linux's format (man 5 proc).
//!
//! A file's text is made when it is read from its beginning; reading on goes on in the same text.

mod maps;
mod measures;
mod process;
mod schedstat;
mod system;
mod threads;
mod tine;

use super::directory::{Builder, Directory};
use super::text::{Generate, Text};
use super::{DeviceId, Entry, Inode, Kind, Metadata};
use crate::errno::Errno;
use crate::task::{self, Task};
use crate::{cpus, fs::symlink::Symlink};
use alloc::{boxed::Box, format, string::String, sync::Arc, vec::Vec};
use process::ProcessDirectory;

const FILE_SYSTEM: DeviceId = DeviceId::new(0, 21);

/// The root of the file system.
struct Root {
    /// What does not depend on the processes that there are.
    fixed: Arc<Directory>,
}

impl Inode for Root {
    fn metadata(&self) -> Metadata {
        self.fixed.metadata()
    }

    fn lookup(&self, name: &str) -> Result<Arc<dyn Inode>, Errno> {
        match name.parse().ok().and_then(task::find_process) {
            // `parse` takes what is no number as programs write it, such as `+1` and `01`.
            Some(process) if format!("{}", process.id) == name => {
                Ok(Arc::new(ProcessDirectory::new(&process)))
            }
            _ => self.fixed.lookup(name),
        }
    }

    fn entries(&self) -> Result<Vec<Entry>, Errno> {
        let mut ids: Vec<_> = task::all_processes().iter().map(|process| process.id).collect();
        ids.sort_unstable();
        let mut entries = self.fixed.entries()?;
        entries.extend(ids.into_iter().map(|id| Entry {
            name: format!("{id}"),
            number: process::directory_number(id),
            kind: Kind::Directory,
        }));
        Ok(entries)
    }
}

/// `/proc/self`: the directory of the process that looks.
struct OwnProcess(Metadata);

impl Inode for OwnProcess {
    fn metadata(&self) -> Metadata {
        self.0
    }

    fn read_link(&self) -> Result<String, Errno> {
        let thread = cpus::current_thread();
        let task = Task::of(&thread).ok_or(Errno::ENOENT)?;
        Ok(format!("{}", task.process.id))
    }
}

/// Files that are there whatever processes there are.
const FILES: &[(&[&str], &str, Generate)] = &[
    (&[], "cpuinfo", system::cpuinfo),
    (&[], "meminfo", system::meminfo),
    (&[], "stat", system::stat),
    (&[], "uptime", system::uptime),
    (&["sys", "kernel"], "pid_max", system::largest_id),
    (&["sys", "kernel"], "threads-max", system::most_threads),
    (&["sys", "vm"], "overcommit_memory", system::overcommit),
    (&["tine"], "leaks", tine::leaks),
    (&[], "schedstat", schedstat::machine),
    (&["tine"], "sched", measures::text),
    (&["tine"], "sched.json", measures::json),
    (&["tine"], "swaps", measures::swaps),
    (&["tine"], "swaps.json", measures::swaps_json),
    (&["tine"], "threads", measures::threads),
];

pub fn directory() -> Arc<dyn Inode> {
    let mut numbers = 1..;
    let mut next = || numbers.next().unwrap_or_default();
    let mut root = Builder::new(Metadata::new(Kind::Directory, 0o555, next(), FILE_SYSTEM));
    for (directories, name, generate) in FILES {
        let mut directory = &mut root;
        for name in *directories {
            directory = directory.directory(name, Metadata::new(Kind::Directory, 0o555, next(), FILE_SYSTEM));
        }
        directory.insert(name, Arc::new(Text::new(next(), FILE_SYSTEM, *generate)));
    }
    let tine = root.directory("tine", Metadata::new(Kind::Directory, 0o555, next(), FILE_SYSTEM));
    for (name, generate, accept) in tine::SETTINGS {
        let setting = Text::new(next(), FILE_SYSTEM, *generate).accepting(Box::new(*accept));
        tine.insert(name, Arc::new(setting));
    }
    root.insert("self", Arc::new(OwnProcess(Metadata::new(Kind::Symlink, 0o777, next(), FILE_SYSTEM))));
    let mounts = Symlink::new("self/mounts", next(), FILE_SYSTEM);
    root.insert("mounts", Arc::new(mounts));
    Arc::new(Root { fixed: root.build() })
}
