//! Megolm sessions that decrypt, and how far they have been destroyed.
//!
//! Invariant: whatever key is taken in, from wherever, is first advanced to the session's floor; a dead session is never taken in again.
//! So no import brings an expired message back. A session belongs to the user whose device sent its key over Olm, and is
//! looked up under that user's name only.
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#mmegolmv1aes-sha2>

use std::fmt;

use ruma::{OwnedRoomId, OwnedUserId, UserId};
use serde::{Deserialize, Serialize};
use vodozemac::megolm::{InboundGroupSession, SessionOrdering};

use super::{changes::Table, error::CryptoError, machine::OlmMachine, outcome::RoomKeyRefusal};
use crate::expiry::ExpiryClass;

/// Names a session: its owner and its id. The id alone will not do, since anyone who was given a key can pass it on as their own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct InboundKey {
    pub(super) sender: OwnedUserId,
    pub(super) session_id: String,
}

impl InboundKey {
    pub(super) fn new(sender: &UserId, session_id: &str) -> Self {
        Self {
            sender: sender.to_owned(),
            session_id: session_id.to_owned(),
        }
    }

    /// For a copy of a key, whose owner is not known.
    pub(super) fn imported(session_id: &str) -> Self {
        Self {
            sender: ruma::owned_user_id!("@copy:imported.invalid"),
            session_id: session_id.to_owned(),
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let (session_id, sender) = text.split_once(' ')?;
        Some(Self {
            sender: UserId::parse(sender).ok()?,
            session_id: session_id.to_owned(),
        })
    }

    /// The key of one message's record.
    pub(super) fn indexed(&self, index: u32) -> String {
        format!("{index} {self}")
    }

    pub(super) fn parse_indexed(text: &str) -> Option<(Self, u32)> {
        let (index, key) = text.split_once(' ')?;
        Some((Self::parse(key)?, index.parse().ok()?))
    }
}

impl fmt::Display for InboundKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.session_id, self.sender)
    }
}

/// A session, and who its key came from.
#[derive(Serialize, Deserialize)]
pub(super) struct InboundRecord {
    #[serde(with = "super::pickle::inbound")]
    pub(super) session: InboundGroupSession,
    pub(super) room_id: OwnedRoomId,
    /// Identity keys of the device that sent the key over Olm.
    pub(super) sender_curve25519: String,
    pub(super) sender_ed25519: String,
    pub(super) expiry: Option<SessionExpiry>,
    /// Whether the key is a copy that somebody else than its owner gave us.
    #[serde(default)]
    pub(super) imported: bool,
    /// The version of the backup that has it.
    #[serde(default)]
    pub(super) backed_up_in: Option<String>,
}

/// The lifetime of an expiring session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SessionExpiry {
    pub(super) class: ExpiryClass,
    /// When its last message is dead: the end of its use plus the class.
    pub(super) dead_at_ms: u64,
}

impl SessionExpiry {
    /// For a session that is used for a quarter of its class from now on.
    pub(super) fn starting(class: ExpiryClass, now_ms: u64) -> Self {
        Self {
            class,
            dead_at_ms: now_ms
                .saturating_add(class.as_ms())
                .saturating_add(class.as_ms() / 4),
        }
    }

    /// When the session was made: no message in it can be older, whatever a server says.
    pub(super) fn made_ms(&self) -> u64 {
        self.dead_at_ms
            .saturating_sub(self.class.as_ms())
            .saturating_sub(self.class.as_ms() / 4)
    }

    /// The stricter of two.
    fn stricter(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        match (one, other) {
            (Some(one), Some(other)) => Some(Self {
                class: one.class.min(other.class),
                dead_at_ms: one.dead_at_ms.min(other.dead_at_ms),
            }),
            (one, other) => one.or(other),
        }
    }
}

/// How far a session has been destroyed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Floor {
    /// Nothing below this index may come back.
    pub(super) index_min: u32,
    /// Nothing at all may come back.
    pub(super) dead: bool,
}

/// One message that was decrypted or, if ours, encrypted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seen {
    /// The event it came in; `None` for one of ours that has not come back yet.
    pub(super) event_id: Option<ruma::OwnedEventId>,
    /// The event's timestamp.
    pub(super) sent_ms: u64,
    /// When it expires.
    pub(super) deadline_ms: Option<u64>,
    /// What it dies with, as long as the deadline of that is not known.
    #[serde(default)]
    pub(super) target: Option<ruma::OwnedEventId>,
}

impl OlmMachine {
    /// Takes in a session. Returns whether it lets us decrypt more than before.
    pub(super) fn import_session(
        &mut self,
        key: &InboundKey,
        mut new: InboundRecord,
        now_ms: u64,
    ) -> Result<Result<bool, RoomKeyRefusal>, CryptoError> {
        let now_ms = self.expiry_now(now_ms);
        let floor = self.floors.get(key).copied().unwrap_or_default();
        if floor.dead || new.expiry.is_some_and(|expiry| expiry.dead_at_ms <= now_ms) {
            return Ok(Err(RoomKeyRefusal::Dead));
        }
        self.replace_imported(key, &mut new)?;
        new.session.advance_to(floor.index_min);
        if let Some(known) = self.inbound.get_mut(key) {
            let same_source = known.room_id == new.room_id
                && known.sender_curve25519 == new.sender_curve25519
                && known.sender_ed25519 == new.sender_ed25519;
            if !same_source {
                return Ok(Err(RoomKeyRefusal::Conflict));
            }
            match known.session.compare(&mut new.session) {
                SessionOrdering::Better | SessionOrdering::Equal => return Ok(Ok(false)),
                SessionOrdering::Unconnected => return Ok(Err(RoomKeyRefusal::Conflict)),
                SessionOrdering::Worse => {
                    new.expiry = SessionExpiry::stricter(known.expiry, new.expiry)
                }
            }
        }
        self.inbound.insert(key.clone(), new);
        self.save_inbound(key)?;
        Ok(Ok(true))
    }

    pub(super) fn save_inbound(&mut self, key: &InboundKey) -> Result<(), CryptoError> {
        match self.inbound.get(key) {
            Some(record) => self.pending.put(Table::Inbound, &key.to_string(), record),
            None => Ok(()),
        }
    }

    pub(super) fn save_seen(
        &mut self,
        key: &InboundKey,
        index: u32,
        seen: Seen,
    ) -> Result<(), CryptoError> {
        self.pending
            .put(Table::Replay, &key.indexed(index), &seen)?;
        self.note_orphan(key, index, &seen);
        self.replay.insert((key.clone(), index), seen);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ruma::user_id;

    use super::*;

    #[test]
    fn a_sessions_key_survives_being_written() {
        let key = InboundKey::new(user_id!("@alice:a.example"), "abc+/");
        assert_eq!(InboundKey::parse(&key.to_string()), Some(key.clone()));
        assert_eq!(InboundKey::parse_indexed(&key.indexed(7)), Some((key, 7)));
    }
}
