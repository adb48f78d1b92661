//! System V interprocess communication: shared memory, semaphores and message queues (man 7 sysvipc).
//!
//! Each kind has a [`Registry`] of objects by id and key. They outlive the processes that made them, until they are removed or
//! the run ends. Everybody is root: modes are kept and told, and forbid nothing.

pub mod messages;
mod registry;
pub mod semaphores;
pub mod shared_memory;

pub use registry::{PRIVATE, Registry};

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// `struct ipc64_perm`.
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct Permissions {
    pub key: i32,
    pub uid: u32,
    pub gid: u32,
    pub creator_uid: u32,
    pub creator_gid: u32,
    pub mode: u32,
    pub sequence: u16,
    padding: [u16; 3],
    unused: [u64; 2],
}

const MODE: u32 = 0o777;

/// IPC_NOWAIT (`linux/ipc.h`).
pub const NO_WAIT: u32 = 0o4000;

impl Permissions {
    fn new(key: i32, flags: u32) -> Self {
        Self { key, mode: flags & MODE, ..Self::default() }
    }

    /// IPC_SET: what a program may change.
    fn change(&mut self, wanted: &Self) {
        (self.uid, self.gid) = (wanted.uid, wanted.gid);
        self.mode = self.mode & !MODE | wanted.mode & MODE;
    }
}

/// The time in seconds since 1970.
fn seconds() -> i64 {
    (crate::clock::realtime_ns() / 1_000_000_000) as i64
}

/// Removes everything, at the end of a run.
pub fn forget_all() {
    shared_memory::forget_all();
    semaphores::forget_all();
    messages::forget_all();
}
