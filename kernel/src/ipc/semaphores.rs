//! Sets of semaphores (man 2 semget, semop, semctl).
//!
//! Operations on a set are done all at once or not at all, under the set's lock. Who cannot go on sleeps until the set
//! changes, and tries again.

use super::{Permissions, Registry, seconds};
use crate::errno::Errno;
use crate::lock::{Lock, rank};
use crate::task::{Current, ProcessId};
use crate::timers::Deadline;
use crate::wait::{WaitQueue, Woken};
use alloc::sync::Arc;
use alloc::{collections::BTreeMap, vec, vec::Vec};
use core::sync::atomic::Ordering::SeqCst;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The most sets, semaphores of one, operations at once, and the highest value (man 2 semget, semop).
pub const MOST: usize = 32_000;
pub const MOST_OF_A_SET: usize = 32_000;
pub const MOST_OPERATIONS: usize = 500;
pub const HIGHEST: i32 = 32_767;

/// `struct semid64_ds`.
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct Status {
    pub permissions: Permissions,
    pub operated_at: i64,
    unused1: u64,
    pub changed_at: i64,
    unused2: u64,
    pub count: u64,
    unused3: [u64; 2],
}

/// `struct sembuf`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct Operation {
    pub semaphore: u16,
    pub change: i16,
    pub flags: u16,
}

const UNDO: u16 = 0x1000;
const NO_WAIT: u16 = super::NO_WAIT as u16;

#[derive(Clone, Copy, Default)]
struct Semaphore {
    value: i32,
    /// Who has changed it last.
    process: ProcessId,
    /// How many threads wait for it to rise, and to be 0.
    wait_to_rise: u32,
    wait_for_zero: u32,
}

pub struct Set {
    state: Lock<State, { rank::IPC }>,
    changed: WaitQueue,
}

struct State {
    status: Status,
    semaphores: Vec<Semaphore>,
    /// What is to be added when a process ends (SEM_UNDO).
    undo: BTreeMap<ProcessId, Vec<i32>>,
    is_removed: bool,
}

static SETS: Registry<Set> = Registry::new(MOST);

/// # Errors
/// `EINVAL` for a number of semaphores that is no good or more than there are, and those of [`Registry::get_or_make`].
pub fn get(key: i32, count: i32, flags: u32) -> Result<i32, Errno> {
    let count = usize::try_from(count).ok().filter(|count| *count <= MOST_OF_A_SET).ok_or(Errno::EINVAL)?;
    let fits = |set: &Set| {
        if count > set.state.lock().semaphores.len() { Err(Errno::EINVAL) } else { Ok(()) }
    };
    let make = || {
        if count == 0 {
            return Err(Errno::EINVAL);
        }
        let mut semaphores = Vec::new();
        semaphores.try_reserve_exact(count).map_err(|_| Errno::ENOMEM)?;
        semaphores.resize(count, Semaphore::default());
        let status = Status {
            permissions: Permissions::new(key, flags),
            changed_at: seconds(),
            count: count as u64,
            ..Status::default()
        };
        let state = State { status, semaphores, undo: BTreeMap::new(), is_removed: false };
        Ok(Set { state: Lock::new(state), changed: WaitQueue::new() })
    };
    SETS.get_or_make(key, flags, fits, make)
}

pub fn set(id: i32) -> Result<Arc<Set>, Errno> {
    SETS.get(id)
}

/// The set at a place of the table, and its id.
pub fn at(place: i32) -> Result<(i32, Arc<Set>), Errno> {
    SETS.at(place).ok_or(Errno::EINVAL)
}

/// How many sets and semaphores there are, and the highest place.
pub fn totals() -> (usize, usize, usize) {
    let (count, highest) = SETS.count();
    let semaphores = SETS.all().iter().map(|set| set.state.lock().semaphores.len()).sum();
    (count, semaphores, highest)
}

/// Removes a set. Those that wait are told (`EIDRM`).
pub fn remove(id: i32) -> Result<(), Errno> {
    let set = SETS.get(id)?;
    SETS.remove(id);
    set.state.lock().is_removed = true;
    set.changed.wake_all();
    Ok(())
}

pub(super) fn forget_all() {
    SETS.retain(|_, _| false);
}

/// Undoes what a process that ends has done with SEM_UNDO.
pub fn process_ends(process: ProcessId) {
    for set in SETS.all() {
        let mut state = set.state.lock();
        let Some(undo) = state.undo.remove(&process) else { continue };
        if state.undo.is_empty() {
            state.undo = BTreeMap::new();
        }
        for (semaphore, change) in state.semaphores.iter_mut().zip(undo) {
            if change != 0 {
                semaphore.value = semaphore.value.saturating_add(change).clamp(0, HIGHEST);
                semaphore.process = process;
            }
        }
        state.status.operated_at = seconds();
        drop(state);
        set.changed.wake_all();
    }
}

/// Why operations cannot be done now: the semaphore, and whether it is to become 0.
#[derive(Clone, Copy)]
struct Obstacle {
    semaphore: usize,
    zero: bool,
    may_wait: bool,
}

impl State {
    /// Does the operations, or none of them.
    fn operate(
        &mut self,
        operations: &[Operation],
        process: ProcessId,
    ) -> Result<Result<(), Obstacle>, Errno> {
        if self.is_removed {
            return Err(Errno::EIDRM);
        }
        let obstacle = self.try_all(operations);
        if !matches!(obstacle, Ok(Ok(()))) {
            return obstacle;
        }
        if operations.iter().any(|operation| operation.flags & UNDO != 0 && operation.change != 0) {
            let count = self.semaphores.len();
            let undo = self.undo.entry(process).or_insert_with(|| vec![0; count]);
            for operation in operations.iter().filter(|operation| operation.flags & UNDO != 0) {
                let undo = &mut undo[usize::from(operation.semaphore)];
                *undo = undo.saturating_sub(operation.change.into());
            }
        }
        for operation in operations {
            self.semaphores[usize::from(operation.semaphore)].process = process;
        }
        self.status.operated_at = seconds();
        obstacle
    }

    /// Changes the values; takes all back if one cannot be changed.
    fn try_all(&mut self, operations: &[Operation]) -> Result<Result<(), Obstacle>, Errno> {
        for (done, operation) in operations.iter().enumerate() {
            let index = usize::from(operation.semaphore);
            let value = &mut self.semaphores[index].value;
            let change = i32::from(operation.change);
            let outcome = match change {
                0 if *value != 0 => Some(Ok(true)),
                _ if *value + change < 0 => Some(Ok(false)),
                _ if *value + change > HIGHEST => Some(Err(Errno::ERANGE)),
                _ => None,
            };
            let Some(outcome) = outcome else {
                *value += change;
                continue;
            };
            for earlier in &operations[..done] {
                self.semaphores[usize::from(earlier.semaphore)].value -= i32::from(earlier.change);
            }
            let may_wait = operation.flags & NO_WAIT == 0;
            return outcome.map(|zero| Err(Obstacle { semaphore: index, zero, may_wait }));
        }
        Ok(Ok(()))
    }

    fn count_waiter(&mut self, obstacle: Obstacle, change: i32) {
        let semaphore = &mut self.semaphores[obstacle.semaphore];
        let counter = if obstacle.zero { &mut semaphore.wait_for_zero } else { &mut semaphore.wait_to_rise };
        *counter = counter.wrapping_add_signed(change);
    }
}

impl Set {
    /// Does the operations as soon as they can be done.
    ///
    /// # Errors
    /// `EFBIG` for a semaphore that is not there, `ERANGE` for a value that is too high, `EAGAIN` when it may not or no longer
    /// wait, `EINTR`, and `EIDRM` when the set is removed.
    pub fn operate(
        &self,
        current: &Current,
        operations: &[Operation],
        deadline: Option<Deadline>,
    ) -> Result<(), Errno> {
        let process = &current.task.process;
        if operations.iter().any(|operation| operation.flags & UNDO != 0) {
            process.undoes_semaphores.store(true, SeqCst);
        }
        let count = self.state.lock().semaphores.len();
        if operations.iter().any(|operation| usize::from(operation.semaphore) >= count) {
            return Err(Errno::EFBIG);
        }
        let mut counted = None;
        let attempt = || {
            let mut state = self.state.lock();
            if let Some(obstacle) = counted.take() {
                state.count_waiter(obstacle, -1);
            }
            match state.operate(operations, process.id) {
                Ok(Err(obstacle)) if obstacle.may_wait => {
                    state.count_waiter(obstacle, 1);
                    counted = Some(obstacle);
                    None
                }
                Ok(Err(_)) => Some(Err(Errno::EAGAIN)),
                Ok(Ok(())) => Some(Ok(())),
                Err(error) => Some(Err(error)),
            }
        };
        let outcome = {
            let _registration = self.changed.register(current);
            current.sleep_until_deadline(deadline, attempt)
        };
        if let Some(obstacle) = counted {
            self.state.lock().count_waiter(obstacle, -1);
        }
        match outcome {
            Ok(Ok(())) => {
                if operations.iter().any(|operation| operation.change != 0) {
                    self.changed.wake_all();
                }
                Ok(())
            }
            Ok(Err(error)) => Err(error),
            Err(Woken::ByDeadline) => Err(Errno::EAGAIN),
            Err(Woken::BySignal) => Err(Errno::EINTR),
        }
    }

    pub fn status(&self) -> Status {
        self.state.lock().status
    }

    pub fn change(&self, wanted: &Status) {
        let status = &mut self.state.lock().status;
        status.permissions.change(&wanted.permissions);
        status.changed_at = seconds();
    }

    /// All values.
    pub fn values(&self) -> Vec<u16> {
        self.state.lock().semaphores.iter().map(|semaphore| semaphore.value as u16).collect()
    }

    /// Sets the values from semaphore `first` on. Nothing is undone for them any more.
    ///
    /// # Errors
    /// `EINVAL` when there are not so many, `ERANGE` for a value that is too high.
    pub fn set_values(&self, first: usize, values: &[i32], process: ProcessId) -> Result<(), Errno> {
        if values.iter().any(|value| !(0..=HIGHEST).contains(value)) {
            return Err(Errno::ERANGE);
        }
        let mut state = self.state.lock();
        let range = first..first + values.len();
        let semaphores = state.semaphores.get_mut(range.clone()).ok_or(Errno::EINVAL)?;
        for (semaphore, value) in semaphores.iter_mut().zip(values) {
            (semaphore.value, semaphore.process) = (*value, process);
        }
        for undo in state.undo.values_mut() {
            undo[range.clone()].fill(0);
        }
        state.status.changed_at = seconds();
        drop(state);
        self.changed.wake_all();
        Ok(())
    }

    /// Of one semaphore: its value, who has changed it, and how many wait for it to rise and to be 0.
    ///
    /// # Errors
    /// `EINVAL` when it is not there.
    pub fn semaphore(&self, index: usize) -> Result<(i32, ProcessId, u32, u32), Errno> {
        let state = self.state.lock();
        let semaphore = state.semaphores.get(index).ok_or(Errno::EINVAL)?;
        Ok((semaphore.value, semaphore.process, semaphore.wait_to_rise, semaphore.wait_for_zero))
    }
}
