//! The ordered queue that orders by virtual time are made of, linked through the tokens themselves.
//!
//! A treap (R. Seidel and C. R. Aragon, "Randomized search trees", Algorithmica 16, 1996): a search tree by key and a heap
//! by a random priority, so that each operation takes logarithmic time on average. Each node also knows the least rank
//! on either side below it, which is how the eligible thread with the earliest deadline is found without a walk (Linux's
//! EEVDF keeps a like figure in its red-black tree). Nothing allocates; the links are owned pointers, without unsafe code.
//!
//! With many CPUs and threads a node is rarely in the caches. So all that a search reads of one is on one line of it, and
//! only nodes on the way are read.

use crate::{Entity, Runnable};
use core::cmp::Ordering;
use formats::ThreadId;

/// Waiting threads in ascending order of a key, equal keys by the thread's number. Each has a rank besides.
#[derive(Default)]
pub struct Tree {
    root: Link,
    len: usize,
}

type Link = Option<Runnable>;

/// Where a thread is in the order.
type Position = (i64, ThreadId);

fn position(entity: &Entity) -> Position {
    (entity.node.key, entity.node.id)
}

/// What makes the treap balanced: a mixing function of the thread's number (the finalizer of SplitMix64).
fn priority(id: ThreadId) -> u32 {
    let mixed = u64::from(id.0).wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed >> 32) as u32
}

/// The least rank in the tree of which `root` is the root.
fn least_rank(root: &Entity) -> i64 {
    root.node.rank.min(root.node.least_left).min(root.node.least_right)
}

fn least_rank_of(link: &Link) -> i64 {
    link.as_deref().map_or(i64::MAX, least_rank)
}

fn set_left(token: &mut Entity, left: Link) {
    token.node.least_left = least_rank_of(&left);
    token.link = left;
}

fn set_right(token: &mut Entity, right: Link) {
    token.node.least_right = least_rank_of(&right);
    token.node.right = right;
}

/// One tree of two, of which all of `left` comes before all of `right`.
fn merge(left: Link, right: Link) -> Link {
    match (left, right) {
        (None, tree) | (tree, None) => tree,
        (Some(mut left), Some(mut right)) => {
            if left.node.priority > right.node.priority {
                let below = left.entity().node.right.take();
                set_right(left.entity(), merge(below, Some(right)));
                Some(left)
            } else {
                let below = right.entity().link.take();
                set_left(right.entity(), merge(Some(left), below));
                Some(right)
            }
        }
    }
}

/// What comes before `at`, and the rest.
fn split(tree: Link, at: Position) -> (Link, Link) {
    let Some(mut token) = tree else { return (None, None) };
    if position(&token) < at {
        let (before, after) = split(token.entity().node.right.take(), at);
        set_right(token.entity(), before);
        (Some(token), after)
    } else {
        let (before, after) = split(token.entity().link.take(), at);
        set_left(token.entity(), after);
        (before, Some(token))
    }
}

/// Puts `thread` into the tree at `link`, below all that go before it by priority.
fn put(link: &mut Link, mut thread: Runnable) {
    let at = position(&thread);
    match link {
        Some(above) if above.node.priority > thread.node.priority => {
            let above = above.entity();
            if at < position(above) {
                above.node.least_left = above.node.least_left.min(thread.node.rank);
                put(&mut above.link, thread);
            } else {
                above.node.least_right = above.node.least_right.min(thread.node.rank);
                put(&mut above.node.right, thread);
            }
        }
        _ => {
            let (before, after) = split(link.take(), at);
            set_left(thread.entity(), before);
            set_right(thread.entity(), after);
            *link = Some(thread);
        }
    }
}

/// Takes the thread at `at` out of the tree at `link`.
fn take(link: &mut Link, at: Position) -> Link {
    let above = link.as_mut()?.entity();
    match at.cmp(&position(above)) {
        Ordering::Less => {
            let found = take(&mut above.link, at)?;
            if found.node.rank == above.node.least_left {
                above.node.least_left = least_rank_of(&above.link);
            }
            Some(found)
        }
        Ordering::Greater => {
            let found = take(&mut above.node.right, at)?;
            if found.node.rank == above.node.least_right {
                above.node.least_right = least_rank_of(&above.node.right);
            }
            Some(found)
        }
        Ordering::Equal => {
            let mut found = link.take()?;
            let entity = found.entity();
            *link = merge(entity.link.take(), entity.node.right.take());
            Some(found)
        }
    }
}

impl Tree {
    pub const fn new() -> Self {
        Self { root: None, len: 0 }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn insert(&mut self, mut thread: Runnable, key: i64, rank: i64) {
        let id = thread.id();
        let node = &mut thread.entity().node;
        (node.key, node.rank, node.id, node.priority) = (key, rank, id, priority(id));
        put(&mut self.root, thread);
        self.len += 1;
    }

    /// The thread with the least key.
    pub fn first(&self) -> Option<&Entity> {
        let mut at = self.root.as_deref()?;
        while let Some(left) = at.link.as_deref() {
            at = left;
        }
        Some(at)
    }

    pub fn pop_first(&mut self) -> Option<Runnable> {
        let first = position(self.first()?);
        self.take(first)
    }

    /// The thread with the least rank among those whose key is at most `bound`; of equals, the one with the least key.
    pub fn least_rank_up_to(&self, bound: i64) -> Option<&Entity> {
        let root = self.root.as_deref()?;
        // Most often that is the one with the least rank of all.
        let least_of_all = find_least(root, least_rank(root))?;
        if least_of_all.node.key <= bound {
            return Some(least_of_all);
        }
        // The best so far: a thread, or in the place of one a subtree that has it.
        let (mut least, mut best, mut subtree) = (i64::MAX, None, None);
        let mut at = Some(root);
        while let Some(entity) = at {
            let node = &entity.node;
            if node.key > bound {
                at = entity.link.as_deref();
                continue;
            }
            // All that is left of it is within the bound.
            if node.least_left < least {
                (least, best, subtree) = (node.least_left, None, entity.link.as_deref());
            }
            if node.rank < least || best.is_none() && subtree.is_none() {
                (least, best, subtree) = (node.rank, Some(entity), None);
            }
            at = node.right.as_deref();
        }
        best.or_else(|| find_least(subtree?, least))
    }

    /// Takes out [`least_rank_up_to`](Self::least_rank_up_to).
    pub fn pop_least_rank_up_to(&mut self, bound: i64) -> Option<Runnable> {
        let found = position(self.least_rank_up_to(bound)?);
        self.take(found)
    }

    /// Takes out the first for which `wanted` holds. Takes time in proportion to the length.
    pub fn remove(&mut self, mut wanted: impl FnMut(&Entity) -> bool) -> Option<Runnable> {
        let found = position(find(self.root.as_deref()?, &mut wanted)?);
        self.take(found)
    }

    /// Calls `visit` for all of them in order.
    pub fn each(&self, visit: &mut dyn FnMut(&Entity)) {
        if let Some(root) = self.root.as_deref() {
            find(root, &mut |entity| {
                visit(entity);
                false
            });
        }
    }

    fn take(&mut self, at: Position) -> Option<Runnable> {
        let found = take(&mut self.root, at);
        self.len -= usize::from(found.is_some());
        found
    }
}

/// The leftmost node of rank `least`, which is the least of the tree.
fn find_least(root: &Entity, least: i64) -> Option<&Entity> {
    let mut at = root;
    while at.node.rank != least || at.node.least_left == least {
        let left = at.node.least_left == least;
        at = if left { at.link.as_deref()? } else { at.node.right.as_deref()? };
    }
    Some(at)
}

fn find<'e>(root: &'e Entity, wanted: &mut dyn FnMut(&Entity) -> bool) -> Option<&'e Entity> {
    if let Some(found) = root.link.as_deref().and_then(|left| find(left, wanted)) {
        return Some(found);
    }
    if wanted(root) {
        return Some(root);
    }
    root.node.right.as_deref().and_then(|right| find(right, wanted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Kind, NewThread, Policy, Thread};
    use alloc::{sync::Arc, vec::Vec};
    use formats::{CpuId, CpuSet};
    use proptest::prelude::*;

    fn token(id: u32) -> Runnable {
        let affinity = CpuSet::ALL;
        let policy = Policy::default();
        let new = NewThread { id: ThreadId(id), kind: Kind::User, affinity, policy, task: Arc::new(()) };
        Runnable::new(Arc::new(Thread::new(new, CpuId::BOOT, affinity)))
    }

    #[derive(Clone, Debug)]
    enum Op {
        Insert(i64, i64),
        PopFirst,
        PopLeast(i64),
        Remove(usize),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            4 => (0..20_i64, 0..20_i64).prop_map(|(key, rank)| Op::Insert(key, rank)),
            1 => Just(Op::PopFirst),
            2 => (-1..21_i64).prop_map(Op::PopLeast),
            1 => (0..12_usize).prop_map(Op::Remove),
        ]
    }

    proptest! {
        #[test]
        fn a_tree_behaves_like_a_sorted_vector(ops in proptest::collection::vec(op(), 0..300)) {
            let (mut tree, mut model) = (Tree::new(), Vec::new());
            let id = |token: Option<Runnable>| token.map(|token| token.id().0);
            for (n, op) in ops.into_iter().enumerate() {
                let n = n as u32;
                match op {
                    Op::Insert(key, rank) => {
                        tree.insert(token(n), key, rank);
                        model.push((key, n, rank));
                        model.sort_unstable();
                    }
                    Op::PopFirst => {
                        let first = (!model.is_empty()).then(|| model.remove(0).1);
                        prop_assert_eq!(id(tree.pop_first()), first);
                    }
                    Op::PopLeast(bound) => {
                        let eligible = model.iter().filter(|(key, ..)| *key <= bound);
                        let least = eligible.min_by_key(|(key, id, rank)| (*rank, *key, *id)).copied();
                        model.retain(|entry| Some(*entry) != least);
                        prop_assert_eq!(id(tree.pop_least_rank_up_to(bound)), least.map(|(_, id, _)| id));
                    }
                    Op::Remove(nth) => {
                        let wanted = model.get(nth).map_or(u32::MAX, |(_, id, _)| *id);
                        let removed = (nth < model.len()).then(|| model.remove(nth).1);
                        prop_assert_eq!(id(tree.remove(|entity| entity.id().0 == wanted)), removed);
                    }
                }
                let mut ids = Vec::new();
                tree.each(&mut |entity| ids.push(entity.id().0));
                prop_assert_eq!(ids, model.iter().map(|(_, id, _)| *id).collect::<Vec<_>>());
                prop_assert_eq!(tree.len(), model.len());
            }
        }
    }

    #[test]
    fn equal_keys_leave_in_order_of_their_numbers() {
        let mut tree = Tree::new();
        (0..1_000).rev().for_each(|id| tree.insert(token(id), 7, 0));
        (0..1_000).for_each(|id| assert_eq!(tree.pop_first().map(|token| token.id().0), Some(id)));
        assert!(tree.is_empty());
    }
}
