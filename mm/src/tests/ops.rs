//! Random operations on address spaces.

use super::model::FILE_PAGES;
use crate::{PAGE, Prot};
use proptest::prelude::*;

/// Fixed mappings go here: around a border between leaf tables.
pub const WINDOW: u64 = (1 << 30) / PAGE as u64 - 20;
pub const WINDOW_PAGES: u64 = 40;
pub const SPACES: usize = 4;
pub const CPUS: u32 = 3;

#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Anonymous,
    Shared,
    File(u64),
    SharedFile(u64),
}

/// A range of the window.
pub type Range = (u64, u64);

#[derive(Clone, Debug)]
pub enum Op {
    Map(usize, Range, Prot, Kind, bool),
    MapAnywhere(usize, u64),
    Unmap(usize, Range),
    Protect(usize, Range, Prot),
    Discard(usize, Range),
    Write(usize, u64, usize, u64, u32),
    Read(usize, u64, usize, u32),
    Execute(usize, u64, u32),
    Fork(usize, usize),
    Exit(usize),
    Remap(usize, Range, u64, Option<u64>),
    /// Fails the allocation after so many.
    Short(usize, Box<Op>),
}

fn prots() -> impl Strategy<Value = Prot> {
    prop_oneof![
        4 => Just(Prot::RW),
        2 => Just(Prot::READ),
        1 => Just(Prot::READ | Prot::EXEC),
        1 => Just(Prot::all()),
        1 => Just(Prot::empty()),
    ]
}

fn ranges() -> impl Strategy<Value = Range> {
    let start = prop_oneof![1 => 10..22u64, 1 => 0..WINDOW_PAGES - 1];
    start.prop_flat_map(|start| (Just(start), 1..=(WINDOW_PAGES - start).min(12)))
}

pub fn ops() -> impl Strategy<Value = Op> {
    // Most accesses go to few pages, so that they meet.
    let page = prop_oneof![3 => 18..22u64, 1 => 0..WINDOW_PAGES];
    let (space, word, on) = (prop_oneof![2 => 0..1usize, 1 => 0..SPACES], 0..2usize, 0..CPUS);
    let kind = prop_oneof![
        3 => Just(Kind::Anonymous),
        1 => Just(Kind::Shared),
        2 => (0..FILE_PAGES).prop_map(Kind::File),
        1 => (0..FILE_PAGES).prop_map(Kind::SharedFile),
    ];
    let plain = prop_oneof![
        4 => (space.clone(), ranges(), prots(), kind, any::<bool>()).prop_map(|(s, r, p, k, f)| Op::Map(s, r, p, k, f)),
        1 => (space.clone(), 1..4u64).prop_map(|(s, n)| Op::MapAnywhere(s, n)),
        2 => (space.clone(), ranges()).prop_map(|(s, r)| Op::Unmap(s, r)),
        3 => (space.clone(), ranges(), prots()).prop_map(|(s, r, p)| Op::Protect(s, r, p)),
        1 => (space.clone(), ranges()).prop_map(|(s, r)| Op::Discard(s, r)),
        12 => (space.clone(), page.clone(), word.clone(), 1..1000u64, on.clone())
            .prop_map(|(s, p, w, v, c)| Op::Write(s, p, w, v, c)),
        8 => (space.clone(), page.clone(), word, on.clone()).prop_map(|(s, p, w, c)| Op::Read(s, p, w, c)),
        1 => (space.clone(), page.clone(), on).prop_map(|(s, p, c)| Op::Execute(s, p, c)),
        3 => (space.clone(), space.clone()).prop_map(|(s, t)| Op::Fork(s, t)),
        1 => space.clone().prop_map(Op::Exit),
        2 => (space, ranges(), 1..16u64, proptest::option::of(page)).prop_map(|(s, r, n, t)| Op::Remap(s, r, n, t)),
    ];
    let boxed = plain.boxed();
    prop_oneof![6 => boxed.clone(), 1 => (0..6usize, boxed).prop_map(|(n, op)| Op::Short(n, Box::new(op)))]
}
