//! The plain model of address spaces that the real ones are checked against: a map from page to what it is.

use crate::{FaultError, Prot};
use std::collections::BTreeMap;

/// The two words of a page that tests read and write: its first and its last.
pub type Words = [u64; 2];

/// What the simulated file has in page `index`.
pub fn file_words(index: u64) -> Words {
    [0xf11e_0000 + index, 0xf11e_8000 + index]
}

/// Pages of the simulated file.
pub const FILE_PAGES: u64 = 24;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behind {
    /// This space's own words.
    Own(Words),
    /// The file's page, as long as this space has not written.
    File(u64),
    /// Page `index` of shared memory `id`.
    Shared { id: usize, index: u64 },
    /// The file's page, shared.
    SharedFile(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapped {
    pub prot: Prot,
    pub behind: Behind,
    /// What it becomes when it is discarded.
    pub origin: Behind,
}

/// Pages by their number.
#[derive(Clone, Default, Debug)]
pub struct Space(pub BTreeMap<u64, Mapped>);

/// Shared memories, as long as the test runs.
#[derive(Default)]
pub struct Shared(pub Vec<BTreeMap<u64, Words>>);

impl Space {
    pub fn read(&self, shared: &Shared, page: u64, word: usize) -> Result<u64, FaultError> {
        let mapped = self.0.get(&page).ok_or(FaultError::NotMapped)?;
        if mapped.prot.is_empty() {
            return Err(FaultError::Protection);
        }
        match mapped.behind {
            Behind::Own(words) => Ok(words[word]),
            Behind::File(index) | Behind::SharedFile(index) if index >= FILE_PAGES => Err(FaultError::Bus),
            Behind::File(index) | Behind::SharedFile(index) => Ok(file_words(index)[word]),
            Behind::Shared { id, index } => Ok(shared.0[id].get(&index).map_or(0, |words| words[word])),
        }
    }

    pub fn write(
        &mut self,
        shared: &mut Shared,
        page: u64,
        word: usize,
        value: u64,
    ) -> Result<(), FaultError> {
        let mapped = self.0.get_mut(&page).ok_or(FaultError::NotMapped)?;
        if !mapped.prot.contains(Prot::WRITE) {
            return Err(FaultError::Protection);
        }
        let mut words = match mapped.behind {
            Behind::Own(words) => words,
            Behind::File(index) if index >= FILE_PAGES => return Err(FaultError::Bus),
            Behind::File(index) => file_words(index),
            Behind::Shared { id, index } => {
                shared.0[id].entry(index).or_default()[word] = value;
                return Ok(());
            }
            Behind::SharedFile(_) => unreachable!("shared mappings of the file cannot be written"),
        };
        words[word] = value;
        mapped.behind = Behind::Own(words);
        Ok(())
    }

    pub fn execute(&self, page: u64) -> Result<(), FaultError> {
        let mapped = self.0.get(&page).ok_or(FaultError::NotMapped)?;
        match (mapped.prot.contains(Prot::EXEC), mapped.behind) {
            (false, _) => Err(FaultError::Protection),
            (_, Behind::File(index) | Behind::SharedFile(index)) if index >= FILE_PAGES => {
                Err(FaultError::Bus)
            }
            _ => Ok(()),
        }
    }
}
