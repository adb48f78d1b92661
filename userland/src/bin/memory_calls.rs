//! What programs ask of their memory: moving, splitting, dropping and sharing it, and its limits.

use anyhow::ensure;
use libc::{MAP_ANONYMOUS, MAP_PRIVATE, MAP_SHARED, PROT_NONE, PROT_READ, PROT_WRITE};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use std::os::fd::AsRawFd;
use std::process::ExitCode;
use std::ptr::null_mut;
use userland::checks::{self, Outcome};
use userland::children::Child;

fn main() -> ExitCode {
    checks::run(
        "memory_calls",
        &[
            ("protecting a part leaves the rest as it was", protect_splits),
            ("a mapping grows, moves and shrinks with its contents", remap),
            ("a mapping moves and leaves an empty one behind", remap_leaving),
            ("dropped memory reads as zeroes", dropped),
            ("a child does not get what it is not to get", not_for_children),
            ("a child gets zeroes of what is to be wiped", wiped_for_children),
            ("removed shared memory reads as zeroes for all", removed),
            ("memory is there when it was populated, and not before", populated),
            ("a mapping goes where it is wanted, or nowhere", places),
            ("a mapping that grows down does so when it is touched", grows_down),
            ("the stack grows up to its limit", stack_limit),
            ("the address space and the data have limits", limits),
            ("more memory than there is cannot be had", overcommit),
            ("beyond the end of a file is a bus error", beyond_the_end),
            ("memory can be locked where it is mapped", locked),
            ("another process's memory can be read and written", of_another),
            ("bad requests fail as on Linux", invalid),
        ],
    )
}

const PAGE: usize = 4096;
const MIB: usize = 1 << 20;
const RW: i32 = PROT_READ | PROT_WRITE;
const PRIVATE: i32 = MAP_PRIVATE | MAP_ANONYMOUS;
const SHARED: i32 = MAP_SHARED | MAP_ANONYMOUS;

fn map_at(at: usize, bytes: usize, protection: i32, flags: i32) -> Result<*mut u8, Errno> {
    // SAFETY: checks ask for places that are free, or are to be refused.
    let found = unsafe { libc::mmap(at as *mut libc::c_void, bytes, protection, flags, -1, 0) };
    if found == libc::MAP_FAILED { Err(Errno::last()) } else { Ok(found.cast()) }
}

fn map(pages: usize, flags: i32) -> Result<*mut u8, Errno> {
    let at = map_at(0, pages * PAGE, RW, flags)?;
    // Single pages are counted and touched here.
    let _ = advise(at, pages, libc::MADV_NOHUGEPAGE);
    Ok(at)
}

fn unmap(at: *mut u8, pages: usize) {
    // SAFETY: the callers do not use it any more.
    unsafe { libc::munmap(at.cast(), pages * PAGE) };
}

fn advise(at: *mut u8, pages: usize, advice: i32) -> Result<i32, Errno> {
    // SAFETY: what is dropped is the caller's.
    Errno::result(unsafe { libc::madvise(at.cast(), pages * PAGE, advice) })
}

fn move_to(at: *mut u8, pages: usize, new_pages: usize, flags: i32, to: *mut u8) -> Result<*mut u8, Errno> {
    // SAFETY: the old range is not used any more by the callers.
    let moved = unsafe { libc::mremap(at.cast(), pages * PAGE, new_pages * PAGE, flags, to) };
    if moved == libc::MAP_FAILED { Err(Errno::last()) } else { Ok(moved.cast()) }
}

fn write(at: *mut u8, page: usize, value: u8) {
    // SAFETY: a page that the caller has mapped, or whose fault is to kill.
    unsafe { at.add(page * PAGE).write_volatile(value) };
}

fn read(at: *mut u8, page: usize) -> u8 {
    // SAFETY: as for `write`.
    unsafe { at.add(page * PAGE).read_volatile() }
}

fn touch(at: *mut u8, page: usize) {
    let _ = read(at, page);
}

/// Requires that a child that does this is killed by `signal`.
fn killed(signal: Signal, act: impl FnOnce()) -> Outcome {
    let child = Child::start(|| {
        // SAFETY: the default action is no handler.
        unsafe {
            libc::signal(libc::SIGSEGV, libc::SIG_DFL);
            libc::signal(libc::SIGBUS, libc::SIG_DFL);
        }
        act();
        0
    })?;
    child.expect_killed(signal)
}

fn protect_splits() -> Outcome {
    let at = map(3, PRIVATE)?;
    (0..3).for_each(|page| write(at, page, 1));
    let protect = |page: usize, protection| {
        // SAFETY: pages of our own.
        Errno::result(unsafe { libc::mprotect(at.add(page * PAGE).cast(), PAGE, protection) })
    };
    protect(1, PROT_READ)?;
    write(at, 0, 2);
    write(at, 2, 2);
    ensure!(read(at, 1) == 1, "the protected page reads {}", read(at, 1));
    killed(Signal::SIGSEGV, || write(at, 1, 2))?;
    protect(1, PROT_NONE)?;
    killed(Signal::SIGSEGV, || touch(at, 1))?;
    protect(1, RW)?;
    ensure!(read(at, 1) == 1, "afterwards it reads {}", read(at, 1));
    write(at, 1, 3);
    Ok(())
}

fn remap() -> Outcome {
    let at = map(4, PRIVATE)?;
    (0..4).for_each(|page| write(at, page, page as u8 + 1));
    let contents = |at, pages: usize| (0..pages).all(|page| read(at, page) == page as u8 + 1);
    let larger = move_to(at, 4, 64, libc::MREMAP_MAYMOVE, null_mut())?;
    ensure!(contents(larger, 4) && read(larger, 63) == 0, "a larger one has other contents");
    let goal = map(8, PRIVATE)?;
    let fixed = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
    ensure!(move_to(larger, 64, 8, fixed, goal)? == goal, "it is not where it was wanted");
    ensure!(contents(goal, 4), "a moved one has other contents");
    killed(Signal::SIGSEGV, || touch(larger, 0))?;
    ensure!(move_to(goal, 8, 2, 0, null_mut())? == goal, "a smaller one is elsewhere");
    killed(Signal::SIGSEGV, || touch(goal, 2))?;
    let blocked = map_at(goal as usize + 2 * PAGE, PAGE, RW, PRIVATE | libc::MAP_FIXED)?;
    let grown = move_to(goal, 2, 3, 0, null_mut());
    ensure!(grown == Err(Errno::ENOMEM), "it grows over another: {grown:?}");
    unmap(blocked, 1);
    ensure!(move_to(goal, 2, 3, 0, null_mut())? == goal, "it does not grow where there is room");
    ensure!(move_to(goal, 2, 4, 16, null_mut()) == Err(Errno::EINVAL), "an unknown flag");
    ensure!(move_to(larger, 1, 2, libc::MREMAP_MAYMOVE, null_mut()) == Err(Errno::EFAULT), "nothing there");
    Ok(())
}

fn remap_leaving() -> Outcome {
    let leaving = libc::MREMAP_MAYMOVE | libc::MREMAP_DONTUNMAP;
    let at = map(4, PRIVATE)?;
    (0..4).for_each(|page| write(at, page, 7));
    let moved = move_to(at, 4, 4, leaving, null_mut())?;
    ensure!(moved != at && (0..4).all(|page| read(moved, page) == 7), "the contents were not moved");
    ensure!((0..4).all(|page| read(at, page) == 0), "what was left is not empty");
    write(at, 1, 8);
    ensure!(read(moved, 1) == 7, "both are the same memory");
    ensure!(move_to(at, 4, 8, leaving, null_mut()) == Err(Errno::EINVAL), "moved to more");
    Ok(())
}

fn dropped() -> Outcome {
    let at = map(4, PRIVATE)?;
    (0..4).for_each(|page| write(at, page, 5));
    advise(at.wrapping_add(PAGE), 2, libc::MADV_DONTNEED)?;
    let found: Vec<u8> = (0..4).map(|page| read(at, page)).collect();
    ensure!(found == [5, 0, 0, 5], "the pages read {found:?}");
    let shared = map(1, SHARED)?;
    write(shared, 0, 6);
    advise(shared, 1, libc::MADV_DONTNEED)?;
    ensure!(read(shared, 0) == 6, "shared memory was dropped");
    for hint in [libc::MADV_WILLNEED, libc::MADV_SEQUENTIAL, libc::MADV_RANDOM, libc::MADV_FREE] {
        advise(at, 4, hint)?;
    }
    Ok(())
}

fn not_for_children() -> Outcome {
    let at = map(3, PRIVATE)?;
    (0..3).for_each(|page| write(at, page, 4));
    advise(at.wrapping_add(PAGE), 1, libc::MADV_DONTFORK)?;
    killed(Signal::SIGSEGV, || touch(at, 1))?;
    Child::start(move || i32::from(read(at, 0) != 4 || read(at, 2) != 4))?.expect_exit(0)?;
    ensure!(read(at, 1) == 4, "the parent has lost it as well");
    advise(at, 3, libc::MADV_DOFORK)?;
    Child::start(move || i32::from(read(at, 1) != 4))?.expect_exit(0)
}

fn wiped_for_children() -> Outcome {
    let at = map(3, PRIVATE)?;
    (0..3).for_each(|page| write(at, page, 4));
    advise(at.wrapping_add(PAGE), 1, libc::MADV_WIPEONFORK)?;
    Child::start(move || i32::from([0, 1, 2].map(|page| read(at, page)) != [4, 0, 4]))?.expect_exit(0)?;
    ensure!(read(at, 1) == 4, "the parent's was wiped");
    advise(at, 3, libc::MADV_KEEPONFORK)?;
    Child::start(move || i32::from(read(at, 1) != 4))?.expect_exit(0)?;
    let shared = map(1, SHARED)?;
    let refused = advise(shared, 1, libc::MADV_WIPEONFORK);
    ensure!(refused == Err(Errno::EINVAL), "shared memory is to be wiped: {refused:?}");
    Ok(())
}

fn removed() -> Outcome {
    let at = map(2, SHARED)?;
    write(at, 0, 1);
    write(at, 1, 1);
    Child::start(move || {
        write(at, 1, 2);
        i32::from(advise(at, 1, libc::MADV_REMOVE).is_err())
    })?
    .expect_exit(0)?;
    ensure!((read(at, 0), read(at, 1)) == (0, 2), "the pages read {} and {}", read(at, 0), read(at, 1));
    let private = map(1, PRIVATE)?;
    let refused = advise(private, 1, libc::MADV_REMOVE);
    ensure!(refused == Err(Errno::EINVAL), "private memory: {refused:?}");
    Ok(())
}

/// Which of the pages are in memory.
fn in_memory(at: *mut u8, pages: usize) -> anyhow::Result<Vec<u8>> {
    let mut found = vec![9; pages];
    // SAFETY: the vector has a byte for each page.
    Errno::result(unsafe { libc::mincore(at.cast(), pages * PAGE, found.as_mut_ptr()) })?;
    Ok(found.into_iter().map(|byte| byte & 1).collect())
}

fn populated() -> Outcome {
    const POPULATE_READ: i32 = 22;
    const POPULATE_WRITE: i32 = 23;
    let at = map(4, PRIVATE)?;
    write(at, 2, 1);
    ensure!(in_memory(at, 4)? == [0, 0, 1, 0], "one was touched: {:?}", in_memory(at, 4)?);
    advise(at, 2, POPULATE_WRITE)?;
    ensure!(in_memory(at, 4)? == [1, 1, 1, 0], "populated: {:?}", in_memory(at, 4)?);
    ensure!(read(at, 2) == 1, "it has other contents");
    let early = map_at(0, 4 * PAGE, RW, PRIVATE | libc::MAP_POPULATE)?;
    ensure!(in_memory(early, 4)? == [1; 4], "MAP_POPULATE: {:?}", in_memory(early, 4)?);
    let none = map_at(0, PAGE, PROT_NONE, PRIVATE)?;
    ensure!(advise(none, 1, POPULATE_READ) == Err(Errno::EINVAL), "what cannot be read");
    let read_only = map_at(0, PAGE, PROT_READ, PRIVATE)?;
    advise(read_only, 1, POPULATE_READ)?;
    ensure!(advise(read_only, 1, POPULATE_WRITE) == Err(Errno::EINVAL), "what cannot be written");
    unmap(read_only, 1);
    ensure!(advise(read_only, 1, POPULATE_READ) == Err(Errno::ENOMEM), "what is not mapped");
    Ok(())
}

fn places() -> Outcome {
    let at = map(4, PRIVATE)?;
    let noreplace = PRIVATE | libc::MAP_FIXED_NOREPLACE;
    let over = map_at(at as usize + PAGE, PAGE, RW, noreplace);
    ensure!(over == Err(Errno::EEXIST), "over another: {over:?}");
    unmap(at.wrapping_add(PAGE), 2);
    let between = map_at(at as usize + PAGE, PAGE, RW, noreplace)?;
    ensure!(between as usize == at as usize + PAGE, "into a gap");
    write(at, 0, 3);
    let replaced = map_at(at as usize, PAGE, RW, PRIVATE | libc::MAP_FIXED)?;
    ensure!(replaced == at && read(at, 0) == 0, "MAP_FIXED has not replaced it");
    let odd = map_at(at as usize + 1, PAGE, RW, PRIVATE | libc::MAP_FIXED);
    ensure!(odd == Err(Errno::EINVAL), "at an odd address: {odd:?}");
    Ok(())
}

fn grows_down() -> Outcome {
    let hole = map_at(0, 4 * MIB, PROT_NONE, PRIVATE)?;
    unmap(hole, 4 * MIB / PAGE);
    let top = hole as usize + 4 * MIB - 2 * PAGE;
    let stack = map_at(top, 2 * PAGE, RW, PRIVATE | libc::MAP_GROWSDOWN | libc::MAP_FIXED)?;
    for below in 1..200 {
        let at = (stack as usize - below * PAGE) as *mut u8;
        write(at, 0, 1);
        ensure!(read(at, 0) == 1, "{below} pages below");
    }
    // A gap is kept to what is below.
    map_at(stack as usize - 400 * PAGE, PAGE, RW, PRIVATE | libc::MAP_FIXED)?;
    killed(Signal::SIGSEGV, || write((stack as usize - 390 * PAGE) as *mut u8, 0, 1))
}

fn set_limit(resource: u32, soft: u64) -> Result<i32, Errno> {
    // SAFETY: the calls read and write one `rlimit`.
    unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        Errno::result(libc::getrlimit(resource, &raw mut limit))?;
        limit.rlim_cur = soft;
        Errno::result(libc::setrlimit(resource, &raw const limit))
    }
}

fn stack_limit() -> Outcome {
    let local = 0_u8;
    let below = |bytes: usize| (&raw const local as usize - bytes) as *mut u8;
    Child::start(|| {
        write(below(6 * MIB), 0, 1);
        0
    })?
    .expect_exit(0)?;
    killed(Signal::SIGSEGV, || {
        let _ = set_limit(libc::RLIMIT_STACK, 4 << 20);
        write(below(6 * MIB), 0, 1);
    })?;
    killed(Signal::SIGSEGV, || write(below(12 * MIB), 0, 1))
}

/// How much is mapped, from what the program has in its hand: less than this.
const MORE_THAN_MAPPED: u64 = 1 << 32;

fn limits() -> Outcome {
    set_limit(libc::RLIMIT_DATA, 64 << 20)?;
    let data = map_at(0, 128 * MIB, RW, PRIVATE);
    ensure!(data == Err(Errno::ENOMEM), "128 MiB with RLIMIT_DATA of 64: {data:?}");
    let other = map_at(0, 128 * MIB, PROT_READ, PRIVATE)?;
    map_at(0, MIB, RW, PRIVATE)?;
    // SAFETY: no memory is used.
    let moved = unsafe { libc::sbrk(100 << 20) };
    ensure!(moved as isize == -1, "the break moves by 100 MiB");
    unmap(other, 128 * MIB / PAGE);
    set_limit(libc::RLIMIT_DATA, u64::MAX)?;
    set_limit(libc::RLIMIT_AS, MORE_THAN_MAPPED)?;
    let all = map_at(0, 5 << 30, PROT_NONE, PRIVATE | libc::MAP_NORESERVE);
    ensure!(all == Err(Errno::ENOMEM), "5 GiB with RLIMIT_AS of 4: {all:?}");
    let some = map_at(0, 1 << 30, PROT_NONE, PRIVATE | libc::MAP_NORESERVE)?;
    let grown = move_to(some, (1 << 30) / PAGE, (5 << 30) / PAGE, libc::MREMAP_MAYMOVE, null_mut());
    ensure!(grown == Err(Errno::ENOMEM), "grown to 5 GiB: {grown:?}");
    Ok(())
}

fn overcommit() -> Outcome {
    const HUGE: usize = 1 << 45;
    let refused = map_at(0, HUGE, RW, PRIVATE);
    ensure!(refused == Err(Errno::ENOMEM), "32 TiB: {refused:?}");
    let reserved = map_at(0, HUGE, PROT_NONE, PRIVATE | libc::MAP_NORESERVE)?;
    unmap(reserved, HUGE / PAGE);
    let unreserved = map_at(0, HUGE, RW, PRIVATE | libc::MAP_NORESERVE)?;
    write(unreserved, HUGE / PAGE / 2, 1);
    unmap(unreserved, HUGE / PAGE);
    Ok(())
}

fn beyond_the_end() -> Outcome {
    let file = std::fs::File::open(std::env::current_exe()?)?;
    let pages = (file.metadata()?.len() as usize).div_ceil(PAGE);
    // SAFETY: a new mapping.
    let at =
        unsafe { libc::mmap(null_mut(), (pages + 2) * PAGE, PROT_READ, MAP_PRIVATE, file.as_raw_fd(), 0) };
    ensure!(at != libc::MAP_FAILED, "mmap of the program: {}", Errno::last());
    let at = at.cast::<u8>();
    ensure!(read(at, 0) == 0x7f, "the file begins with {}", read(at, 0));
    let last = read(at, pages - 1);
    killed(Signal::SIGBUS, || touch(at, pages + 1))?;
    ensure!(read(at, pages - 1) == last, "the last page has changed");
    Ok(())
}

fn locked() -> Outcome {
    let at = map(4, PRIVATE)?;
    // SAFETY: pages of our own, or such that are to be refused.
    let lock = |at: *mut u8, pages: usize| Errno::result(unsafe { libc::mlock(at.cast(), pages * PAGE) });
    lock(at, 2)?;
    ensure!(in_memory(at, 4)? == [1, 1, 0, 0], "locked pages: {:?}", in_memory(at, 4)?);
    lock(at.wrapping_add(2 * PAGE + 100), 1)?;
    ensure!(in_memory(at, 4)? == [1; 4], "an odd range: {:?}", in_memory(at, 4)?);
    // SAFETY: as above.
    Errno::result(unsafe { libc::munlock(at.cast(), 4 * PAGE) })?;
    unmap(at, 4);
    ensure!(lock(at, 1) == Err(Errno::ENOMEM), "what is not mapped: {:?}", lock(at, 1));
    Ok(())
}

fn of_another() -> Outcome {
    let at = map(3, PRIVATE)?;
    write(at, 0, 1);
    write(at, 1, 2);
    unmap(at.wrapping_add(2 * PAGE), 1);
    let child = Child::start(move || {
        while read(at, 0) != 9 {
            std::thread::yield_now();
        }
        i32::from(read(at, 1) != 2)
    })?;
    let pid = child.pid().as_raw();
    let mut copy = vec![0_u8; 3 * PAGE];
    let local = |bytes: &mut [u8]| libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let remote =
        |page: usize, iov_len| libc::iovec { iov_base: at.wrapping_add(page * PAGE).cast(), iov_len };
    let read_from = |pid, copy: &mut [u8], from: &[libc::iovec]| {
        let to = local(copy);
        let count = from.len() as u64;
        // SAFETY: the local range is the vector's.
        Errno::result(unsafe { libc::process_vm_readv(pid, &raw const to, 1, from.as_ptr(), count, 0) })
    };
    let got = read_from(pid, &mut copy, &[remote(0, 10), remote(1, 10)])?;
    ensure!((got, copy[0], copy[10]) == (20, 1, 2), "read {got}: {} and {}", copy[0], copy[10]);
    let got = read_from(pid, &mut copy, &[remote(0, 3 * PAGE)])?;
    ensure!(got as usize == 2 * PAGE, "read {got} bytes of two pages and a hole");
    let hole = read_from(pid, &mut copy, &[remote(2, 8)]);
    ensure!(hole == Err(Errno::EFAULT), "read a hole: {hole:?}");
    let nobody = read_from(99_999_999, &mut copy, &[remote(0, 8)]);
    ensure!(nobody == Err(Errno::ESRCH), "read of nobody: {nobody:?}");
    let mut nine = [9_u8];
    let (from, to) = (local(&mut nine), remote(0, 1));
    // SAFETY: the remote range is the child's, which waits for this.
    let put = unsafe { libc::process_vm_writev(pid, &raw const from, 1, &raw const to, 1, 0) };
    ensure!(put == 1, "wrote {put}");
    child.expect_exit(0)?;
    ensure!(read(at, 0) == 1, "it went to the parent's memory");
    Ok(())
}

fn invalid() -> Outcome {
    let at = map(2, PRIVATE)?;
    // SAFETY: requests that are refused, or that do nothing.
    unsafe {
        let sync = |flags| Errno::result(libc::msync(at.cast(), PAGE, flags)).err();
        ensure!(sync(libc::MS_SYNC | libc::MS_ASYNC) == Some(Errno::EINVAL), "msync both ways");
        ensure!(sync(libc::MS_SYNC).is_none(), "msync");
        let protect =
            |at: *mut u8, protection| Errno::result(libc::mprotect(at.cast(), PAGE, protection)).err();
        ensure!(protect(at.add(1), RW) == Some(Errno::EINVAL), "mprotect at an odd address");
        ensure!(protect(at, 1 << 10) == Some(Errno::EINVAL), "mprotect with an unknown bit");
        unmap(at.add(PAGE), 1);
        ensure!(protect(at.add(PAGE), RW) == Some(Errno::ENOMEM), "mprotect of nothing");
        ensure!(
            Errno::result(libc::msync(at.add(PAGE).cast(), PAGE, libc::MS_SYNC)) == Err(Errno::ENOMEM),
            "msync"
        );
    }
    ensure!(advise(at, 1, 1234) == Err(Errno::EINVAL), "unknown advice");
    ensure!(advise(at.wrapping_add(1), 1, libc::MADV_DONTNEED) == Err(Errno::EINVAL), "at an odd address");
    ensure!(map_at(0, 0, RW, PRIVATE) == Err(Errno::EINVAL), "no bytes");
    ensure!(map_at(0, PAGE, RW, MAP_ANONYMOUS) == Err(Errno::EINVAL), "neither shared nor private");
    Ok(())
}
