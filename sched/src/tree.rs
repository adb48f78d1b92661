//! The ordered queue that orders by virtual time are made of, linked through the tokens themselves.
//!
//! A treap (R. Seidel and C. R. Aragon, "Randomized search trees", Algorithmica 16, 1996): a search tree by key and a heap
//! by a random priority, so that each operation takes logarithmic time on average. Each node also knows the least rank
//! below it, which is how the eligible thread with the earliest deadline is found without a walk (Linux's EEVDF keeps
//! the same figure in its red-black tree). Nothing allocates; the links are owned pointers, without unsafe code.

use crate::{Entity, Runnable};
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
    (entity.node.key, entity.id())
}

/// What makes the treap balanced: a mixing function of the thread's number (the finalizer of SplitMix64).
fn priority(entity: &Entity) -> u64 {
    let mixed = u64::from(entity.id().0).wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn least_rank(link: &Link) -> i64 {
    link.as_ref().map_or(i64::MAX, |token| token.node.least_rank)
}

/// After a change of the children of `token`.
fn update(token: &mut Runnable) {
    let least = token.node.rank.min(least_rank(&token.link)).min(least_rank(&token.node.right));
    token.entity().node.least_rank = least;
}

/// One tree of two, of which all of `left` comes before all of `right`.
fn merge(left: Link, right: Link) -> Link {
    match (left, right) {
        (None, tree) | (tree, None) => tree,
        (Some(mut left), Some(mut right)) => {
            if priority(&left) > priority(&right) {
                let below = left.entity().node.right.take();
                left.entity().node.right = merge(below, Some(right));
                update(&mut left);
                Some(left)
            } else {
                let below = right.entity().link.take();
                right.entity().link = merge(Some(left), below);
                update(&mut right);
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
        token.entity().node.right = before;
        update(&mut token);
        (Some(token), after)
    } else {
        let (before, after) = split(token.entity().link.take(), at);
        token.entity().link = after;
        update(&mut token);
        (before, Some(token))
    }
}

/// Adds a single node: it goes down to where the heap wants it, and what was there is split around it.
fn insert_below(link: &mut Link, mut new: Runnable) {
    let stays = |at: &&mut Runnable| priority(at) > priority(&new);
    if let Some(at) = link.as_mut().filter(stays) {
        let before = position(&new) < position(at);
        let entity = at.entity();
        insert_below(if before { &mut entity.link } else { &mut entity.node.right }, new);
        update(at);
        return;
    }
    let (before, after) = split(link.take(), position(&new));
    new.entity().link = before;
    new.entity().node.right = after;
    update(&mut new);
    *link = Some(new);
}

/// Takes out the first node, which is replaced by what is after it.
fn take_first(link: &mut Link) -> Link {
    let at = link.as_mut()?;
    if at.link.is_some() {
        let first = take_first(&mut at.entity().link);
        update(at);
        return first;
    }
    let after = at.entity().node.right.take();
    core::mem::replace(link, after)
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
        let node = &mut thread.entity().node;
        (node.key, node.rank, node.least_rank) = (key, rank, rank);
        insert_below(&mut self.root, thread);
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
        let first = take_first(&mut self.root)?;
        self.len -= 1;
        Some(first)
    }

    /// The thread with the least rank among those whose key is at most `bound`; of equals, the one with the least key.
    pub fn least_rank_up_to(&self, bound: i64) -> Option<&Entity> {
        let mut best: Option<&Entity> = None;
        let mut subtree: Option<&Entity> = None;
        let mut at = self.root.as_deref();
        let better = |rank: i64, best: Option<&Entity>, subtree: Option<&Entity>| {
            best.is_none_or(|best| rank < best.node.rank)
                && subtree.is_none_or(|tree| rank < tree.node.least_rank)
        };
        while let Some(node) = at {
            if node.node.key > bound {
                at = node.link.as_deref();
                continue;
            }
            // All that is left of it is within the bound.
            if let Some(left) =
                node.link.as_deref().filter(|left| better(left.node.least_rank, best, subtree))
            {
                (best, subtree) = (None, Some(left));
            }
            if better(node.node.rank, best, subtree) {
                (best, subtree) = (Some(node), None);
            }
            at = node.node.right.as_deref();
        }
        best.or_else(|| subtree.and_then(find_least))
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
        let (before, rest) = split(self.root.take(), at);
        let (found, after) = split(rest, (at.0, ThreadId(at.1.0 + 1)));
        self.root = merge(before, after);
        self.len -= usize::from(found.is_some());
        found
    }
}

/// The leftmost node that has the least rank of the tree.
fn find_least(root: &Entity) -> Option<&Entity> {
    let wanted = root.node.least_rank;
    let mut at = root;
    loop {
        match at.link.as_deref() {
            Some(left) if left.node.least_rank == wanted => at = left,
            _ if at.node.rank == wanted => return Some(at),
            _ => at = at.node.right.as_deref()?,
        }
    }
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
