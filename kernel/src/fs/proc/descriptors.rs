//! `/proc/PID/fd` and `/proc/PID/fdinfo`: what a process has open (man 5 proc_pid_fd).

use super::FILE_SYSTEM;
use super::process::living;
use crate::errno::Errno;
use crate::fs::text::Text;
use crate::fs::{Dentry, Description, Entry, File, Inode, Kind, Metadata};
use crate::task::Process;
use alloc::{format, string::String, sync::Arc, sync::Weak, vec::Vec};
use linux_raw_sys::general::O_CLOEXEC;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    Links,
    Infos,
}

/// One of the two directories.
pub struct Descriptors {
    pub metadata: Metadata,
    pub process: Weak<Process>,
    pub shown: Shown,
    /// The inode number for descriptor 0.
    pub first: u64,
}

impl Descriptors {
    fn number(&self, descriptor: i32) -> u64 {
        self.first + 2 * descriptor as u64 + u64::from(self.shown == Shown::Infos)
    }

    fn kind(&self) -> Kind {
        if self.shown == Shown::Links { Kind::Symlink } else { Kind::Regular }
    }
}

impl Inode for Descriptors {
    fn metadata(&self) -> Metadata {
        self.metadata
    }

    fn lookup(&self, name: &str) -> Result<Arc<dyn Inode>, Errno> {
        let descriptor: i32 = name.parse().map_err(|_| Errno::ENOENT)?;
        let files = living(&self.process)?.files();
        let description = files.get(descriptor).map_err(|_| Errno::ENOENT)?;
        if format!("{descriptor}") != name {
            return Err(Errno::ENOENT);
        }
        let number = self.number(descriptor);
        if self.shown == Shown::Links {
            let rights = |allowed, bits| if allowed { bits } else { 0 };
            let permissions =
                0o100 | rights(description.is_readable(), 0o400) | rights(description.is_writable(), 0o200);
            let metadata = Metadata::new(Kind::Symlink, permissions, number, FILE_SYSTEM);
            let Metadata { owner, group, .. } = self.metadata;
            let metadata = Metadata { owner, group, len: 64, ..metadata };
            return Ok(Arc::new(OpenLink { metadata, description }));
        }
        let metadata = Metadata::new(Kind::Regular, 0o444, number, FILE_SYSTEM);
        Ok(Arc::new(Text::with_metadata(metadata, move || {
            let closes = files.is_close_on_exec(descriptor).unwrap_or(false);
            Ok(info(&description, closes))
        })))
    }

    fn entries(&self) -> Result<Vec<Entry>, Errno> {
        let numbers = living(&self.process)?.files().numbers();
        let entry = |descriptor: i32| Entry {
            name: format!("{descriptor}"),
            number: self.number(descriptor),
            kind: self.kind(),
        };
        Ok(numbers.into_iter().map(entry).collect())
    }
}

/// Offset, flags, file system, inode (man 5 proc_pid_fdinfo).
fn info(description: &Description, closes_on_exec: bool) -> Vec<u8> {
    let flags = description.flags() | if closes_on_exec { O_CLOEXEC } else { 0 };
    let metadata = description.file().metadata();
    let (mount, number) = (metadata.file_system.minor, metadata.number);
    let position = description.position();
    format!("pos:\t{position}\nflags:\t0{flags:o}\nmnt_id:\t{mount}\nino:\t{number}\n").into_bytes()
}

/// A path as links show it: with a note when nothing has that name any more.
pub fn shown_path(dentry: &Dentry) -> String {
    const NOTE: &str = " (deleted)";
    let path = dentry.path();
    match path.as_str() {
        "" => String::from("/"),
        _ if dentry.inode().metadata().links == 0 && !path.ends_with(NOTE) => path + NOTE,
        _ => path,
    }
}

/// What is open, as a link that leads to the thing itself.
struct OpenLink {
    metadata: Metadata,
    description: Arc<Description>,
}

impl OpenLink {
    fn text(&self) -> String {
        if let Some(dentry) = self.description.dentry() {
            return shown_path(dentry);
        }
        let file = self.description.file();
        let metadata = file.metadata();
        match metadata.kind {
            Kind::Pipe => format!("pipe:[{}]", metadata.number),
            Kind::Socket => format!("socket:[{}]", metadata.number),
            Kind::CharDevice => String::from("/dev/console"),
            _ => format!("anon_inode:{}", file.label()),
        }
    }
}

impl Inode for OpenLink {
    fn metadata(&self) -> Metadata {
        self.metadata
    }

    fn read_link(&self) -> Result<String, Errno> {
        Ok(self.text())
    }

    fn follow(&self) -> Option<Result<Arc<Dentry>, Errno>> {
        Some(Ok(match self.description.dentry() {
            Some(dentry) => dentry.clone(),
            None => Dentry::apart(self.text(), Arc::new(Opened(self.description.file().clone()))),
        }))
    }
}

/// What is open without having a place: opening it again gives the same.
struct Opened(Arc<dyn File>);

impl Inode for Opened {
    fn metadata(&self) -> Metadata {
        self.0.metadata()
    }

    fn open(self: Arc<Self>) -> Result<Arc<dyn File>, Errno> {
        match self.0.metadata().kind {
            Kind::Socket => Err(Errno::ENXIO),
            _ => Ok(self.0.clone()),
        }
    }

    fn check_writable(&self) -> Result<(), Errno> {
        Ok(())
    }
}
