//! The words in which the kernel speaks with an address space.

use super::area::{Area, Source};
use crate::VirtAddr;
use crate::object::Object;
use crate::{OutOfMemory, PAGE};
use alloc::sync::Arc;
use core::fmt;

bitflags::bitflags! {
    /// What a program may do with a page. The bits are those of `PROT_*` in Linux's `mman-common.h`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
    pub struct Prot: u32 {
        const READ = 1;
        const WRITE = 2;
        const EXEC = 4;
    }
}

impl Prot {
    pub const RW: Self = Self::READ.union(Self::WRITE);
}

/// How a page was touched. A read is neither of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Access {
    pub write: bool,
    pub execute: bool,
}

impl Access {
    pub const READ: Self = Self { write: false, execute: false };
    pub const WRITE: Self = Self { write: true, execute: false };
    pub const EXECUTE: Self = Self { write: false, execute: true };

    /// From the error code of a page fault (Intel SDM vol. 3, 4.7).
    pub const fn from_error_code(code: u64) -> Self {
        Self { write: code & 1 << 1 != 0, execute: code & 1 << 4 != 0 }
    }
}

/// Where a mapping goes. Addresses other than hints must be those of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Wherever there is room.
    Anywhere,
    /// There if it is free, else wherever there is room.
    Hint(VirtAddr),
    /// There, instead of what is there now.
    Fixed(VirtAddr),
    /// There if it is free, else [`MapError::Exists`].
    FixedNoReplace(VirtAddr),
}

#[derive(Clone, Debug)]
pub enum Backing {
    /// Zeroes.
    Anonymous,
    /// The object's bytes from this offset on, which is a multiple of the page size.
    Object(Arc<Object>, u64),
}

/// A mapping to be made, as for `mmap`.
#[derive(Clone, Debug)]
pub struct MapRequest {
    pub place: Place,
    /// Rounded up to whole pages.
    pub bytes: u64,
    pub prot: Prot,
    pub backing: Backing,
    /// Writes go to the memory behind, for all who map it; else to a copy of this space's own.
    pub shared: bool,
    /// Whether [`AddressSpace::protect`](super::AddressSpace::protect) may add [`Prot::WRITE`]: false for a shared mapping of
    /// a file that was opened for reading.
    pub may_write: bool,
    /// The mapping grows down when it is touched below, up to this many bytes in all. For stacks.
    pub grows_down: Option<u64>,
    /// What `/proc/self/maps` calls anonymous memory: `[stack]`, or nothing.
    pub label: &'static str,
}

impl MapRequest {
    /// Private memory of zeroes that can be read and written.
    pub fn anonymous(place: Place, bytes: u64) -> Self {
        Self {
            place,
            bytes,
            prot: Prot::RW,
            backing: Backing::Anonymous,
            shared: false,
            may_write: true,
            grows_down: None,
            label: "",
        }
    }

    /// A private mapping of an object.
    pub fn object(place: Place, bytes: u64, prot: Prot, object: Arc<Object>, offset: u64) -> Self {
        Self { prot, backing: Backing::Object(object, offset), ..Self::anonymous(place, bytes) }
    }
}

/// Why a mapping cannot be made or changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapError {
    /// ENOMEM: no frames, no free range, or too many areas.
    OutOfMemory,
    /// EINVAL: a misaligned address or offset, no length, or a range beyond what programs can map.
    Invalid,
    /// EEXIST: something is mapped where nothing should be.
    Exists,
    /// ENOMEM or EFAULT: nothing is mapped where something should be.
    NotMapped,
    /// EPERM: an address too low to be mapped.
    TooLow,
    /// EACCES: an access that the mapping can never have.
    Denied,
}

impl From<OutOfMemory> for MapError {
    fn from(_: OutOfMemory) -> Self {
        Self::OutOfMemory
    }
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OutOfMemory => "out of memory",
            Self::Invalid => "not a valid range",
            Self::Exists => "the range is in use",
            Self::NotMapped => "nothing is mapped there",
            Self::TooLow => "the address is too low",
            Self::Denied => "the mapping cannot have that access",
        })
    }
}

impl core::error::Error for MapError {}

/// What tells one futex from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FutexKey {
    Private { space: u64, address: VirtAddr },
    Shared { object: u64, offset: u64 },
}

/// One area, as `/proc/self/maps` shows it.
#[derive(Clone, Debug)]
pub struct AreaInfo {
    pub start: VirtAddr,
    /// The first address beyond.
    pub end: VirtAddr,
    pub prot: Prot,
    pub shared: bool,
    /// The object behind, and the offset of the first page in bytes.
    pub object: Option<(Arc<Object>, u64)>,
    pub label: &'static str,
}

impl AreaInfo {
    /// The object's name or the label.
    pub fn name(&self) -> &str {
        self.object.as_ref().map_or(self.label, |(object, _)| object.name())
    }
}

impl From<&Area> for AreaInfo {
    fn from(area: &Area) -> Self {
        let object = match &area.source {
            Source::Anonymous => None,
            Source::Object { object, first } => Some((object.clone(), first * PAGE as u64)),
        };
        Self {
            start: area.pages.start.start(),
            end: area.pages.end.start(),
            prot: area.prot,
            shared: area.shared,
            object,
            label: area.label,
        }
    }
}
