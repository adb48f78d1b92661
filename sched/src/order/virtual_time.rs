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

/// Lets the virtual time of `entity` go on.
pub(super) fn advance(entity: &Entity, ran: Duration) {
    let vruntime = &entity.fair().vruntime;
    vruntime.set(vruntime.get().saturating_add(scaled(ran, entity.weight())));
}
