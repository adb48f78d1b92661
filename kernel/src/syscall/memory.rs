//! System calls on memory: mappings and the program break.
//!
//! What can be mapped where is `mm`'s business; here are the arguments and the errors as the manual has them.

use crate::errno::Errno;
use crate::limits::Limit;
use crate::task::Current;
use crate::user;
use linux_raw_sys::general as linux;
use mm::{Access, Backing, FaultError, MapError, MapRequest, Move, OnFork, PAGE, Place, Prot, VirtAddr};

/// The error that most calls give for each failure; those that differ say so.
fn errno(error: MapError) -> Errno {
    match error {
        MapError::OutOfMemory | MapError::NotMapped => Errno::ENOMEM,
        MapError::Invalid => Errno::EINVAL,
        MapError::Exists => Errno::EEXIST,
        MapError::TooLow => Errno::EPERM,
        MapError::Denied => Errno::EACCES,
    }
}

/// An address that must be a page's.
fn page_address(address: u64) -> Result<VirtAddr, Errno> {
    VirtAddr::try_new(address).ok().filter(|start| start.is_aligned(PAGE as u64)).ok_or(Errno::EINVAL)
}

/// A length in whole pages.
///
/// # Errors
/// `ENOMEM` when there are no numbers for it.
fn page_length(length: u64) -> Result<u64, Errno> {
    length.checked_next_multiple_of(PAGE as u64).ok_or(Errno::ENOMEM)
}

pub fn brk(current: &Current, end: u64) -> Result<u64, Errno> {
    let now = current.space().brk(0).as_u64();
    let more = page_length(end.saturating_sub(now));
    if more.and_then(|bytes| limit(current, bytes, None, true)).is_err() {
        return Ok(now);
    }
    Ok(current.space().brk(end).as_u64())
}

/// Whether `bytes` more may be mapped, instead of the range `but`; `data` if programs may write to them and only they see it.
///
/// # Errors
/// `ENOMEM` beyond RLIMIT_AS and RLIMIT_DATA, and for more than the machine could ever give: Linux's heuristic of overcommitment
/// refuses that alone.
fn limit(current: &Current, bytes: u64, but: Option<(VirtAddr, u64)>, data: bool) -> Result<(), Errno> {
    if bytes == 0 {
        return Ok(());
    }
    let pages = bytes / PAGE as u64;
    if data && pages > mm::frames::total() as u64 {
        return Err(Errno::ENOMEM);
    }
    let limit_of = |resource| {
        let limit = current.task.process.limits.lock().get(resource);
        limit.map_or(Limit::UNLIMITED, |limit| limit.soft)
    };
    let (all_limit, data_limit) = (limit_of(linux::RLIMIT_AS), limit_of(linux::RLIMIT_DATA));
    if (all_limit, data_limit) == (Limit::UNLIMITED, Limit::UNLIMITED) {
        return Ok(());
    }
    let (all_pages, data_pages) = current.space().mapped(but);
    let exceeds =
        |limit: u64, present: u64| limit != Limit::UNLIMITED && present + pages > limit / PAGE as u64;
    if exceeds(all_limit, all_pages) || data && exceeds(data_limit, data_pages) {
        return Err(Errno::ENOMEM);
    }
    Ok(())
}

/// What the flags of `mmap` say about sharing.
fn is_shared(flags: u32) -> Result<bool, Errno> {
    const KNOWN: u32 = linux::MAP_TYPE
        | linux::MAP_FIXED
        | linux::MAP_ANONYMOUS
        | linux::MAP_32BIT
        | linux::MAP_GROWSDOWN
        | linux::MAP_DENYWRITE
        | linux::MAP_EXECUTABLE
        | linux::MAP_LOCKED
        | linux::MAP_NORESERVE
        | linux::MAP_POPULATE
        | linux::MAP_NONBLOCK
        | linux::MAP_STACK
        | linux::MAP_HUGETLB
        | linux::MAP_FIXED_NOREPLACE;
    match flags & linux::MAP_TYPE {
        linux::MAP_PRIVATE => Ok(false),
        linux::MAP_SHARED => Ok(true),
        linux::MAP_SHARED_VALIDATE if flags & !KNOWN != 0 => Err(Errno::EOPNOTSUPP),
        linux::MAP_SHARED_VALIDATE => Ok(true),
        _ => Err(Errno::EINVAL),
    }
}

fn place(address: u64, flags: u32) -> Result<Place, Errno> {
    if flags & linux::MAP_FIXED_NOREPLACE != 0 {
        Ok(Place::FixedNoReplace(page_address(address)?))
    } else if flags & linux::MAP_FIXED != 0 {
        Ok(Place::Fixed(page_address(address)?))
    } else {
        // A hint is rounded, and one that is no good is none.
        let rounded = address.checked_next_multiple_of(PAGE as u64).filter(|rounded| *rounded != 0);
        let hint = rounded.and_then(|rounded| VirtAddr::try_new(rounded).ok());
        Ok(hint.map_or(Place::Anywhere, Place::Hint))
    }
}

/// What is to be mapped, and whether it may ever be written to.
fn backing(
    current: &Current,
    flags: u32,
    shared: bool,
    prot: Prot,
    descriptor: i32,
    offset: u64,
) -> Result<(Backing, bool), Errno> {
    if flags & linux::MAP_ANONYMOUS != 0 {
        return Ok((Backing::Anonymous, true));
    }
    let description = current.task.process.files().get(descriptor)?;
    if description.is_path_only() {
        return Err(Errno::EBADF);
    }
    let may_write = !shared || description.is_writable();
    if !description.is_readable() || prot.contains(Prot::WRITE) && !may_write {
        return Err(Errno::EACCES);
    }
    let object = description.object().ok_or(Errno::ENODEV)?;
    description.file().check_mapping(shared && prot.contains(Prot::WRITE), shared && may_write)?;
    Ok((Backing::Object(object, offset), may_write))
}

pub fn mmap(
    current: &Current,
    address: u64,
    length: u64,
    prot: u32,
    flags: u32,
    descriptor: i32,
    offset: u64,
) -> Result<u64, Errno> {
    if !offset.is_multiple_of(PAGE as u64) || length == 0 {
        return Err(Errno::EINVAL);
    }
    let bytes = page_length(length)?;
    let shared = is_shared(flags)?;
    let prot = Prot::from_bits_truncate(prot);
    let place = place(address, flags)?;
    if flags & (linux::MAP_HUGETLB | linux::MAP_32BIT) != 0 {
        // There is no pool of huge pages, and nothing is ever placed below 4 GiB without being told where.
        return Err(Errno::ENOMEM);
    }
    let but = match place {
        Place::Fixed(start) => Some((start, bytes)),
        _ => None,
    };
    let data = !shared && prot.contains(Prot::WRITE) && flags & linux::MAP_NORESERVE == 0;
    limit(current, bytes, but, data)?;
    let (backing, may_write) = backing(current, flags, shared, prot, descriptor, offset)?;
    let stack = current.task.process.limits.lock().get(linux::RLIMIT_STACK)?.soft;
    let grows_down = (flags & linux::MAP_GROWSDOWN != 0).then_some(stack);
    let request =
        MapRequest { prot, backing, shared, may_write, grows_down, ..MapRequest::anonymous(place, bytes) };
    let space = current.space();
    let start = space.map(request).map_err(|error| match error {
        // The length is good: what does not fit is the range.
        MapError::Invalid => Errno::ENOMEM,
        error => errno(error),
    })?;
    if flags & (linux::MAP_POPULATE | linux::MAP_LOCKED) != 0 && flags & linux::MAP_NONBLOCK == 0 {
        space.populate(start, bytes);
    }
    Ok(start.as_u64())
}

pub fn munmap(current: &Current, address: u64, length: u64) -> Result<u64, Errno> {
    let start = page_address(address)?;
    let bytes = page_length(length).map_err(|_| Errno::EINVAL)?;
    current.space().unmap(start, bytes).map_err(errno)?;
    Ok(0)
}

/// The start and length in bytes of a range that the caller says is mapped; `None` if it has no length.
fn mapped_range(address: u64, length: u64) -> Result<Option<(VirtAddr, u64)>, Errno> {
    let start = page_address(address)?;
    let bytes = page_length(length)?;
    Ok((bytes != 0).then_some((start, bytes)))
}

/// As [`errno`], for calls where a range beyond what can be mapped counts as not mapped.
fn errno_of_mapped(error: MapError) -> Errno {
    if error == MapError::Invalid { Errno::ENOMEM } else { errno(error) }
}

pub fn mprotect(current: &Current, address: u64, length: u64, prot: u32) -> Result<u64, Errno> {
    const KNOWN: u32 = linux::PROT_READ | linux::PROT_WRITE | linux::PROT_EXEC | linux::PROT_SEM;
    if prot & !KNOWN != 0 {
        return Err(Errno::EINVAL);
    }
    if let Some((start, bytes)) = mapped_range(address, length)? {
        current.space().protect(start, bytes, Prot::from_bits_truncate(prot)).map_err(errno_of_mapped)?;
    }
    Ok(0)
}

pub fn mremap(
    current: &Current,
    address: u64,
    old_length: u64,
    new_length: u64,
    flags: u32,
    new_address: u64,
) -> Result<u64, Errno> {
    let start = page_address(address)?;
    let how = match flags {
        0 => Move::Never,
        linux::MREMAP_MAYMOVE => Move::IfNeeded,
        flags if flags == linux::MREMAP_MAYMOVE | linux::MREMAP_FIXED => Move::To(page_address(new_address)?),
        flags if flags == linux::MREMAP_MAYMOVE | linux::MREMAP_DONTUNMAP => Move::Leaving(None),
        flags if flags == linux::MREMAP_MAYMOVE | linux::MREMAP_FIXED | linux::MREMAP_DONTUNMAP => {
            Move::Leaving(Some(page_address(new_address)?))
        }
        _ => return Err(Errno::EINVAL),
    };
    let old_bytes = page_length(old_length).map_err(|_| Errno::EINVAL)?;
    let new_bytes = page_length(new_length).map_err(|_| Errno::EINVAL)?;
    limit(current, new_bytes.saturating_sub(old_bytes), None, true)?;
    let moved = current.space().remap(start, old_bytes, new_bytes, how).map_err(|error| match error {
        MapError::NotMapped => Errno::EFAULT,
        error => errno(error),
    })?;
    Ok(moved.as_u64())
}

pub fn madvise(current: &Current, address: u64, length: u64, advice: u32) -> Result<u64, Errno> {
    let Some((start, bytes)) = mapped_range(address, length).map_err(|_| Errno::EINVAL)? else {
        return Ok(0);
    };
    let space = current.space();
    match advice {
        // Freed pages may read as zeroes at any time; here it is at once.
        linux::MADV_DONTNEED | linux::MADV_DONTNEED_LOCKED | linux::MADV_FREE => {
            space.discard(start, bytes).map_err(errno_of_mapped)?;
        }
        linux::MADV_POPULATE_READ => populate_for(current, start, bytes, Access::READ)?,
        linux::MADV_POPULATE_WRITE => populate_for(current, start, bytes, Access::WRITE)?,
        linux::MADV_REMOVE => space.wipe(start, bytes).map_err(errno)?,
        linux::MADV_DONTFORK => space.set_on_fork(start, bytes, OnFork::Skip).map_err(errno_of_mapped)?,
        linux::MADV_WIPEONFORK => space.set_on_fork(start, bytes, OnFork::Wipe).map_err(errno)?,
        linux::MADV_DOFORK | linux::MADV_KEEPONFORK => {
            space.set_on_fork(start, bytes, OnFork::Share).map_err(errno_of_mapped)?;
        }
        // There is nothing to do better with that knowledge.
        linux::MADV_NORMAL
        | linux::MADV_WILLNEED
        | linux::MADV_RANDOM
        | linux::MADV_SEQUENTIAL
        | linux::MADV_HUGEPAGE
        | linux::MADV_NOHUGEPAGE
        | linux::MADV_COLD
        | linux::MADV_PAGEOUT
        | linux::MADV_DODUMP
        | linux::MADV_DONTDUMP
        | linux::MADV_MERGEABLE
        | linux::MADV_UNMERGEABLE => check_mapped(current, start, bytes)?,
        _ => return Err(Errno::EINVAL),
    }
    Ok(0)
}

fn populate_for(current: &Current, start: VirtAddr, bytes: u64, access: Access) -> Result<(), Errno> {
    check_mapped(current, start, bytes)?;
    current.space().populate_for(start, bytes, access).map_err(|error| match error {
        FaultError::NotMapped | FaultError::OutOfMemory => Errno::ENOMEM,
        FaultError::Protection => Errno::EINVAL,
        FaultError::Bus => Errno::EFAULT,
    })
}

fn check_mapped(current: &Current, start: VirtAddr, bytes: u64) -> Result<(), Errno> {
    if current.space().is_mapped(start, bytes) { Ok(()) } else { Err(Errno::ENOMEM) }
}

/// Nothing is ever swapped out: to lock a range is to make its pages there.
pub fn mlock(current: &Current, address: u64, length: u64) -> Result<u64, Errno> {
    if let Some((start, bytes)) = locked_range(address, length)? {
        check_mapped(current, start, bytes)?;
        current.space().populate(start, bytes);
    }
    Ok(0)
}

/// With MLOCK_ONFAULT, pages are locked as they are touched: there is nothing to do.
pub fn mlock2(current: &Current, address: u64, length: u64, flags: u32) -> Result<u64, Errno> {
    match flags {
        0 => mlock(current, address, length),
        linux::MLOCK_ONFAULT => munlock(current, address, length),
        _ => Err(Errno::EINVAL),
    }
}

pub fn munlock(current: &Current, address: u64, length: u64) -> Result<u64, Errno> {
    if let Some((start, bytes)) = locked_range(address, length)? {
        check_mapped(current, start, bytes)?;
    }
    Ok(0)
}

/// The pages that have a byte in a range which may start anywhere.
fn locked_range(address: u64, length: u64) -> Result<Option<(VirtAddr, u64)>, Errno> {
    let offset = address % PAGE as u64;
    mapped_range(address - offset, length.checked_add(offset).ok_or(Errno::EINVAL)?)
}

pub fn mlockall(_: &Current, flags: u32) -> Result<u64, Errno> {
    const KNOWN: u32 = linux::MCL_CURRENT | linux::MCL_FUTURE | linux::MCL_ONFAULT;
    if flags == 0 || flags & !KNOWN != 0 || flags == linux::MCL_ONFAULT {
        return Err(Errno::EINVAL);
    }
    Ok(0)
}

pub fn munlockall(_: &Current) -> Result<u64, Errno> {
    Ok(0)
}

/// Tells which pages are in memory: one byte a page.
pub fn mincore(current: &Current, address: u64, length: u64, to: u64) -> Result<u64, Errno> {
    const CHUNK: u64 = 256;
    let Some((start, bytes)) = mapped_range(address, length)? else { return Ok(0) };
    check_mapped(current, start, bytes)?;
    let pages = bytes / PAGE as u64;
    let mut found = [0; CHUNK as usize];
    for at in (0..pages).step_by(CHUNK as usize) {
        let found = &mut found[..CHUNK.min(pages - at) as usize];
        current.space().in_memory(start + at * PAGE as u64, found).map_err(errno_of_mapped)?;
        user::write_bytes(to.wrapping_add(at), found)?;
    }
    Ok(0)
}

/// No file can be written to by a mapping, so that there is nothing to bring to it.
pub fn msync(current: &Current, address: u64, length: u64, flags: u32) -> Result<u64, Errno> {
    const KNOWN: u32 = linux::MS_ASYNC | linux::MS_INVALIDATE | linux::MS_SYNC;
    const CONTRADICTION: u32 = linux::MS_ASYNC | linux::MS_SYNC;
    if flags & !KNOWN != 0 || flags & CONTRADICTION == CONTRADICTION {
        return Err(Errno::EINVAL);
    }
    if let Some((start, bytes)) = mapped_range(address, length)? {
        check_mapped(current, start, bytes)?;
    }
    Ok(0)
}
