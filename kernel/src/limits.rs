//! Resource limits of processes (man 2 getrlimit).
//!
//! Inherited by children, kept by exec. Those of processor time, address space, data and stack are held to; the others are only
//! kept and told: programs size their tables by them.

use crate::errno::Errno;
use crate::fs::MAX_DESCRIPTORS;
use crate::task::MAX_THREADS;
use linux_raw_sys::general as linux;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// `struct rlimit64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct Limit {
    pub soft: u64,
    pub hard: u64,
}

impl Limit {
    /// RLIM_INFINITY.
    pub const UNLIMITED: u64 = u64::MAX;

    const fn of(soft: u64, hard: u64) -> Self {
        Self { soft, hard }
    }
}

/// All limits of a process.
#[derive(Clone)]
pub struct Limits([Limit; linux::RLIM_NLIMITS as usize]);

impl Limits {
    /// The first process's: Linux's defaults where they have a meaning here.
    pub fn new() -> Self {
        const STACK: u64 = 8 << 20;
        const LOCKED: u64 = 8 << 20;
        let mut limits = [Limit::of(Limit::UNLIMITED, Limit::UNLIMITED); linux::RLIM_NLIMITS as usize];
        let mut set = |resource: u32, soft, hard| limits[resource as usize] = Limit::of(soft, hard);
        set(linux::RLIMIT_STACK, STACK, Limit::UNLIMITED);
        set(linux::RLIMIT_CORE, 0, Limit::UNLIMITED);
        set(linux::RLIMIT_NPROC, MAX_THREADS as u64, MAX_THREADS as u64);
        set(linux::RLIMIT_SIGPENDING, MAX_THREADS as u64, MAX_THREADS as u64);
        set(linux::RLIMIT_NOFILE, MAX_DESCRIPTORS as u64, MAX_DESCRIPTORS as u64);
        set(linux::RLIMIT_MEMLOCK, LOCKED, LOCKED);
        set(linux::RLIMIT_NICE, 0, 0);
        set(linux::RLIMIT_RTPRIO, 0, 0);
        Self(limits)
    }

    /// # Errors
    /// `EINVAL` for an unknown resource.
    pub fn get(&self, resource: u32) -> Result<Limit, Errno> {
        self.0.get(resource as usize).copied().ok_or(Errno::EINVAL)
    }

    /// Sets a limit. Everybody is root, so that hard limits can be raised.
    ///
    /// # Errors
    /// `EINVAL` for an unknown resource or a soft limit above the hard one; `EPERM` for more descriptors than there can be.
    pub fn set(&mut self, resource: u32, limit: Limit) -> Result<(), Errno> {
        let present = self.0.get_mut(resource as usize).ok_or(Errno::EINVAL)?;
        if limit.soft > limit.hard {
            return Err(Errno::EINVAL);
        }
        if resource == linux::RLIMIT_NOFILE && limit.hard > MAX_DESCRIPTORS as u64 {
            return Err(Errno::EPERM);
        }
        *present = limit;
        Ok(())
    }
}
