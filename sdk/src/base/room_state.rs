//! What this client knows of one room.
//!
//! Invariant: [`RoomState::encryption`] never goes back to `None`, whatever a server says
//! (<https://spec.matrix.org/v1.19/client-server-api/#handling-an-mroomencryption-state-event>).

use std::{collections::BTreeMap, sync::Arc};

use ruma::{OwnedRoomId, OwnedUserId, UserId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

use super::policy::{EXPIRY_POLICY_TYPE, ExpiryPolicy, RETENTION_TYPE};
use crate::{crypto::SecretBytes, expiry::ExpiryClass, store::RoomEntry};

/// The most bytes kept of a name or a display name.
const NAME_BYTES_MAX: usize = 1024;

/// The types of state that are kept.
const TYPES: [&str; 6] = [
    "m.room.encryption",
    EXPIRY_POLICY_TYPE,
    RETENTION_TYPE,
    "m.room.name",
    "m.room.history_visibility",
    "m.room.member",
];

/// How somebody stands to a room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Membership {
    /// Takes part.
    Join,
    /// Has been asked to join.
    Invite,
    /// Has asked to be let in.
    Knock,
    /// Is not, or no longer, part of it.
    #[default]
    Leave,
    /// Is kept out.
    Ban,
}

impl Membership {
    fn read(content: &Value) -> Option<Self> {
        Self::deserialize(content.get("membership")?).ok()
    }
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// How they stand to the room.
    pub membership: Membership,
    /// The name they chose for this room; anybody can choose any name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
}

/// Content of `m.room.encryption`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Encryption {
    /// As the state event says; Megolm is used whatever it says.
    pub algorithm: String,
    /// How long a session may be used, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation_period_ms: Option<u64>,
    /// How many messages a session may encrypt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation_period_msgs: Option<u64>,
}

/// What this client knows of one room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomState {
    /// The room.
    pub room_id: OwnedRoomId,
    /// How we stand to it.
    pub membership: Membership,
    /// Set once the room was seen to be encrypted, and for ever after.
    #[serde(default)]
    pub encryption: Option<Encryption>,
    /// How long messages live.
    #[serde(default)]
    pub expiry: Option<ExpiryPolicy>,
    /// How long other servers keep messages, in milliseconds, as `m.room.retention` says; counts where there is no policy.
    #[serde(default)]
    pub retention_ms: Option<u64>,
    /// The room's name, as its members see it.
    #[serde(default)]
    pub name: Option<String>,
    /// Everybody who was ever seen as a member.
    #[serde(default)]
    pub members: BTreeMap<OwnedUserId, Member>,
    /// Who may see history, as the state event says.
    #[serde(default)]
    pub history_visibility: Option<String>,
    /// From where older messages can be fetched.
    #[serde(default)]
    pub prev_batch: Option<String>,
}

/// What a state event changes.
enum Change {
    Encryption(Encryption),
    Expiry(Option<ExpiryPolicy>),
    Retention(Option<u64>),
    Name(Option<String>),
    Visibility(Option<String>),
    Member(OwnedUserId, Member),
}

/// The parts of a state event that matter here.
#[derive(Debug, Deserialize)]
struct StateEvent {
    #[serde(rename = "type")]
    kind: String,
    state_key: String,
    content: Value,
}

impl RoomState {
    /// A room of which nothing is known yet.
    #[must_use]
    pub fn new(room_id: OwnedRoomId) -> Self {
        Self {
            room_id,
            membership: Membership::Leave,
            encryption: None,
            expiry: None,
            retention_ms: None,
            name: None,
            members: BTreeMap::new(),
            history_visibility: None,
            prev_batch: None,
        }
    }

    /// As it is kept in the store.
    pub(crate) fn encode(&self) -> Option<RoomEntry> {
        Some(RoomEntry {
            room_id: self.room_id.clone(),
            encrypted: self.is_encrypted(),
            body: SecretBytes::new(serde_json::to_vec(self).ok()?),
        })
    }

    /// From the store. A room that the store holds for encrypted is, whatever the rest says.
    pub(crate) fn decode(entry: &RoomEntry) -> Option<Self> {
        let mut state: Self = serde_json::from_slice(entry.body.expose()).ok()?;
        if entry.encrypted && state.encryption.is_none() {
            state.encryption = Some(Encryption::default());
        }
        Some(state)
    }

    /// Whether messages into this room must be encrypted.
    #[must_use]
    pub const fn is_encrypted(&self) -> bool {
        self.encryption.is_some()
    }

    /// Takes in an event if it is a state event, full or stripped, that matters here; tells whether it changed anything. The room
    /// is copied only then: most events are messages, and a room can have many members.
    pub fn apply(room: &mut Arc<Self>, event: &RawValue, own_user: &UserId) -> bool {
        let Ok(event) = serde_json::from_str::<StateEvent>(event.get()) else {
            return false;
        };
        if !TYPES.contains(&event.kind.as_str()) {
            return false;
        }
        let Some(change) = room.change(event, own_user) else {
            return false;
        };
        Arc::make_mut(room).take(change, own_user);
        true
    }

    /// What an event changes; `None` if it says what is known already.
    fn change(&self, event: StateEvent, own_user: &UserId) -> Option<Change> {
        let StateEvent {
            kind,
            state_key,
            content,
        } = event;
        let text = |field: &str| content.get(field).and_then(Value::as_str).map(bounded);
        match (kind.as_str(), state_key.as_str()) {
            ("m.room.encryption", "") => self.encryption_change(content),
            (EXPIRY_POLICY_TYPE, "") => {
                let policy = serde_json::from_value(content).ok();
                (policy != self.expiry).then_some(Change::Expiry(policy))
            }
            (RETENTION_TYPE, "") => {
                let lifetime = content.get("max_lifetime").and_then(Value::as_u64);
                (lifetime != self.retention_ms).then_some(Change::Retention(lifetime))
            }
            ("m.room.name", "") => {
                let name = text("name");
                (name != self.name).then_some(Change::Name(name))
            }
            ("m.room.history_visibility", "") => {
                let visibility = text("history_visibility");
                (visibility != self.history_visibility).then_some(Change::Visibility(visibility))
            }
            ("m.room.member", user) => {
                let user = OwnedUserId::try_from(user).ok()?;
                let member = Member {
                    membership: Membership::read(&content)?,
                    display_name: text("displayname"),
                };
                let known = self.members.get(&user) == Some(&member)
                    && (user != own_user || self.membership == member.membership);
                (!known).then_some(Change::Member(user, member))
            }
            _ => None,
        }
    }

    fn encryption_change(&self, content: Value) -> Option<Change> {
        // Content without an algorithm (a redacted event, say) still marks the room as encrypted.
        let encryption: Encryption = serde_json::from_value(content).unwrap_or_default();
        let news = match &self.encryption {
            None => true,
            Some(known) => !encryption.algorithm.is_empty() && *known != encryption,
        };
        news.then_some(Change::Encryption(encryption))
    }

    fn take(&mut self, change: Change, own_user: &UserId) {
        match change {
            Change::Encryption(encryption) => self.encryption = Some(encryption),
            Change::Expiry(policy) => self.expiry = policy,
            Change::Retention(lifetime) => self.retention_ms = lifetime,
            Change::Name(name) => self.name = name,
            Change::Visibility(visibility) => self.history_visibility = visibility,
            Change::Member(user, member) => {
                if user == own_user {
                    self.membership = member.membership;
                }
                self.members.insert(user, member);
            }
        }
    }

    /// The lifetime of a message that is sent now and for which `wished` was asked: by the room's policy or, where there is none, by
    /// what it says to other servers, as our servers judge it too.
    #[must_use]
    pub fn lifetime(&self, wished: Option<ExpiryClass>) -> Option<ExpiryClass> {
        self.policy().map_or(wished, |policy| policy.class(wished))
    }

    /// The longest lifetime that any message has by now, those sent before the policy included; `None` if there is no bound.
    #[must_use]
    pub fn longest_lifetime(&self) -> Option<ExpiryClass> {
        Some(ExpiryClass::from_ms(self.policy()?.max_ms?))
    }

    fn policy(&self) -> Option<ExpiryPolicy> {
        let retention = || self.retention_ms.and_then(ExpiryPolicy::from_retention);
        self.expiry.clone().or_else(retention)
    }

    /// Members whose devices get keys: who has joined, and who is invited, unless history is only for those who had joined.
    pub fn recipients(&self) -> impl Iterator<Item = &OwnedUserId> {
        let invited_too = self.history_visibility.as_deref() != Some("joined");
        let gets_keys = move |membership| match membership {
            Membership::Join => true,
            Membership::Invite => invited_too,
            Membership::Knock | Membership::Leave | Membership::Ban => false,
        };
        let members = self.members.iter();
        members
            .filter(move |(_, member)| gets_keys(member.membership))
            .map(|(user, _)| user)
    }

    /// Members who take part.
    pub fn joined(&self) -> impl Iterator<Item = &OwnedUserId> {
        self.members
            .iter()
            .filter(|(_, member)| member.membership == Membership::Join)
            .map(|(user, _)| user)
    }
}

fn bounded(text: &str) -> String {
    let mut end = text.len().min(NAME_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use ruma::{owned_room_id, owned_user_id};
    use serde_json::json;

    use super::*;

    fn apply(room: &mut Arc<RoomState>, kind: &str, key: &str, content: Value) -> bool {
        let event = json!({"type": kind, "state_key": key, "sender": "@x:y", "content": content});
        let raw = serde_json::value::to_raw_value(&event).unwrap();
        RoomState::apply(room, &raw, &owned_user_id!("@alice:one"))
    }

    fn room() -> Arc<RoomState> {
        Arc::new(RoomState::new(owned_room_id!("!r:one")))
    }

    #[test]
    fn encryption_is_sticky() {
        let mut room = room();
        let megolm = json!({"algorithm": "m.megolm.v1.aes-sha2", "rotation_period_msgs": 7});
        assert!(apply(&mut room, "m.room.encryption", "", megolm));
        let before = room.clone();
        for content in [
            json!({}),
            json!({"algorithm": ""}),
            json!({"algorithm": 7}),
            json!(null),
        ] {
            assert!(!apply(&mut room, "m.room.encryption", "", content));
            assert_eq!(room, before);
        }
    }

    #[test]
    fn any_encryption_event_marks_the_room() {
        for content in [
            json!({}),
            json!({"algorithm": "unknown"}),
            json!("nonsense"),
        ] {
            let mut room = room();
            apply(&mut room, "m.room.encryption", "", content);
            assert!(room.is_encrypted());
        }
        let mut room = room();
        apply(
            &mut room,
            "m.room.encryption",
            "elsewhere",
            json!({"algorithm": "a"}),
        );
        assert!(!room.is_encrypted());
    }

    #[test]
    fn members_and_our_own_membership_are_followed() {
        let mut room = room();
        apply(
            &mut room,
            "m.room.member",
            "@alice:one",
            json!({"membership": "join"}),
        );
        apply(
            &mut room,
            "m.room.member",
            "@bob:two",
            json!({"membership": "invite"}),
        );
        apply(
            &mut room,
            "m.room.member",
            "@eve:two",
            json!({"membership": "ban"}),
        );
        apply(
            &mut room,
            "m.room.member",
            "nonsense",
            json!({"membership": "join"}),
        );
        apply(
            &mut room,
            "m.room.member",
            "@dan:two",
            json!({"membership": "emperor"}),
        );
        assert_eq!(room.membership, Membership::Join);
        let recipients: Vec<_> = room.recipients().map(|user| user.as_str()).collect();
        assert_eq!(recipients, ["@alice:one", "@bob:two"]);
        assert_eq!(room.joined().count(), 1);
        let joined_only = json!({"history_visibility": "joined"});
        apply(&mut room, "m.room.history_visibility", "", joined_only);
        assert_eq!(room.recipients().count(), 1);
    }

    #[test]
    fn a_policy_that_cannot_be_read_is_no_policy() {
        let mut room = room();
        apply(
            &mut room,
            EXPIRY_POLICY_TYPE,
            "",
            json!({"default_ms": 30_000}),
        );
        assert_eq!(room.expiry.as_ref().unwrap().default_ms, Some(30_000));
        apply(
            &mut room,
            EXPIRY_POLICY_TYPE,
            "",
            json!({"default_ms": "soon"}),
        );
        assert_eq!(room.expiry, None);
    }

    #[test]
    fn a_room_with_retention_alone_has_a_lifetime_as_on_the_server() {
        let mut room = room();
        assert_eq!(room.lifetime(None), None);
        let retention = |ms: u64| json!({"max_lifetime": ms});
        apply(&mut room, RETENTION_TYPE, "", retention(90_000_000));
        assert_eq!(room.lifetime(None), Some(ExpiryClass::Day1));
        assert_eq!(
            room.lifetime(Some(ExpiryClass::Days7)),
            Some(ExpiryClass::Day1)
        );
        // Longer than can be expressed.
        apply(&mut room, RETENTION_TYPE, "", retention(30_000_000_000));
        assert_eq!(room.lifetime(None), None);
        apply(&mut room, RETENTION_TYPE, "", retention(90_000_000));
        apply(
            &mut room,
            EXPIRY_POLICY_TYPE,
            "",
            json!({"default_ms": 3_600_000, "max_ms": 604_800_000}),
        );
        assert_eq!(room.lifetime(None), Some(ExpiryClass::Hour1));
    }

    #[test]
    fn a_room_of_many_members_is_copied_once_for_all_of_them() {
        let held = room();
        let mut room = held.clone();
        apply(&mut room, "m.room.name", "", json!({"name": "many"}));
        let copy = Arc::as_ptr(&room);
        for user in 0..100 {
            let joined = json!({"membership": "join"});
            assert!(apply(
                &mut room,
                "m.room.member",
                &format!("@u{user}:one"),
                joined
            ));
        }
        assert_eq!(Arc::as_ptr(&room), copy);
        let again = json!({"membership": "join"});
        assert!(!apply(&mut room, "m.room.member", "@u7:one", again));
        assert!(held.members.is_empty());
    }

    #[test]
    fn an_event_that_is_no_state_event_changes_nothing() {
        let mut room = room();
        for event in [r#"{"type":"m.room.encryption","content":{}}"#, "7", "{}"] {
            let raw = RawValue::from_string(event.to_owned()).unwrap();
            assert!(!RoomState::apply(
                &mut room,
                &raw,
                &owned_user_id!("@alice:one")
            ));
        }
    }
}
