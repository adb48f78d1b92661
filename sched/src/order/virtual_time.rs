//! What orders by virtual time share.

use crate::Entity;
use formats::Duration;

/// The weight at which virtual time runs as fast as real time.
pub(super) const UNIT: i64 = 1024;

/// How far the virtual time of a thread of `weight` moves while it runs for `ran`.
pub(super) fn scaled(ran: Duration, weight: u32) -> i64 {
    let scaled = i128::from(ran.as_ticks()) * i128::from(UNIT) / i128::from(weight.max(1));
    i64::try_from(scaled).unwrap_or(i64::MAX)
}

/// Lets the virtual time of `entity` go on while it runs for `ran`; returns by how much. What rounding keeps back counts the
/// next time: otherwise a thread of much weight that is looked at often would run for nothing.
pub(super) fn advance(entity: &Entity, ran: Duration) -> i64 {
    let (fair, weight) = (entity.fair(), u128::from(entity.weight().max(1)));
    let weighted = u128::from(ran.as_ticks()) * UNIT as u128 + u128::from(fair.rest.get());
    let moved = i64::try_from(weighted / weight).unwrap_or(i64::MAX);
    fair.rest.set((weighted % weight) as u64);
    fair.vruntime.set(fair.vruntime.get().saturating_add(moved));
    moved
}
