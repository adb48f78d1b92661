//! The heap against a plain list of objects with known contents.

use super::machine;
use crate::frames::{Purpose, alloc_for};
use crate::heap::{self, KernelHeap};
use formats::CpuId;
use proptest::prelude::*;
use std::alloc::{GlobalAlloc, Layout};
use std::iter;

/// An object of the heap, filled with a byte.
struct Object {
    at: *mut u8,
    layout: Layout,
    fill: u8,
}

impl Object {
    fn new(size: usize, align: usize, fill: u8) -> Option<Self> {
        let layout = Layout::from_size_align(size, align).expect("a valid layout");
        // SAFETY: the layout has a size.
        let at = unsafe { KernelHeap.alloc(layout) };
        let object = Self { at, layout, fill };
        if at.is_null() {
            std::mem::forget(object);
            return None;
        }
        assert!(at.addr().is_multiple_of(align), "not aligned to {align}");
        object.fill();
        Some(object)
    }

    fn fill(&self) {
        // SAFETY: the object is ours, and as long as its layout says.
        unsafe { self.at.write_bytes(self.fill, self.layout.size()) }
    }

    fn check(&self, length: usize) {
        // SAFETY: as in `fill`, and it was filled.
        let bytes = unsafe { std::slice::from_raw_parts(self.at, length) };
        assert!(bytes.iter().all(|byte| *byte == self.fill), "somebody else wrote to this object");
    }

    fn resize(&mut self, size: usize) {
        // SAFETY: the object is ours, and `size` is not 0.
        let at = unsafe { KernelHeap.realloc(self.at, self.layout, size) };
        if !at.is_null() {
            let kept = size.min(self.layout.size());
            self.at = at;
            self.layout = Layout::from_size_align(size, self.layout.align()).expect("a valid layout");
            self.check(kept);
            self.fill();
        }
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        self.check(self.layout.size());
        // SAFETY: the object is ours, and not used after this.
        unsafe { KernelHeap.dealloc(self.at, self.layout) }
    }
}

// SAFETY: objects of the heap belong to no thread.
unsafe impl Send for Object {}

#[derive(Clone, Debug)]
enum Op {
    Alloc(usize, u32, u8),
    Drop(prop::sample::Index),
    Resize(prop::sample::Index, usize),
    Cpu(u32),
    Trim,
}

fn sizes() -> impl Strategy<Value = usize> {
    prop_oneof![8 => 1..600usize, 3 => 600..5000usize, 1 => 5000..200_000usize]
}

fn ops() -> impl Strategy<Value = Op> {
    prop_oneof![
        10 => (sizes(), 0..13u32, any::<u8>()).prop_map(|(size, align, fill)| Op::Alloc(size, align, fill)),
        8 => any::<prop::sample::Index>().prop_map(Op::Drop),
        3 => (any::<prop::sample::Index>(), sizes()).prop_map(|(index, size)| Op::Resize(index, size)),
        1 => (0..3u32).prop_map(Op::Cpu),
        1 => Just(Op::Trim),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn objects_never_overlap_and_all_frames_come_back(ops in prop::collection::vec(ops(), 1..400)) {
        let machine = machine::boot();
        let mut objects = Vec::<Object>::new();
        for op in ops {
            match op {
                Op::Alloc(size, align, fill) => objects.extend(Object::new(size, 1 << align, fill)),
                Op::Drop(index) => if !objects.is_empty() {
                    objects.swap_remove(index.index(objects.len()));
                },
                Op::Resize(index, size) => if !objects.is_empty() {
                    let index = index.index(objects.len());
                    objects[index].resize(size);
                },
                Op::Cpu(cpu) => arch::cpu::pretend_to_be(CpuId(cpu)),
                Op::Trim => {
                    prop_assert_eq!(machine.used() * crate::PAGE, heap::bytes() as usize);
                }
            }
        }
        drop(objects);
        prop_assert_eq!(machine.used(), 0);
        prop_assert_eq!(heap::bytes(), 0);
    }
}

#[test]
fn a_failed_allocation_is_null_and_harms_nothing() {
    let _machine = machine::boot();
    let all: Vec<_> = iter::from_fn(|| alloc_for(Purpose::Kernel).ok()).collect();
    for size in [1, 100, 2000, 5000, 1 << 20] {
        assert!(Object::new(size, 8, 1).is_none());
    }
    drop(all);
    assert!(Object::new(100, 8, 1).is_some());
    assert!(Object::new(8 << 20, 8, 1).is_none(), "larger than the largest block");
}

#[test]
fn a_living_object_keeps_its_slab_and_nothing_else() {
    let machine = machine::boot();
    let mut objects: Vec<_> = (0..1000).filter_map(|_| Object::new(64, 8, 7)).collect();
    objects.truncate(1);
    assert_eq!(machine.used(), 1);
    assert_eq!(heap::bytes(), crate::PAGE as u64);
}

#[test]
fn empty_slabs_go_back_without_being_asked_for() {
    let _machine = machine::boot();
    let objects: Vec<_> = (0..5000).filter_map(|_| Object::new(64, 8, 7)).collect();
    assert!(heap::bytes() > 5000 * 64);
    drop(objects);
    assert!(heap::bytes() <= 4 * crate::PAGE as u64, "{} bytes are kept", heap::bytes());
}

#[test]
fn objects_can_be_freed_on_other_cpus_at_the_same_time() {
    let machine = machine::boot();
    let (send, receive) = std::sync::mpsc::channel::<Object>();
    let receive = std::sync::Mutex::new(receive);
    std::thread::scope(|scope| {
        for cpu in 0..3 {
            let send = send.clone();
            scope.spawn(move || {
                arch::cpu::pretend_to_be(CpuId(cpu));
                for round in 0..3000usize {
                    let object = Object::new(1 + round % 700, 8, round as u8).expect("memory is plenty");
                    send.send(object).expect("somebody receives");
                }
            });
        }
        drop(send);
        for cpu in 3..5 {
            let receive = &receive;
            scope.spawn(move || {
                arch::cpu::pretend_to_be(CpuId(cpu));
                while let Ok(object) = { receive.lock().expect("nobody panicked").recv() } {
                    drop(object);
                }
            });
        }
    });
    assert_eq!(machine.used(), 0);
}
