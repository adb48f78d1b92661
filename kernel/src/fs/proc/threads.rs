//! `/proc/PID/task`: the threads of a process, a directory for each (man 5 proc_pid_task).

use super::process::{directory_number, living};
use super::{FILE_SYSTEM, schedstat};
use crate::errno::Errno;
use crate::fs::text::Text;
use crate::fs::{Entry, Inode, Kind, Metadata};
use crate::task::{Process, Task};
use alloc::{format, string::String, sync::Arc, sync::Weak, vec::Vec};
use formats::ThreadId;

type Generate = fn(&Process, &Task) -> Vec<u8>;

const FILES: [(&str, Generate); 3] = [
    ("comm", |process, _| format!("{}\n", process.identity.lock().name).into_bytes()),
    ("schedstat", |_, task| schedstat::thread(task.thread().as_deref())),
    ("status", |process, task| {
        let name = process.identity.lock().name.clone();
        let ids = format!("Name:\t{name}\nTgid:\t{}\nPid:\t{}\n", process.id, task.id.0);
        (ids + &scheduling(task.thread().as_deref())).into_bytes()
    }),
];

/// The lines of `status` about a thread's scheduling.
pub fn scheduling(thread: Option<&sched::Thread>) -> String {
    let Some(thread) = thread else { return String::new() };
    let cpus = String::from_utf8(crate::fs::sys::list(&thread.affinity())).unwrap_or_default();
    let stats = thread.stats();
    format!(
        "Cpus_allowed_list:\t{cpus}voluntary_ctxt_switches:\t{}\nnonvoluntary_ctxt_switches:\t{}\n",
        stats.voluntary_switches(),
        stats.involuntary_switches()
    )
}

/// The inode number of a thread's directory; those of its files follow.
fn thread_number(id: ThreadId) -> u64 {
    directory_number(id.0) | 1 << 15
}

/// The directory of all threads.
pub struct Threads {
    pub number: u64,
    pub process: Weak<Process>,
}

impl Inode for Threads {
    fn metadata(&self) -> Metadata {
        Metadata::new(Kind::Directory, 0o555, self.number, FILE_SYSTEM)
    }

    fn lookup(&self, name: &str) -> Result<Arc<dyn Inode>, Errno> {
        let process = living(&self.process)?;
        let task = process.threads.lock().iter().find(|task| format!("{}", task.id.0) == name).cloned();
        let task = task.ok_or(Errno::ENOENT)?;
        Ok(Arc::new(ThreadDirectory {
            id: task.id,
            process: self.process.clone(),
            task: Arc::downgrade(&task),
        }))
    }

    fn entries(&self) -> Result<Vec<Entry>, Errno> {
        let mut ids: Vec<_> = living(&self.process)?.threads.lock().iter().map(|task| task.id).collect();
        ids.sort_unstable();
        let entry = |id: ThreadId| Entry {
            name: format!("{}", id.0),
            number: thread_number(id),
            kind: Kind::Directory,
        };
        Ok(ids.into_iter().map(entry).collect())
    }
}

struct ThreadDirectory {
    id: ThreadId,
    process: Weak<Process>,
    task: Weak<Task>,
}

impl Inode for ThreadDirectory {
    fn metadata(&self) -> Metadata {
        Metadata::new(Kind::Directory, 0o555, thread_number(self.id), FILE_SYSTEM)
    }

    fn lookup(&self, name: &str) -> Result<Arc<dyn Inode>, Errno> {
        let at = FILES.iter().position(|(file, _)| *file == name).ok_or(Errno::ENOENT)?;
        let (process, task, generate) = (self.process.clone(), self.task.clone(), FILES[at].1);
        let number = thread_number(self.id) + 1 + at as u64;
        Ok(Arc::new(Text::new(number, FILE_SYSTEM, move || {
            let task = task.upgrade().ok_or(Errno::ESRCH)?;
            Ok(generate(&*living(&process)?, &task))
        })))
    }

    fn entries(&self) -> Result<Vec<Entry>, Errno> {
        let number = |at: usize| thread_number(self.id) + 1 + at as u64;
        let entry = |(at, (name, _)): (usize, &(&str, Generate))| Entry {
            name: String::from(*name),
            number: number(at),
            kind: Kind::Regular,
        };
        Ok(FILES.iter().enumerate().map(entry).collect())
    }
}
