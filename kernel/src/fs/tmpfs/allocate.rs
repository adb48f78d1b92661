//! Making room in files, and holes (man 2 fallocate).

use super::Node;
use super::content::{Content, LARGEST, Seals, zero};
use crate::errno::Errno;
use mm::PAGE;

/// How `fallocate` changes a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allocation {
    /// Room is made; the length grows if `extends`.
    Reserve { extends: bool },
    /// The range becomes zeroes, and gives its pages back.
    Punch,
    /// The range becomes zeroes.
    Zero { extends: bool },
}

/// Makes room, or takes it back (man 2 fallocate).
pub fn allocate(node: &Node, offset: u64, len: u64, how: Allocation) -> Result<(), Errno> {
    let content = node.content().ok_or(Errno::ENODEV)?;
    let end = offset.checked_add(len).filter(|end| *end <= LARGEST).ok_or(Errno::EFBIG)?;
    let _writing = content.writing.lock();
    let before = node.metadata.lock().len;
    let extends = match how {
        Allocation::Reserve { extends } | Allocation::Zero { extends } => extends,
        Allocation::Punch => false,
    };
    if how != (Allocation::Reserve { extends }) {
        content.check(Seals::WRITE | Seals::FUTURE_WRITE)?;
    }
    if extends && end > before {
        content.check(Seals::GROW)?;
    }
    if how == (Allocation::Reserve { extends }) && len / PAGE as u64 > mm::frames::free() as u64 {
        return Err(Errno::ENOSPC);
    }
    if how != (Allocation::Reserve { extends }) {
        erase(content, offset, end.min(before))?;
    }
    if extends && end > before {
        content.object.set_changed();
        content.object.resize(end.div_ceil(PAGE as u64));
        node.metadata.lock().len = end;
    }
    node.touch();
    Ok(())
}

/// Makes a range of the content zeroes.
fn erase(content: &Content, offset: u64, end: u64) -> Result<(), Errno> {
    if offset >= end {
        return Ok(());
    }
    content.object.set_changed();
    let page_size = PAGE as u64;
    let whole = offset.next_multiple_of(page_size)..end & !(page_size - 1);
    if content.archive.is_none() && whole.start < whole.end {
        content.object.discard(whole.start / page_size, whole.end / page_size);
    }
    let mut at = offset;
    while at < end {
        let next = (at & !(page_size - 1)) + page_size;
        let stop = next.min(end);
        let page = match content.archive {
            // A page that is not there would be made from the archive.
            Some(_) => Some(content.object.page(at / page_size).map_err(|_| Errno::ENOSPC)?),
            None => content.object.peek(at / page_size),
        };
        if let Some(page) = page {
            let within = (at % page_size) as usize;
            zero(&page, within..within + (stop - at) as usize);
        }
        at = stop;
    }
    Ok(())
}
