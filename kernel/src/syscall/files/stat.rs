//! What files are: `stat` and its kin, access checks, targets of symbolic links, file systems.

use super::{description, last_link, resolve};
use crate::errno::Errno;
use crate::fs::{Access, DeviceId, Kind, LastLink, Metadata, Times, tmpfs};
use crate::task::Current;
use crate::user;
use linux_raw_sys::general as linux;
use linux_raw_sys::general::*;
use mm::PAGE;
use zerocopy::{FromZeros, Immutable, IntoBytes};

/// The unit of `st_blocks` in bytes.
const BLOCK: u64 = 512;

/// `struct stat` (man 3 stat).
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Stat {
    device: u64,
    number: u64,
    links: u64,
    mode: u32,
    user: u32,
    group: u32,
    padding: u32,
    represents: u64,
    size: i64,
    block_size: i64,
    blocks: i64,
    /// Access, modification, change: seconds and nanoseconds.
    times: [[i64; 2]; 3],
    unused: [i64; 3],
}

const _: () = assert!(size_of::<Stat>() == size_of::<linux::stat>());

impl From<Metadata> for Stat {
    fn from(metadata: Metadata) -> Self {
        Self {
            device: metadata.file_system.encode(),
            number: metadata.number,
            links: metadata.links.into(),
            mode: metadata.mode(),
            user: metadata.owner,
            group: metadata.group,
            padding: 0,
            represents: metadata.represents.encode(),
            size: metadata.len as i64,
            block_size: PAGE as i64,
            blocks: metadata.len.div_ceil(BLOCK) as i64,
            times: [metadata.times.accessed, metadata.times.modified, metadata.times.changed].map(seconds),
            unused: [0; 3],
        }
    }
}

/// Seconds and nanoseconds.
fn seconds(ns: i64) -> [i64; 2] {
    const SECOND: i64 = 1_000_000_000;
    [ns.div_euclid(SECOND), ns.rem_euclid(SECOND)]
}

/// The file at `path`, or with an empty path and `AT_EMPTY_PATH` what the descriptor refers to.
fn find(current: &Current, directory: i32, path: u64, flags: u32) -> Result<Metadata, Errno> {
    // Since Linux 6.11, a null pointer is an empty path here.
    let is_null = path == 0 && flags & AT_EMPTY_PATH != 0;
    let path = if is_null { Default::default() } else { user::read_path(path)? };
    if path.is_empty() && flags & AT_EMPTY_PATH != 0 && directory != AT_FDCWD {
        return Ok(description(current, directory)?.file().metadata());
    }
    let path = if path.is_empty() && flags & AT_EMPTY_PATH != 0 { "." } else { &path };
    Ok(resolve(current, directory, path, last_link(flags & AT_SYMLINK_NOFOLLOW != 0))?.inode().metadata())
}

pub fn stat(current: &Current, path: u64, to: u64) -> Result<u64, Errno> {
    newfstatat(current, AT_FDCWD, path, to, 0)
}

pub fn lstat(current: &Current, path: u64, to: u64) -> Result<u64, Errno> {
    newfstatat(current, AT_FDCWD, path, to, AT_SYMLINK_NOFOLLOW)
}

pub fn fstat(current: &Current, descriptor: i32, to: u64) -> Result<u64, Errno> {
    let metadata = description(current, descriptor)?.file().metadata();
    user::write(to, &Stat::from(metadata))?;
    Ok(0)
}

pub fn newfstatat(current: &Current, directory: i32, path: u64, to: u64, flags: u32) -> Result<u64, Errno> {
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let metadata = find(current, directory, path, flags)?;
    user::write(to, &Stat::from(metadata))?;
    Ok(0)
}

/// `struct statx` (man 2 statx).
#[derive(IntoBytes, FromZeros, Immutable)]
#[repr(C)]
struct StatX {
    mask: u32,
    block_size: u32,
    attributes: u64,
    links: u32,
    user: u32,
    group: u32,
    mode: u16,
    spare: u16,
    number: u64,
    size: u64,
    blocks: u64,
    attributes_mask: u64,
    /// Access, birth, change, modification: seconds; nanoseconds and a reserved half.
    times: [[i64; 2]; 4],
    represents: [u32; 2],
    device: [u32; 2],
    rest: [u64; 14],
}

const _: () = assert!(size_of::<StatX>() == size_of::<linux::statx>());

pub fn statx(
    current: &Current,
    directory: i32,
    path: u64,
    flags: u32,
    mask: u32,
    to: u64,
) -> Result<u64, Errno> {
    const KNOWN: u32 = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE;
    if flags & !KNOWN != 0 || flags & AT_STATX_SYNC_TYPE == AT_STATX_SYNC_TYPE || mask & STATX__RESERVED != 0
    {
        return Err(Errno::EINVAL);
    }
    let metadata = find(current, directory, path, flags)?;
    let numbers = |device: crate::fs::DeviceId| [device.major, device.minor];
    let mut report = StatX::new_zeroed();
    report.mask = STATX_BASIC_STATS;
    report.block_size = PAGE as u32;
    report.links = metadata.links;
    report.mode = metadata.mode() as u16;
    report.number = metadata.number;
    report.size = metadata.len;
    report.blocks = metadata.len.div_ceil(BLOCK);
    let Times { accessed, modified, changed } = metadata.times;
    report.times = [seconds(accessed), [0, 0], seconds(changed), seconds(modified)];
    report.user = metadata.owner;
    report.group = metadata.group;
    report.represents = numbers(metadata.represents);
    report.device = numbers(metadata.file_system);
    user::write(to, &report)?;
    Ok(0)
}

pub fn access(current: &Current, path: u64, mode: u32) -> Result<u64, Errno> {
    faccessat2(current, AT_FDCWD, path, mode, 0)
}

pub fn faccessat(current: &Current, directory: i32, path: u64, mode: u32) -> Result<u64, Errno> {
    faccessat2(current, directory, path, mode, 0)
}

/// Whether the process may do that, by its real identity unless `AT_EACCESS` is given.
pub fn faccessat2(current: &Current, directory: i32, path: u64, mode: u32, flags: u32) -> Result<u64, Errno> {
    if mode & !(R_OK | W_OK | X_OK) != 0 || flags & !(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let dentry = super::resolve_at(current, directory, path, flags)?;
    let who = super::credentials(current);
    let who = if flags & AT_EACCESS != 0 { who } else { who.as_real().into() };
    let pairs = [(R_OK, Access::READ), (W_OK, Access::WRITE), (X_OK, Access::EXECUTE)];
    let wanted = pairs.into_iter().filter(|(bit, _)| mode & bit != 0);
    let access = wanted.fold(Access::NONE, |access, (_, one)| access.and(one));
    who.check(&dentry.inode().metadata(), access)?;
    if mode & W_OK != 0 && dentry.inode().kind() != Kind::Directory {
        dentry.inode().check_writable()?;
    }
    Ok(0)
}

pub fn readlink(current: &Current, path: u64, to: u64, size: i32) -> Result<u64, Errno> {
    readlinkat(current, AT_FDCWD, path, to, size)
}

/// An empty path means the symbolic link that the descriptor refers to.
pub fn readlinkat(current: &Current, directory: i32, path: u64, to: u64, size: i32) -> Result<u64, Errno> {
    let size = usize::try_from(size).ok().filter(|size| *size > 0).ok_or(Errno::EINVAL)?;
    let path = user::read_path(path)?;
    let dentry = if path.is_empty() && directory != AT_FDCWD {
        description(current, directory)?
            .dentry()
            .filter(|dentry| dentry.inode().kind() == Kind::Symlink)
            .cloned()
            .ok_or(Errno::ENOENT)?
    } else {
        resolve(current, directory, &path, LastLink::Keep)?
    };
    let target = dentry.inode().read_link()?;
    let len = target.len().min(size);
    user::write_bytes(to, &target.as_bytes()[..len])?;
    Ok(len as u64)
}

/// `struct statfs` (man 2 statfs).
#[derive(IntoBytes, FromZeros, Immutable)]
#[repr(C)]
struct StatFs {
    magic: i64,
    block_size: i64,
    /// Blocks, free, available; files, free files.
    counts: [u64; 5],
    id: [u32; 2],
    longest_name: i64,
    fragment_size: i64,
    flags: i64,
    spare: [i64; 4],
}

const _: () = assert!(size_of::<StatFs>() == size_of::<linux::statfs>());

/// `ST_VALID` (`linux/statfs.h`).
const VALID: i64 = 0x20;

/// `linux/magic.h`, by the minor number of the file system.
fn magic(file_system: DeviceId) -> u32 {
    const TMPFS: u32 = 0x0102_1994;
    const PROC: u32 = 0x9fa0;
    const SYSFS: u32 = 0x6265_6572;
    const PIPEFS: u32 = 0x5049_5045;
    const SOCKFS: u32 = 0x534f_434b;
    const ANONYMOUS: u32 = 0x0904_1934;
    match file_system.minor {
        21 => PROC,
        22 => SYSFS,
        13 => PIPEFS,
        8 => SOCKFS,
        14 => ANONYMOUS,
        _ => TMPFS,
    }
}

fn report_file_system(metadata: Metadata, to: u64) -> Result<u64, Errno> {
    let mut report = StatFs::new_zeroed();
    report.magic = magic(metadata.file_system).into();
    report.block_size = PAGE as i64;
    if metadata.file_system == tmpfs::FILE_SYSTEM {
        let (total, free) = (mm::frames::total() as u64, mm::frames::free() as u64);
        report.counts = [total, free, free, total, free];
    }
    report.id = [metadata.file_system.major, metadata.file_system.minor];
    report.longest_name = 255;
    report.fragment_size = PAGE as i64;
    report.flags = VALID;
    user::write(to, &report)?;
    Ok(0)
}

pub fn statfs(current: &Current, path: u64, to: u64) -> Result<u64, Errno> {
    let path = user::read_path(path)?;
    report_file_system(resolve(current, AT_FDCWD, &path, LastLink::Follow)?.inode().metadata(), to)
}

pub fn fstatfs(current: &Current, descriptor: i32, to: u64) -> Result<u64, Errno> {
    report_file_system(description(current, descriptor)?.file().metadata(), to)
}
