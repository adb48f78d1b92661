//! A ring of bytes in page frames, which are allocated when bytes first come to lie in them.

use super::UserBuffer;
use crate::errno::Errno;
use alloc::vec::Vec;
use mm::{Frame, PAGE};

pub struct Ring {
    /// One place per page of capacity.
    pages: Vec<Option<Frame>>,
    /// Where the oldest byte is.
    start: usize,
    len: usize,
}

impl Ring {
    /// An empty ring for `pages` pages of bytes.
    pub fn new(pages: usize) -> Result<Self, Errno> {
        let mut places = Vec::new();
        places.try_reserve_exact(pages).map_err(|_| Errno::ENOMEM)?;
        places.resize_with(pages, || None);
        Ok(Self { pages: places, start: 0, len: 0 })
    }

    pub fn capacity(&self) -> usize {
        self.pages.len() * PAGE
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn room(&self) -> usize {
        self.capacity() - self.len
    }

    /// Takes as many bytes from the user as there are and as there is room for. Returns how many.
    ///
    /// # Errors
    /// `ENOMEM` and `EFAULT`, when it took none.
    pub fn fill_from(&mut self, from: &mut UserBuffer) -> Result<usize, Errno> {
        let mut done = 0;
        while self.room() > 0 && from.remaining() > 0 {
            let at = (self.start + self.len) % self.capacity();
            let within = at % PAGE;
            let len = (PAGE - within).min(self.room());
            let count = match page(&mut self.pages[at / PAGE])
                .and_then(|page| from.drain(&mut page.page_mut()[within..within + len]))
            {
                Ok(0) => break,
                Ok(count) => count,
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            };
            self.len += count;
            done += count;
        }
        Ok(done)
    }

    /// Gives the user as many bytes as there are and as fit. Returns how many.
    ///
    /// # Errors
    /// `EFAULT`, when it gave none.
    pub fn drain_to(&mut self, to: &mut UserBuffer) -> Result<usize, Errno> {
        let mut done = 0;
        while self.len > 0 && to.remaining() > 0 {
            let within = self.start % PAGE;
            let len = (PAGE - within).min(self.len);
            let page = page(&mut self.pages[self.start / PAGE])?;
            let count = to.fill(&page.page_mut()[within..within + len])?;
            if count == 0 {
                break;
            }
            self.start = (self.start + count) % self.capacity();
            self.len -= count;
            done += count;
        }
        if self.len == 0 {
            // Begin again in the page that is there and warm.
            self.start = 0;
        }
        Ok(done)
    }

    /// Copies the first bytes, as many as there are and as fit. They stay. Returns how many.
    pub fn peek(&mut self, to: &mut [u8]) -> Result<usize, Errno> {
        let wanted = to.len().min(self.len);
        let mut done = 0;
        while done < wanted {
            let at = (self.start + done) % self.capacity();
            let len = (PAGE - at % PAGE).min(wanted - done);
            page(&mut self.pages[at / PAGE])?.read(at % PAGE, &mut to[done..done + len]);
            done += len;
        }
        Ok(done)
    }

    /// Moves the bytes to a ring of `pages` pages.
    ///
    /// # Errors
    /// `EBUSY` when they do not fit, `ENOMEM`.
    pub fn resize(&mut self, pages: usize) -> Result<(), Errno> {
        let mut new = Self::new(pages)?;
        if self.len > new.capacity() {
            return Err(Errno::EBUSY);
        }
        while new.len < self.len {
            let from = (self.start + new.len) % self.capacity();
            let len = (PAGE - from % PAGE).min(PAGE - new.len % PAGE).min(self.len - new.len);
            let target = page(&mut new.pages[new.len / PAGE])?.page_mut();
            let source = page(&mut self.pages[from / PAGE])?;
            source.read(from % PAGE, &mut target[new.len % PAGE..][..len]);
            new.len += len;
        }
        *self = new;
        Ok(())
    }
}

/// The frame at a place, put there if it is the first time. Its stale bytes are written over before they are read.
fn page(place: &mut Option<Frame>) -> Result<&mut Frame, Errno> {
    match place {
        Some(frame) => Ok(frame),
        None => Ok(place.insert(mm::frames::alloc()?)),
    }
}
