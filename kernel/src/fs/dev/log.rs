//! `/dev/kmsg`: what is written becomes a line on the console (`Documentation/ABI/testing/dev-kmsg`). Nothing can be read:
//! the kernel keeps no log.

use crate::console;
use crate::errno::Errno;
use crate::fs::{File, Metadata, Readiness, Request, UserBuffer};
use alloc::vec;

/// The longest line in bytes.
const LONGEST: usize = 976;

pub struct Log(pub Metadata);

impl File for Log {
    fn metadata(&self) -> Metadata {
        self.0
    }

    fn read(&self, _: &Request<'_>, _: &mut UserBuffer) -> Result<usize, Errno> {
        Err(Errno::EAGAIN)
    }

    /// # Errors
    /// `EINVAL` for a line of more than 976 bytes.
    fn write(&self, _: &Request<'_>, from: &mut UserBuffer) -> Result<usize, Errno> {
        if from.remaining() > LONGEST {
            return Err(Errno::EINVAL);
        }
        let mut line = vec![0; from.remaining()];
        let count = from.drain(&mut line)?;
        line.truncate(count);
        if !line.ends_with(b"\n") {
            line.push(b'\n');
        }
        console::write(&line);
        Ok(count)
    }

    fn readiness(&self) -> Readiness {
        Readiness::WRITABLE
    }
}
