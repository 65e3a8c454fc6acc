//! Absences: each stay of this server in a room has a block of room orders of its own, so that there is room between two stays for
//! what happened meanwhile, and for history before the first.
//!
//! Invariant: what lies before a stay, and was not held when it began, gets orders at the lower end of that stay's block; blocks
//! follow each other as the stays do. Paging by room order so meets an absence where it was.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidmessages>

use std::collections::HashSet;

use ruma::{OwnedEventId, RoomId};

use super::{Rooms, Snapshot};
use crate::store::{Direction, StoreError};

/// Room orders of one stay. It begins in the middle of its block: history counts down, what is new counts up.
const STAY_ORDERS: i64 = 1 << 32;
/// Events at the lower end of a stay whose predecessors are looked for.
const FRONTIER_EVENTS: u64 = 50;
/// Stays, newest first, that are looked at beside the first one.
const STAYS_MAX: usize = 16;

/// The stay to which a room order belongs: 0 for the first, and for all history before it.
pub fn stay_of(order: i64) -> i64 {
    order.max(0) / STAY_ORDERS
}

/// What stands before the first order of the stay after the one in which a room was left.
pub(super) fn next_stay(order_max: i64) -> i64 {
    (stay_of(order_max) + 1) * STAY_ORDERS + STAY_ORDERS / 2
}

/// What stands before the lowest order that a stay may have.
fn before(stay: i64) -> i64 {
    match stay {
        0 => i64::MIN,
        _ => stay * STAY_ORDERS - 1,
    }
}

impl Rooms {
    /// The stays of a room, newest first: at most [`STAYS_MAX`], and the first one.
    pub(super) fn stays(snapshot: &Snapshot) -> Vec<i64> {
        let newest = stay_of(snapshot.order_max);
        let mut stays: Vec<i64> = (1..=newest).rev().take(STAYS_MAX).collect();
        stays.push(0);
        stays
    }

    /// The lowest room order of a stay.
    pub(super) async fn lowest_of(
        &self,
        room: &RoomId,
        stay: i64,
    ) -> Result<Option<i64>, StoreError> {
        let first = self
            .store()
            .timeline(room, before(stay), Direction::Forward, 1)
            .await?;
        Ok(first.first().and_then(|event| event.room_order))
    }

    /// Those of the missing events that lead to the history before a stay. To the first one lead all that lead to no other.
    pub(super) async fn gaps_before(
        &self,
        snapshot: &Snapshot,
        stay: i64,
        missing: Vec<OwnedEventId>,
    ) -> Result<Vec<OwnedEventId>, StoreError> {
        if stay_of(snapshot.order_max) == 0 {
            return Ok(missing);
        }
        if stay > 0 {
            let frontier = self.frontier(&snapshot.room_id, stay).await?;
            return Ok(missing
                .into_iter()
                .filter(|id| frontier.contains(id))
                .collect());
        }
        let mut first = missing;
        for later in Self::stays(snapshot).into_iter().filter(|stay| *stay > 0) {
            let frontier = self.frontier(&snapshot.room_id, later).await?;
            first.retain(|id| !frontier.contains(id));
        }
        Ok(first)
    }

    /// What the lowest events of a stay follow.
    async fn frontier(
        &self,
        room: &RoomId,
        stay: i64,
    ) -> Result<HashSet<OwnedEventId>, StoreError> {
        let lowest = self
            .store()
            .timeline(room, before(stay), Direction::Forward, FRONTIER_EVENTS)
            .await?;
        let lowest = lowest
            .iter()
            .filter(|event| event.room_order.is_some_and(|order| stay_of(order) == stay));
        Ok(lowest
            .flat_map(|event| event.pdu.prev_events.iter().cloned())
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_follow_each_other_with_room_between_them() {
        assert_eq!([i64::MIN, -7, 0, 1, 90_000].map(stay_of), [0; 5]);
        let second = next_stay(90_000) + 1;
        assert_eq!(
            [second - 100_000, second, second + 100_000].map(stay_of),
            [1; 3]
        );
        assert_eq!(stay_of(next_stay(second) + 1), 2);
        assert_eq!([before(1), before(1) + 1].map(stay_of), [0, 1]);
    }
}
