//! `/dev/results`: each line that a program writes becomes an event in the record of the run.

use crate::errno::Errno;
use crate::fs::{File, Metadata, Request, UserBuffer};
use crate::lock::{Lock, rank};
use crate::results;
use alloc::{string::String, vec::Vec};

/// The longest line in bytes.
const LONGEST_LINE: usize = 64 << 10;

/// One use of the device: lines of two programs do not mix, even when each is written in parts.
pub struct Results {
    metadata: Metadata,
    /// The beginning of a line whose end has not been written.
    line: Lock<Vec<u8>, { rank::FILE }>,
}

impl Results {
    pub fn new(metadata: Metadata) -> Self {
        Self { metadata, line: Lock::new(Vec::new()) }
    }
}

impl File for Results {
    fn metadata(&self) -> Metadata {
        self.metadata
    }

    /// # Errors
    /// `EFBIG` for a line of more than 64 KiB, `ENOMEM`.
    fn write(&self, request: &Request<'_>, from: &mut UserBuffer) -> Result<usize, Errno> {
        let mut line = self.line.lock();
        let room = LONGEST_LINE.saturating_sub(line.len());
        if from.remaining() > room {
            return Err(Errno::EFBIG);
        }
        let old = line.len();
        line.try_reserve(from.remaining()).map_err(|_| Errno::ENOMEM)?;
        line.resize(old + from.remaining(), 0);
        let drained = from.drain(&mut line[old..]);
        line.truncate(old + drained.unwrap_or(0));
        // What comes after the last end of a line stays.
        let complete = line.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let complete: Vec<u8> = line.drain(..complete).collect();
        drop(line);
        for line in complete.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            results::user_line(request.current.task.id, &String::from_utf8_lossy(line));
        }
        drained
    }
}
