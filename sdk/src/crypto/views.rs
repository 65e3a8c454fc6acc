//! Whether all members of a room are told the same: a digest of the members and of their devices, said within messages and compared.
//!
//! Invariant: a digest is believed of a sender whose keys prove it, and decides nothing: a difference that lasts is a notice. It is said
//! within the first message of a session after each change of what the sender is told, so a server cannot hold it back without the
//! message; what is kept for a room is bounded.
//!
//! Not part of the specification, which leaves membership and device lists to the server.

use std::collections::{BTreeMap, BTreeSet};

use ruma::{OwnedDeviceId, OwnedRoomId, OwnedUserId, RoomId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{
    changes::Staged,
    error::CryptoError,
    machine::OlmMachine,
    outcome::{DecryptedEvent, Notice},
};

/// How long a difference must last before it is told, in milliseconds: news of devices take their time from server to server.
pub const VIEW_GRACE_MS: u64 = 15 * 60 * 1000;

/// A digest that was made longer ago than this, in milliseconds, is not judged: who reads old messages was not there when it was true.
pub const VIEW_AGE_MS_MAX: u64 = 60 * 60 * 1000;

/// Of a room with more members nothing is said.
pub const VIEW_MEMBERS_MAX: usize = 1000;

/// So many of our own earlier digests are kept for a room: whoever is behind says one of them.
const VIEWS_MAX: usize = 8;

/// Digests of so many devices of one user are kept.
const CLAIMS_PER_USER_MAX: usize = 8;

/// What a device is told of a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct View {
    /// Digest of the members' names.
    members: String,
    /// Digest of their identities and devices.
    devices: String,
}

/// A digest as it stands in a message.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct SaidView {
    #[serde(flatten)]
    pub(super) view: View,
    /// When it was made, by the sender's clock, in milliseconds since the Unix epoch.
    pub(super) at_ms: u64,
}

/// A digest that differs from ours.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Claim {
    view: View,
    since_ms: u64,
}

/// Digests that differ, by sender and the device's Curve25519 key.
pub(super) type Claims = BTreeMap<OwnedUserId, BTreeMap<String, Claim>>;

/// A digest of texts none of which can be taken for two.
#[derive(Default)]
struct Hasher(Sha256);

impl Hasher {
    fn add(&mut self, text: &str) {
        self.0.update((text.len() as u64).to_be_bytes());
        self.0.update(text.as_bytes());
    }

    fn finish(self) -> String {
        vodozemac::base64_encode(self.0.finalize())
    }
}

impl OlmMachine {
    /// Rooms in which somebody is told something else than we are: call [`compare_views`](Self::compare_views) for each, after every sync.
    pub fn rooms_to_compare(&self) -> Vec<OwnedRoomId> {
        let rooms = self.rooms.iter();
        rooms
            .filter(|(_, room)| !room.claims.is_empty())
            .map(|(room_id, _)| room_id.clone())
            .collect()
    }

    /// Compares what we are told of a room with what others said that they are. `members` are those whom
    /// [`share_room_key`](Self::share_room_key) is given. What differs for [`VIEW_GRACE_MS`] is told once.
    ///
    /// # Errors
    /// [`CryptoError::Encode`] if the record cannot be serialised.
    pub fn compare_views(
        &mut self,
        room_id: &RoomId,
        members: &[OwnedUserId],
        now_ms: u64,
    ) -> Result<Staged<Vec<Notice>>, CryptoError> {
        let members = members.iter().cloned().collect();
        self.note_view(room_id, &members)?;
        // As long as some list is being fetched nobody knows whether it differs.
        let current = self.view_of(&members);
        let Some(room) = self.rooms.get_mut(room_id).filter(|_| current.is_some()) else {
            return Ok(self.stage(Vec::new()));
        };
        let mut notices = Vec::new();
        let (views, mut changed) = (&room.views, false);
        for (user_id, claims) in &mut room.claims {
            claims.retain(|_, claim| {
                let same = views.contains(&claim.view);
                let over = now_ms >= claim.since_ms.saturating_add(VIEW_GRACE_MS);
                if over && !same {
                    notices.push(Notice::ViewDiffers {
                        room_id: room_id.to_owned(),
                        user_id: user_id.clone(),
                        members: views
                            .last()
                            .is_none_or(|ours| ours.members != claim.view.members),
                    });
                }
                changed |= same || over;
                !same && !over
            });
        }
        if changed {
            room.claims.retain(|_, claims| !claims.is_empty());
            self.save_room(room_id)?;
        }
        Ok(self.stage(notices))
    }

    /// Takes note of what we are told now.
    pub(super) fn note_view(
        &mut self,
        room_id: &RoomId,
        members: &BTreeSet<OwnedUserId>,
    ) -> Result<(), CryptoError> {
        let Some(view) = self.view_of(members) else {
            return Ok(());
        };
        let room = self.rooms.entry(room_id.to_owned()).or_default();
        if room.views.last() == Some(&view) {
            return Ok(());
        }
        // The newest stands last, and each once.
        room.views.retain(|known| *known != view);
        room.views.push(view);
        let excess = room.views.len().saturating_sub(VIEWS_MAX);
        room.views.drain(..excess);
        self.save_room(room_id)
    }

    /// What is to be said with the next message of a session, if it was not said yet.
    pub(super) fn view_to_say(&self, room_id: &RoomId, said: Option<&View>) -> Option<View> {
        let view = self.rooms.get(room_id)?.views.last()?;
        (said != Some(view)).then(|| view.clone())
    }

    /// Keeps what a sender said, if it differs from all that we were told lately.
    pub(super) fn hear_view(
        &mut self,
        event: &DecryptedEvent,
        sender_key: &str,
        said: Value,
        now_ms: u64,
    ) -> Result<(), CryptoError> {
        let Ok(said) = serde_json::from_value::<SaidView>(said) else {
            return Ok(());
        };
        let ours = sender_key == self.account.curve25519();
        let fresh = now_ms.abs_diff(said.at_ms) <= VIEW_AGE_MS_MAX;
        if ours || !fresh || event.seen_before || !event.trust.proves_sender() {
            return Ok(());
        }
        let room = self.rooms.entry(event.room_id.clone()).or_default();
        let view = bounded(said.view);
        let same = view.as_ref().is_none_or(|view| room.views.contains(view));
        let before = room.claims.contains_key(&event.sender);
        if !before && (same || room.claims.len() >= VIEW_MEMBERS_MAX) {
            return Ok(());
        }
        let claims = room.claims.entry(event.sender.clone()).or_default();
        claims.remove(sender_key);
        if let Some(view) = view.filter(|_| !same && claims.len() < CLAIMS_PER_USER_MAX) {
            let since_ms = now_ms;
            claims.insert(sender_key.to_owned(), Claim { view, since_ms });
        }
        if claims.is_empty() {
            room.claims.remove(&event.sender);
        }
        self.save_room(&event.room_id)
    }

    /// The digest of what we are told; `None` while it is not known, or of too many.
    fn view_of(&self, members: &BTreeSet<OwnedUserId>) -> Option<View> {
        let unpublished = self
            .cross_signing
            .as_ref()
            .is_some_and(|keys| !keys.published);
        if members.len() > VIEW_MEMBERS_MAX || unpublished {
            return None;
        }
        let mut everybody: BTreeSet<_> = members.iter().collect();
        everybody.insert(&self.user_id);
        let (mut names, mut devices) = (Hasher::default(), Hasher::default());
        for user_id in everybody {
            names.add(user_id.as_str());
            let user = self.users.get(user_id)?;
            if !user.fetched || user.outdated || user.failed_at_ms.is_some() {
                return None;
            }
            devices.add(user_id.as_str());
            // As the server lists them, accepted or not.
            let identity = user.changed_identity.as_ref().unwrap_or(&user.identity);
            devices.add(identity.as_ref().map_or("", |identity| &identity.master));
            let mut listed: BTreeMap<&OwnedDeviceId, [&str; 2]> = BTreeMap::new();
            for (id, device) in user.devices.iter().chain(&user.changed_devices) {
                listed.insert(id, [&device.ed25519, &device.curve25519]);
            }
            let own = [self.account.ed25519(), self.account.curve25519()];
            if *user_id == self.user_id {
                listed.insert(&self.device_id, [&own[0], &own[1]]);
            }
            devices.add(&listed.len().to_string());
            for (id, [ed25519, curve25519]) in listed {
                devices.add(id.as_str());
                devices.add(ed25519);
                devices.add(curve25519);
            }
        }
        Some(View {
            members: names.finish(),
            devices: devices.finish(),
        })
    }
}

/// A digest, if it can be one.
fn bounded(view: View) -> Option<View> {
    const LENGTH: usize = 43;
    (view.members.len() == LENGTH && view.devices.len() == LENGTH).then_some(view)
}
