//! The kernel's own tables, and its stacks.

use super::machine::{self, IMAGE, LARGE, MEMORY};
use super::walk::translate;
use crate::frames::hhdm;
use crate::stacks::{STACK_BYTES, is_guard};
use crate::{AddressSpace, MapRequest, PAGE, PhysAddr, Place, RegionKind, VirtAddr, kernel};
use formats::CpuId;
use x86_64::structures::paging::PageTableFlags as Flags;

#[test]
fn all_memory_is_in_the_window_and_none_of_it_can_be_executed() {
    let _machine = machine::boot();
    for region in machine::regions().iter().filter(|region| region.kind != RegionKind::Reserved) {
        for at in (region.start.as_u64()..region.end().as_u64()).step_by(PAGE) {
            let found =
                translate(kernel::root(), kernel::window(PhysAddr::new(at))).expect("memory is mapped");
            assert_eq!(found.frame.as_u64(), at);
            assert!(found.write && !found.execute && !found.user && found.size == LARGE);
        }
    }
    assert_eq!(translate(kernel::root(), hhdm() + MEMORY), None);
}

#[test]
fn no_page_of_the_image_can_be_both_written_and_executed() {
    let _machine = machine::boot();
    for segment in machine::image() {
        for offset in (0..segment.bytes).step_by(PAGE) {
            let found = translate(kernel::root(), segment.start + offset).expect("the image is mapped");
            assert_eq!(found.frame, segment.physical + offset);
            assert_eq!((found.write, found.execute, found.user), (segment.write, segment.execute, false));
        }
    }
    let [.., last] = machine::image();
    assert_eq!(translate(kernel::root(), last.start + last.bytes), None);
    assert!(crate::usage().image > 0 && IMAGE > 0);
}

#[test]
fn device_registers_are_uncached_and_keep_their_offset() {
    let mut machine = machine::boot();
    let at = kernel::map_device(PhysAddr::new(0xfee0_0ff0), 0x20).expect("memory is plenty");
    assert_eq!(at.as_u64() % PAGE as u64, 0xff0);
    for (offset, frame) in [(0, 0xfee0_0000), (0x1f, 0xfee0_1000)] {
        let found = translate(kernel::root(), at + offset).expect("both pages are mapped");
        assert_eq!(found.frame.as_u64(), frame);
        assert!(found.write && !found.execute && !found.user && found.flags.contains(Flags::NO_CACHE));
    }
    // What is mapped stays for ever, and so do its tables.
    machine.keep();
}

#[test]
fn each_stack_is_mapped_and_has_a_guard_below() {
    let machine = machine::boot();
    let stacks: Vec<_> =
        (0..70).map(|_| crate::stacks::KernelStack::new().expect("memory is plenty")).collect();
    for stack in &stacks {
        let bottom = stack.top() - STACK_BYTES as u64;
        for page in (0..STACK_BYTES as u64).step_by(PAGE) {
            let found = translate(kernel::root(), bottom + page).expect("the stack is mapped");
            assert!(found.write && !found.execute && !found.user);
            assert!(!is_guard(bottom + page));
        }
        for below in [1, PAGE as u64, STACK_BYTES as u64] {
            assert_eq!(translate(kernel::root(), bottom - below), None);
            assert!(is_guard(bottom - below));
        }
    }
    assert!(!is_guard(VirtAddr::new(0x1000)) && !is_guard(hhdm()));
    let top = stacks[3].top();
    drop(stacks);
    assert!(translate(kernel::root(), top - 8u64).is_some(), "a pooled stack stays mapped");
    assert_eq!(machine.used(), 0);
    assert_eq!(translate(kernel::root(), top - 8u64), None);
}

#[test]
fn a_pooled_stack_is_used_again() {
    let _machine = machine::boot();
    let top = crate::stacks::KernelStack::new().expect("memory is plenty").top();
    assert_eq!(crate::stacks::pooled_bytes(), STACK_BYTES as u64);
    let stack = crate::stacks::KernelStack::new().expect("memory is plenty");
    assert_eq!((stack.top(), crate::stacks::pooled_bytes()), (top, 0));
}

#[test]
fn every_space_sees_what_the_kernel_maps_later() {
    let _machine = machine::boot();
    let early = AddressSpace::new().expect("memory is plenty");
    let stack = crate::stacks::KernelStack::new().expect("memory is plenty");
    let late = early.fork().expect("memory is plenty");
    for space in [&early, &late] {
        let here = translate(space.root, stack.top() - 8u64);
        assert!(here.is_some() && here == translate(kernel::root(), stack.top() - 8u64));
        assert!(translate(space.root, machine::image()[0].start).is_some());
    }
}

#[test]
fn a_space_is_on_exactly_the_cpus_that_have_it_loaded() {
    let _machine = machine::boot();
    let [one, two] = [(); 2].map(|()| AddressSpace::new().expect("memory is plenty"));
    one.map(MapRequest::anonymous(Place::Anywhere, 1)).expect("there is room");
    arch::cpu::pretend_to_be(CpuId(2));
    one.activate();
    arch::cpu::pretend_to_be(CpuId(200));
    one.activate();
    AddressSpace::switch(Some(&one), Some(&two));
    assert!(one.active_on().iter().eq([CpuId(2)]) && two.active_on().iter().eq([CpuId(200)]));
    AddressSpace::switch(Some(&two), None);
    arch::cpu::pretend_to_be(CpuId(2));
    AddressSpace::switch(Some(&one), Some(&one));
    assert!(one.active_on().iter().eq([CpuId(2)]));
    one.deactivate();
    assert!(one.active_on().is_empty() && two.active_on().is_empty());
}
