//! System calls that make, end and wait for processes and threads.

use crate::errno::Errno;
use crate::task::{self, CloneRequest, Current, ExitStatus, WaitFor, WaitOptions};
use crate::user;
use core::mem::size_of;
use core::sync::atomic::Ordering::Relaxed;
use linux_raw_sys::general::*;
use zerocopy::{FromBytes, Immutable, IntoBytes};

pub fn exit(current: &Current, status: i32) -> Result<u64, Errno> {
    task::exit_thread(current, status as u8);
    Ok(0)
}

pub fn exit_group(current: &Current, status: i32) -> Result<u64, Errno> {
    task::exit_group(&current.task.process, ExitStatus::Exited(status as u8));
    Ok(0)
}

pub fn fork(current: &Current) -> Result<u64, Errno> {
    start(current, CloneRequest { exit_signal: SIGCHLD, ..CloneRequest::default() })
}

pub fn vfork(current: &Current) -> Result<u64, Errno> {
    let flags = u64::from(CLONE_VM | CLONE_VFORK);
    start(current, CloneRequest { flags, exit_signal: SIGCHLD, ..CloneRequest::default() })
}

pub fn clone(
    current: &Current,
    flags: u64,
    stack: u64,
    parent_tid: u64,
    child_tid: u64,
    tls: u64,
) -> Result<u64, Errno> {
    let flags = u64::from(flags as u32);
    start(
        current,
        CloneRequest {
            flags: flags & !u64::from(CSIGNAL),
            exit_signal: flags as u32 & CSIGNAL,
            stack,
            parent_tid,
            child_tid,
            tls,
        },
    )
}

/// `struct clone_args` (man 2 clone3).
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

pub fn clone3(current: &Current, args: u64, size: usize) -> Result<u64, Errno> {
    if size < CLONE_ARGS_SIZE_VER0 as usize {
        return Err(Errno::EINVAL);
    }
    if size > 4096 {
        return Err(Errno::E2BIG);
    }
    let mut bytes = [0; size_of::<CloneArgs>()];
    let known = size.min(bytes.len());
    user::read_bytes(args, &mut bytes[..known])?;
    let rest = user::read_array::<u8>(args + known as u64, size - known)?;
    if rest.iter().any(|byte| *byte != 0) {
        return Err(Errno::E2BIG);
    }
    let args: CloneArgs = zerocopy::transmute!(bytes);
    if args.set_tid_size != 0
        || args.flags & u64::from(CSIGNAL) != 0
        || (args.stack == 0) != (args.stack_size == 0)
    {
        return Err(Errno::EINVAL);
    }
    start(
        current,
        CloneRequest {
            flags: args.flags,
            exit_signal: u32::try_from(args.exit_signal).map_err(|_| Errno::EINVAL)?,
            stack: args.stack.checked_add(args.stack_size).ok_or(Errno::EINVAL)?,
            parent_tid: args.parent_tid,
            child_tid: args.child_tid,
            tls: args.tls,
        },
    )
}

fn start(current: &Current, request: CloneRequest) -> Result<u64, Errno> {
    task::clone(current, &request).map(u64::from)
}

/// `struct rusage` (man 2 getrusage). What is not kept is 0, as man 2 getrusage allows.
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct ResourceUsage {
    pub user_seconds: i64,
    pub user_microseconds: i64,
    pub system_seconds: i64,
    pub system_microseconds: i64,
    /// In KiB.
    pub max_resident: i64,
    unused_sizes: [i64; 3],
    pub minor_faults: i64,
    unused_counts: [i64; 7],
    pub voluntary_switches: i64,
    pub involuntary_switches: i64,
}

impl ResourceUsage {
    /// All time is booked as user time: Tine does not tell the two apart.
    pub fn of(usage: &task::Usage) -> Self {
        let micros = (usage.cpu_time / 1000) as i64;
        Self {
            user_seconds: micros / 1_000_000,
            user_microseconds: micros % 1_000_000,
            max_resident: (usage.peak_pages * mm::PAGE as u64 / 1024) as i64,
            minor_faults: usage.minor_faults as i64,
            voluntary_switches: usage.voluntary_switches as i64,
            involuntary_switches: usage.involuntary_switches as i64,
            ..Self::default()
        }
    }
}

/// The group whose number, negated, is the lowest that has a positive counterpart.
const LOWEST_GROUP: i32 = -i32::MAX;

pub fn wait4(current: &Current, which: i32, status: u64, options: u32, usage: u64) -> Result<u64, Errno> {
    if options & !(WNOHANG | WUNTRACED | WCONTINUED | __WALL | __WCLONE | __WNOTHREAD) != 0 {
        return Err(Errno::EINVAL);
    }
    let which = match which {
        i32::MIN => return Err(Errno::ESRCH),
        LOWEST_GROUP..=-2 => WaitFor::Group(which.unsigned_abs()),
        -1 => WaitFor::Any,
        0 => WaitFor::Group(current.task.process.group.load(Relaxed)),
        1.. => WaitFor::Process(which as u32),
    };
    let how = wait_options(options | WEXITED);
    let Some(report) = task::wait_for_child(current, which, how)? else { return Ok(0) };
    user::write_if_wanted(status, &report.outcome.to_wait_status())?;
    user::write_if_wanted(usage, &ResourceUsage::of(&report.usage))?;
    Ok(report.id.into())
}

/// What the options of `waitid` mean; WSTOPPED is WUNTRACED. All threads of a process wait for the same children, so
/// that __WNOTHREAD means nothing.
fn wait_options(options: u32) -> WaitOptions {
    const MEANINGS: [(u32, WaitOptions); 7] = [
        (WNOHANG, WaitOptions::NO_HANG),
        (WNOWAIT, WaitOptions::NO_WAIT),
        (WEXITED, WaitOptions::ENDED),
        (WSTOPPED, WaitOptions::STOPPED),
        (WCONTINUED, WaitOptions::CONTINUED),
        (__WCLONE, WaitOptions::CLONES),
        (__WALL, WaitOptions::ALL_KINDS),
    ];
    MEANINGS.iter().filter(|(bit, _)| options & bit != 0).map(|(_, meaning)| *meaning).collect()
}

/// The part of `siginfo_t` that waitid fills (man 2 waitid).
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct ChildInfo {
    signo: i32,
    errno: i32,
    code: i32,
    padding: i32,
    pid: u32,
    uid: u32,
    status: i32,
}

pub fn waitid(
    current: &Current,
    kind: u32,
    id: u32,
    info: u64,
    options: u32,
    usage: u64,
) -> Result<u64, Errno> {
    const KNOWN: u32 = WNOHANG | WNOWAIT | WEXITED | WSTOPPED | WCONTINUED | __WALL | __WCLONE | __WNOTHREAD;
    if options & !KNOWN != 0 || options & (WEXITED | WSTOPPED | WCONTINUED) == 0 {
        return Err(Errno::EINVAL);
    }
    let which = match kind {
        P_ALL => WaitFor::Any,
        P_PID if id != 0 => WaitFor::Process(id),
        P_PGID if id == 0 => WaitFor::Group(current.task.process.group.load(Relaxed)),
        P_PGID => WaitFor::Group(id),
        _ => return Err(Errno::EINVAL),
    };
    let report = task::wait_for_child(current, which, wait_options(options))?;
    let mut told = ChildInfo { signo: 0, errno: 0, code: 0, padding: 0, pid: 0, uid: 0, status: 0 };
    if let Some(report) = report {
        told.signo = SIGCHLD as i32;
        told.pid = report.id;
        (told.code, told.status) = report.outcome.to_signal_info();
        user::write_if_wanted(usage, &ResourceUsage::of(&report.usage))?;
    }
    user::write_if_wanted(info, &told)?;
    Ok(0)
}
