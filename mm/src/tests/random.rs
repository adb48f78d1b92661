//! Random sequences of operations on several spaces and processors, checked against the model after each step.

use super::model::{Behind, FILE_PAGES, Mapped, Shared, Space, file_words};
use super::ops::{CPUS, Kind, Op, Range, SPACES, WINDOW, WINDOW_PAGES, ops};
use super::{cpu, machine, walk};
use crate::frames::{self, Frame};
use crate::{
    AddressSpace, Backing, FaultError, MapError, MapRequest, Move, Object, PAGE, Pager, Place, Prot, VirtAddr,
};
use formats::CpuId;
use proptest::prelude::*;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use x86_64::structures::paging::PageTableFlags as Flags;

struct File;

impl Pager for File {
    fn fill(&self, index: u64, page: &mut [u8; PAGE]) {
        let [first, last] = file_words(index);
        page[..8].copy_from_slice(&first.to_ne_bytes());
        page[PAGE - 8..].copy_from_slice(&last.to_ne_bytes());
    }
}

/// The real spaces and their models.
struct World {
    file: Arc<Object>,
    shared: Shared,
    spaces: [Option<(AddressSpace, Space)>; SPACES],
    /// Which space each processor has loaded.
    loaded: [Option<usize>; CPUS as usize],
}

fn address(page: u64) -> VirtAddr {
    VirtAddr::new(page * PAGE as u64)
}

fn bytes(count: u64) -> u64 {
    count * PAGE as u64
}

impl World {
    fn new() -> Self {
        let file = Object::file("/bin/model".into(), FILE_PAGES * PAGE as u64, Arc::new(File));
        let space = AddressSpace::new().expect("memory is plenty");
        let spaces = [Some((space, Space::default())), None, None, None];
        Self { file: Arc::new(file), shared: Shared::default(), spaces, loaded: [None; CPUS as usize] }
    }

    fn load(&mut self, cpu: u32, to: Option<usize>) {
        let from = std::mem::replace(&mut self.loaded[cpu as usize], to);
        let space = |index: Option<usize>| {
            index.map(|index| &self.spaces[index].as_ref().expect("loaded spaces exist").0)
        };
        if from != to {
            cpu::switch(CpuId(cpu), space(from), space(to));
        }
    }

    fn run(&mut self, op: &Op, short: bool) {
        match *op {
            Op::Short(allowed, ref op) => {
                // Loading a space is not what shall fail, and neither is anything a second time.
                frames::failing_after(allowed, || self.run(op, true));
            }
            Op::Fork(from, to) => self.fork(from, to, short),
            Op::Exit(index) => self.exit(index),
            Op::Map(index, ..)
            | Op::MapAnywhere(index, _)
            | Op::Unmap(index, _)
            | Op::Protect(index, ..)
            | Op::Discard(index, _)
            | Op::Remap(index, ..) => {
                if let Some((space, model)) = self.spaces[index].as_mut() {
                    change(space, model, &mut self.shared, &self.file, op, short);
                }
            }
            Op::Write(index, _, _, _, cpu) | Op::Read(index, _, _, cpu) | Op::Execute(index, _, cpu) => {
                if self.spaces[index].is_some() {
                    self.load(cpu, Some(index));
                    let (space, model) = self.spaces[index].as_mut().expect("it is there");
                    touch(space, model, &mut self.shared, op, short);
                }
            }
        }
    }

    fn fork(&mut self, from: usize, to: usize, short: bool) {
        if self.spaces[to].is_some() {
            return;
        }
        let Some((space, model)) = &self.spaces[from] else { return };
        match space.fork() {
            Ok(child) => self.spaces[to] = Some((child, model.clone())),
            Err(_) => assert!(short, "fork failed with memory at hand"),
        }
    }

    fn exit(&mut self, index: usize) {
        for cpu in 0..CPUS {
            if self.loaded[cpu as usize] == Some(index) {
                self.load(cpu, None);
            }
        }
        self.spaces[index] = None;
    }

    /// Everything that must hold between any two operations.
    fn check(&self) {
        let mut mapped = HashMap::<_, u32>::new();
        for (space, _) in self.spaces.iter().flatten() {
            cpu::check_tlbs(space);
            let (entries, tables) = walk::lower_half(space.root);
            assert_eq!(space.resident(), entries.len() as u64);
            assert_eq!(space.table_frames(), tables);
            for (_, frame, _) in entries {
                *mapped.entry(frame).or_default() += 1;
            }
        }
        self.file.present(0..FILE_PAGES, |_, frame| *mapped.entry(frame.address()).or_default() += 1);
        for (space, model) in self.spaces.iter().flatten() {
            for (page, address, flags) in walk::lower_half(space.root).0 {
                // SAFETY: an entry holds a share, and the tables do not change here.
                let frame = unsafe { Frame::borrow(address) };
                let owners = frame.owners().load(Ordering::Relaxed);
                let Mapped { prot, behind, .. } = model.0[&(page.start().as_u64() / PAGE as u64)];
                // Shared memory's object is one owner more, which the spaces do not show.
                let extra = u32::from(matches!(behind, Behind::Shared { .. }));
                assert_eq!(owners, mapped[&address] + extra, "owners of {page:?}");
                assert_eq!(flags.contains(Flags::PRESENT), !prot.is_empty(), "{page:?}");
                assert!(flags.contains(Flags::NO_EXECUTE) || prot.contains(Prot::EXEC), "{page:?}");
                if flags.contains(Flags::WRITABLE) {
                    assert!(prot.contains(Prot::WRITE), "{page:?} is writable");
                    assert!(owners == 1 || extra == 1, "{page:?} is writable and shared");
                }
            }
        }
    }

    /// Reads everything through each space.
    fn check_contents(&mut self) {
        for index in 0..SPACES {
            if self.spaces[index].is_none() {
                continue;
            }
            self.load(0, Some(index));
            let (space, model) = self.spaces[index].as_ref().expect("it is there");
            for page in (WINDOW..WINDOW + WINDOW_PAGES).chain(model.0.keys().copied()) {
                for word in 0..2 {
                    let found = cpu::read(CpuId(0), space, word_address(page, word));
                    assert_eq!(found, model.read(&self.shared, page, word), "space {index}, page {page:#x}");
                }
            }
            let covered: u64 =
                space.areas().expect("memory is plenty").iter().map(|area| area.end - area.start).sum();
            assert_eq!(covered, bytes(model.0.len() as u64));
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        (0..SPACES).for_each(|index| self.exit(index));
    }
}

fn word_address(page: u64, word: usize) -> VirtAddr {
    address(page) + (word * (PAGE - 8)) as u64
}

fn touch(space: &AddressSpace, model: &mut Space, shared: &mut Shared, op: &Op, short: bool) {
    let excused = |error: &FaultError| short && *error == FaultError::OutOfMemory;
    match *op {
        Op::Write(_, page, word, value, on) => {
            let at = word_address(WINDOW + page, word);
            let found = cpu::write(CpuId(on), space, at, value);
            if !found.as_ref().is_err_and(excused) {
                assert_eq!(found, model.write(shared, WINDOW + page, word, value));
            }
        }
        Op::Read(_, page, word, on) => {
            let found = cpu::read(CpuId(on), space, word_address(WINDOW + page, word));
            if !found.as_ref().is_err_and(excused) {
                assert_eq!(found, model.read(shared, WINDOW + page, word));
            }
        }
        Op::Execute(_, page, on) => {
            let found = cpu::execute(CpuId(on), space, address(WINDOW + page));
            if !found.as_ref().is_err_and(excused) {
                assert_eq!(found, model.execute(WINDOW + page));
            }
        }
        _ => unreachable!("not an access"),
    }
}

fn change(
    space: &AddressSpace,
    model: &mut Space,
    shared: &mut Shared,
    file: &Arc<Object>,
    op: &Op,
    short: bool,
) {
    let pages = |(start, count): Range| WINDOW + start..WINDOW + start + count;
    match *op {
        Op::Map(_, range, prot, kind, replace) => {
            let start = address(WINDOW + range.0);
            let place = if replace { Place::Fixed(start) } else { Place::FixedNoReplace(start) };
            // A shared mapping of the file is of one opened for reading.
            let prot = if matches!(kind, Kind::SharedFile(_)) { prot - Prot::WRITE } else { prot };
            let mut request = MapRequest { prot, ..MapRequest::anonymous(place, bytes(range.1)) };
            let mut behind: Box<dyn Fn(u64) -> Behind> = Box::new(|_| Behind::Own([0; 2]));
            match kind {
                Kind::Anonymous => {}
                Kind::Shared => {
                    request.shared = true;
                    let id = shared.0.len();
                    shared.0.push(Default::default());
                    behind = Box::new(move |index| Behind::Shared { id, index });
                }
                Kind::File(first) => {
                    request.backing = Backing::Object(file.clone(), bytes(first));
                    behind = Box::new(move |index| Behind::File(first + index));
                }
                Kind::SharedFile(first) => {
                    request.backing = Backing::Object(file.clone(), bytes(first));
                    request.shared = true;
                    request.may_write = false;
                    behind = Box::new(move |index| Behind::SharedFile(first + index));
                }
            }
            let taken = pages(range).any(|page| model.0.contains_key(&page));
            match space.map(request) {
                Ok(at) => {
                    assert_eq!(at, start);
                    assert!(replace || !taken, "a mapping was replaced");
                    for (index, page) in pages(range).enumerate() {
                        let behind = behind(index as u64);
                        model.0.insert(page, Mapped { prot, behind, origin: behind });
                    }
                }
                Err(error) => assert!(error == MapError::Exists && taken && !replace, "{error}"),
            }
        }
        Op::MapAnywhere(_, count) => {
            let start =
                space.map(MapRequest::anonymous(Place::Anywhere, bytes(count))).expect("there is room");
            let first = start.as_u64() / PAGE as u64;
            for page in first..first + count {
                let behind = Behind::Own([0; 2]);
                let before = model.0.insert(page, Mapped { prot: Prot::RW, behind, origin: behind });
                assert!(before.is_none(), "a mapping was put over another");
            }
        }
        Op::Unmap(_, range) => {
            space.unmap(address(WINDOW + range.0), bytes(range.1)).expect("unmap needs no frames");
            model.0.retain(|page, _| !pages(range).contains(page));
        }
        Op::Protect(_, range, prot) => {
            let found = space.protect(address(WINDOW + range.0), bytes(range.1), prot);
            let may_write = |page| !matches!(model.0[&page].origin, Behind::SharedFile(_));
            let expected = if pages(range).any(|page| !model.0.contains_key(&page)) {
                Err(MapError::NotMapped)
            } else if prot.contains(Prot::WRITE) && !pages(range).all(may_write) {
                Err(MapError::Denied)
            } else {
                Ok(())
            };
            assert_eq!(found, expected);
            if found.is_ok() {
                model.0.range_mut(pages(range)).for_each(|(_, mapped)| mapped.prot = prot);
            }
        }
        Op::Discard(_, range) => {
            let found = space.discard(address(WINDOW + range.0), bytes(range.1));
            assert_eq!(found.is_ok(), pages(range).all(|page| model.0.contains_key(&page)));
            model.0.range_mut(pages(range)).for_each(|(_, mapped)| mapped.behind = mapped.origin);
        }
        Op::Remap(_, range, count, to) => remap(space, model, pages(range), count, to, short),
        _ => unreachable!("not a change"),
    }
}

/// Whether two neighbouring pages are parts of one mapping that can move as a whole.
fn continues(model: &Space, page: u64) -> bool {
    let (Some(one), Some(next)) = (model.0.get(&page), model.0.get(&(page + 1))) else { return false };
    one.prot == next.prot
        && match (one.origin, next.origin) {
            (Behind::Own(_), Behind::Own(_)) => true,
            (Behind::File(a), Behind::File(b)) | (Behind::SharedFile(a), Behind::SharedFile(b)) => a + 1 == b,
            (Behind::Shared { id: a, index: i }, Behind::Shared { id: b, index: j }) => a == b && i + 1 == j,
            _ => false,
        }
}

fn remap(
    space: &AddressSpace,
    model: &mut Space,
    old: std::ops::Range<u64>,
    count: u64,
    to: Option<u64>,
    short: bool,
) {
    // Where the new pages would come from beyond the end of shared memory depends on its length: left to other tests.
    let whole =
        (old.start..old.end - 1).all(|page| continues(model, page)) && model.0.contains_key(&old.start);
    let how = to.map_or(Move::IfNeeded, |to| Move::To(address(WINDOW + to)));
    let overlaps = to.is_some_and(|to| WINDOW + to < old.end && old.start < WINDOW + to + count);
    if whole && matches!(model.0[&old.start].origin, Behind::Shared { .. }) && count > old.end - old.start {
        return;
    }
    let found = space.remap(address(old.start), bytes(old.end - old.start), bytes(count), how);
    let target = match found {
        Ok(target) => target.as_u64() / PAGE as u64,
        Err(MapError::OutOfMemory) if short => {
            if let Some(to) = to {
                model.0.retain(|page, _| !(WINDOW + to..WINDOW + to + count).contains(page));
            }
            return;
        }
        Err(MapError::NotMapped) => return assert!(!whole),
        Err(error) => return assert!(error == MapError::Invalid && overlaps, "{error}"),
    };
    assert!(whole && !overlaps);
    let moved: Vec<_> = old.clone().map(|page| model.0.remove(&page).expect("whole")).collect();
    if to.is_some() {
        model.0.retain(|page, _| !(target..target + count).contains(page));
    }
    let last = *moved.last().expect("not empty");
    for index in 0..count {
        let mapped = moved.get(index as usize).copied().unwrap_or_else(|| {
            let beyond = index - (moved.len() as u64 - 1);
            let origin = match last.origin {
                Behind::File(page) => Behind::File(page + beyond),
                Behind::SharedFile(page) => Behind::SharedFile(page + beyond),
                other => other,
            };
            Mapped { prot: last.prot, behind: origin, origin }
        });
        let before = model.0.insert(target + index, mapped);
        assert!(before.is_none(), "a mapping was put over another");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn spaces_behave_like_the_model(ops in proptest::collection::vec(ops(), 1..120)) {
        let _machine = machine::boot();
        let mut world = World::new();
        for op in &ops {
            world.run(op, false);
            world.check();
        }
        world.check_contents();
        world.check();
    }
}
