//! Devices that are nothing but a rule: `null`, `zero`, `full` (man 4 null, full).

use crate::errno::Errno;
use crate::fs::{File, Metadata, Request, Seeking, UserBuffer};
use crate::task::Current;
use alloc::sync::Arc;
use mm::{Object, PAGE};

/// Bytes between two looks at whether the thread should do something else.
const STRETCH: usize = 16 * PAGE;

/// Fills the buffer with zeroes, in stretches: it may be large.
fn read_zeroes(current: &Current, to: &mut UserBuffer) -> Result<usize, Errno> {
    let mut done = 0;
    loop {
        let count = to.fill_zeroes(STRETCH)?;
        done += count;
        if count < STRETCH || to.remaining() == 0 || !super::may_go_on(current) {
            return Ok(done);
        }
    }
}

/// Swallows all, has nothing.
pub struct Null(pub Metadata);

impl File for Null {
    fn metadata(&self) -> Metadata {
        self.0
    }

    fn seeking(&self) -> Seeking {
        Seeking::Pointless
    }

    fn read(&self, _: &Request<'_>, _: &mut UserBuffer) -> Result<usize, Errno> {
        Ok(0)
    }

    fn write(&self, _: &Request<'_>, from: &mut UserBuffer) -> Result<usize, Errno> {
        Ok(from.skip(from.remaining()))
    }
}

/// Swallows all, has zeroes without end.
pub struct Zero(pub Metadata);

impl File for Zero {
    fn metadata(&self) -> Metadata {
        self.0
    }

    fn seeking(&self) -> Seeking {
        Seeking::Pointless
    }

    fn read(&self, request: &Request<'_>, to: &mut UserBuffer) -> Result<usize, Errno> {
        read_zeroes(request.current, to)
    }

    fn write(&self, _: &Request<'_>, from: &mut UserBuffer) -> Result<usize, Errno> {
        Ok(from.skip(from.remaining()))
    }

    /// Each mapping is memory of its own (man 4 zero).
    fn object(&self) -> Option<Arc<Object>> {
        Some(Arc::new(Object::anonymous("/dev/zero".into(), u64::MAX)))
    }
}

/// Has zeroes without end, and never any room.
pub struct Full(pub Metadata);

impl File for Full {
    fn metadata(&self) -> Metadata {
        self.0
    }

    fn seeking(&self) -> Seeking {
        Seeking::Pointless
    }

    fn read(&self, request: &Request<'_>, to: &mut UserBuffer) -> Result<usize, Errno> {
        read_zeroes(request.current, to)
    }

    fn write(&self, _: &Request<'_>, _: &mut UserBuffer) -> Result<usize, Errno> {
        Err(Errno::ENOSPC)
    }
}
