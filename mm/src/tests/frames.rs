//! The frame allocator against a plain set of addresses.

use super::machine;
use crate::frames::{self, Block, Frame, MAX_ORDER, Purpose, alloc_contiguous_for, alloc_for};
use crate::{OutOfMemory, PAGE};
use formats::CpuId;
use proptest::prelude::*;
use std::collections::HashSet;
use std::iter;

#[derive(Clone, Debug)]
enum Op {
    Alloc,
    AllocZeroed,
    Contiguous(usize),
    Share(prop::sample::Index),
    Drop(prop::sample::Index),
    DropBlock(prop::sample::Index),
    Cpu(u32),
    Trim,
}

fn ops() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => Just(Op::Alloc),
        3 => Just(Op::AllocZeroed),
        2 => (0..=MAX_ORDER).prop_map(Op::Contiguous),
        3 => any::<prop::sample::Index>().prop_map(Op::Share),
        8 => any::<prop::sample::Index>().prop_map(Op::Drop),
        2 => any::<prop::sample::Index>().prop_map(Op::DropBlock),
        1 => (0..3u32).prop_map(Op::Cpu),
        1 => Just(Op::Trim),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_frame_has_two_owners_and_none_is_lost(ops in prop::collection::vec(ops(), 1..300)) {
        let machine = machine::boot();
        let start = frames::free();
        let (mut single, mut blocks) = (Vec::<Frame>::new(), Vec::<Block>::new());
        let mut taken = HashSet::new();
        for op in ops {
            match op {
                Op::Alloc | Op::AllocZeroed => {
                    let zeroed = matches!(op, Op::AllocZeroed);
                    let frame = if zeroed { frames::alloc_zeroed() } else { frames::alloc() };
                    let mut frame = frame.expect("memory is plenty");
                    prop_assert!(taken.insert(frame.address()), "given out twice");
                    prop_assert!(!zeroed || frame.page_mut().iter().all(|byte| *byte == 0), "not zero");
                    frame.page_mut().fill(0xa5);
                    single.push(frame);
                }
                Op::Contiguous(order) => if let Ok(block) = frames::alloc_contiguous(order) {
                    prop_assert!(block.address().is_aligned(block.bytes() as u64));
                    for index in 0..1 << order {
                        prop_assert!(taken.insert(block.address() + index * PAGE as u64), "given out twice");
                    }
                    blocks.push(block);
                },
                Op::Share(index) => if !single.is_empty() {
                    let share = index.get(&single).share();
                    prop_assert!(share.is_shared());
                    single.push(share);
                },
                Op::Drop(index) => if !single.is_empty() {
                    let frame = single.swap_remove(index.index(single.len()));
                    let address = frame.address();
                    let others = single.iter().filter(|other| other.address() == address).count();
                    prop_assert_eq!(frame.is_shared(), others != 0);
                    drop(frame);
                    if others == 0 {
                        taken.remove(&address);
                    }
                },
                Op::DropBlock(index) => if !blocks.is_empty() {
                    let block = blocks.swap_remove(index.index(blocks.len()));
                    for index in 0..1 << block.order() {
                        taken.remove(&(block.address() + index * PAGE as u64));
                    }
                },
                Op::Cpu(cpu) => arch::cpu::pretend_to_be(CpuId(cpu)),
                Op::Trim => crate::trim(),
            }
            prop_assert_eq!(frames::free(), start - taken.len());
        }
        drop((single, blocks));
        prop_assert_eq!(machine.used(), 0);
    }
}

/// All frames that `purpose` can have.
fn take_all(purpose: Purpose) -> Vec<Frame> {
    iter::from_fn(|| alloc_for(purpose).ok()).collect()
}

#[test]
fn programs_leave_the_reserve_to_the_kernel() {
    let _machine = machine::boot();
    assert!(!frames::is_low());
    let user = take_all(Purpose::User);
    assert!(frames::is_low());
    assert_eq!(frames::alloc_contiguous(0).err(), Some(OutOfMemory));
    let kernel = take_all(Purpose::Kernel);
    assert!(kernel.len() >= 32, "only {} frames were kept", kernel.len());
    assert_eq!(frames::free(), 0);
    assert_eq!(alloc_contiguous_for(Purpose::Kernel, 0).err(), Some(OutOfMemory));
    assert_eq!(user.len() + kernel.len(), _machine.used());
}

#[test]
fn what_other_cpus_have_at_hand_is_found_when_memory_is_short() {
    let machine = machine::boot();
    let mut all = take_all(Purpose::Kernel);
    let there = all.split_off(all.len() - 10);
    arch::cpu::pretend_to_be(CpuId(5));
    drop(there);
    arch::cpu::pretend_to_be(CpuId(0));
    let found = take_all(Purpose::Kernel);
    assert_eq!(found.len(), 10);
    all.extend(found);
    drop(all);
    assert_eq!(machine.used(), 0);
}

#[test]
fn freed_neighbours_join_to_the_largest_blocks_again() {
    let _machine = machine::boot();
    let largest = || -> Vec<Block> { iter::from_fn(|| frames::alloc_contiguous(MAX_ORDER).ok()).collect() };
    let before = largest().len();
    assert!(before > 4);
    drop(take_all(Purpose::Kernel));
    crate::trim();
    assert_eq!(largest().len(), before);
}

#[test]
fn a_zeroed_frame_is_zero_whoever_had_it_before() {
    let _machine = machine::boot();
    for _ in 0..200 {
        let mut frame = frames::alloc_zeroed().expect("memory is plenty");
        assert!(frame.page_mut().iter().all(|byte| *byte == 0));
        frame.page_mut().fill(0xff);
    }
}

#[test]
#[should_panic(expected = "no single owner")]
fn the_bytes_of_a_shared_frame_are_nobodys_alone() {
    let _machine = machine::boot();
    let mut frame = frames::alloc().expect("memory is plenty");
    let _other = frame.share();
    frame.page_mut();
}

#[test]
fn low_memory_and_the_kernel_are_never_given_out() {
    let _machine = machine::boot();
    for frame in take_all(Purpose::Kernel) {
        let address = frame.address().as_u64();
        assert!(address >= 1 << 20);
        assert!(!(machine::IMAGE..machine::IMAGE + machine::LARGE).contains(&address));
        assert!(address < machine::MEMORY - machine::LARGE, "not reclaimed yet");
    }
}
