//! Which CPU acts next: a tournament tree over the CPUs' next times.
//!
//! Each CPU has one time, of the first thing that will happen there. So there are no events to cancel when a thread is
//! preempted: the CPU's time changes, and with it the matches on the way to the root.

/// A time that does not come.
pub const NEVER: u64 = u64::MAX;

/// The next time of each of a fixed number of CPUs.
pub struct Queue {
    /// Node 1 is the root, the children of `n` are `2 n` and `2 n + 1`. A node's value is the lesser of its children's.
    tree: Box<[u64]>,
    leaves: usize,
}

impl Queue {
    /// For CPUs 0 to `count` - 1, at none of which anything will happen.
    pub fn new(count: usize) -> Self {
        let leaves = count.next_power_of_two();
        Self { tree: vec![NEVER; 2 * leaves].into(), leaves }
    }

    /// From now on something happens first at `time` on the CPU of number `index`.
    pub fn set(&mut self, index: usize, time: u64) {
        let mut node = self.leaves + index;
        self.tree[node] = time;
        while node > 1 {
            let winner = self.tree[node].min(self.tree[node ^ 1]);
            node /= 2;
            if self.tree[node] == winner {
                return;
            }
            self.tree[node] = winner;
        }
    }

    /// The CPU where something happens first, the one of the lowest number among equals, and when.
    pub fn first(&self) -> Option<(usize, u64)> {
        let time = self.tree[1];
        if time == NEVER {
            return None;
        }
        let mut node = 1;
        while node < self.leaves {
            node *= 2;
            node += usize::from(self.tree[node] != time);
        }
        Some((node - self.leaves, time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_the_least_of_all_and_of_equals_the_lowest() {
        for count in [1, 2, 3, 100, 4096] {
            let mut random = fastrand::Rng::with_seed(count as u64);
            let mut queue = Queue::new(count);
            let mut model = vec![NEVER; count];
            assert_eq!(queue.first(), None);
            for _ in 0..2_000 {
                let index = random.usize(..count);
                let time = if random.u8(..8) == 0 { NEVER } else { random.u64(..50) };
                model[index] = time;
                queue.set(index, time);
                let least = model.iter().copied().enumerate().min_by_key(|(_, time)| *time);
                assert_eq!(queue.first(), least.filter(|(_, time)| *time != NEVER));
            }
        }
    }
}
