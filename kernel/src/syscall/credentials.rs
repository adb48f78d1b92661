//! System calls on user and group ids (man 7 credentials).
//!
//! The ids belong to the process: threads share them, as POSIX has it.

use crate::errno::Errno;
use crate::fs::{Credentials, Ids};
use crate::task::Current;
use crate::user;
use alloc::sync::Arc;

/// Leaves an id as it is.
const UNCHANGED: u32 = u32::MAX;
/// The most supplementary groups (`NGROUPS_MAX`).
const MOST_GROUPS: usize = 65_536;

/// Whether users or groups are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    User,
    Group,
}

fn own(current: &Current) -> Arc<Credentials> {
    current.task.process.fs.lock().credentials().clone()
}

fn ids(current: &Current, which: Which) -> Ids {
    let own = own(current);
    match which {
        Which::User => own.user,
        Which::Group => own.group,
    }
}

fn set_ids(current: &Current, which: Which, ids: Ids) {
    let mut own = Credentials::clone(&own(current));
    match which {
        Which::User => own.user = ids,
        Which::Group => own.group = ids,
    }
    current.task.process.fs.lock().set_credentials(own);
}

/// `getuid`, `getgid`.
pub fn real(current: &Current, which: Which) -> Result<u64, Errno> {
    Ok(ids(current, which).real.into())
}

/// `geteuid`, `getegid`.
pub fn effective(current: &Current, which: Which) -> Result<u64, Errno> {
    Ok(ids(current, which).effective.into())
}

/// `getresuid`, `getresgid`.
pub fn get_all(current: &Current, which: Which, to: [u64; 3]) -> Result<u64, Errno> {
    let ids = ids(current, which);
    for (to, id) in to.into_iter().zip([ids.real, ids.effective, ids.saved]) {
        user::write(to, &id)?;
    }
    Ok(0)
}

/// `setuid`, `setgid`.
pub fn set(current: &Current, which: Which, id: u32) -> Result<u64, Errno> {
    if id == UNCHANGED {
        return Err(Errno::EINVAL);
    }
    let old = ids(current, which);
    let new = if own(current).is_root() {
        Ids { real: id, effective: id, saved: id, file: id }
    } else if id == old.real || id == old.saved {
        Ids { effective: id, file: id, ..old }
    } else {
        return Err(Errno::EPERM);
    };
    set_ids(current, which, new);
    Ok(0)
}

/// `setreuid`, `setregid`.
pub fn set_two(current: &Current, which: Which, real: u32, effective: u32) -> Result<u64, Errno> {
    let old = ids(current, which);
    let is_root = own(current).is_root();
    let real_allowed = [UNCHANGED, old.real, old.effective].contains(&real);
    let effective_allowed = [UNCHANGED, old.real, old.effective, old.saved].contains(&effective);
    if !(is_root || real_allowed && effective_allowed) {
        return Err(Errno::EPERM);
    }
    let mut new = old;
    new.real = if real == UNCHANGED { old.real } else { real };
    new.effective = if effective == UNCHANGED { old.effective } else { effective };
    new.file = new.effective;
    if real != UNCHANGED || effective != UNCHANGED && effective != old.real {
        new.saved = new.effective;
    }
    set_ids(current, which, new);
    Ok(0)
}

/// `setresuid`, `setresgid`.
pub fn set_all(current: &Current, which: Which, wanted: [u32; 3]) -> Result<u64, Errno> {
    let old = ids(current, which);
    let present = [old.real, old.effective, old.saved];
    let allowed = |id: &u32| *id == UNCHANGED || present.contains(id);
    if !own(current).is_root() && !wanted.iter().all(allowed) {
        return Err(Errno::EPERM);
    }
    let value = |at: usize| if wanted[at] == UNCHANGED { present[at] } else { wanted[at] };
    let effective = value(1);
    set_ids(current, which, Ids { real: value(0), effective, saved: value(2), file: effective });
    Ok(0)
}

/// `setfsuid`, `setfsgid`: returns the id from before, whatever comes of it.
pub fn set_file(current: &Current, which: Which, id: u32) -> Result<u64, Errno> {
    let old = ids(current, which);
    let allowed = [old.real, old.effective, old.saved, old.file].contains(&id) || own(current).is_root();
    if allowed && id != UNCHANGED {
        set_ids(current, which, Ids { file: id, ..old });
    }
    Ok(old.file.into())
}

pub fn getgroups(current: &Current, count: i32, to: u64) -> Result<u64, Errno> {
    let count = usize::try_from(count).map_err(|_| Errno::EINVAL)?;
    let groups = own(current).groups.clone();
    if count != 0 {
        if count < groups.len() {
            return Err(Errno::EINVAL);
        }
        user::write_bytes(to, zerocopy::IntoBytes::as_bytes(&*groups))?;
    }
    Ok(groups.len() as u64)
}

pub fn setgroups(current: &Current, count: i32, from: u64) -> Result<u64, Errno> {
    if !own(current).is_root() {
        return Err(Errno::EPERM);
    }
    let count = usize::try_from(count).ok().filter(|count| *count <= MOST_GROUPS).ok_or(Errno::EINVAL)?;
    let groups: Arc<[u32]> = user::read_array::<u32>(from, count)?.into();
    let new = Credentials { groups, ..Credentials::clone(&own(current)) };
    current.task.process.fs.lock().set_credentials(new);
    Ok(0)
}
