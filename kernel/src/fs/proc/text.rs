//! Files whose content is made when it is asked for.

use super::FILE_SYSTEM;
use crate::errno::Errno;
use crate::fs::{File, Inode, Kind, Metadata, Request, Seeking, UserBuffer};
use crate::lock::{Lock, rank};
use alloc::{sync::Arc, vec::Vec};

/// Makes the text of a file that there is one of.
pub type Generate = fn() -> Result<Vec<u8>, Errno>;

/// A file with the text that `generate` makes.
pub struct Text<G> {
    metadata: Metadata,
    generate: G,
}

impl<G> Text<G> {
    pub fn new(number: u64, generate: G) -> Self {
        Self { metadata: Metadata::new(Kind::Regular, 0o444, number, FILE_SYSTEM), generate }
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
        Err(Errno::EACCES)
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

impl<G: Fn() -> Result<Vec<u8>, Errno> + Send + Sync> File for OpenText<G> {
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
}
