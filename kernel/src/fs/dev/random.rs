//! Random numbers: the devices `random` and `urandom`, and the kernel's own use (man 4 random, man 2 getrandom).
//!
//! One ChaCha generator of 12 rounds. Its seed is from the CPU's RDRAND, where there is one, and from the clock. Without
//! RDRAND a program could guess the seed: Tine has no other source of entropy.

use crate::errno::Errno;
use crate::fs::{File, Metadata, Request, Seeking, UserBuffer};
use crate::lock::{Lock, rank};
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use spin::Once;
use x86_64::instructions::random::RdRand;

static GENERATOR: Once<Lock<ChaCha12Rng, { rank::FILE }>> = Once::new();

/// Intel SDM vol. 1, 7.3.17.1: ten failures in a row mean that RDRAND is broken.
const ATTEMPTS: usize = 10;

fn seed() -> [u8; 32] {
    let rdrand = RdRand::new();
    let hardware =
        || rdrand.and_then(|rdrand| (0..ATTEMPTS).find_map(|_| rdrand.get_u64())).unwrap_or_default();
    let mut seed = [0; 32];
    for word in seed.chunks_exact_mut(size_of::<u64>()) {
        word.copy_from_slice(&(hardware() ^ arch::time::now().as_ticks()).to_ne_bytes());
    }
    seed
}

/// Fills `bytes` with random ones.
pub fn fill(bytes: &mut [u8]) {
    GENERATOR.call_once(|| Lock::new(ChaCha12Rng::from_seed(seed()))).lock().fill_bytes(bytes);
}

pub struct Random(pub Metadata);

impl File for Random {
    fn metadata(&self) -> Metadata {
        self.0
    }

    fn seeking(&self) -> Seeking {
        Seeking::Pointless
    }

    fn read(&self, request: &Request<'_>, to: &mut UserBuffer) -> Result<usize, Errno> {
        let mut chunk = [0; 256];
        let mut done = 0;
        loop {
            let wanted = chunk.len().min(to.remaining());
            fill(&mut chunk[..wanted]);
            let count = to.fill(&chunk[..wanted])?;
            done += count;
            if count < wanted || to.remaining() == 0 || !super::may_go_on(request.current) {
                return Ok(done);
            }
        }
    }

    /// What programs write is accepted and not mixed in: they know it.
    fn write(&self, _: &Request<'_>, from: &mut UserBuffer) -> Result<usize, Errno> {
        Ok(from.skip(from.remaining()))
    }
}
