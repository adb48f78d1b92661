//! How much the host can really do at once.
//!
//! Half of its logical processors may be hyperthreads, a container may have a quota, others may be using it: so it is
//! measured rather than looked up.

use std::hint::black_box;
use std::num::NonZero;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

const SAMPLE: Duration = Duration::from_millis(12);
/// The best of so many counts, to leave out what others did meanwhile.
const REPEATS: usize = 2;

/// The logical processors that we may use.
pub fn processors() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// How many times the work of one thread `wanted` threads get done together: from 1 to the number of processors.
/// Takes about 50 ms.
pub fn measure_parallelism(wanted: usize) -> f64 {
    let threads = wanted.min(processors());
    if threads <= 1 {
        return 1.0;
    }
    let best = |threads| (0..REPEATS).map(|_| spin(threads)).fold(0.0, f64::max);
    (best(threads) / best(1)).clamp(1.0, threads as f64)
}

/// Steps per second of so many threads together.
fn spin(threads: usize) -> f64 {
    let start = Barrier::new(threads);
    let count = || {
        start.wait();
        let started = Instant::now();
        let mut steps = 0_u64;
        let mut value = 1_u64;
        while started.elapsed() < SAMPLE {
            for _ in 0..10_000 {
                value = black_box(value.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
            }
            steps += 10_000;
        }
        steps as f64 / started.elapsed().as_secs_f64()
    };
    thread::scope(|scope| {
        let spinners: Vec<_> = (0..threads).map(|_| scope.spawn(count)).collect();
        spinners.into_iter().filter_map(|spinner| spinner.join().ok()).sum()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parallelism_is_between_one_and_what_is_there() {
        assert_eq!(measure_parallelism(1), 1.0);
        let measured = measure_parallelism(64);
        assert!((1.0..=processors() as f64).contains(&measured), "{measured}");
    }
}
