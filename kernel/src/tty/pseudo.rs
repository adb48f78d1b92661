//! Pseudo-terminals (man 7 pty, man 4 pts): `/dev/ptmx` makes one, `/dev/pts/N` is its end for programs.

use super::termios::Termios;
use super::{Port, Terminal, Tty};
use crate::errno::Errno;
use crate::fs::{
    Description, DeviceId, Entry, File, FsContext, Inode, Kind, Metadata, Readiness, Request, UserBuffer,
    lookup,
};
use crate::lock::{Lock, rank};
use crate::task::Current;
use crate::user;
use crate::wait::WaitQueue;
use alloc::{collections::BTreeMap, format, string::ToString, sync::Arc, vec, vec::Vec};
use linux_raw_sys::general::{O_ACCMODE, O_CLOEXEC, O_NOCTTY, O_NONBLOCK};
use linux_raw_sys::ioctl;

/// The file system of pseudo-terminals.
const FILE_SYSTEM: DeviceId = DeviceId::new(0, 21);
/// The device numbers of `/dev/pts/N` (Linux `Documentation/admin-guide/devices.txt`).
const MAJOR: u32 = 136;
/// The most that there can be at once (`/proc/sys/kernel/pty/max`).
const MOST: usize = 4096;

/// All whose master is open.
static PSEUDO: Lock<BTreeMap<u32, Arc<Tty>>, { rank::FILE }> = Lock::new(BTreeMap::new());

/// `/dev/ptmx`: each time it is opened, a new pseudo-terminal comes to be.
pub struct Multiplexer(pub Metadata);

impl Inode for Multiplexer {
    fn metadata(&self) -> Metadata {
        self.0
    }

    fn open(self: Arc<Self>) -> Result<Arc<dyn File>, Errno> {
        let mut all = PSEUDO.lock();
        if all.len() >= MOST {
            return Err(Errno::ENOSPC);
        }
        let number = (0..).find(|number| !all.contains_key(number)).unwrap_or(0);
        let tty = Tty::new(DeviceId::new(MAJOR, number), Port::Pseudo(number), Termios::COOKED);
        let tty = Arc::new(tty);
        all.insert(number, tty.clone());
        Ok(Arc::new(Master { metadata: self.0, tty, number }))
    }

    fn check_writable(&self) -> Result<(), Errno> {
        Ok(())
    }
}

/// The end where a program plays the terminal.
struct Master {
    metadata: Metadata,
    tty: Arc<Tty>,
    number: u32,
}

impl Drop for Master {
    fn drop(&mut self) {
        let removed = {
            let mut all = PSEUDO.lock();
            let removed = all.remove(&self.number);
            if all.is_empty() {
                // An emptied map would keep its root.
                *all = BTreeMap::new();
            }
            removed
        };
        drop(removed);
        self.tty.hang_up();
    }
}

impl Master {
    /// Takes what programs have written. `None`: nothing yet.
    fn take(&self, most: usize) -> Result<Option<Vec<u8>>, Errno> {
        let mut state = self.tty.state.lock();
        let count = most.min(state.outgoing.len());
        if count > 0 {
            let bytes = state.outgoing.drain(..count).collect();
            if state.outgoing.is_empty() {
                state.outgoing = Default::default();
            }
            return Ok(Some(bytes));
        }
        // Everybody who had it open has closed it.
        if state.was_opened && state.uses == 0 { Err(Errno::EIO) } else { Ok(None) }
    }

    /// Opens the other end without its name (TIOCGPTPEER).
    fn open_peer(&self, current: &Current, flags: u32) -> Result<u64, Errno> {
        if flags & !(O_ACCMODE | O_NOCTTY | O_CLOEXEC | O_NONBLOCK) != 0 {
            return Err(Errno::EINVAL);
        }
        let dentry = lookup(&format!("/dev/pts/{}", self.number), &FsContext::new())?;
        let description = Description::open(dentry, flags, current)?;
        description.file().opened(current, flags)?;
        Ok(current.task.process.files().insert(description, 0, flags & O_CLOEXEC != 0)? as u64)
    }
}

impl File for Master {
    fn metadata(&self) -> Metadata {
        self.metadata
    }

    fn read(&self, request: &Request<'_>, to: &mut UserBuffer) -> Result<usize, Errno> {
        if to.remaining() == 0 {
            return Ok(0);
        }
        loop {
            if let Some(bytes) = self.take(to.remaining())? {
                self.tty.writable.wake_all();
                return to.fill(&bytes);
            }
            if request.nonblocking {
                return Err(Errno::EAGAIN);
            }
            let ready =
                || self.readiness().intersects(Readiness::READABLE | Readiness::HANG_UP).then_some(());
            self.tty.far_readable.wait(request.current, None, ready).map_err(|_| Errno::RESTART)?;
        }
    }

    fn write(&self, request: &Request<'_>, from: &mut UserBuffer) -> Result<usize, Errno> {
        let mut piece = vec![0; 1024.min(from.remaining())];
        let mut done = 0;
        while from.remaining() > 0 {
            let count = from.drain(&mut piece)?;
            let mut left = &piece[..count];
            while !left.is_empty() {
                let taken = self.tty.receive(left);
                done += taken;
                left = &left[taken..];
                if left.is_empty() || taken > 0 {
                    continue;
                }
                if request.nonblocking {
                    return if done > 0 { Ok(done) } else { Err(Errno::EAGAIN) };
                }
                let ready = || (!self.tty.state.lock().discipline.is_full()).then_some(());
                if self.tty.far_writable.wait(request.current, None, ready).is_err() {
                    return if done > 0 { Ok(done) } else { Err(Errno::RESTART) };
                }
            }
            if count == 0 {
                break;
            }
        }
        Ok(done)
    }

    fn readiness(&self) -> Readiness {
        let state = self.tty.state.lock();
        let is_alone = state.was_opened && state.uses == 0;
        let mut readiness = Readiness::empty();
        readiness.set(Readiness::READABLE, !state.outgoing.is_empty());
        readiness.set(Readiness::WRITABLE, !state.discipline.is_full());
        readiness.set(Readiness::HANG_UP, is_alone);
        readiness
    }

    fn queues<'f>(&'f self, each: &mut dyn FnMut(&'f WaitQueue)) {
        each(&self.tty.far_readable);
        each(&self.tty.far_writable);
    }

    fn ioctl(&self, current: &Current, command: u32, argument: u64) -> Result<u64, Errno> {
        match command {
            ioctl::TIOCGPTN => user::write(argument, &self.number)?,
            ioctl::TIOCSPTLCK => {
                let is_locked = user::read::<i32>(argument)? != 0;
                self.tty.state.lock().is_locked = is_locked;
            }
            ioctl::TIOCGPTLCK => {
                let is_locked = self.tty.state.lock().is_locked;
                user::write(argument, &i32::from(is_locked))?;
            }
            ioctl::TIOCGPTPEER => return self.open_peer(current, argument as u32),
            ioctl::FIONREAD => {
                let count = self.tty.state.lock().outgoing.len() as i32;
                user::write(argument, &count)?;
            }
            _ => return self.tty.common(current, command, argument),
        }
        Ok(0)
    }
}

/// `/dev/pts`.
pub fn directory() -> Arc<dyn Inode> {
    Arc::new(Directory)
}

struct Directory;

impl Inode for Directory {
    fn metadata(&self) -> Metadata {
        Metadata::new(Kind::Directory, 0o755, 1, FILE_SYSTEM)
    }

    fn lookup(&self, name: &str) -> Result<Arc<dyn Inode>, Errno> {
        let number: u32 = name.parse().map_err(|_| Errno::ENOENT)?;
        // Not `01` for `1`.
        let tty = PSEUDO.lock().get(&number).filter(|_| number.to_string() == name).cloned();
        Ok(Arc::new(Node { number, tty: tty.ok_or(Errno::ENOENT)? }))
    }

    fn entries(&self) -> Result<Vec<Entry>, Errno> {
        let all: Vec<_> = PSEUDO.lock().iter().map(|(number, tty)| (*number, tty.clone())).collect();
        Ok(all
            .into_iter()
            .map(|(number, tty)| Entry::of(&number.to_string(), &Node { number, tty }))
            .collect())
    }
}

/// `/dev/pts/N`.
struct Node {
    number: u32,
    tty: Arc<Tty>,
}

impl Inode for Node {
    fn metadata(&self) -> Metadata {
        let number = u64::from(self.number) + 3;
        Metadata {
            represents: self.tty.device,
            ..Metadata::new(Kind::CharDevice, 0o620, number, FILE_SYSTEM)
        }
    }

    fn open(self: Arc<Self>) -> Result<Arc<dyn File>, Errno> {
        {
            let state = self.tty.state.lock();
            if state.is_locked || state.is_hung_up {
                return Err(Errno::EIO);
            }
        }
        Ok(Arc::new(Terminal::new(self.metadata(), self.tty.clone(), false)))
    }

    fn check_writable(&self) -> Result<(), Errno> {
        Ok(())
    }
}
