//! What is in a regular file: pages of an object, so that reading, writing and mapping see the same.
//!
//! A file of the initramfs is the archive's bytes until it is first changed.

use super::{Metadata, Node, UserBuffer};
use crate::errno::Errno;
use crate::fs::Request;
use crate::lock::{Lock, rank};
use crate::signal::{self, SigInfo, Signal};
use alloc::sync::Arc;
use bitflags::bitflags;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};
use linux_raw_sys::general as linux;
use mm::{Object, PAGE, Pager};

bitflags! {
    /// What can no longer be done to a file (man 2 fcntl, "File Sealing").
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Seals: u32 {
        const SEALED = linux::F_SEAL_SEAL;
        const SHRINK = linux::F_SEAL_SHRINK;
        const GROW = linux::F_SEAL_GROW;
        const WRITE = linux::F_SEAL_WRITE;
        const FUTURE_WRITE = linux::F_SEAL_FUTURE_WRITE;
        const EXECUTE = 0x20;
    }
}

/// The largest file: as far as an offset goes, in whole pages.
pub(super) const LARGEST: u64 = i64::MAX as u64 & !(PAGE as u64 - 1);

/// Bytes that the loader left in memory.
pub(super) struct Archive {
    bytes: &'static [u8],
    /// What of them is still in the file: cutting it shorter loses the rest for good.
    valid: AtomicUsize,
}

impl Archive {
    fn valid(&self) -> &'static [u8] {
        &self.bytes[..self.valid.load(Relaxed)]
    }
}

impl Pager for Archive {
    fn fill(&self, index: u64, page: &mut [u8; PAGE]) {
        let start = usize::try_from(index).ok().and_then(|index| index.checked_mul(PAGE));
        let from = start.and_then(|start| self.valid().get(start..)).unwrap_or_default();
        let len = from.len().min(PAGE);
        page[..len].copy_from_slice(&from[..len]);
    }
}

pub struct Content {
    pub(super) object: Arc<Object>,
    pub(super) archive: Option<Arc<Archive>>,
    /// Held while something is written or the length is set: appending finds the end where it is.
    pub(super) writing: Lock<(), { rank::CONTENT }>,
    seals: AtomicU32,
}

impl Content {
    pub fn empty(name: &str, seals: Seals) -> Self {
        let object = Arc::new(Object::anonymous(name.into(), 0));
        Self { object, archive: None, writing: Lock::new(()), seals: AtomicU32::new(seals.bits()) }
    }

    pub fn of_archive(path: &str, bytes: &'static [u8]) -> Self {
        let archive = Arc::new(Archive { bytes, valid: AtomicUsize::new(bytes.len()) });
        let object = Arc::new(Object::file(path.into(), bytes.len() as u64, archive.clone()));
        let seals = AtomicU32::new(Seals::SEALED.bits());
        Self { object, archive: Some(archive), writing: Lock::new(()), seals }
    }

    pub fn object(&self) -> &Arc<Object> {
        &self.object
    }

    /// All of the content, if it is still what the archive says.
    pub fn archived(&self) -> Option<&'static [u8]> {
        self.archive.as_ref().filter(|_| !self.object.is_changed()).map(|archive| archive.bytes)
    }

    pub fn seals(&self) -> Seals {
        Seals::from_bits_truncate(self.seals.load(Relaxed))
    }

    /// # Errors
    /// `EPERM` when no more seals may be added.
    pub fn add_seals(&self, seals: Seals) -> Result<(), Errno> {
        let _writing = self.writing.lock();
        if self.seals().contains(Seals::SEALED) {
            return Err(Errno::EPERM);
        }
        self.seals.fetch_or(seals.bits(), Relaxed);
        Ok(())
    }

    pub(super) fn check(&self, forbidding: Seals) -> Result<(), Errno> {
        if self.seals().intersects(forbidding) { Err(Errno::EPERM) } else { Ok(()) }
    }

    /// Whether it may be mapped shared and writable.
    pub fn check_shared_writing(&self) -> Result<(), Errno> {
        self.check(Seals::WRITE | Seals::FUTURE_WRITE)
    }

    /// Makes the content the archive's again, or none.
    pub fn reset(&self) {
        let len = self.archive.as_ref().map_or(0, |archive| archive.bytes.len());
        if self.object.is_changed() || self.object.resident() > 0 {
            self.object.reset(len.div_ceil(PAGE) as u64);
        }
        if let Some(archive) = &self.archive {
            archive.valid.store(len, Relaxed);
        }
        self.seals.store(Seals::SEALED.bits(), Relaxed);
    }

    /// Bytes from `offset` on, at most to the end of their page, to a kernel buffer. Returns how many; `None` for zeroes.
    fn read_page(&self, offset: u64, to: &mut [u8]) -> Result<Option<usize>, Errno> {
        let (index, within) = (offset / PAGE as u64, offset as usize % PAGE);
        let frame = match self.object.peek(index) {
            Some(frame) => frame,
            // Not changed there: the archive's, or a hole.
            None => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                let from = self.archive.as_ref().and_then(|archive| archive.valid().get(start..));
                let Some(from) = from.filter(|from| !from.is_empty()) else { return Ok(None) };
                let len = from.len().min(to.len());
                to[..len].copy_from_slice(&from[..len]);
                return Ok(Some(len));
            }
        };
        frame.read(within, to);
        Ok(Some(to.len()))
    }
}

/// Bytes that are copied in one piece: kernel stacks are small.
const PIECE: usize = 2048;

pub fn read(node: &Node, offset: u64, to: &mut UserBuffer) -> Result<usize, Errno> {
    let content = node.content().ok_or(Errno::EINVAL)?;
    if let Some(bytes) = content.archived() {
        let start = usize::try_from(offset).ok();
        return to.fill(start.and_then(|start| bytes.get(start..)).unwrap_or_default());
    }
    let len = node.metadata.lock().len;
    let mut piece = [0; PIECE];
    let mut at = offset;
    while at < len && to.remaining() > 0 {
        let in_page = PAGE - at as usize % PAGE;
        let wanted = in_page.min(PIECE).min(to.remaining()).min((len - at) as usize);
        let moved = match content.read_page(at, &mut piece[..wanted])? {
            Some(count) => to.fill(&piece[..count])?,
            None => to.fill_zeroes(wanted)?,
        };
        if moved == 0 {
            break;
        }
        at += moved as u64;
    }
    Ok((at - offset.min(at)) as usize)
}

/// Writes where the request says. Beyond what the process may write, SIGXFSZ says so (`RLIMIT_FSIZE`, man 2 getrlimit).
pub fn write(node: &Node, request: &Request<'_>, from: &mut UserBuffer) -> Result<usize, Errno> {
    let content = node.content().ok_or(Errno::EINVAL)?;
    if from.remaining() == 0 {
        return Ok(0);
    }
    // Before any lock of a file is taken: the process's own come first.
    let process = &request.current.task.process;
    let limit = process.limits.lock().get(linux::RLIMIT_FSIZE)?.soft;
    let keeps_set_id = request.credentials().is_root();
    let outcome = write_below(limit, node, content, request, from);
    match outcome {
        Ok(count) if count > 0 && !keeps_set_id => drop_set_id_bits(&mut node.metadata.lock()),
        Err(Errno::EFBIG) if limit < LARGEST => {
            // A standard signal can always be made pending.
            let _ = signal::send_to_thread(&request.current.task, SigInfo::from_kernel(Signal::XFSZ));
        }
        _ => {}
    }
    outcome
}

fn write_below(
    limit: u64,
    node: &Node,
    content: &Content,
    request: &Request<'_>,
    from: &mut UserBuffer,
) -> Result<usize, Errno> {
    let _writing = content.writing.lock();
    content.check(Seals::WRITE | Seals::FUTURE_WRITE)?;
    let len = node.metadata.lock().len;
    let offset = if request.appends { len } else { request.offset };
    let room = LARGEST.min(limit).saturating_sub(offset);
    if room == 0 {
        return Err(Errno::EFBIG);
    }
    let total = from.remaining().min(usize::try_from(room).unwrap_or(usize::MAX));
    if offset + total as u64 > len {
        content.check(Seals::GROW)?;
    }
    content.object.set_changed();
    let pages = (offset + total as u64).div_ceil(PAGE as u64);
    if pages > content.object.pages() {
        content.object.resize(pages);
    }
    let outcome = fill(content, offset, total, from);
    let done = *outcome.as_ref().unwrap_or(&0);
    let len = {
        let mut metadata = node.metadata.lock();
        metadata.len = metadata.len.max(offset + done as u64);
        metadata.len
    };
    if done > 0 {
        node.touch();
    }
    content.object.resize(len.div_ceil(PAGE as u64));
    outcome
}

/// Somebody else's write takes away the right to act as the owner (man 2 write).
fn drop_set_id_bits(metadata: &mut Metadata) {
    const SET_ID: u32 = 0o6000;
    metadata.permissions &= !SET_ID;
}

/// Copies up to `total` bytes into the pages from `offset` on.
fn fill(content: &Content, offset: u64, total: usize, from: &mut UserBuffer) -> Result<usize, Errno> {
    let mut piece = [0; PIECE];
    let mut done = 0;
    while done < total {
        let at = offset + done as u64;
        let within = at as usize % PAGE;
        let wanted = (PAGE - within).min(PIECE).min(total - done);
        let page = if mm::frames::is_low() && content.object.peek(at / PAGE as u64).is_none() {
            Err(Errno::ENOSPC)
        } else {
            content.object.page(at / PAGE as u64).map_err(|_| Errno::ENOSPC)
        };
        let moved = page.and_then(|page| {
            let count = from.drain(&mut piece[..wanted])?;
            page.write(within, &piece[..count]);
            Ok(count)
        });
        match moved {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(_) if done > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Sets the length; what is added is zeroes.
pub fn truncate(node: &Node, len: u64) -> Result<(), Errno> {
    let content = node.content().ok_or(Errno::EINVAL)?;
    if len > LARGEST {
        return Err(Errno::EFBIG);
    }
    let _writing = content.writing.lock();
    let before = node.metadata.lock().len;
    content.check(match len.cmp(&before) {
        core::cmp::Ordering::Less => Seals::SHRINK,
        core::cmp::Ordering::Equal => Seals::empty(),
        core::cmp::Ordering::Greater => Seals::GROW,
    })?;
    if len != before {
        content.object.set_changed();
        if let Some(archive) = &content.archive {
            archive.valid.fetch_min(usize::try_from(len).unwrap_or(usize::MAX), Relaxed);
        }
        // The rest of the last page must not come back when the file grows again.
        let within = len as usize % PAGE;
        if len < before
            && within > 0
            && let Some(page) = content.object.peek(len / PAGE as u64)
        {
            zero(&page, within..PAGE);
        }
        content.object.resize(len.div_ceil(PAGE as u64));
    }
    node.metadata.lock().len = len;
    node.touch();
    Ok(())
}

pub(super) fn zero(page: &mm::Frame, range: core::ops::Range<usize>) {
    const ZEROES: [u8; 512] = [0; 512];
    let mut at = range.start;
    while at < range.end {
        let len = ZEROES.len().min(range.end - at);
        page.write(at, &ZEROES[..len]);
        at += len;
    }
}
