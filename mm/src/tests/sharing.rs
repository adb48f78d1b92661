//! What spaces share with each other, and when they stop.

use super::program::{BASE, CPU, Loaded, P, anonymous, frame_at, numbers};
use super::walk::translate;
use super::{cpu, machine};
use crate::frames::failing_after;
use crate::{Access, AddressSpace, FutexKey, MapRequest, OutOfMemory, Place, Prot};
use std::sync::atomic::Ordering;

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
