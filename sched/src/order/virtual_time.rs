//! What orders by virtual time share.

use crate::Entity;
use formats::Duration;

/// The weight at which virtual time runs as fast as real time.
pub(super) const UNIT: i64 = 1024;

/// How far the virtual time of a thread of `weight` moves while it runs for `ran`, which counts for at most half a year.
pub(super) fn scaled(ran: Duration, weight: u32) -> i64 {
    let weighted = ran.as_ticks().saturating_mul(UNIT as u64);
    i64::try_from(weighted / u64::from(weight.max(1))).unwrap_or(i64::MAX)
}

/// Lets the virtual time of `entity` go on while it runs for `ran`, at most half a year; returns by how much. What rounding
/// keeps back counts the next time: otherwise a thread of much weight that is looked at often would run for nothing.
pub(super) fn advance(entity: &Entity, ran: Duration) -> i64 {
    let (fair, weight) = (entity.fair(), u64::from(entity.weight().max(1)));
    let weighted = ran.as_ticks().saturating_mul(UNIT as u64).saturating_add(fair.rest.get());
    let moved = i64::try_from(weighted / weight).unwrap_or(i64::MAX);
    fair.rest.set(weighted % weight);
    fair.vruntime.set(fair.vruntime.get().saturating_add(moved));
    moved
}

/// `sum / weight`, rounded down; `weight` is positive. Sums of the virtual times of a CPU fit into 64 bits for days, and that
/// division is many times quicker.
pub(super) fn average(sum: i128, weight: i64) -> i64 {
    match i64::try_from(sum) {
        Ok(sum) => sum.div_euclid(weight),
        Err(_) => sum.div_euclid(weight.into()) as i64,
    }
}
