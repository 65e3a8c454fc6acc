//! What a user takes along from a room to the one that replaced it: tags, push rules, and that it
//! is a direct chat.
//!
//! Invariant: only the room that the old one itself names as its replacement inherits anything, so
//! that nobody's room passes for another's successor. What the user has set for the new room stays.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#room-upgrades>

use ruma::{
    OwnedRoomId, RoomId, UserId,
    events::StateEventType,
    push::{NewConditionalPushRule, NewPushRule, NewSimplePushRule, PushCondition},
};
use serde_json::{Value, json};

use super::{Rooms, Snapshot};
use crate::store::{EditPushRules, PushRuleEdit, SetAccountData, StoreError};

/// The account data that holds a room's tags.
const TAGS: &str = "m.tag";
/// The account data that says which rooms are direct chats.
const DIRECT: &str = "m.direct";

impl Rooms {
    /// Takes a user's settings along into a room that they have just come into. A failure is no
    /// reason not to come in.
    pub(super) async fn take_settings_along(&self, room: &RoomId, user: &UserId) {
        if let Err(error) = self.try_take_along(room, user).await {
            tracing::error!(%error, "settings of a replaced room could not be taken along");
        }
    }

    async fn try_take_along(&self, room: &RoomId, user: &UserId) -> Result<(), StoreError> {
        let Some(snapshot) = self.snapshot(room).await? else {
            return Ok(());
        };
        let Some(old) = self.predecessor(&snapshot).await? else {
            return Ok(());
        };
        if !self.memberships(user).await?.contains_key(&old) {
            return Ok(());
        }
        let store = self.store();
        let tags = store.account_datum(user, Some(&old), TAGS).await?;
        if let Some(content) = tags
            && store.account_datum(user, Some(room), TAGS).await?.is_none()
        {
            self.set_datum(user, Some(room), TAGS, content).await?;
        }
        if let Some(direct) = store.account_datum(user, None, DIRECT).await?
            && let Some(content) = with_replacement(&direct, &old, room)
        {
            self.set_datum(user, None, DIRECT, content).await?;
        }
        for rule in self.rules_for(user, &old, room).await? {
            let edit = PushRuleEdit::Insert {
                rule: Box::new(rule),
                after: None,
                before: None,
            };
            let user_id = user.to_owned();
            // A user who has too many rules keeps those that there are.
            let _ = store.commit(EditPushRules { user_id, edit }).await?;
        }
        Ok(())
    }

    /// The room that this one replaced, if that room says so as well.
    async fn predecessor(&self, snapshot: &Snapshot) -> Result<Option<OwnedRoomId>, StoreError> {
        let create = StateEventType::RoomCreate;
        let create = self
            .field(snapshot, &create, "/predecessor/room_id")
            .await?;
        let Some(old) = create else { return Ok(None) };
        let Some(before) = self.snapshot(&old).await? else {
            return Ok(None);
        };
        let tombstone = StateEventType::RoomTombstone;
        let named = self.field(&before, &tombstone, "/replacement_room").await?;
        Ok(named
            .filter(|named| *named == snapshot.room_id)
            .map(|_| old))
    }

    /// The room that a place of the state names.
    async fn field(
        &self,
        snapshot: &Snapshot,
        kind: &StateEventType,
        pointer: &str,
    ) -> Result<Option<OwnedRoomId>, StoreError> {
        let event = self.state_event(snapshot, kind, "").await?;
        Ok(event.and_then(|event| {
            let content: Value = serde_json::from_str(event.pdu.content.get()).ok()?;
            content.pointer(pointer)?.as_str()?.try_into().ok()
        }))
    }

    async fn set_datum(
        &self,
        user: &UserId,
        room: Option<&RoomId>,
        event_type: &str,
        content: String,
    ) -> Result<(), StoreError> {
        let change = SetAccountData {
            user_id: user.to_owned(),
            room_id: room.map(ToOwned::to_owned),
            event_type: event_type.to_owned(),
            content,
        };
        self.store().commit(change).await?;
        Ok(())
    }

    /// The rules that hold for the old room, made for the new one.
    async fn rules_for(
        &self,
        user: &UserId,
        old: &RoomId,
        new: &RoomId,
    ) -> Result<Vec<NewPushRule>, StoreError> {
        let held = self.store().push_rules(user).await?;
        let mut rules = Vec::new();
        if let Some(rule) = held.room.iter().find(|rule| rule.rule_id == *old) {
            let rule = NewSimplePushRule::new(new.to_owned(), rule.actions.clone());
            rules.push(NewPushRule::Room(rule));
        }
        // By such a rule clients silence a room.
        let silencing = held
            .override_
            .iter()
            .find(|rule| rule.rule_id == old.as_str());
        if let Some(rule) = silencing
            && let Ok(conditions) = serde_json::to_string(&rule.conditions)
        {
            let conditions = conditions.replace(old.as_str(), new.as_str());
            let conditions: Vec<PushCondition> =
                serde_json::from_str(&conditions).unwrap_or_default();
            let actions = rule.actions.clone();
            let rule = NewConditionalPushRule::new(new.to_string(), conditions, actions);
            rules.push(NewPushRule::Override(rule));
        }
        Ok(rules)
    }
}

/// The direct chats with the new room wherever the old one is; none if it is nowhere.
fn with_replacement(direct: &str, old: &RoomId, new: &RoomId) -> Option<String> {
    let mut direct: Value = serde_json::from_str(direct).ok()?;
    let mut changed = false;
    for rooms in direct.as_object_mut()?.values_mut() {
        let rooms = rooms.as_array_mut()?;
        let is = |room: &RoomId| json!(room);
        if rooms.contains(&is(old)) && !rooms.contains(&is(new)) {
            rooms.push(is(new));
            changed = true;
        }
    }
    changed.then(|| direct.to_string())
}
