//! Timers, signals and processes as files (man 2 timerfd_create, signalfd, pidfd_open).

use super::description;
use crate::errno::Errno;
use crate::fs::{self, Description, ProcessFile, SignalFile, TimerFile};
use crate::signal::{self, SigInfo, SigSet, Signal};
use crate::syscall::time::Clock;
use crate::syscall::timers::TimerSpec;
use crate::task::{self, Current};
use crate::user;
use alloc::sync::Arc;
use formats::ThreadId;
use linux_raw_sys::general::*;

/// Gives a new description a number. `flags` has the bits of `open` that all these calls share.
fn hand_out(current: &Current, file: Arc<dyn fs::File>, mode: u32, flags: u32) -> Result<u64, Errno> {
    let description = Description::new(file, mode | flags & O_NONBLOCK)?;
    Ok(current.task.process.files().insert(description, 0, flags & O_CLOEXEC != 0)? as u64)
}

pub fn timerfd_create(current: &Current, clock: i32, flags: u32) -> Result<u64, Errno> {
    // The alarm clocks wake a machine that sleeps as a whole, which Tine does not.
    let clock = match u32::try_from(clock).map_err(|_| Errno::EINVAL)? {
        CLOCK_REALTIME | CLOCK_REALTIME_ALARM => Clock::Realtime,
        CLOCK_MONOTONIC | CLOCK_BOOTTIME | CLOCK_BOOTTIME_ALARM => Clock::Monotonic,
        _ => return Err(Errno::EINVAL),
    };
    if flags & !(O_CLOEXEC | O_NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    hand_out(current, TimerFile::new(clock), O_RDWR, flags)
}

pub fn timerfd_settime(
    current: &Current,
    descriptor: i32,
    flags: u32,
    new: u64,
    old: u64,
) -> Result<u64, Errno> {
    let setting = user::read::<TimerSpec>(new)?.setting()?;
    if flags & !(TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET) != 0 {
        return Err(Errno::EINVAL);
    }
    let description = description(current, descriptor)?;
    let timer = fs::downcast::<TimerFile>(&description).ok_or(Errno::EINVAL)?;
    let is_set = |flag| flags & flag != 0;
    let before = timer.set(setting, is_set(TFD_TIMER_ABSTIME), is_set(TFD_TIMER_CANCEL_ON_SET));
    user::write_if_wanted(old, &TimerSpec::of(before))?;
    Ok(0)
}

pub fn timerfd_gettime(current: &Current, descriptor: i32, to: u64) -> Result<u64, Errno> {
    let description = description(current, descriptor)?;
    let timer = fs::downcast::<TimerFile>(&description).ok_or(Errno::EINVAL)?;
    user::write(to, &TimerSpec::of(timer.get()))?;
    Ok(0)
}

pub fn signalfd(current: &Current, descriptor: i32, mask: u64, size: usize) -> Result<u64, Errno> {
    signalfd4(current, descriptor, mask, size, 0)
}

pub fn signalfd4(
    current: &Current,
    descriptor: i32,
    mask: u64,
    size: usize,
    flags: u32,
) -> Result<u64, Errno> {
    if size != size_of::<SigSet>() || flags & !(O_CLOEXEC | O_NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    let mask: SigSet = user::read(mask)?;
    if descriptor == -1 {
        return hand_out(current, Arc::new(SignalFile::new(mask)), O_RDWR, flags);
    }
    let description = description(current, descriptor)?;
    fs::downcast::<SignalFile>(&description).ok_or(Errno::EINVAL)?.set_mask(mask);
    Ok(descriptor as u64)
}

/// `PIDFD_NONBLOCK` is for waiting, which looks at `O_NONBLOCK`.
pub fn pidfd_open(current: &Current, id: i32, flags: u32) -> Result<u64, Errno> {
    if flags & !O_NONBLOCK != 0 {
        return Err(Errno::EINVAL);
    }
    let id = u32::try_from(id).ok().filter(|id| *id != 0).ok_or(Errno::EINVAL)?;
    let Some(process) = task::find_process(id) else {
        // A thread that is not the first of its process cannot be had.
        let is_thread = task::find_thread(ThreadId(id)).is_some();
        return Err(if is_thread { Errno::ENOENT } else { Errno::ESRCH });
    };
    hand_out(current, Arc::new(ProcessFile(process)), O_RDWR, flags | O_CLOEXEC)
}

pub fn pidfd_send_signal(
    current: &Current,
    descriptor: i32,
    signal: u32,
    info: u64,
    flags: u32,
) -> Result<u64, Errno> {
    if flags != 0 {
        return Err(Errno::EINVAL);
    }
    let description = description(current, descriptor)?;
    let process = &fs::downcast::<ProcessFile>(&description).ok_or(Errno::EBADF)?.0;
    if process.has_ended() && task::find_process(process.id).is_none() {
        return Err(Errno::ESRCH);
    }
    if signal == 0 {
        return Ok(0);
    }
    let signal = Signal::new(signal)?;
    let this = &current.task.process;
    let info = if info == 0 {
        SigInfo::from_process(signal, this.id)
    } else {
        let info: SigInfo = user::read(info)?;
        if info.head(0) != i32::from(signal.number()).to_ne_bytes() {
            return Err(Errno::EINVAL);
        }
        info.sent_by_program(signal, Arc::ptr_eq(this, process))?
    };
    signal::send_to_process(process, info)?;
    Ok(0)
}
