//! Robust futexes: locks whose owner died (man 2 set_robust_list).
//!
//! A program keeps a list of the locks that a thread holds, in its own memory. When the thread ends, each of them that is
//! still its own gets FUTEX_OWNER_DIED, and one waiter is woken. The list may be anything: it is followed for a bounded
//! number of steps, and ends at the first address that cannot be read.

use super::{pi, table};
use crate::errno::Errno;
use crate::task::{self, Current};
use crate::user;
use core::mem::size_of;
use core::sync::atomic::Ordering::Relaxed;
use formats::ThreadId;
use linux_raw_sys::general as linux;
use x86_64::VirtAddr;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// `struct robust_list_head`.
#[derive(FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Head {
    first: u64,
    /// From a list entry to its futex word.
    futex_offset: i64,
    /// A lock that is just being taken or given up; 0 for none.
    pending: u64,
}

/// The lowest bit of an entry marks a lock with priority inheritance.
const PRIORITY_INHERITANCE: u64 = 1;

/// Says where the list of the calling thread is.
pub fn set_robust_list(current: &Current, head: u64, size: usize) -> Result<u64, Errno> {
    if size != size_of::<Head>() {
        return Err(Errno::EINVAL);
    }
    current.task.futex.robust_list.store(head, Relaxed);
    Ok(0)
}

/// Tells where the list of a thread is; 0 stands for the caller.
pub fn get_robust_list(current: &Current, thread: u32, head: u64, size: u64) -> Result<u64, Errno> {
    let task = match thread {
        0 => current.task.clone(),
        id => task::find_thread(ThreadId(id)).ok_or(Errno::ESRCH)?,
    };
    user::write(size, &(size_of::<Head>() as u64))?;
    user::write(head, &task.futex.robust_list.load(Relaxed))?;
    Ok(0)
}

/// Gives up what the current thread holds. To be called when it ends, and when exec takes its memory away.
pub fn exit_robust_list(current: &Current) {
    let at = current.task.futex.robust_list.swap(0, Relaxed);
    if at != 0
        && let Ok(head) = user::read::<Head>(at)
    {
        // A list that leads nowhere ends here, as does everything else about it.
        let _ = give_up_all(current, at, &head);
    }
    pi::thread_exits(current);
}

fn give_up_all(current: &Current, list: u64, head: &Head) -> Result<(), Errno> {
    let futex_of = |entry: u64| (entry & !PRIORITY_INHERITANCE).wrapping_add_signed(head.futex_offset);
    let mut entry = head.first;
    for _ in 0..linux::ROBUST_LIST_LIMIT {
        if entry == list {
            break;
        }
        // Read before the lock is given up: another thread may then free it.
        let next = user::read(entry & !PRIORITY_INHERITANCE);
        if entry & !PRIORITY_INHERITANCE != head.pending & !PRIORITY_INHERITANCE {
            give_up(current, futex_of(entry), entry & PRIORITY_INHERITANCE != 0, false)?;
        }
        entry = next?;
    }
    if head.pending != 0 {
        give_up(current, futex_of(head.pending), head.pending & PRIORITY_INHERITANCE != 0, true)?;
    }
    Ok(())
}

/// Marks a lock as its dead owner's and wakes one that waits for it; if it has priority inheritance, [`pi::thread_exits`] will
/// see to who waits. A lock that is somebody else's is left alone.
fn give_up(current: &Current, address: u64, inherits: bool, pending: bool) -> Result<(), Errno> {
    if !address.is_multiple_of(size_of::<u32>() as u64) {
        return Err(Errno::EINVAL);
    }
    let at = VirtAddr::try_new(address).map_err(|_| Errno::EFAULT)?;
    let is_owner = |value: u32| value & linux::FUTEX_TID_MASK == current.task.id.0;
    let died = |value: u32| value & linux::FUTEX_WAITERS | linux::FUTEX_OWNER_DIED;
    let before = arch::copy::update_u32(at, |value| if is_owner(value) { died(value) } else { value })?;
    // Killed between giving the lock up and waking: nobody owns it, but one may still wait.
    let gave_up_without_waking = pending && before == 0;
    if inherits {
        return Ok(());
    }
    if is_owner(before) && before & linux::FUTEX_WAITERS != 0 || gave_up_without_waking {
        table::wake(super::shared_key(current, at)?, u32::MAX, 1);
    }
    Ok(())
}
