//! Seeded delays between steps that other CPUs may see apart: another seed is another interleaving.
//!
//! In virtual time CPUs run in turn for some ten thousand instructions each, so what two of them do at the same time is seldom
//! interleaved, and nearly never inside a window of a few instructions. `debug.perturb=N` makes a CPU pause at one of *N* of
//! the points that the scheduler's core and the sleeping threads offer. A pause ends the CPU's turn: all others run before it
//! goes on. The seed decides where, so that the same seed does it again (noise in the manner of O. Edelstein et al.,
//! "Multithreaded Java program test generation", IBM Systems Journal 41(1), 2002).

use crate::cpus;
use crate::options::Options;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// A CPU lets others go first up to so often at one point.
const MOST_PAUSES: usize = 4;

/// At one of how many points a CPU pauses; 0: at none.
static ONE_IN: AtomicU32 = AtomicU32::new(0);

pub fn init(options: &Options) {
    ONE_IN.store(options.perturb, Relaxed);
}

/// A point between two steps. May be in interrupt context, and with interrupts off.
#[inline]
pub fn point() {
    if ONE_IN.load(Relaxed) != 0 {
        perhaps_pause();
    }
}

#[cold]
fn perhaps_pause() {
    if cpus::draw(ONE_IN.load(Relaxed) as usize) == 0 {
        for _ in 0..=cpus::draw(MOST_PAUSES) {
            core::hint::spin_loop();
        }
    }
}
