//! System calls of System V interprocess communication (man 7 sysvipc).

use super::time::TimeSpec;
use crate::errno::Errno;
use crate::ipc::messages::{self, Message, Wanted, flags as message_flags};
use crate::ipc::semaphores::{self, Operation};
use crate::ipc::shared_memory::{self, Attachment};
use crate::task::Current;
use crate::timers::Deadline;
use crate::user;
use alloc::vec;
use alloc::vec::Vec;
use mm::{MapError, PAGE, Place, Prot, VirtAddr};

/// Commands that all kinds have (`linux/ipc.h`).
const RMID: u32 = 0;
const SET: u32 = 1;
const STAT: u32 = 2;
const INFO: u32 = 3;

pub fn shmget(current: &Current, key: i32, size: u64, flags: u32) -> Result<u64, Errno> {
    const HUGE: u32 = 0o4000;
    if flags & HUGE != 0 {
        // There is no pool of huge pages.
        return Err(Errno::ENOMEM);
    }
    shared_memory::get(key, size, flags, current.task.process.id).map(|id| id as u64)
}

pub fn shmat(current: &Current, id: i32, address: u64, flags: u32) -> Result<u64, Errno> {
    const READ_ONLY: u32 = 0o10_000;
    const ROUND: u32 = 0o20_000;
    const REMAP: u32 = 0o40_000;
    const EXECUTE: u32 = 0o100_000;
    let rounded = if flags & ROUND != 0 { address - address % PAGE as u64 } else { address };
    let at = VirtAddr::try_new(rounded).map_err(|_| Errno::EINVAL)?;
    if !at.is_aligned(PAGE as u64) || rounded == 0 && flags & REMAP != 0 {
        return Err(Errno::EINVAL);
    }
    let place = match rounded {
        0 => Place::Anywhere,
        _ if flags & REMAP != 0 => Place::Fixed(at),
        _ => Place::FixedNoReplace(at),
    };
    let mut prot = Prot::READ;
    prot.set(Prot::WRITE, flags & READ_ONLY == 0);
    prot.set(Prot::EXEC, flags & EXECUTE != 0);
    let segment = shared_memory::segment(id)?;
    let attached = segment.attach(&current.space(), &Attachment { place, prot }, current.task.process.id);
    let start = attached.map_err(|error| match error {
        MapError::OutOfMemory => Errno::ENOMEM,
        MapError::NotMapped => Errno::EIDRM,
        _ => Errno::EINVAL,
    })?;
    Ok(start.as_u64())
}

pub fn shmdt(current: &Current, address: u64) -> Result<u64, Errno> {
    let at = VirtAddr::try_new(address).ok().filter(|at| at.is_aligned(PAGE as u64));
    shared_memory::detach(&current.space(), at.ok_or(Errno::EINVAL)?, current.task.process.id)?;
    Ok(0)
}

pub fn shmctl(_: &Current, id: i32, command: u32, to: u64) -> Result<u64, Errno> {
    const LOCK: u32 = 11;
    const UNLOCK: u32 = 12;
    const STAT_AT: u32 = 13;
    const TOTALS: u32 = 14;
    const STAT_ANY_AT: u32 = 15;
    match command {
        RMID => shared_memory::remove(id)?,
        SET => shared_memory::segment(id)?.change(&user::read(to)?),
        STAT => user::write(to, &shared_memory::segment(id)?.status())?,
        STAT_AT | STAT_ANY_AT => {
            let (id, segment) = shared_memory::at(id)?;
            user::write(to, &segment.status())?;
            return Ok(id as u64);
        }
        LOCK | UNLOCK => shared_memory::segment(id)?.set_locked(command == LOCK),
        INFO => {
            // `struct shminfo64`: the limits.
            let most = shared_memory::MOST as u64;
            user::write(to, &[shared_memory::LARGEST, 1, most, most, shared_memory::LARGEST, 0, 0, 0, 0])?;
            return Ok(shared_memory::totals().1 as u64);
        }
        TOTALS => {
            // `struct shm_info`; nothing is ever swapped out.
            let (count, highest, pages, resident) = shared_memory::totals();
            user::write(to, &[count as u64, pages, resident, 0, 0, 0])?;
            return Ok(highest as u64);
        }
        _ => return Err(Errno::EINVAL),
    }
    Ok(0)
}

pub fn semget(_: &Current, key: i32, count: i32, flags: u32) -> Result<u64, Errno> {
    semaphores::get(key, count, flags).map(|id| id as u64)
}

pub fn semop(current: &Current, id: i32, operations: u64, count: u32) -> Result<u64, Errno> {
    semtimedop(current, id, operations, count, 0)
}

pub fn semtimedop(
    current: &Current,
    id: i32,
    operations: u64,
    count: u32,
    timeout: u64,
) -> Result<u64, Errno> {
    let count = count as usize;
    if count == 0 || id < 0 {
        return Err(Errno::EINVAL);
    }
    if count > semaphores::MOST_OPERATIONS {
        return Err(Errno::E2BIG);
    }
    let timeout = TimeSpec::read_if_given(timeout)?.map(TimeSpec::to_deadline).transpose()?;
    let operations: Vec<Operation> = user::read_array(operations, count)?;
    semaphores::set(id)?.operate(current, &operations, timeout.map(Deadline::At))?;
    Ok(0)
}

pub fn semctl(current: &Current, id: i32, index: i32, command: u32, argument: u64) -> Result<u64, Errno> {
    const GET_PROCESS: u32 = 11;
    const GET_VALUE: u32 = 12;
    const GET_ALL: u32 = 13;
    const GET_WAIT_TO_RISE: u32 = 14;
    const GET_WAIT_FOR_ZERO: u32 = 15;
    const SET_VALUE: u32 = 16;
    const SET_ALL: u32 = 17;
    const STAT_AT: u32 = 18;
    const TOTALS: u32 = 19;
    const STAT_ANY_AT: u32 = 20;
    let process = current.task.process.id;
    let one = || {
        let index = usize::try_from(index).map_err(|_| Errno::EINVAL)?;
        semaphores::set(id)?.semaphore(index)
    };
    match command {
        RMID => semaphores::remove(id)?,
        SET => semaphores::set(id)?.change(&user::read(argument)?),
        STAT => user::write(argument, &semaphores::set(id)?.status())?,
        STAT_AT | STAT_ANY_AT => {
            let (id, set) = semaphores::at(id)?;
            user::write(argument, &set.status())?;
            return Ok(id as u64);
        }
        GET_PROCESS => return Ok(one()?.1.into()),
        GET_VALUE => return Ok(one()?.0 as u64),
        GET_WAIT_TO_RISE => return Ok(one()?.2.into()),
        GET_WAIT_FOR_ZERO => return Ok(one()?.3.into()),
        GET_ALL => {
            let values = semaphores::set(id)?.values();
            for (at, value) in values.iter().enumerate() {
                user::write(argument.wrapping_add(2 * at as u64), value)?;
            }
        }
        SET_VALUE => {
            let index = usize::try_from(index).map_err(|_| Errno::EINVAL)?;
            semaphores::set(id)?.set_values(index, &[argument as i32], process)?;
        }
        SET_ALL => {
            let set = semaphores::set(id)?;
            let values: Vec<u16> = user::read_array(argument, set.status().count as usize)?;
            let values: Vec<i32> = values.into_iter().map(i32::from).collect();
            set.set_values(0, &values, process)?;
        }
        INFO | TOTALS => {
            // `struct seminfo`; with SEM_INFO, the numbers of sets and semaphores stand in for two of the limits.
            let (sets, all, highest) = semaphores::totals();
            let (of_set, most) = (semaphores::MOST_OF_A_SET as i32, semaphores::MOST as i32);
            let system = most.saturating_mul(of_set);
            let operations = semaphores::MOST_OPERATIONS as i32;
            let (usage, undo) = if command == TOTALS { (sets as i32, all as i32) } else { (20, 32_767) };
            let limits = [system, most, system, system, of_set, operations, operations, usage, 32_767, undo];
            user::write(argument, &limits)?;
            return Ok(highest as u64);
        }
        _ => return Err(Errno::EINVAL),
    }
    Ok(0)
}

pub fn msgget(_: &Current, key: i32, flags: u32) -> Result<u64, Errno> {
    messages::get(key, flags).map(|id| id as u64)
}

pub fn msgsnd(current: &Current, id: i32, from: u64, length: usize, flags: u32) -> Result<u64, Errno> {
    let kind: i64 = user::read(from)?;
    if length > messages::LONGEST || kind < 1 || id < 0 {
        return Err(Errno::EINVAL);
    }
    if mm::frames::is_low() {
        return Err(Errno::ENOMEM);
    }
    let mut text = vec![0; length];
    user::read_bytes(from.wrapping_add(8), &mut text)?;
    let may_wait = flags & message_flags::NO_WAIT == 0;
    messages::queue(id)?.send(current, Message { kind, text }, may_wait)?;
    Ok(0)
}

pub fn msgrcv(
    current: &Current,
    id: i32,
    to: u64,
    length: usize,
    kind: i64,
    flags: u32,
) -> Result<u64, Errno> {
    if length > i64::MAX as usize || id < 0 {
        return Err(Errno::EINVAL);
    }
    let has = |flag: u32| flags & flag != 0;
    let (cut, may_wait) = (has(message_flags::NO_ERROR), !has(message_flags::NO_WAIT));
    let queue = messages::queue(id)?;
    let message = if has(message_flags::COPY) {
        if has(message_flags::EXCEPT) || may_wait {
            return Err(Errno::EINVAL);
        }
        queue.copy(usize::try_from(kind).map_err(|_| Errno::ENOMSG)?, length, cut)?
    } else {
        let wanted = match kind {
            0 => Wanted::First,
            1.. if has(message_flags::EXCEPT) => Wanted::NotOfKind(kind),
            1.. => Wanted::OfKind(kind),
            _ => Wanted::Lowest(kind.checked_neg().unwrap_or(i64::MAX)),
        };
        queue.receive(current, wanted, length, cut, may_wait)?
    };
    user::write(to, &message.kind)?;
    user::write_bytes(to.wrapping_add(8), &message.text)?;
    Ok(message.text.len() as u64)
}

pub fn msgctl(_: &Current, id: i32, command: u32, to: u64) -> Result<u64, Errno> {
    const STAT_AT: u32 = 11;
    const TOTALS: u32 = 12;
    const STAT_ANY_AT: u32 = 13;
    match command {
        RMID => messages::remove(id)?,
        SET => messages::queue(id)?.change(&user::read(to)?),
        STAT => user::write(to, &messages::queue(id)?.status())?,
        STAT_AT | STAT_ANY_AT => {
            let (id, queue) = messages::at(id)?;
            user::write(to, &queue.status())?;
            return Ok(id as u64);
        }
        INFO | TOTALS => {
            // `struct msginfo`; with MSG_INFO, what there is stands in for three of the limits.
            let (count, all, bytes, highest) = messages::totals();
            let most = messages::MOST as i32;
            let capacity = messages::CAPACITY as i32;
            let (pool, map, headers) = match command {
                TOTALS => (count as i32, all as i32, bytes as i32),
                _ => (most * (capacity / 1024), capacity, capacity),
            };
            // The last field is half as wide.
            let info = [pool, map, messages::LONGEST as i32, capacity, most, 16, headers, 0xffff];
            user::write(to, &info)?;
            return Ok(highest as u64);
        }
        _ => return Err(Errno::EINVAL),
    }
    Ok(0)
}
