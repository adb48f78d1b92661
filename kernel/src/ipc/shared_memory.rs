//! Shared memory segments (man 2 shmget, shmat, shmctl).
//!
//! A segment's memory is an object of `mm`, and each mapping of it holds a share. So the number of attachments is the number
//! of shares, whatever forks, splits and unmaps there were; and a segment that has been removed is gone with its last mapping.

use super::{Permissions, Registry, seconds};
use crate::errno::Errno;
use crate::lock::{Lock, rank};
use alloc::format;
use alloc::sync::{Arc, Weak};
use mm::{MapError, MapRequest, Object, PAGE, Place, Prot, VirtAddr};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The most segments and bytes of one (`SHMMNI`, `SHMMAX` of man 2 shmget).
pub const MOST: usize = 4096;
pub const LARGEST: u64 = u64::MAX - (1 << 24);

/// In a segment's mode: it goes with its last attachment; its pages are to stay in memory.
const DESTROYED: u32 = 0o1000;
const LOCKED: u32 = 0o2000;

/// `struct shmid64_ds`.
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct Status {
    pub permissions: Permissions,
    pub size: u64,
    pub attached_at: i64,
    pub detached_at: i64,
    pub changed_at: i64,
    pub creator: u32,
    pub last_user: u32,
    pub attachments: u64,
    unused: [u64; 2],
}

pub struct Segment {
    state: Lock<State, { rank::IPC }>,
    memory: Weak<Object>,
}

struct State {
    status: Status,
    /// Kept until the segment is removed.
    memory: Option<Arc<Object>>,
}

static SEGMENTS: Registry<Segment> = Registry::new(MOST);

/// The segment with `key`, made by process `creator` if `flags` want it.
///
/// # Errors
/// `EINVAL` for a size that is no good or more than it has, and those of [`Registry::get_or_make`].
pub fn get(key: i32, size: u64, flags: u32, creator: u32) -> Result<i32, Errno> {
    prune();
    let fits = |segment: &Segment| {
        if size > segment.state.lock().status.size { Err(Errno::EINVAL) } else { Ok(()) }
    };
    let make = || {
        if size == 0 || size > LARGEST {
            return Err(Errno::EINVAL);
        }
        if size / PAGE as u64 > mm::frames::total() as u64 {
            return Err(Errno::ENOMEM);
        }
        let name = format!("/SYSV{key:08x} (deleted)");
        let memory = Arc::new(Object::anonymous(name.as_str().into(), size));
        let status = Status {
            permissions: Permissions::new(key, flags),
            size,
            changed_at: seconds(),
            creator,
            ..Status::default()
        };
        let weak = Arc::downgrade(&memory);
        Ok(Segment { state: Lock::new(State { status, memory: Some(memory) }), memory: weak })
    };
    SEGMENTS.get_or_make(key, flags, fits, make)
}

pub fn segment(id: i32) -> Result<Arc<Segment>, Errno> {
    prune();
    SEGMENTS.get(id)
}

/// The segment at a place of the table, and its id.
pub fn at(place: i32) -> Result<(i32, Arc<Segment>), Errno> {
    prune();
    SEGMENTS.at(place).ok_or(Errno::EINVAL)
}

/// How many there are, the highest place, and the pages of all: as they are to be, and those that are there.
pub fn totals() -> (usize, usize, u64, u64) {
    prune();
    let (count, highest) = SEGMENTS.count();
    let memory = SEGMENTS.all();
    let objects = memory.iter().filter_map(|segment| segment.memory.upgrade());
    let (pages, resident) = objects.fold((0, 0), |(pages, resident), object| {
        (pages + object.pages(), resident + object.resident() as u64)
    });
    (count, highest, pages, resident)
}

/// Removes a segment: from now on it has no key, and goes with its last attachment.
pub fn remove(id: i32) -> Result<(), Errno> {
    let segment = segment(id)?;
    SEGMENTS.hide(id);
    let memory = {
        let mut state = segment.state.lock();
        state.status.permissions.mode |= DESTROYED;
        state.status.permissions.key = super::PRIVATE;
        state.memory.take()
    };
    drop(memory);
    prune();
    Ok(())
}

/// Forgets those that are removed and not attached any more.
fn prune() {
    SEGMENTS.retain(|_, segment| segment.memory.strong_count() > 0);
}

pub(super) fn forget_all() {
    SEGMENTS.retain(|_, _| false);
}

/// How a segment is attached.
pub struct Attachment {
    pub place: Place,
    pub prot: Prot,
}

impl Segment {
    pub fn status(&self) -> Status {
        let state = self.state.lock();
        let own = usize::from(state.memory.is_some());
        let attachments = self.memory.strong_count().saturating_sub(own) as u64;
        Status { attachments, ..state.status }
    }

    pub fn change(&self, wanted: &Status) {
        let mut state = self.state.lock();
        state.status.permissions.change(&wanted.permissions);
        state.status.changed_at = seconds();
    }

    pub fn set_locked(&self, locked: bool) {
        let mode = &mut self.state.lock().status.permissions.mode;
        *mode = if locked { *mode | LOCKED } else { *mode & !LOCKED };
    }

    /// Maps it for process `user`.
    ///
    /// # Errors
    /// As [`mm::AddressSpace::map`]; `NotMapped` when the segment is gone.
    pub fn attach(
        &self,
        space: &mm::AddressSpace,
        how: &Attachment,
        user: u32,
    ) -> Result<VirtAddr, MapError> {
        let memory = self.memory.upgrade().ok_or(MapError::NotMapped)?;
        let size = self.state.lock().status.size;
        let request = MapRequest { shared: true, ..MapRequest::object(how.place, size, how.prot, memory, 0) };
        let start = space.map(request)?;
        let status = &mut self.state.lock().status;
        (status.attached_at, status.last_user) = (seconds(), user);
        Ok(start)
    }
}

/// Unmaps the segment that process `user` has attached at `start`.
///
/// # Errors
/// `EINVAL` when none is.
pub fn detach(space: &mm::AddressSpace, start: VirtAddr, user: u32) -> Result<(), Errno> {
    let areas = space.areas()?;
    let of_segment = |area: &&mm::AreaInfo| {
        let begin = area.object.as_ref().map(|(_, offset)| area.start.as_u64().checked_sub(*offset));
        begin == Some(Some(start.as_u64()))
    };
    let segments = SEGMENTS.all();
    let find = |object: &Arc<Object>| {
        segments.iter().find(|segment| core::ptr::eq(segment.memory.as_ptr(), Arc::as_ptr(object)))
    };
    let mut found = None;
    for area in areas.iter().filter(of_segment) {
        let Some((object, _)) = &area.object else { continue };
        let Some(segment) = find(object) else { continue };
        if found.is_some_and(|found: &Arc<Segment>| !Arc::ptr_eq(found, segment)) {
            continue;
        }
        space.unmap(area.start, area.end - area.start)?;
        found = Some(segment);
    }
    let segment = found.ok_or(Errno::EINVAL)?;
    {
        let status = &mut segment.state.lock().status;
        (status.detached_at, status.last_user) = (seconds(), user);
    }
    drop(areas);
    prune();
    Ok(())
}
