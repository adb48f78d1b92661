//! What programs may not do, and what processors must be told.

use super::program::{BASE, CPU, Loaded, P, anonymous, numbers};
use super::{cpu, machine};
use crate::frames::failing_after;
use crate::{AddressSpace, Backing, FaultError, MapError, MapRequest, Place, Prot};
use formats::CpuId;

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
    let _machine = machine::boot();
    let space = AddressSpace::new().expect("memory is plenty");
    space.activate();
    drop(space);
}
