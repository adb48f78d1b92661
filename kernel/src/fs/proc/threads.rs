//! `/proc/PID/task`: the threads of a process, a directory for each (man 5 proc_pid_task).

use super::FILE_SYSTEM;
use super::process::{ProcessDirectory, Subject, directory_number, living};
use crate::errno::Errno;
use crate::fs::{Entry, Inode, Kind, Metadata};
use crate::task::Process;
use alloc::{format, sync::Arc, sync::Weak, vec::Vec};
use formats::ThreadId;

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
        let number = thread_number(task.id);
        let subject = Subject { process: self.process.clone(), task: Some(Arc::downgrade(&task)), number };
        Ok(Arc::new(ProcessDirectory(subject)))
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
