//! Where mappings go, how they grow and how they move.

use super::program::{BASE, CPU, Loaded, P, anonymous, frame_at};
use super::{cpu, machine};
use crate::frames::failing_after;
use crate::pages::USER;
use crate::{Access, FaultError, MapError, MapRequest, Move, Page, Place, Prot, VirtAddr, layout};

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
