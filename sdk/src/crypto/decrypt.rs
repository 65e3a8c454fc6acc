//! Decrypting a room event.
//!
//! Invariant: what is handed out was encrypted by the owner of the session for this room, and under this event's id only. The earlier of
//! the inner and the outer lifetime counts. Spec: <https://spec.matrix.org/v1.19/client-server-api/#mmegolmv1aes-sha2>

use ruma::{
    OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UserId,
    events::AnySyncTimelineEvent,
    serde::{JsonObject, Raw},
};
use serde::Deserialize;
use serde_json::Value;
use vodozemac::megolm::{DecryptionError, MegolmMessage};

use super::{
    changes::Staged,
    deadlines::Deadline,
    error::Undecryptable,
    inbound::{Floor, InboundKey, InboundRecord, Seen, SessionExpiry},
    machine::OlmMachine,
    outcome::{DecryptedEvent, Relation, Trust},
};
use crate::expiry::{ExpiryStamp, MessageExpiry};

const RELATES_TO: &str = "m.relates_to";

/// Events that Megolm never carries: anyone in the room could have passed them on, so they are worth nothing in it.
const FORBIDDEN_TYPES: [&str; 6] = [
    "m.room_key",
    "m.forwarded_room_key",
    "m.secret.send",
    "m.secret.request",
    "m.room.encrypted",
    "m.room_key.withheld",
];

#[derive(Deserialize)]
struct OuterEvent {
    #[serde(rename = "type")]
    event_type: String,
    event_id: OwnedEventId,
    sender: OwnedUserId,
    origin_server_ts: u64,
    content: JsonObject,
    state_key: Option<String>,
}

#[derive(Deserialize)]
struct MegolmPlaintext {
    #[serde(rename = "type")]
    event_type: String,
    content: JsonObject,
    room_id: OwnedRoomId,
    /// What its sender is told of the room.
    #[serde(default, rename = "org.passeur.view")]
    view: Option<Value>,
}

impl OlmMachine {
    /// Decrypts an `m.room.encrypted` event. Commit the changes: they remember that this index was used by this event. The same event may
    /// be decrypted again, and says then that it was [seen before](DecryptedEvent::seen_before).
    ///
    /// # Errors
    /// [`Undecryptable`] says why not; after [`Undecryptable::MissingRoomKey`] the event can be tried again later.
    pub fn decrypt_room_event(
        &mut self,
        room_id: &RoomId,
        event: &Raw<AnySyncTimelineEvent>,
        now_ms: u64,
    ) -> Result<Staged<DecryptedEvent>, Undecryptable> {
        let outer: OuterEvent =
            serde_json::from_str(event.json().get()).map_err(|_| Undecryptable::Malformed)?;
        if outer.event_type != "m.room.encrypted" || outer.state_key.is_some() {
            return Err(Undecryptable::Malformed);
        }
        let text = |name: &str| outer.content.get(name).and_then(Value::as_str);
        match text("algorithm") {
            Some("m.megolm.v1.aes-sha2") => {}
            Some(_) => return Err(Undecryptable::UnknownAlgorithm),
            None => return Err(Undecryptable::Malformed),
        }
        let (Some(session_id), Some(ciphertext)) = (text("session_id"), text("ciphertext")) else {
            return Err(Undecryptable::Malformed);
        };
        let message =
            MegolmMessage::from_base64(ciphertext).map_err(|_| Undecryptable::Malformed)?;
        let key = self.session_for(&outer.sender, session_id)?;
        let plaintext = self.decrypt_megolm(&key, room_id, &message)?;
        let mut inner: MegolmPlaintext =
            serde_json::from_slice(&plaintext).map_err(|_| Undecryptable::BadPlaintext)?;
        if inner.room_id != *room_id {
            return Err(Undecryptable::RoomMismatch);
        }
        if FORBIDDEN_TYPES.contains(&inner.event_type.as_str()) {
            return Err(Undecryptable::ForbiddenType);
        }
        let index = message.message_index();
        let seen_before = self
            .replay
            .get(&(key.clone(), index))
            .is_some_and(|seen| seen.event_id.is_some());
        let expiry = self.note_seen(&key, index, &outer, &inner.content, now_ms)?;
        self.remember_encrypted(room_id)
            .map_err(|_| Undecryptable::Machine)?;
        let said = inner.view.take();
        let mut decrypted = self.describe(&key, index, outer, inner, expiry);
        decrypted.seen_before = seen_before;
        let sender_key = self
            .inbound
            .get(&key)
            .map(|record| record.sender_curve25519.clone());
        if let (Some(said), Some(sender_key)) = (said, sender_key) {
            self.hear_view(&decrypted, &sender_key, said, now_ms)
                .map_err(|_| Undecryptable::Machine)?;
        }
        Ok(self.stage(decrypted))
    }

    /// The session of an event: its sender's own, or else a copy that somebody gave us, unless that is known to be another's.
    fn session_for(&self, sender: &UserId, session_id: &str) -> Result<InboundKey, Undecryptable> {
        let own = InboundKey::new(sender, session_id);
        let copy = InboundKey::imported(session_id);
        let Some(record) = self
            .inbound
            .get(&copy)
            .filter(|_| !self.inbound.contains_key(&own))
        else {
            return Ok(own);
        };
        let is_anothers = self.users.iter().any(|(user_id, user)| {
            let devices = user.devices.values().chain(user.vanished.values());
            let mut keys = devices.map(|device| &device.curve25519);
            *user_id != *sender && keys.any(|key| *key == record.sender_curve25519)
        });
        if is_anothers {
            return Err(Undecryptable::SenderMismatch);
        }
        Ok(copy)
    }

    fn decrypt_megolm(
        &mut self,
        key: &InboundKey,
        room_id: &RoomId,
        message: &MegolmMessage,
    ) -> Result<zeroize::Zeroizing<Vec<u8>>, Undecryptable> {
        let floor = self.floors.get(key).copied().unwrap_or_default();
        let Some(record) = self.inbound.get_mut(key) else {
            return Err(self.why_missing(key, floor));
        };
        if record.room_id != *room_id {
            return Err(Undecryptable::RoomMismatch);
        }
        let index = message.message_index();
        match record.session.decrypt(message) {
            Ok(decrypted) => Ok(zeroize::Zeroizing::new(decrypted.plaintext)),
            Err(DecryptionError::UnknownMessageIndex(..)) if index < floor.index_min => {
                Err(Undecryptable::Expired)
            }
            Err(DecryptionError::UnknownMessageIndex(first_index, _)) => {
                Err(Undecryptable::IndexTooOld { index, first_index })
            }
            Err(_) => Err(Undecryptable::BadCiphertext),
        }
    }

    fn why_missing(&self, key: &InboundKey, floor: Floor) -> Undecryptable {
        if floor.dead {
            return Undecryptable::Expired;
        }
        // Known, but as another user's: either the server changed the event's sender, or somebody passes a key on as theirs.
        if self
            .inbound
            .keys()
            .any(|known| known.session_id == key.session_id)
        {
            return Undecryptable::SenderMismatch;
        }
        Undecryptable::MissingRoomKey {
            session_id: key.session_id.clone(),
            withheld: self.withheld.get(&key.session_id).cloned(),
        }
    }

    /// Refuses a replay and a message whose time is over; remembers the message, and the earliest deadline ever computed for it.
    fn note_seen(
        &mut self,
        key: &InboundKey,
        index: u32,
        outer: &OuterEvent,
        content: &JsonObject,
        now_ms: u64,
    ) -> Result<Option<MessageExpiry>, Undecryptable> {
        let now_ms = self.expiry_now(now_ms);
        let known = self.replay.get(&(key.clone(), index)).cloned();
        if let Some(Seen {
            event_id: Some(event_id),
            sent_ms,
            ..
        }) = &known
            && (*event_id != outer.event_id || *sent_ms != outer.origin_server_ts)
        {
            return Err(Undecryptable::Replay);
        }
        let session = self
            .inbound
            .get(key)
            .and_then(|record: &InboundRecord| record.expiry);
        let inherited = self.inherited([content, &outer.content]);
        let mut expiry = message_expiry(session, outer, content, inherited, now_ms);
        if let Some(expiry) = &mut expiry {
            let before = known.as_ref().and_then(|seen| seen.deadline_ms);
            expiry.deadline_ms =
                before.map_or(expiry.deadline_ms, |before| before.min(expiry.deadline_ms));
        }
        let seen = Seen {
            event_id: Some(outer.event_id.clone()),
            sent_ms: outer.origin_server_ts,
            deadline_ms: expiry.map(|expiry| expiry.deadline_ms),
            target: self.unknown_target([content, &outer.content]),
        };
        if known.as_ref() != Some(&seen) {
            self.save_seen(key, index, seen)
                .map_err(|_| Undecryptable::Machine)?;
        }
        if let Some(expiry) = expiry {
            let deadline = Deadline {
                class: expiry.class,
                at_ms: expiry.deadline_ms,
            };
            self.save_deadline(&outer.event_id, deadline)
                .map_err(|_| Undecryptable::Machine)?;
        }
        if expiry.is_some_and(|expiry| expiry.deadline_ms <= now_ms) {
            return Err(Undecryptable::Expired);
        }
        Ok(expiry)
    }

    fn describe(
        &self,
        key: &InboundKey,
        index: u32,
        outer: OuterEvent,
        mut inner: MegolmPlaintext,
        expiry: Option<MessageExpiry>,
    ) -> DecryptedEvent {
        let (sender_device, trust) = match self.inbound.get(key) {
            Some(record) if record.imported => (None, Trust::Imported),
            Some(record) => self.trust_of(
                &outer.sender,
                &record.sender_curve25519,
                &record.sender_ed25519,
            ),
            None => (None, Trust::UnknownDevice),
        };
        let relation = match (inner.content.get(RELATES_TO), outer.content.get(RELATES_TO)) {
            (None, None) => Relation::None,
            (Some(inside), Some(outside)) if inside != outside => Relation::Tampered,
            (Some(_), _) => Relation::Authenticated,
            (None, Some(outside)) => {
                inner.content.insert(RELATES_TO.to_owned(), outside.clone());
                Relation::Unauthenticated
            }
        };
        DecryptedEvent {
            room_id: inner.room_id,
            event_id: outer.event_id,
            sender: outer.sender,
            sender_device,
            event_type: inner.event_type,
            content: inner.content,
            trust,
            relation,
            expiry,
            session_id: key.session_id.clone(),
            message_index: index,
            seen_before: false,
            missing_before: self.missing_before(key, index),
        }
    }

    /// The number of messages before this one that have not been decrypted here, down to the next that has, or to the first that can be.
    fn missing_before(&self, key: &InboundKey, index: u32) -> u32 {
        let first_index = self
            .inbound
            .get(key)
            .map_or(index, |record| record.session.first_known_index());
        let first_index = first_index.min(index);
        let seen = self
            .replay
            .range((key.clone(), first_index)..(key.clone(), index));
        let after = seen.map(|((_, seen), _)| seen + 1).next_back();
        index - after.unwrap_or(first_index)
    }
}

/// The lifetime of a message: the shortest of the stamp inside, the stamp outside, the session's class and, of an edit or a reaction,
/// what is left to the message that it refers to; from the earlier of the server's timestamp and now, but not from before the session was made, so that a server cannot make a session destroy itself.
fn message_expiry(
    session: Option<SessionExpiry>,
    outer: &OuterEvent,
    content: &JsonObject,
    inherited: Option<Deadline>,
    now_ms: u64,
) -> Option<MessageExpiry> {
    let inside = ExpiryStamp::read(content);
    let outside = ExpiryStamp::read(&outer.content);
    let classes = [
        inside.map(|stamp| stamp.class),
        outside.map(|stamp| stamp.class),
        session.map(|session| session.class),
        inherited.map(|target| target.class),
    ];
    let class = classes.into_iter().flatten().min()?;
    let sent_ms = outer
        .origin_server_ts
        .max(session.map_or(0, |session| session.made_ms()))
        .min(now_ms);
    let own_ms = sent_ms.saturating_add(class.as_ms());
    let deadline_ms = inherited.map_or(own_ms, |target| own_ms.min(target.at_ms));
    Some(MessageExpiry {
        class,
        deadline_ms: session.map_or(deadline_ms, |session| deadline_ms.min(session.dead_at_ms)),
        after_read_ms: inside.and_then(|stamp| stamp.after_read_ms),
        view_once: inside.is_some_and(|stamp| stamp.view_once),
        tampered: inside.map(|stamp| stamp.class) != outside.map(|stamp| stamp.class),
    })
}
