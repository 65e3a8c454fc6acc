//! Rooms in an answer that the user is not joined to: left, invited to, knocked on.
//!
//! Invariant: of a room that was left, nothing is told that came after the leave; of a room that
//! the user was never in, only stripped state.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3sync> ("Left Room",
//! "Invited Room")

use ruma::{RoomId, UserId, events::StateEventType};
use serde::Deserialize;
use serde_json::value::RawValue as RawJsonValue;

use super::{
    Sync,
    device_lists::DeviceLists,
    room::write_list,
    state::{State, StateQuery},
    timeline::{Interval, Timeline, TimelineQuery},
    window::Window,
};
use crate::{
    rooms::{Snapshot, Standing, json::JsonWriter, projection},
    store::{MembershipRow, RoomStateMap, StoreError},
};

/// What stripped state shows of a room.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#stripped-state>
const STRIPPED: [&str; 7] = [
    "m.room.create",
    "m.room.join_rules",
    "m.room.name",
    "m.room.avatar",
    "m.room.topic",
    "m.room.canonical_alias",
    "m.room.encryption",
];

/// A stay in a room that has ended.
pub(super) struct Stay {
    /// The state in which it ended.
    pub(super) end: RoomStateMap,
    /// The room order of the event that ended it.
    end_order: i64,
    /// The position that the client knows the room up to, if it was there then.
    known_upto: Option<i64>,
}

impl Sync {
    /// Writes a room that the user has left, as a value; answers whether there is anything to
    /// tell.
    pub(super) async fn write_left(
        &self,
        out: &mut JsonWriter,
        window: &Window<'_>,
        row: &MembershipRow,
        lists: &mut DeviceLists,
    ) -> Result<bool, StoreError> {
        let Some(snapshot) = self.context.rooms.snapshot(&row.room_id).await? else {
            // An invite to a room that this server was never in, declined.
            out.open().close();
            return Ok(true);
        };
        let user = &window.request.user_id;
        let standing = self.context.rooms.standing(&row.room_id, user).await?;
        let timeline = self
            .left_timeline(window, row, &snapshot, &standing)
            .await?;
        let mut state = State::default();
        if let Some(stay) = self.stay(user, window.after, &standing).await? {
            if window.after.is_some() {
                lists.left(&snapshot, &stay.end);
            }
            state = self.left_state(window, &snapshot, &timeline, &stay).await?;
        }
        let data = self.room_account_data(window, &row.room_id, false).await?;
        out.open();
        if !data.is_empty() {
            write_list(out.key("account_data"), &data);
        }
        self.write_events(out, window, &timeline, &state).await?;
        out.close();
        Ok(true)
    }

    /// The timeline up to the change of membership that is told.
    async fn left_timeline(
        &self,
        window: &Window<'_>,
        row: &MembershipRow,
        snapshot: &Snapshot,
        standing: &Standing,
    ) -> Result<Timeline, StoreError> {
        let leave = self.context.store.event(&row.event_id).await?;
        // The leave stands in the timeline, or else (an outlier) nothing of the timeline is told.
        let Some(left_at) = leave.as_ref().and_then(|event| event.position) else {
            return Ok(Timeline::default());
        };
        let query = TimelineQuery {
            reader: &window.request.user_id,
            room: &row.room_id,
            interval: Interval {
                after: window.after,
                upto: left_at.min(window.upto),
            },
            section: &window.request.filter.timeline,
            ignored: &window.ignored,
            visible_to: Some(standing),
            order_min: snapshot.order_min,
        };
        self.timeline(&query).await
    }

    /// The stay that ended since the client's token; none if the user was never joined (an invite
    /// was refused), or if the client knows that it ended.
    pub(super) async fn stay(
        &self,
        user: &UserId,
        after: Option<i64>,
        standing: &Standing,
    ) -> Result<Option<Stay>, StoreError> {
        let Some(left_by) = standing.left_by() else {
            return Ok(None);
        };
        let (Some(group), Some(end_order)) = (left_by.state_after, left_by.room_order) else {
            return Ok(None);
        };
        let mut known_upto = None;
        if let Some(after) = after {
            if left_by.position.is_none_or(|position| position <= after) {
                return Ok(None);
            }
            let before = self.context.rooms.member_before(left_by, user).await?;
            known_upto = self.known_before(user, before, after).await?;
        }
        Ok(Some(Stay {
            end: self.context.store.state_at(group).await?,
            end_order,
            known_upto,
        }))
    }

    async fn left_state(
        &self,
        window: &Window<'_>,
        snapshot: &Snapshot,
        timeline: &Timeline,
        stay: &Stay,
    ) -> Result<State, StoreError> {
        // Without an event that the user may see there is no state that they may see.
        if timeline.events.is_empty() || !window.request.filter.state.allows_room(&snapshot.room_id)
        {
            return Ok(State::default());
        }
        self.state(&StateQuery {
            request: window.request,
            device: &window.device,
            snapshot,
            end: &stay.end,
            end_order: stay.end_order,
            timeline,
            known_upto: stay.known_upto,
            heroes: &[],
        })
        .await
    }

    /// Writes a room that the user is invited to or knocks on, as a value; answers whether it is to be told.
    pub(super) async fn write_stripped(
        &self,
        out: &mut JsonWriter,
        window: &Window<'_>,
        row: &MembershipRow,
        key: &str,
    ) -> Result<bool, StoreError> {
        let change = self.context.store.event(&row.event_id).await?;
        // "Homeservers must not send room invites from ignored users to clients."
        if change
            .as_ref()
            .is_some_and(|change| window.ignored.contains(&change.pdu.sender))
        {
            return Ok(false);
        }
        out.open().key(key).open().key("events").open_list();
        let mut told_member = false;
        if let Some(stripped) = &row.stripped_state {
            let events: Vec<&RawJsonValue> = serde_json::from_str(stripped).unwrap_or_default();
            for event in events {
                told_member |= is_member_of(event, &row.user_id);
                out.element().raw(event.get().as_bytes());
            }
        } else {
            self.write_stripped_state(out, window, &row.room_id).await?;
        }
        if !told_member && let Some(event) = &change {
            projection::write_stripped_event(out.element(), event, window.now_ms);
        }
        out.close_list().close().close();
        Ok(true)
    }

    async fn write_stripped_state(
        &self,
        out: &mut JsonWriter,
        window: &Window<'_>,
        room: &RoomId,
    ) -> Result<(), StoreError> {
        let Some(snapshot) = self.context.rooms.snapshot(room).await? else {
            return Ok(());
        };
        let ids = STRIPPED.map(|kind| snapshot.state_id(&StateEventType::from(kind), ""));
        let ids: Vec<_> = ids.into_iter().flatten().map(ToOwned::to_owned).collect();
        for event in self.context.store.events(&ids).await? {
            projection::write_stripped_event(out.element(), &event, window.now_ms);
        }
        Ok(())
    }
}

/// Whether stripped state is the membership of a user.
fn is_member_of(event: &RawJsonValue, user: &ruma::UserId) -> bool {
    #[derive(Deserialize)]
    struct Event {
        #[serde(rename = "type")]
        kind: String,
        #[serde(default)]
        state_key: String,
    }
    serde_json::from_str::<Event>(event.get())
        .is_ok_and(|event| event.kind == "m.room.member" && event.state_key == user.as_str())
}
