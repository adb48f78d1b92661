//! What an operation took out of the page tables, kept until no TLB has it any more.
//!
//! One operation gathers the pages whose translations are stale and the frames that they led to, and makes the CPUs that
//! have the space loaded forget them in one round. Only then are the frames let go.

use super::active::ActiveCpus;
use crate::frames::Frame;
use crate::machine;
use crate::pages::{Page, PageRange};
use arch::tlb::Flush;
use arrayvec::ArrayVec;

/// Frames that are kept for one round. More need another round: one per MiB of memory that is unmapped.
const FRAMES: usize = 256;
const TABLES: usize = 16;

pub struct Gather<'a> {
    cpus: &'a ActiveCpus,
    /// Covers all stale pages.
    stale: Option<PageRange>,
    frames: ArrayVec<Frame, FRAMES>,
    /// Page tables, which are empty. The processor caches ways through them as well.
    tables: ArrayVec<Frame, TABLES>,
}

impl<'a> Gather<'a> {
    pub fn new(cpus: &'a ActiveCpus) -> Self {
        Self { cpus, stale: None, frames: ArrayVec::new_const(), tables: ArrayVec::new_const() }
    }

    /// `page` allows less than before.
    pub fn lowered(&mut self, page: Page) {
        let stale = self.stale.get_or_insert(PageRange::new(page, page));
        stale.start = stale.start.min(page);
        stale.end = stale.end.max(page.plus(1));
    }

    /// Makes all CPUs forget what is stale, then lets go of the frames.
    pub fn flush(&mut self) {
        let Some(stale) = self.stale.take() else { return };
        let cpus = self.cpus.get();
        if !cpus.is_empty() {
            machine::shootdown(&cpus, Flush::Pages { first: stale.start.start(), count: stale.len() });
        }
        self.frames.clear();
        self.tables.drain(..).for_each(Frame::free_zeroed);
    }
}

/// Where what is taken out of the page tables goes.
pub trait Sink {
    /// `page` does not lead to `frame` any more.
    fn unmapped(&mut self, page: Page, frame: Frame);
    /// `table`, which had the entries around `page`, is not in the tree any more.
    fn removed(&mut self, page: Page, table: Frame);
}

impl Sink for Gather<'_> {
    fn unmapped(&mut self, page: Page, frame: Frame) {
        self.lowered(page);
        if self.frames.is_full() {
            self.flush();
            self.lowered(page);
        }
        self.frames.push(frame);
    }

    fn removed(&mut self, page: Page, table: Frame) {
        self.lowered(page);
        if self.tables.is_full() {
            self.flush();
            self.lowered(page);
        }
        self.tables.push(table);
    }
}

/// For a space that no CPU has loaded, nor can load: nothing needs to wait.
pub struct Unloaded;

impl Sink for Unloaded {
    fn unmapped(&mut self, _: Page, frame: Frame) {
        drop(frame);
    }

    fn removed(&mut self, _: Page, table: Frame) {
        table.free_zeroed();
    }
}

impl Drop for Gather<'_> {
    fn drop(&mut self) {
        self.flush();
    }
}
