//! What a program says about its memory, and what it is told.

use super::program::{BASE, CPU, Loaded, P, anonymous};
use super::{cpu, machine};
use crate::{FaultError, MapError, MapRequest, Move, OnFork, Place};

fn word(space: &crate::AddressSpace, page: u64) -> Result<u64, FaultError> {
    let mut word = [0; 8];
    space.read(BASE + page * P, &mut word).map(|()| u64::from_ne_bytes(word))
}

#[test]
fn a_child_gets_what_its_parent_says_it_is_to_get() {
    let _machine = machine::boot();
    let parent = Loaded::empty();
    anonymous(&parent, BASE, 3);
    for page in 0..3 {
        cpu::write(CPU, &parent, BASE + page * P, 7).expect("writable");
    }
    parent.set_on_fork(BASE, P, OnFork::Skip).expect("mapped");
    parent.set_on_fork(BASE + P, P, OnFork::Wipe).expect("private");
    let child = parent.fork().expect("memory is plenty");
    assert_eq!([0, 1, 2].map(|page| word(&child, page)), [Err(FaultError::NotMapped), Ok(0), Ok(7)]);
    assert_eq!([0, 1, 2].map(|page| word(&parent, page)), [Ok(7); 3]);
    parent.set_on_fork(BASE, 3 * P, OnFork::Share).expect("mapped");
    assert_eq!(parent.areas().expect("memory is plenty").len(), 1, "the parts are one again");
    assert_eq!(parent.set_on_fork(BASE, 4 * P, OnFork::Skip), Err(MapError::NotMapped));
}

#[test]
fn a_range_that_is_left_behind_is_empty_and_its_pages_are_elsewhere() {
    let machine = machine::boot();
    let space = Loaded::empty();
    anonymous(&space, BASE, 4);
    for page in 0..4 {
        cpu::write(CPU, &space, BASE + page * P, page + 1).expect("writable");
    }
    let (resident, used) = (space.resident(), machine.used());
    let to = space.remap(BASE + P, 2 * P, 2 * P, Move::Leaving(Some(BASE + 100 * P))).expect("there is room");
    assert_eq!((to, space.resident(), machine.used()), (BASE + 100 * P, resident, used));
    assert_eq!([0, 1, 2, 3, 100, 101].map(|page| word(&space, page)), [1, 0, 0, 4, 2, 3].map(Ok));
    let more = space.remap(BASE, P, 2 * P, Move::Leaving(None));
    assert_eq!(more, Err(MapError::Invalid));
}

#[test]
fn wiped_shared_memory_reads_as_zeroes_for_all() {
    let _machine = machine::boot();
    let space = Loaded::empty();
    let shared = MapRequest { shared: true, ..MapRequest::anonymous(Place::Fixed(BASE), 2 * P) };
    space.map(shared).expect("there is room");
    let child = space.fork().expect("memory is plenty");
    for page in 0..2 {
        cpu::write(CPU, &space, BASE + page * P, 5).expect("writable");
    }
    child.wipe(BASE, P).expect("shared");
    assert_eq!([word(&space, 0), word(&space, 1)], [Ok(0), Ok(5)]);
    anonymous(&space, BASE + 10 * P, 1);
    assert_eq!(space.wipe(BASE + 10 * P, P), Err(MapError::Invalid));
}

#[test]
fn what_is_in_memory_is_told_page_by_page() {
    let _machine = machine::boot();
    let space = Loaded::empty();
    anonymous(&space, BASE, 4);
    cpu::write(CPU, &space, BASE + 2 * P, 1).expect("writable");
    let mut found = [9; 4];
    space.in_memory(BASE, &mut found).expect("mapped");
    assert_eq!(found, [0, 0, 1, 0]);
    assert_eq!(space.in_memory(BASE, &mut [0; 5]), Err(MapError::NotMapped));
}

#[test]
fn the_sum_of_the_areas_leaves_out_what_is_about_to_be_replaced() {
    let _machine = machine::boot();
    let space = Loaded::empty();
    anonymous(&space, BASE, 10);
    let shared = MapRequest { shared: true, ..MapRequest::anonymous(Place::Fixed(BASE + 20 * P), 5 * P) };
    space.map(shared).expect("there is room");
    assert_eq!(space.mapped(None), (15, 10));
    assert_eq!(space.mapped(Some((BASE + 8 * P, 14 * P))), (11, 8));
}

#[test]
fn the_most_memory_that_was_there_is_remembered() {
    let _machine = machine::boot();
    let space = Loaded::empty();
    anonymous(&space, BASE, 10);
    space.populate(BASE, 10 * P);
    space.unmap(BASE, 8 * P).expect("mapped");
    assert_eq!((space.resident(), space.peak_resident()), (2, 10));
}
