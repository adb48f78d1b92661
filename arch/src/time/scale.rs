//! Conversion between clocks without division.

pub(super) const NANOSECONDS_PER_SECOND: u64 = 1_000_000_000;

/// A factor as a fixed-point number with 32 fractional bits: good to 1 in 2^30 for clocks between 0.25 and 4 GHz.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scale(pub u64);

impl Scale {
    /// The factor `to / from`, rounded to nearest. `from` is not 0, and the factor is below 2^32.
    pub fn new(to: u64, from: u64) -> Self {
        let from = u128::from(from);
        Self(((u128::from(to) << 32) + from / 2).div_euclid(from) as u64)
    }

    /// `ticks` times the factor, rounded down, at most `u64::MAX`.
    #[inline]
    pub fn apply(self, ticks: u64) -> u64 {
        let product = (u128::from(ticks) * u128::from(self.0)) >> 32;
        u64::try_from(product).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_at_an_odd_frequency_is_right_to_a_microsecond() {
        let hz = 2_893_202_117;
        let scale = Scale::new(NANOSECONDS_PER_SECOND, hz);
        let day = 86_400;
        let error = scale.apply(hz * day).abs_diff(day * NANOSECONDS_PER_SECOND);
        assert!(error < day * 1_000, "{error} ns");
    }

    #[test]
    fn what_does_not_fit_is_as_late_as_can_be() {
        assert_eq!(Scale::new(4_000_000_000, NANOSECONDS_PER_SECOND).apply(u64::MAX), u64::MAX);
    }
}
