//! Histograms of times with logarithmic buckets, cheap enough for hot paths.
//!
//! The layout is that of HdrHistogram at four significant bits: buckets of width 1 below 16, and 16 buckets for each
//! power of two above, so that a percentile is exact to 1/16 of its value. Nothing allocates while recording.

use alloc::{boxed::Box, vec, vec::Vec};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const SUB_BITS: u32 = 4;
const SUB: usize = 1 << SUB_BITS;
/// Values of 2^40 ns (18 minutes) and more share the last bucket; [`Histogram::max`] stays exact.
const MAX_BITS: u32 = 40;
const BUCKETS: usize = (MAX_BITS - SUB_BITS + 1) as usize * SUB;

/// How often each magnitude of a value, usually in nanoseconds, was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    counts: Box<[u32]>,
    count: u64,
    sum: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS].into(), count: 0, sum: 0, max: 0 }
    }
}

impl Histogram {
    pub fn record(&mut self, value: u64) {
        let bucket = &mut self.counts[bucket_of(value)];
        *bucket = bucket.saturating_add(1);
        self.count += 1;
        self.sum = self.sum.saturating_add(value);
        self.max = self.max.max(value);
    }

    pub fn merge(&mut self, other: &Self) {
        for (to, from) in self.counts.iter_mut().zip(&other.counts) {
            *to = to.saturating_add(*from);
        }
        self.count += other.count;
        self.sum = self.sum.saturating_add(other.sum);
        self.max = self.max.max(other.max);
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    /// All values added up; `u64::MAX` if that is too much.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// The largest value, exactly; 0 when there is none.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The mean, rounded down; 0 when there is none.
    pub fn mean(&self) -> u64 {
        self.sum.checked_div(self.count).unwrap_or(0)
    }

    /// The value that `percent` (0 to 100) of the recorded values do not exceed: the upper end of its bucket, and at
    /// most [`Self::max`]. `None` when nothing was recorded.
    pub fn percentile(&self, percent: f64) -> Option<u64> {
        let rank = ((percent / 100.0 * self.count as f64) as u64).clamp(1, self.count.max(1));
        let mut seen = 0;
        self.counts.iter().enumerate().find_map(|(bucket, count)| {
            seen += u64::from(*count);
            (seen >= rank).then(|| (lowest_of(bucket + 1) - 1).min(self.max))
        })
    }
}

fn bucket_of(value: u64) -> usize {
    if value < SUB as u64 {
        return value as usize;
    }
    let bits = value.ilog2();
    let sub = (value >> (bits - SUB_BITS)) as usize & (SUB - 1);
    ((bits - SUB_BITS + 1) as usize * SUB + sub).min(BUCKETS - 1)
}

/// The smallest value of a bucket.
fn lowest_of(bucket: usize) -> u64 {
    let (power, sub) = (bucket / SUB, (bucket % SUB) as u64);
    match power {
        0 => sub,
        _ => (SUB as u64 + sub) << (power - 1),
    }
}

/// As written in a record: the occupied buckets by their number.
#[derive(Serialize, Deserialize)]
struct Sparse {
    count: u64,
    sum: u64,
    max: u64,
    buckets: Vec<(usize, u32)>,
}

impl Serialize for Histogram {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let occupied = self.counts.iter().copied().enumerate().filter(|(_, count)| *count != 0);
        Sparse { count: self.count, sum: self.sum, max: self.max, buckets: occupied.collect() }
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Histogram {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let sparse = Sparse::deserialize(deserializer)?;
        let mut histogram = Self { count: sparse.count, sum: sparse.sum, max: sparse.max, ..Self::default() };
        for (bucket, count) in sparse.buckets {
            *histogram
                .counts
                .get_mut(bucket)
                .ok_or_else(|| serde::de::Error::custom("histogram bucket out of range"))? = count;
        }
        Ok(histogram)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_bucket() {
        for value in (0..2_000).chain((11..40).flat_map(|bits| [(1 << bits) - 1, 1 << bits, (1 << bits) + 1]))
        {
            let bucket = bucket_of(value);
            assert!(lowest_of(bucket) <= value && value < lowest_of(bucket + 1), "{value} in {bucket}");
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles_are_exact_to_a_sixteenth() {
        let mut histogram = Histogram::default();
        (1..=100_000).for_each(|value| histogram.record(value));
        for percent in [1.0, 50.0, 99.0, 100.0] {
            let exact = percent * 1_000.0;
            let found = histogram.percentile(percent).expect("values were recorded") as f64;
            assert!(found >= exact && found <= exact * 17.0 / 16.0, "p{percent}: {found}");
        }
        assert_eq!(histogram.percentile(100.0), Some(100_000));
        assert_eq!(Histogram::default().percentile(50.0), None);
    }
}
