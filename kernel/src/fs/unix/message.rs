//! What is on the way from one socket to another.

use super::Address;
use crate::errno::Errno;
use crate::fs::{Description, UserBuffer};
use crate::task::Current;
use alloc::{sync::Arc, vec::Vec};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Who has sent something: `struct ucred`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct Sender {
    pub process: u32,
    pub user: u32,
    pub group: u32,
}

impl Sender {
    pub fn of(current: &Current) -> Self {
        let process = &current.task.process;
        let who = process.fs.lock().credentials().clone();
        Self { process: process.id, user: who.user.effective, group: who.group.effective }
    }
}

pub struct Message {
    bytes: Vec<u8>,
    /// How many of them have been read.
    start: usize,
    pub descriptors: Vec<Arc<Description>>,
    pub from: Option<Arc<Address>>,
    pub sender: Sender,
}

impl Message {
    /// Takes `len` bytes from the user.
    ///
    /// # Errors
    /// `ENOMEM`, `EFAULT`.
    pub fn take(from: &mut UserBuffer, len: usize, sender: Sender) -> Result<Self, Errno> {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(len).map_err(|_| Errno::ENOMEM)?;
        bytes.resize(len, 0);
        let count = from.drain(&mut bytes)?;
        bytes.truncate(count);
        Ok(Self { bytes, start: 0, descriptors: Vec::new(), from: None, sender })
    }

    /// The bytes that are left.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub fn rest(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    pub fn consume(&mut self, count: usize) {
        self.start += count;
    }
}
