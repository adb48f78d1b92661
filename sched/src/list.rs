//! The queue that orders are made of: first in, first out, linked through the tokens themselves.
//!
//! Putting in and taking out never allocate. There are two singly linked stacks, one for each end: what is put in goes
//! on the back stack, what is taken out comes from the front stack, and when that is empty the back stack is turned
//! round onto it. Each token is turned once, so that both ends cost constant time on average. The links are plain
//! owned pointers: no unsafe code, and no token can be in two lists.

use crate::{Entity, Runnable};

/// A list of waiting threads, oldest first.
#[derive(Default)]
pub struct List {
    front: Stack,
    back: Stack,
    len: usize,
}

#[derive(Default)]
struct Stack(Option<Runnable>);

impl Stack {
    fn push(&mut self, mut thread: Runnable) {
        thread.entity().link = self.0.take();
        self.0 = Some(thread);
    }

    fn pop(&mut self) -> Option<Runnable> {
        let mut thread = self.0.take()?;
        self.0 = thread.entity().link.take();
        Some(thread)
    }

    fn iter(&self) -> impl Iterator<Item = &Entity> {
        core::iter::successors(self.0.as_deref(), |entity| entity.link.as_deref())
    }

    /// Takes out the topmost for which `wanted` holds.
    fn remove(&mut self, mut wanted: impl FnMut(&Entity) -> bool) -> Option<Runnable> {
        let mut at = &mut self.0;
        while at.as_ref().is_some_and(|thread| !wanted(thread)) {
            // `at` is occupied, or the loop had ended.
            at = &mut at.as_mut()?.entity().link;
        }
        let mut thread = at.take()?;
        *at = thread.entity().link.take();
        Some(thread)
    }
}

impl List {
    pub const fn new() -> Self {
        Self { front: Stack(None), back: Stack(None), len: 0 }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn push_back(&mut self, thread: Runnable) {
        self.back.push(thread);
        self.len += 1;
    }

    /// Puts `thread` where it is taken out next.
    pub fn push_front(&mut self, thread: Runnable) {
        self.front.push(thread);
        self.len += 1;
    }

    pub fn pop_front(&mut self) -> Option<Runnable> {
        self.turn();
        let thread = self.front.pop()?;
        self.len -= 1;
        Some(thread)
    }

    /// The oldest.
    pub fn front(&mut self) -> Option<&Entity> {
        self.turn();
        self.front.0.as_deref()
    }

    /// Takes out the oldest for which `wanted` holds. Takes time in proportion to the length.
    pub fn remove(&mut self, mut wanted: impl FnMut(&Entity) -> bool) -> Option<Runnable> {
        let mut found = self.front.remove(&mut wanted);
        if found.is_none() {
            // The back stack has the youngest on top: turn it round, at the end of what is older.
            let mut older = core::mem::take(&mut self.front);
            self.turn();
            found = self.front.remove(&mut wanted);
            let mut turned = Stack::default();
            while let Some(thread) = older.pop() {
                turned.push(thread);
            }
            while let Some(thread) = turned.pop() {
                self.front.push(thread);
            }
        }
        self.len -= usize::from(found.is_some());
        found
    }

    /// All of them, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Entity> {
        self.front.iter().chain(self.back.iter())
    }

    fn turn(&mut self) {
        if self.front.0.is_none() {
            while let Some(thread) = self.back.pop() {
                self.front.push(thread);
            }
        }
    }
}

impl Drop for List {
    fn drop(&mut self) {
        // One by one: the links would otherwise be dropped recursively, as deep as the list is long.
        while self.pop_front().is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Kind, NewThread, Policy, Thread};
    use alloc::{collections::VecDeque, sync::Arc, vec::Vec};
    use formats::{CpuId, CpuSet, ThreadId};
    use proptest::prelude::*;

    fn token(id: u32) -> Runnable {
        let affinity = CpuSet::ALL;
        let new = NewThread {
            id: ThreadId(id),
            kind: Kind::User,
            affinity,
            policy: Policy::default(),
            task: Arc::new(()),
        };
        Runnable::new(Arc::new(Thread::new(new, CpuId::BOOT, affinity)))
    }

    #[derive(Clone, Debug)]
    enum Op {
        PushBack,
        PushFront,
        PopFront,
        Front,
        /// The `n`th of those in the list, or one that is not in it.
        Remove(usize),
        RemoveEven,
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            3 => Just(Op::PushBack),
            1 => Just(Op::PushFront),
            2 => Just(Op::PopFront),
            1 => Just(Op::Front),
            1 => (0..12usize).prop_map(Op::Remove),
            1 => Just(Op::RemoveEven),
        ]
    }

    proptest! {
        #[test]
        fn a_list_behaves_like_a_double_ended_queue(ops in proptest::collection::vec(op(), 0..200)) {
            let (mut list, mut model) = (List::new(), VecDeque::new());
            let id = |token: Option<Runnable>| token.map(|token| token.id().0);
            for (n, op) in ops.into_iter().enumerate() {
                let n = n as u32;
                match op {
                    Op::PushBack => {
                        list.push_back(token(n));
                        model.push_back(n);
                    }
                    Op::PushFront => {
                        list.push_front(token(n));
                        model.push_front(n);
                    }
                    Op::PopFront => prop_assert_eq!(id(list.pop_front()), model.pop_front()),
                    Op::Front => prop_assert_eq!(list.front().map(|e| e.id().0), model.front().copied()),
                    Op::Remove(nth) => {
                        let wanted = model.get(nth).copied().unwrap_or(u32::MAX);
                        prop_assert_eq!(id(list.remove(|e| e.id().0 == wanted)), model.remove(nth));
                    }
                    Op::RemoveEven => {
                        let oldest = model.iter().position(|id| id % 2 == 0);
                        let removed = oldest.and_then(|nth| model.remove(nth));
                        prop_assert_eq!(id(list.remove(|e| e.id().0 % 2 == 0)), removed);
                    }
                }
                prop_assert_eq!(list.len(), model.len());
                prop_assert_eq!(list.is_empty(), model.is_empty());
                let mut ids: Vec<_> = list.iter().map(|e| e.id().0).collect();
                let mut expected: Vec<_> = model.iter().copied().collect();
                ids.sort_unstable();
                expected.sort_unstable();
                prop_assert_eq!(ids, expected);
            }
        }
    }

    #[test]
    fn a_very_long_list_is_dropped_without_recursion() {
        let mut list = List::new();
        (0..200_000).for_each(|id| list.push_back(token(id)));
    }
}
