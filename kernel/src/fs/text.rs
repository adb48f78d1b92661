//! Files whose content is made when it is asked for, and some that understand what is written to them.

use super::{DeviceId, File, Inode, Kind, Metadata, Request, Seeking, UserBuffer};
use crate::errno::Errno;
use crate::lock::{Lock, rank};
use crate::task::Current;
use alloc::{boxed::Box, sync::Arc, vec::Vec};

/// Makes the text of a file that there is one of.
pub type Generate = fn() -> Result<Vec<u8>, Errno>;

/// Carries out what was written, without the blanks around it.
pub type Accept = Box<dyn Fn(&str) -> Result<(), Errno> + Send + Sync>;

/// Waits for what was written to take effect. The caller holds no lock.
pub type Settle = Box<dyn Fn(&Current) + Send + Sync>;

/// The longest text that is understood, in bytes.
const LONGEST: usize = 4096;

/// A file with the text that `generate` makes.
pub struct Text<G> {
    metadata: Metadata,
    generate: G,
    accept: Option<Accept>,
    settle: Option<Settle>,
}

impl<G> Text<G> {
    /// A file that can only be read.
    pub fn new(number: u64, file_system: DeviceId, generate: G) -> Self {
        Self::with_metadata(Metadata::new(Kind::Regular, 0o444, number, file_system), generate)
    }

    pub fn with_metadata(metadata: Metadata, generate: G) -> Self {
        Self { metadata, generate, accept: None, settle: None }
    }

    /// A file that is a setting: each write is a new value.
    pub fn accepting(mut self, accept: Accept) -> Self {
        self.metadata.permissions = 0o644;
        self.accept = Some(accept);
        self
    }

    /// After each write that was accepted, `settle` is called.
    pub fn settling(mut self, settle: Settle) -> Self {
        self.settle = Some(settle);
        self
    }
}

impl<G: Fn() -> Result<Vec<u8>, Errno> + Send + Sync + 'static> Inode for Text<G> {
    fn metadata(&self) -> Metadata {
        self.metadata
    }

    fn open(self: Arc<Self>) -> Result<Arc<dyn File>, Errno> {
        Ok(Arc::new(OpenText { text: self, content: Lock::new(None) }))
    }

    fn check_writable(&self) -> Result<(), Errno> {
        if self.accept.is_some() { Ok(()) } else { Err(Errno::EACCES) }
    }
}

struct OpenText<G> {
    text: Arc<Text<G>>,
    /// What was made when the beginning was read last.
    content: Lock<Option<Arc<Vec<u8>>>, { rank::FILE }>,
}

impl<G: Fn() -> Result<Vec<u8>, Errno> + Send + Sync> OpenText<G> {
    fn content(&self, offset: u64) -> Result<Arc<Vec<u8>>, Errno> {
        if offset > 0
            && let Some(content) = &*self.content.lock()
        {
            return Ok(content.clone());
        }
        // Without the lock: the text is about things whose locks come first.
        let content = Arc::new((self.text.generate)()?);
        *self.content.lock() = Some(content.clone());
        Ok(content)
    }
}

impl<G: Fn() -> Result<Vec<u8>, Errno> + Send + Sync + 'static> File for OpenText<G> {
    fn metadata(&self) -> Metadata {
        self.text.metadata
    }

    fn seeking(&self) -> Seeking {
        Seeking::Possible
    }

    fn read(&self, request: &Request<'_>, to: &mut UserBuffer) -> Result<usize, Errno> {
        let content = self.content(request.offset)?;
        let start = usize::try_from(request.offset).ok();
        to.fill(start.and_then(|start| content.get(start..)).unwrap_or_default())
    }

    /// # Errors
    /// `EINVAL` for more than [`LONGEST`] bytes and what is no text; the setting's own.
    fn write(&self, _: &Request<'_>, from: &mut UserBuffer) -> Result<usize, Errno> {
        let accept = self.text.accept.as_ref().ok_or(Errno::EACCES)?;
        if from.remaining() > LONGEST {
            return Err(Errno::EINVAL);
        }
        let mut bytes = alloc::vec![0; from.remaining()];
        let count = from.drain(&mut bytes)?;
        let text = core::str::from_utf8(&bytes[..count]).map_err(|_| Errno::EINVAL)?;
        accept(text.trim())?;
        Ok(count)
    }

    fn settle(&self, current: &Current) {
        if let Some(settle) = &self.text.settle {
            settle(current);
        }
    }
}
