//! One sync response, taken apart.
//!
//! Invariant: the digest is a function of what was known and of the response; committing it together with `next_batch` and
//! then starting again from there loses nothing and shows nothing twice.

use std::{collections::BTreeMap, sync::Arc};

use ruma::{
    OwnedRoomId, UserId,
    api::client::sync::sync_events::v3::{
        InvitedRoom, JoinedRoom, LeftRoom, Rooms, State, Timeline,
    },
};
use serde_json::value::RawValue;

use super::room_state::{Membership, RoomState};

/// What a response says about rooms.
#[derive(Debug, Default)]
pub(crate) struct SyncDigest {
    /// Rooms of which something changed, as they are now.
    pub(crate) rooms: Vec<Arc<RoomState>>,
    /// Timeline events, in the server's order within each room.
    pub(crate) timeline: Vec<TimelineItem>,
    /// Typing notices and receipts, as they came.
    pub(crate) ephemeral: Vec<TimelineItem>,
}

/// One event of one room, as the server sent it.
#[derive(Debug)]
pub(crate) struct TimelineItem {
    /// The room.
    pub(crate) room_id: OwnedRoomId,
    /// The event's JSON; a sync leaves out its `room_id`.
    pub(crate) event: Box<RawValue>,
}

/// Takes a response's rooms apart.
pub(crate) fn digest(
    known: &BTreeMap<OwnedRoomId, Arc<RoomState>>,
    own_user: &UserId,
    rooms: Rooms,
) -> SyncDigest {
    let mut digest = SyncDigest::default();
    let begin = |room_id: &OwnedRoomId| {
        known
            .get(room_id)
            .cloned()
            .unwrap_or_else(|| Arc::new(RoomState::new(room_id.clone())))
    };
    for (room_id, joined) in rooms.join {
        let state = apply_joined(begin(&room_id), joined, own_user, &mut digest);
        digest.keep(known, state);
    }
    for (room_id, invited) in rooms.invite {
        let state = apply_invited(begin(&room_id), &invited, own_user);
        digest.keep(known, state);
    }
    for (room_id, left) in rooms.leave {
        let state = apply_left(begin(&room_id), left, own_user, &mut digest);
        digest.keep(known, state);
    }
    digest
}

impl SyncDigest {
    fn keep(&mut self, known: &BTreeMap<OwnedRoomId, Arc<RoomState>>, state: Arc<RoomState>) {
        if known.get(&state.room_id) != Some(&state) {
            self.rooms.push(state);
        }
    }

    fn take_timeline(&mut self, state: &mut Arc<RoomState>, timeline: Timeline, own_user: &UserId) {
        if timeline.limited || state.prev_batch.is_none() {
            Arc::make_mut(state).prev_batch = timeline.prev_batch;
        }
        for event in timeline.events {
            let event = event.into_json();
            RoomState::apply(state, &event, own_user);
            self.timeline.push(TimelineItem {
                room_id: state.room_id.clone(),
                event,
            });
        }
    }
}

fn apply_joined(
    mut state: Arc<RoomState>,
    joined: JoinedRoom,
    own_user: &UserId,
    digest: &mut SyncDigest,
) -> Arc<RoomState> {
    set_membership(&mut state, Membership::Join);
    apply_state(&mut state, &joined.state, own_user);
    digest.take_timeline(&mut state, joined.timeline, own_user);
    let ephemeral = joined.ephemeral.events.into_iter();
    digest.ephemeral.extend(ephemeral.map(|event| TimelineItem {
        room_id: state.room_id.clone(),
        event: event.into_json(),
    }));
    state
}

fn apply_invited(
    mut state: Arc<RoomState>,
    invited: &InvitedRoom,
    own_user: &UserId,
) -> Arc<RoomState> {
    set_membership(&mut state, Membership::Invite);
    for event in &invited.invite_state.events {
        RoomState::apply(&mut state, event.json(), own_user);
    }
    state
}

fn apply_left(
    mut state: Arc<RoomState>,
    left: LeftRoom,
    own_user: &UserId,
    digest: &mut SyncDigest,
) -> Arc<RoomState> {
    set_membership(&mut state, Membership::Leave);
    apply_state(&mut state, &left.state, own_user);
    digest.take_timeline(&mut state, left.timeline, own_user);
    if state.membership == Membership::Join {
        // The server says that we left; a stale membership event among the rest does not undo it.
        set_membership(&mut state, Membership::Leave);
    }
    state
}

/// Copies the room only if something changes.
fn set_membership(state: &mut Arc<RoomState>, membership: Membership) {
    if state.membership != membership {
        Arc::make_mut(state).membership = membership;
    }
}

fn apply_state(state: &mut Arc<RoomState>, events: &State, own_user: &UserId) {
    let events = match events {
        State::Before(events) | State::After(events) => &events.events,
        _ => return,
    };
    for event in events {
        RoomState::apply(state, event.json(), own_user);
    }
}

#[cfg(test)]
mod tests {
    use ruma::{api::client::sync::sync_events::v3::Rooms, owned_room_id, user_id};
    use serde_json::json;

    use super::*;

    fn rooms(value: serde_json::Value) -> Rooms {
        serde_json::from_value(value).unwrap()
    }

    fn check(
        known: &BTreeMap<OwnedRoomId, Arc<RoomState>>,
        value: serde_json::Value,
    ) -> SyncDigest {
        digest(known, user_id!("@alice:one"), rooms(value))
    }

    #[test]
    fn a_join_brings_state_then_timeline() {
        let digest = check(
            &BTreeMap::new(),
            json!({"join": {"!r:one": {
                "state": {"events": [
                    {"type": "m.room.name", "state_key": "", "content": {"name": "old"}},
                    {"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}
                ]},
                "timeline": {"prev_batch": "p", "events": [
                    {"type": "m.room.name", "state_key": "", "content": {"name": "new"}},
                    {"type": "m.room.message", "content": {}}
                ]},
                "ephemeral": {"events": [{"type": "m.typing", "content": {"user_ids": []}}]}
            }}}),
        );
        let room = &digest.rooms[0];
        assert_eq!(room.membership, Membership::Join);
        assert_eq!(room.name.as_deref(), Some("new"));
        assert_eq!(room.prev_batch.as_deref(), Some("p"));
        assert!(room.is_encrypted());
        assert_eq!((digest.timeline.len(), digest.ephemeral.len()), (2, 1));
    }

    #[test]
    fn an_invite_is_known_from_stripped_state() {
        let digest = check(
            &BTreeMap::new(),
            json!({"invite": {"!r:one": {"invite_state": {"events": [
                {"type": "m.room.encryption", "state_key": "", "sender": "@b:two", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}
            ]}}}}),
        );
        assert_eq!(digest.rooms[0].membership, Membership::Invite);
        assert!(digest.rooms[0].is_encrypted());
    }

    #[test]
    fn leaving_keeps_what_is_sticky() {
        let mut room = RoomState::new(owned_room_id!("!r:one"));
        room.membership = Membership::Join;
        room.encryption = Some(Default::default());
        let known = BTreeMap::from([(room.room_id.clone(), Arc::new(room))]);
        let digest = check(
            &known,
            json!({"leave": {"!r:one": {"timeline": {"events": []}}}}),
        );
        assert_eq!(digest.rooms[0].membership, Membership::Leave);
        assert!(digest.rooms[0].is_encrypted());
    }

    #[test]
    fn a_response_that_changes_nothing_changes_no_room() {
        let mut room = RoomState::new(owned_room_id!("!r:one"));
        room.membership = Membership::Join;
        room.prev_batch = Some("p".to_owned());
        let known = BTreeMap::from([(room.room_id.clone(), Arc::new(room))]);
        let message = json!({"type": "m.room.message", "content": {}});
        let digest = check(
            &known,
            json!({"join": {"!r:one": {"timeline": {"prev_batch": "q", "events": [message]}}}}),
        );
        assert!(digest.rooms.is_empty());
        assert_eq!(digest.timeline.len(), 1);
    }
}
