//! Single promises, each with the shortest story that shows it.

use super::cpu;
use super::machine::{self, Machine};
use super::walk::translate;
use crate::frames::failing_after;
use crate::pages::USER;
use crate::{
    Access, AddressSpace, Backing, FaultError, FutexKey, MapError, MapRequest, Move, Object, OutOfMemory,
    PAGE, Page, Pager, Place, Prot, VirtAddr, layout,
};
use formats::CpuId;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const P: u64 = PAGE as u64;
const BASE: VirtAddr = VirtAddr::new_truncate(0x40_0000_0000);
const CPU: CpuId = CpuId(1);

/// A space that is loaded on `CPU` until it is dropped.
struct Loaded(AddressSpace);

impl Loaded {
    fn new(space: AddressSpace) -> Self {
        cpu::switch(CPU, None, Some(&space));
        Self(space)
    }

    fn empty() -> Self {
        Self::new(AddressSpace::new().expect("memory is plenty"))
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        cpu::switch(CPU, Some(&self.0), None);
    }
}

impl std::ops::Deref for Loaded {
    type Target = AddressSpace;

    fn deref(&self) -> &AddressSpace {
        &self.0
    }
}

fn anonymous(space: &AddressSpace, start: VirtAddr, pages: u64) {
    space.map(MapRequest::anonymous(Place::Fixed(start), pages * P)).expect("there is room");
}

/// A file whose pages begin with their number plus 1, and which counts how often it was read.
struct Numbers(AtomicUsize);

impl Pager for Numbers {
    fn fill(&self, index: u64, page: &mut [u8; PAGE]) {
        self.0.fetch_add(1, Ordering::Relaxed);
        page[..8].copy_from_slice(&(index + 1).to_ne_bytes());
    }
}

fn numbers(pages: u64) -> (Arc<Object>, Arc<Numbers>) {
    let pager = Arc::new(Numbers(AtomicUsize::new(0)));
    (Arc::new(Object::file("/bin/numbers".into(), pages * P, pager.clone())), pager)
}

fn frame_at(space: &AddressSpace, address: VirtAddr) -> crate::PhysAddr {
    translate(space.root, address).expect("a page").frame
}

#[test]
fn untouched_memory_is_zero_and_takes_no_frame() {
    let machine = machine::boot();
    let space = Loaded::empty();
    let before = machine.used();
    anonymous(&space, BASE, 1000);
    assert_eq!(machine.used(), before);
    assert_eq!(cpu::read(CPU, &space, BASE + 5 * P), Ok(0));
    assert_eq!((space.resident(), machine.used()), (1, before + 1 + 3));
}

#[test]
fn parent_and_child_do_not_see_each_others_writes() {
    let _machine = machine::boot();
    let parent = Loaded::empty();
    anonymous(&parent, BASE, 2);
    cpu::write(CPU, &parent, BASE, 1).expect("writable");
    let child = parent.fork().expect("memory is plenty");
    cpu::write(CPU, &parent, BASE, 2).expect("writable");
    child.write(BASE + P, &3u64.to_ne_bytes()).expect("writable");
    let mut word = [0; 8];
    child.read(BASE, &mut word).expect("readable");
    assert_eq!(u64::from_ne_bytes(word), 1);
    assert_eq!(cpu::read(CPU, &parent, BASE), Ok(2));
    assert_eq!(cpu::read(CPU, &parent, BASE + P), Ok(0));
}

#[test]
fn the_last_owner_takes_the_frame_instead_of_a_copy() {
    let _machine = machine::boot();
    let parent = Loaded::empty();
    anonymous(&parent, BASE, 1);
    cpu::write(CPU, &parent, BASE, 1).expect("writable");
    let frame = frame_at(&parent, BASE);
    let child = parent.fork().expect("memory is plenty");
    assert_eq!(frame_at(&child, BASE), frame);
    drop(child);
    failing_after(0, || cpu::write(CPU, &parent, BASE, 2)).expect("needs no frame");
    assert_eq!(frame_at(&parent, BASE), frame);
}

#[test]
fn a_fork_that_fails_at_any_point_leaves_nothing_behind() {
    let machine = machine::boot();
    let parent = Loaded::empty();
    // Four leaf tables, under two tables of the level above.
    for (start, value) in [(0u64, 1), (1 << 21, 2), (1 << 22, 3), (1 << 30, 4)] {
        anonymous(&parent, BASE + start, 3);
        cpu::write(CPU, &parent, BASE + start, value).expect("writable");
    }
    let before = machine.used();
    let mut allowed = 0;
    let child = loop {
        match failing_after(allowed, || parent.fork()) {
            Ok(child) => break child,
            Err(OutOfMemory) => assert_eq!(machine.used(), before),
        }
        cpu::check_tlbs(&parent);
        cpu::write(CPU, &parent, BASE, allowed as u64).expect("as before");
        allowed += 1;
    };
    assert_eq!(allowed, 1 + 1 + 2 + 4, "one failure for each table");
    assert_eq!(child.resident(), parent.resident());
}

#[test]
fn shared_memory_is_seen_by_the_child_even_if_touched_after_the_fork() {
    let _machine = machine::boot();
    let parent = Loaded::empty();
    let request = MapRequest { shared: true, ..MapRequest::anonymous(Place::Fixed(BASE), 2 * P) };
    parent.map(request).expect("there is room");
    cpu::write(CPU, &parent, BASE + P, 1).expect("writable");
    let child = parent.fork().expect("memory is plenty");
    assert!(
        translate(parent.root, BASE + P).expect("a page").write,
        "nothing to copy, so nothing to fault for"
    );
    child.write(BASE, &7u64.to_ne_bytes()).expect("writable");
    assert_eq!(cpu::read(CPU, &parent, BASE), Ok(7));
    cpu::write(CPU, &parent, BASE, 8).expect("writable");
    let mut word = [0; 8];
    child.read(BASE, &mut word).expect("readable");
    assert_eq!(u64::from_ne_bytes(word), 8);
    let key = parent.futex_key(BASE + 4u64);
    assert!(matches!(key, Some(FutexKey::Shared { offset: 4, .. })));
    assert_eq!(key, child.futex_key(BASE + 4u64));
}

#[test]
fn a_copy_is_seen_by_the_programs_other_threads_at_once() {
    let _machine = machine::boot();
    let space = Loaded::empty();
    anonymous(&space, BASE, 1);
    cpu::write(CPU, &space, BASE, 1).expect("writable");
    let other = CpuId(2);
    cpu::switch(other, None, Some(&space));
    let child = space.fork().expect("memory is plenty");
    assert_eq!(cpu::read(other, &space, BASE), Ok(1));
    cpu::write(CPU, &space, BASE, 2).expect("writable");
    assert_eq!(cpu::read(other, &space, BASE), Ok(2));
    cpu::switch(other, Some(&space), None);
    drop(child);
}

#[test]
fn private_futexes_of_two_spaces_differ() {
    let _machine = machine::boot();
    let parent = Loaded::empty();
    anonymous(&parent, BASE, 1);
    let child = parent.fork().expect("memory is plenty");
    assert!(parent.futex_key(BASE).is_some());
    assert_ne!(parent.futex_key(BASE), child.futex_key(BASE));
    assert_eq!(parent.futex_key(BASE + P), None);
}

#[test]
fn a_file_is_read_once_for_all_spaces_and_its_neighbours_come_along() {
    let _machine = machine::boot();
    let (file, reads) = numbers(32);
    let request = || MapRequest::object(Place::Fixed(BASE), 32 * P, Prot::READ | Prot::EXEC, file.clone(), 0);
    let one = Loaded::empty();
    one.map(request()).expect("there is room");
    for page in 0..32 {
        assert_eq!(cpu::read(CPU, &one, BASE + page * P), Ok(page + 1));
    }
    assert_eq!(reads.0.load(Ordering::Relaxed), 32);
    let two = AddressSpace::new().expect("memory is plenty");
    two.map(request()).expect("there is room");
    two.fault(BASE + 5 * P, Access::READ).expect("mapped");
    assert_eq!(two.resident(), 16, "the touched page and those around it");
    assert_eq!(frame_at(&two, BASE + 15 * P), frame_at(&one, BASE + 15 * P));
    assert_eq!(reads.0.load(Ordering::Relaxed), 32);
    assert_eq!(file.shrink(), 0, "all pages are mapped");
    drop(two);
    one.unmap(BASE, 16 * P).expect("mapped");
    assert_eq!((file.shrink(), file.resident()), (16, 16));
}

#[test]
fn a_private_write_changes_neither_the_file_nor_other_spaces() {
    let _machine = machine::boot();
    let (file, _) = numbers(2);
    let space = Loaded::empty();
    let map = |place| space.map(MapRequest::object(place, 2 * P, Prot::RW, file.clone(), 0)).expect("room");
    let (one, two) = (map(Place::Anywhere), map(Place::Anywhere));
    // Once written before it was read, once after.
    cpu::write(CPU, &space, one, 100).expect("writable");
    assert_eq!(cpu::read(CPU, &space, one + P), Ok(2));
    cpu::write(CPU, &space, one + P, 200).expect("writable");
    assert_eq!((cpu::read(CPU, &space, two), cpu::read(CPU, &space, two + P)), (Ok(1), Ok(2)));
    assert_eq!((cpu::read(CPU, &space, one), cpu::read(CPU, &space, one + P)), (Ok(100), Ok(200)));
}

#[test]
fn a_page_beyond_the_end_of_the_file_is_a_bus_error() {
    let _machine = machine::boot();
    let (file, _) = numbers(1);
    let space = Loaded::empty();
    space.map(MapRequest::object(Place::Fixed(BASE), 2 * P, Prot::RW, file, 0)).expect("there is room");
    assert_eq!(cpu::read(CPU, &space, BASE), Ok(1));
    assert_eq!(cpu::read(CPU, &space, BASE + P), Err(FaultError::Bus));
    assert_eq!(cpu::write(CPU, &space, BASE + P, 1), Err(FaultError::Bus));
}

#[test]
fn a_stack_grows_to_its_limit_but_not_next_to_another_area() {
    let _machine = machine::boot();
    let space = Loaded::empty();
    let stack = |start, limit| MapRequest {
        grows_down: Some(limit),
        label: "[stack]",
        ..MapRequest::anonymous(Place::Fixed(start), P)
    };
    space.map(stack(BASE, 100 * P)).expect("there is room");
    cpu::write(CPU, &space, BASE - 99 * P, 1).expect("the lowest page of the limit");
    assert_eq!(cpu::write(CPU, &space, BASE - 100 * P, 1), Err(FaultError::NotMapped));
    assert_eq!(space.areas().expect("memory is plenty")[0].start, BASE - 99 * P);
    let other = BASE + (1u64 << 30);
    space.map(stack(other, 1000 * P)).expect("there is room");
    anonymous(&space, other - 300 * P, 10);
    cpu::write(CPU, &space, other - 30 * P, 1).expect("256 pages above the other area's end");
    assert_eq!(cpu::write(CPU, &space, other - 40 * P, 1), Err(FaultError::NotMapped));
}

#[test]
fn no_program_can_map_the_top_page_the_first_pages_or_the_kernel() {
    let _machine = machine::boot();
    let space = Loaded::empty();
    let at = |start, bytes| space.map(MapRequest::anonymous(Place::Fixed(start), bytes));
    assert_eq!(at(layout::USER_END, P), Err(MapError::Invalid));
    assert_eq!(at(layout::USER_END - P, 2 * P), Err(MapError::Invalid));
    assert_eq!(at(layout::USER_END - P, P), Ok(layout::USER_END - P));
    assert_eq!(at(VirtAddr::new(0), P), Err(MapError::TooLow));
    assert_eq!(at(VirtAddr::new(0xf000), P), Err(MapError::TooLow));
    assert_eq!(at(machine::image()[0].start, P), Err(MapError::Invalid));
    assert_eq!(at(VirtAddr::new(BASE.as_u64() + 1), P), Err(MapError::Invalid));
    assert_eq!(at(BASE, 0), Err(MapError::Invalid));
    assert_eq!(at(BASE, u64::MAX), Err(MapError::OutOfMemory));
    assert_eq!(space.unmap(BASE, u64::MAX), Err(MapError::Invalid));
    assert_eq!(space.fault(machine::image()[0].start, Access::READ), Err(FaultError::NotMapped));
    assert_eq!(space.fault(layout::USER_END, Access::READ), Err(FaultError::NotMapped));
    assert!(!USER.contains(Page::containing(layout::USER_END)));
}

#[test]
fn free_ranges_are_found_top_down_and_hints_are_kept_where_free() {
    let _machine = machine::boot();
    let space = Loaded::empty();
    let map = |place, pages| space.map(MapRequest::anonymous(place, pages * P)).expect("there is room");
    let first = map(Place::Anywhere, 4);
    assert_eq!(first, layout::MMAP_TOP - 4 * P);
    assert_eq!(map(Place::Anywhere, 2), first - 2 * P);
    assert_eq!(map(Place::Hint(BASE + 5u64), 2), BASE);
    assert_eq!(map(Place::Hint(BASE), 1), first - 3 * P);
    space.unmap(first, P).expect("mapped");
    assert_eq!(map(Place::Anywhere, 1), first, "the hole is the highest free page");
    let exists = space.map(MapRequest::anonymous(Place::FixedNoReplace(BASE), P));
    assert_eq!(exists, Err(MapError::Exists));
}

#[test]
fn neighbours_that_are_alike_are_one_area() {
    let _machine = machine::boot();
    let space = Loaded::empty();
    let count = || space.areas().expect("memory is plenty").len();
    anonymous(&space, BASE, 1);
    anonymous(&space, BASE + 2 * P, 1);
    assert_eq!(count(), 2);
    anonymous(&space, BASE + P, 1);
    assert_eq!(count(), 1);
    space.protect(BASE + P, P, Prot::READ).expect("mapped");
    assert_eq!(count(), 3);
    space.protect(BASE + P, P, Prot::RW).expect("mapped");
    assert_eq!(count(), 1);
}

#[test]
fn the_break_moves_only_where_there_is_room() {
    let machine = machine::boot();
    let space = Loaded::empty();
    space.set_brk_start(BASE);
    assert_eq!(space.brk(0), BASE);
    let end = BASE + 3 * P + 8u64;
    assert_eq!(space.brk(end.as_u64()), end);
    cpu::write(CPU, &space, BASE + 3 * P, 5).expect("the last page of the heap");
    assert_eq!(cpu::write(CPU, &space, BASE + 4 * P, 5), Err(FaultError::NotMapped));
    anonymous(&space, BASE + 8 * P, 1);
    assert_eq!(space.brk((BASE + 9 * P).as_u64()), end, "something is in the way");
    assert_eq!(space.brk(u64::MAX), end);
    let used = machine.used();
    assert_eq!(space.brk((BASE + P).as_u64()), BASE + P);
    assert!(machine.used() < used);
    assert_eq!(space.areas().expect("memory is plenty")[0].name(), "[heap]");
    let child = space.fork().expect("memory is plenty");
    assert_eq!(child.brk(0), BASE + P);
}

#[test]
fn a_moved_mapping_keeps_its_frames_or_stays_where_it_is() {
    let machine = machine::boot();
    let space = Loaded::empty();
    anonymous(&space, BASE, 70);
    for page in 0..70 {
        cpu::write(CPU, &space, BASE + page * P, page).expect("writable");
    }
    let frame = frame_at(&space, BASE + 69 * P);
    let used = machine.used();
    let to = BASE + (1u64 << 39) - 35 * P;
    // Two leaf tables, each with one above it, and one above those.
    for allowed in 0..5 {
        let moved = failing_after(allowed, || space.remap(BASE, 70 * P, 71 * P, Move::To(to)));
        assert_eq!((moved, machine.used()), (Err(MapError::OutOfMemory), used), "{allowed}");
        assert_eq!(frame_at(&space, BASE + 69 * P), frame);
    }
    assert_eq!(space.remap(BASE, 70 * P, 71 * P, Move::To(to)), Ok(to));
    cpu::check_tlbs(&space);
    assert_eq!(frame_at(&space, to + 69 * P), frame);
    assert_eq!(cpu::read(CPU, &space, to + 69 * P), Ok(69));
    assert_eq!(cpu::read(CPU, &space, to + 70 * P), Ok(0));
    assert_eq!(cpu::read(CPU, &space, BASE), Err(FaultError::NotMapped));
}

#[test]
fn one_operation_is_one_round_to_the_cpus_that_have_the_space() {
    let _machine = machine::boot();
    let space = Loaded::empty();
    anonymous(&space, BASE, 100);
    for page in 0..100 {
        cpu::write(CPU, &space, BASE + page * P, 1).expect("writable");
    }
    cpu::take_rounds();
    space.unmap(BASE, 50 * P).expect("mapped");
    let rounds = cpu::take_rounds();
    assert_eq!(rounds.len(), 1);
    assert!(rounds[0].iter().eq([CPU]));
    space.protect(BASE + 50 * P, 50 * P, Prot::READ).expect("mapped");
    assert_eq!(cpu::take_rounds().len(), 1);
    space.protect(BASE + 50 * P, 50 * P, Prot::RW).expect("mapped");
    cpu::write(CPU, &space, BASE + 60 * P, 1).expect("writable again");
    assert_eq!(cpu::take_rounds().len(), 0, "rights that are only raised need no shootdown");
}

#[test]
fn a_space_that_no_cpu_has_needs_no_shootdown() {
    let _machine = machine::boot();
    let space = AddressSpace::new().expect("memory is plenty");
    anonymous(&space, BASE, 600);
    space.populate(BASE, 600 * P);
    assert_eq!(space.resident(), 600);
    cpu::take_rounds();
    let child = space.fork().expect("memory is plenty");
    space.clear();
    drop(child);
    assert_eq!(cpu::take_rounds().len(), 0);
    assert_eq!((space.resident(), space.table_frames()), (0, 1));
}

#[test]
fn what_a_program_may_not_do_faults() {
    let _machine = machine::boot();
    let space = Loaded::empty();
    anonymous(&space, BASE, 1);
    cpu::write(CPU, &space, BASE, 9).expect("writable");
    assert_eq!(cpu::execute(CPU, &space, BASE), Err(FaultError::Protection));
    space.protect(BASE, P, Prot::empty()).expect("mapped");
    assert_eq!(cpu::read(CPU, &space, BASE), Err(FaultError::Protection));
    space.protect(BASE, P, Prot::all()).expect("mapped");
    assert_eq!(cpu::read(CPU, &space, BASE), Ok(9), "the page was kept");
    cpu::execute(CPU, &space, BASE).expect("executable");
    cpu::write(CPU, &space, BASE, 10).expect("writable");
    assert_eq!(space.protect(BASE, 2 * P, Prot::READ), Err(MapError::NotMapped));
}

#[test]
fn a_shared_file_that_was_opened_for_reading_never_becomes_writable() {
    let _machine = machine::boot();
    let (file, _) = numbers(1);
    let space = Loaded::empty();
    let request = MapRequest {
        shared: true,
        may_write: false,
        prot: Prot::READ,
        backing: Backing::Object(file, 0),
        ..MapRequest::anonymous(Place::Fixed(BASE), P)
    };
    space.map(request).expect("there is room");
    assert_eq!(space.protect(BASE, P, Prot::RW), Err(MapError::Denied));
    assert_eq!(cpu::write(CPU, &space, BASE, 1), Err(FaultError::Protection));
}

#[test]
fn a_mapping_that_cannot_get_its_memory_reports_it_when_touched() {
    let machine = machine::boot();
    let space = Loaded::empty();
    anonymous(&space, BASE, 1);
    let used = machine.used();
    for allowed in 0..4 {
        let touched = failing_after(allowed, || cpu::write(CPU, &space, BASE, 1));
        assert_eq!(touched, Err(FaultError::OutOfMemory));
        assert_eq!(machine.used(), used, "tables that were made for nothing");
    }
    failing_after(4, || cpu::write(CPU, &space, BASE, 1)).expect("three tables and the page");
}

#[test]
#[should_panic(expected = "dropped while a CPU has it loaded")]
fn a_loaded_space_cannot_be_dropped() {
    let _machine: Machine = machine::boot();
    let space = AddressSpace::new().expect("memory is plenty");
    space.activate();
    drop(space);
}
