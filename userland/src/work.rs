//! Work that a processor must really do, and that can be checked afterwards.
//!
//! A [`Chain`] is a linear congruential generator (Knuth's MMIX multiplier, TAOCP vol. 2, 3.3.4). Each step needs the result of
//! the one before, so that no compiler and no processor can skip ahead; yet [`Chain::after`] finds the state after any
//! number of steps in a few, so that a single lost, repeated or corrupted step shows.

use std::hint::black_box;

const MULTIPLIER: u64 = 6_364_136_223_846_793_005;
const INCREMENT: u64 = 1_442_695_040_888_963_407;

/// A computation in progress. One operation is one step of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain(u64);

impl Chain {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Does `steps` operations, one after the other.
    #[inline(never)]
    pub fn advance(&mut self, steps: u64) {
        let mut state = black_box(self.0);
        for _ in 0..steps {
            state = state.wrapping_mul(MULTIPLIER).wrapping_add(INCREMENT);
        }
        self.0 = black_box(state);
    }

    /// What `steps` operations lead to, found in `log2(steps)`: the affine map is squared for each binary digit.
    pub fn after(self, steps: u64) -> Self {
        let (mut factor, mut addend) = (MULTIPLIER, INCREMENT);
        let mut state = self.0;
        let mut rest = steps;
        while rest != 0 {
            if rest & 1 == 1 {
                state = state.wrapping_mul(factor).wrapping_add(addend);
            }
            addend = addend.wrapping_mul(factor.wrapping_add(1));
            factor = factor.wrapping_mul(factor);
            rest >>= 1;
        }
        Self(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumping_ahead_agrees_with_walking() {
        for steps in [0, 1, 2, 3, 1_000, 65_537] {
            let mut walked = Chain::new(steps ^ 42);
            walked.advance(steps);
            assert_eq!(walked, Chain::new(steps ^ 42).after(steps), "{steps} steps");
        }
    }
}
