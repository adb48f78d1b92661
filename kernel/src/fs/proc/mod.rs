//! `/proc`: what the kernel knows, as text in Linux's format (man 5 proc).
//!
//! A file's text is made when it is read from its beginning; reading on goes on in the same text.

mod cpuinfo;
mod descriptors;
mod load;
mod maps;
mod measures;
mod memory;
mod process;
mod schedstat;
mod status;
mod system;
mod tables;
mod threads;
mod tine;

use super::directory::{Builder, Directory};
use super::text::{Generate, Text};
use super::{DeviceId, Entry, Inode, Kind, Metadata};
use crate::errno::Errno;
use crate::task::{self, Task};
use crate::{cpus, fs::symlink::Symlink};
use alloc::{boxed::Box, format, string::String, sync::Arc, vec::Vec};
use process::{ProcessDirectory, Subject};

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
                Ok(Arc::new(ProcessDirectory(Subject::of_process(&process))))
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

/// `/proc/self` and `/proc/thread-self`: the directory of the process, or of the thread, that looks.
struct Own {
    metadata: Metadata,
    name: NameOf,
}

type NameOf = fn(&Task) -> String;

impl Inode for Own {
    fn metadata(&self) -> Metadata {
        self.metadata
    }

    fn read_link(&self) -> Result<String, Errno> {
        let thread = cpus::current_thread();
        let task = Task::of(&thread).ok_or(Errno::ENOENT)?;
        Ok((self.name)(task))
    }
}

/// Files that are there whatever processes there are.
const FILES: &[(&[&str], &str, Generate)] = &[
    (&[], "cpuinfo", cpuinfo::cpuinfo),
    (&[], "filesystems", system::filesystems),
    (&[], "interrupts", system::interrupts),
    (&[], "loadavg", load::loadavg),
    (&[], "meminfo", memory::meminfo),
    (&[], "softirqs", system::softirqs),
    (&[], "stat", system::stat),
    (&[], "uptime", system::uptime),
    (&[], "version", system::version),
    (&[], "vmstat", memory::vmstat),
    (&[], "diskstats", || Ok(Vec::new())),
    (&[], "partitions", || Ok(Vec::new())),
    (&["sys", "fs"], "file-max", || Ok(b"9223372036854775807\n".to_vec())),
    (&["sys", "fs"], "nr_open", || Ok(b"1048576\n".to_vec())),
    (&["sys", "fs"], "pipe-max-size", || Ok(b"1048576\n".to_vec())),
    (&["sys", "kernel"], "hostname", || Ok(b"tine\n".to_vec())),
    (&["sys", "kernel"], "osrelease", || Ok(b"6.12.0-tine\n".to_vec())),
    (&["sys", "kernel"], "ostype", || Ok(b"Linux\n".to_vec())),
    (&["sys", "kernel"], "pid_max", system::largest_id),
    (&["sys", "kernel"], "sched_rr_timeslice_ms", system::rr_timeslice),
    (&["sys", "kernel"], "threads-max", system::most_threads),
    (&["sys", "kernel", "random"], "boot_id", system::boot_id),
    (&["sys", "kernel", "random"], "entropy_avail", || Ok(b"256\n".to_vec())),
    (&["sys", "kernel", "random"], "poolsize", || Ok(b"256\n".to_vec())),
    (&["sys", "kernel", "random"], "uuid", system::random_uuid),
    // Mappings are never refused for lack of memory, it is only used up when it is touched.
    (&["sys", "vm"], "overcommit_memory", || Ok(b"1\n".to_vec())),
    (&["sys", "vm"], "max_map_count", || Ok(b"65530\n".to_vec())),
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
    let own: [(&str, NameOf); 2] = [
        ("self", |task| format!("{}", task.process.id)),
        ("thread-self", |task| format!("{}/task/{}", task.process.id, task.id.0)),
    ];
    for (link, name) in own {
        let metadata = Metadata::new(Kind::Symlink, 0o777, next(), FILE_SYSTEM);
        root.insert(link, Arc::new(Own { metadata, name }));
    }
    let mounts = Symlink::new("self/mounts", next(), FILE_SYSTEM);
    root.insert("mounts", Arc::new(mounts));
    Arc::new(Root { fixed: root.build() })
}
