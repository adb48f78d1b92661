//! Open file descriptions (man 2 open): what descriptors refer to, shared by `dup` and `fork`.

use super::epoll::Item;
use super::file::Seeking;
use super::locks::{self, Owner};
use super::{Dentry, File, Kind, OpenDirectory, Opening, Request, UserBuffer};
use crate::errno::Errno;
use crate::lock::{Lock, rank};
use crate::task::Current;
use alloc::{string::String, sync::Arc, sync::Weak, vec::Vec};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed};
use linux_raw_sys::general::*;

static LIVE: AtomicUsize = AtomicUsize::new(0);

/// How many open file descriptions there are.
pub fn live_descriptions() -> usize {
    LIVE.load(Relaxed)
}

/// The status flags that `fcntl(F_SETFL)` changes (man 2 fcntl).
const CHANGEABLE: u32 = O_APPEND | FASYNC | O_DIRECT | O_NOATIME | O_NONBLOCK;
/// Flags of `open` that mean something only while opening.
const OPENING: u32 = O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_CLOEXEC;

pub struct Description {
    file: Arc<dyn File>,
    /// Where it was found; pipes and the like have no place.
    dentry: Option<Arc<Dentry>>,
    /// Access mode and status flags, `O_*`.
    flags: AtomicU32,
    /// The next byte to read or write, where seeking is possible. Held while the transfer lasts, so that several threads'
    /// transfers follow each other (man 2 read, POSIX.1-2017 2.9.7).
    offset: Lock<u64, { rank::DESCRIPTION }>,
    /// Whether it has, or had, locks on the file.
    has_locks: AtomicBool,
    /// The event polls that it is in.
    watched_by: Lock<Vec<Weak<Item>>, { rank::WATCHED }>,
}

impl Description {
    /// An open file description of something that has no name.
    ///
    /// # Errors
    /// `ENOMEM` when memory is short.
    pub fn new(file: Arc<dyn File>, flags: u32) -> Result<Arc<Self>, Errno> {
        Self::with_dentry(file, None, flags)
    }

    /// Opens what is at `dentry`. `flags` are those of `open`; the last link has been followed, or not, already, and
    /// permissions have been checked.
    ///
    /// # Errors
    /// Those of man 2 open.
    pub fn open(dentry: Arc<Dentry>, flags: u32, current: &Current) -> Result<Arc<Self>, Errno> {
        let kind = dentry.inode().kind();
        let has = |flag| flags & flag == flag;
        let writes = flags & O_ACCMODE != O_RDONLY || has(O_TRUNC);
        if has(O_DIRECTORY) && kind != Kind::Directory {
            return Err(Errno::ENOTDIR);
        }
        if has(O_PATH) {
            let kept = flags & (O_PATH | O_DIRECTORY | O_NOFOLLOW);
            let file = Arc::new(PathOnly(dentry.clone()));
            return Self::with_dentry(file, Some(dentry), kept);
        }
        let file: Arc<dyn File> = match kind {
            Kind::Symlink => return Err(Errno::ELOOP),
            Kind::Directory if writes || has(O_CREAT) => return Err(Errno::EISDIR),
            Kind::Directory => Arc::new(OpenDirectory::new(dentry.clone())),
            _ => {
                if writes {
                    dentry.inode().check_writable()?;
                }
                let how = Opening { current: Some(current), flags };
                let file = dentry.inode().clone().open_for(&how)?;
                if has(O_TRUNC) && kind == Kind::Regular {
                    match dentry.inode().truncate(0) {
                        // A file that is a setting has no length.
                        Ok(()) | Err(Errno::EROFS) => {}
                        Err(error) => return Err(error),
                    }
                }
                file
            }
        };
        Self::with_dentry(file, Some(dentry), (flags & !OPENING) | O_LARGEFILE)
    }

    /// An open file description of a file that has no name but what `path` says.
    ///
    /// # Errors
    /// `ENOMEM` when memory is short.
    pub fn nameless(file: Arc<dyn File>, path: String, flags: u32) -> Result<Arc<Self>, Errno> {
        let dentry = file.as_inode().map(|inode| Dentry::apart(path, inode));
        Self::with_dentry(file, dentry, flags | O_LARGEFILE)
    }

    fn with_dentry(file: Arc<dyn File>, dentry: Option<Arc<Dentry>>, flags: u32) -> Result<Arc<Self>, Errno> {
        if mm::frames::is_low() {
            return Err(Errno::ENOMEM);
        }
        LIVE.fetch_add(1, Relaxed);
        Ok(Arc::new(Self {
            file,
            dentry,
            flags: AtomicU32::new(flags),
            offset: Lock::new(0),
            has_locks: AtomicBool::new(false),
            watched_by: Lock::new(Vec::new()),
        }))
    }

    /// What is open.
    pub fn file(&self) -> &Arc<dyn File> {
        &self.file
    }

    /// The place in the tree, if what is open has one.
    pub fn dentry(&self) -> Option<&Arc<Dentry>> {
        self.dentry.as_ref()
    }

    /// Access mode and status flags, as `fcntl(F_GETFL)` returns them.
    pub fn flags(&self) -> u32 {
        self.flags.load(Relaxed)
    }

    /// Sets those status flags that can be changed.
    pub fn set_flags(&self, flags: u32) {
        self.update_flags(CHANGEABLE, flags);
    }

    pub fn set_nonblocking(&self, on: bool) {
        self.update_flags(O_NONBLOCK, if on { O_NONBLOCK } else { 0 });
    }

    fn update_flags(&self, mask: u32, flags: u32) {
        self.flags.update(Relaxed, Relaxed, |old| old & !mask | flags & mask);
    }

    /// Whether it was opened with `O_PATH`: it names a file but gives no access to it.
    pub fn is_path_only(&self) -> bool {
        self.flags() & O_PATH != 0
    }

    pub fn is_readable(&self) -> bool {
        !self.is_path_only() && matches!(self.flags() & O_ACCMODE, O_RDONLY | O_RDWR)
    }

    pub fn is_writable(&self) -> bool {
        !self.is_path_only() && matches!(self.flags() & O_ACCMODE, O_WRONLY | O_RDWR)
    }

    /// Notes an event poll's item, which is told when the last descriptor is closed.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(super) fn watched_by(&self, item: Weak<Item>) -> Result<(), Errno> {
        let mut items = self.watched_by.lock();
        items.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        items.push(item);
        Ok(())
    }

    pub(super) fn unwatched_by(&self, item: &Weak<Item>) {
        self.watched_by.lock().retain(|other| !other.ptr_eq(item));
    }

    /// It has got a lock, which is given up with it.
    pub(super) fn note_locks(&self) {
        self.has_locks.store(true, Relaxed);
    }

    /// The pages to map (man 2 mmap); `None`: it cannot be mapped.
    pub fn object(&self) -> Option<Arc<mm::Object>> {
        self.file.object()
    }

    fn request<'c>(&self, current: &'c Current, offset: u64) -> Request<'c> {
        Request { current, offset, nonblocking: self.flags() & O_NONBLOCK != 0, appends: false }
    }

    /// Reads at the offset and moves it.
    ///
    /// # Errors
    /// `EBADF` when it is not open for reading, and the file's own.
    pub fn read(&self, current: &Current, to: &mut UserBuffer) -> Result<usize, Errno> {
        if !self.is_readable() {
            return Err(Errno::EBADF);
        }
        if self.file.seeking() != Seeking::Possible {
            return self.file.read(&self.request(current, 0), to);
        }
        let mut offset = self.offset.lock();
        let count = self.file.read(&self.request(current, *offset), to)?;
        *offset += count as u64;
        Ok(count)
    }

    /// Writes at the offset, or at the end with `O_APPEND`, and moves the offset.
    ///
    /// # Errors
    /// `EBADF` when it is not open for writing, and the file's own.
    pub fn write(&self, current: &Current, from: &mut UserBuffer) -> Result<usize, Errno> {
        if !self.is_writable() {
            return Err(Errno::EBADF);
        }
        if self.file.seeking() != Seeking::Possible {
            return self.file.write(&self.request(current, 0), from);
        }
        let mut offset = self.offset.lock();
        let appends = self.flags() & O_APPEND != 0;
        let count = self.file.write(&Request { appends, ..self.request(current, *offset) }, from)?;
        *offset = if appends { self.file.metadata().len } else { *offset + count as u64 };
        drop(offset);
        self.file.settle(current);
        Ok(count)
    }

    /// As [`Self::write_at`], but at the end of the file, wherever `offset` is (`RWF_APPEND`).
    pub fn append(&self, current: &Current, from: &mut UserBuffer) -> Result<usize, Errno> {
        match (self.is_writable(), self.file.seeking()) {
            (false, _) => Err(Errno::EBADF),
            (_, Seeking::Impossible) => Err(Errno::ESPIPE),
            _ => self.file.write(&Request { appends: true, ..self.request(current, 0) }, from),
        }
    }

    /// Reads at `offset` and leaves the description's own offset alone (man 2 pread).
    ///
    /// # Errors
    /// As [`Self::read`], and `ESPIPE` when seeking is impossible.
    pub fn read_at(&self, current: &Current, offset: u64, to: &mut UserBuffer) -> Result<usize, Errno> {
        match (self.is_readable(), self.file.seeking()) {
            (false, _) => Err(Errno::EBADF),
            (_, Seeking::Impossible) => Err(Errno::ESPIPE),
            _ => self.file.read(&self.request(current, offset), to),
        }
    }

    /// Writes at `offset` (man 2 pwrite).
    ///
    /// # Errors
    /// As [`Self::write`], and `ESPIPE` when seeking is impossible.
    pub fn write_at(&self, current: &Current, offset: u64, from: &mut UserBuffer) -> Result<usize, Errno> {
        match (self.is_writable(), self.file.seeking()) {
            (false, _) => Err(Errno::EBADF),
            (_, Seeking::Impossible) => Err(Errno::ESPIPE),
            _ => {
                let count = self.file.write(&self.request(current, offset), from)?;
                self.file.settle(current);
                Ok(count)
            }
        }
    }

    /// Moves the offset and returns it (man 2 lseek).
    ///
    /// # Errors
    /// `EBADF` with `O_PATH`, `ESPIPE` when seeking is impossible, `EINVAL` for a negative result or an unknown
    /// `whence`, `ENXIO` when there are no data or holes after the given offset.
    pub fn seek(&self, distance: i64, whence: u32) -> Result<u64, Errno> {
        if self.is_path_only() {
            return Err(Errno::EBADF);
        }
        match self.file.seeking() {
            Seeking::Impossible => return Err(Errno::ESPIPE),
            Seeking::Pointless => return Ok(0),
            Seeking::Possible => {}
        }
        let len = self.file.metadata().len;
        let in_file = u64::try_from(distance).ok().filter(|at| *at < len).ok_or(Errno::ENXIO);
        let mut offset = self.offset.lock();
        let base = match whence {
            SEEK_SET => 0,
            SEEK_CUR => *offset,
            SEEK_END => len,
            // A file without holes is data up to its end, where an implicit hole is.
            SEEK_DATA => in_file.map(|_| 0)?,
            SEEK_HOLE => in_file.map(|at| len - at)?,
            _ => return Err(Errno::EINVAL),
        };
        let new = base.checked_add_signed(distance).filter(|new| i64::try_from(*new).is_ok());
        *offset = new.ok_or(Errno::EINVAL)?;
        Ok(*offset)
    }

    /// The offset, in bytes; 0 while a transfer moves it, which may be the very one that asks.
    pub fn position(&self) -> u64 {
        self.offset.try_lock().map_or(0, |offset| *offset)
    }

    /// Lists a directory from the offset on: `emit` gets each entry's offset of the next one, and says whether it took it.
    ///
    /// # Errors
    /// `EBADF`, `ENOTDIR`.
    pub fn list(&self, emit: impl FnMut(&super::Entry, u64) -> bool) -> Result<(), Errno> {
        if !self.is_readable() {
            return Err(Errno::EBADF);
        }
        let directory = self.file.as_directory().ok_or(Errno::ENOTDIR)?;
        let mut offset = self.offset.lock();
        *offset = directory.list(*offset, emit)?;
        Ok(())
    }
}

impl Drop for Description {
    fn drop(&mut self) {
        for item in core::mem::take(self.watched_by.get_mut()).iter().filter_map(Weak::upgrade) {
            item.close(self);
        }
        if *self.has_locks.get_mut() {
            locks::release_all(self, Owner::Description(core::ptr::from_ref(self).addr()));
        }
        LIVE.fetch_sub(1, Relaxed);
    }
}

/// What `O_PATH` opens: a place, and nothing to read or write.
struct PathOnly(Arc<Dentry>);

impl File for PathOnly {
    fn metadata(&self) -> super::Metadata {
        self.0.inode().metadata()
    }
}
