//! Giving a room's key to the devices of its members.
//!
//! Invariant: nothing is encrypted to anyone before the device list of every member who may have the key is known and their identity is
//! accepted; devices that are left out are told so, once for each session.
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#mmegolmv1aes-sha2>

use std::collections::BTreeSet;

use ruma::{DeviceId, OwnedDeviceId, OwnedUserId, RoomId, UserId, serde::JsonObject};
use serde_json::json;

use super::{
    account::object,
    changes::Staged,
    error::{CryptoError, IdentityChange, ShareError},
    in_flight::CLAIM_RETRY_MS,
    machine::OlmMachine,
    members::Sorted,
    outbound::outbound_key,
    outcome::{Notice, Trust},
    outgoing::Messages,
    room_keys::DEAD_AT_FIELD,
    secret::wipe,
    settings::{RoomKeySettings, SharingPolicy},
    signing::into_raw,
    users::DeviceRecord,
};
use crate::expiry::EXPIRY_FIELD;

/// Why a device gets no key: the sharing policy leaves it out.
const UNVERIFIED: &str = "m.unverified";

/// Why a device gets no key: nobody has accepted its owner as a member.
const UNACCEPTED: &str = "m.unauthorised";

/// A device, and what it is to get.
struct Recipient {
    user_id: OwnedUserId,
    device_id: OwnedDeviceId,
    device: DeviceRecord,
    /// The code that says why not, if it gets no key.
    withheld: Option<&'static str>,
}

impl OlmMachine {
    /// Makes sure that there is a session for the room and the settings' lifetime class, and that every device which should have its key
    /// is sent it. `members` are the users who are joined (and invited, if they may read what is sent now). Costs nothing if there is
    /// nothing to do. Afterwards send the [`outgoing_requests`](Self::outgoing_requests).
    ///
    /// # Errors
    /// [`ShareError`] says what has to be done first.
    pub fn share_room_key(
        &mut self,
        room_id: &RoomId,
        members: &[OwnedUserId],
        settings: &RoomKeySettings,
        now_ms: u64,
    ) -> Result<Staged<Vec<Notice>>, ShareError> {
        let mut members: BTreeSet<OwnedUserId> = members.iter().cloned().collect();
        // Our other devices read what we write.
        members.insert(self.user_id.clone());
        for user_id in &members {
            self.track(user_id)?;
        }
        self.note_view(room_id, &members)?;
        let (members, notices) = self.apply_policy(room_id, &members, settings.members)?;
        self.check_members(&members.accepted)?;
        let mut recipients = self.recipients(&members, settings);
        self.check_sessions(&mut recipients, now_ms)?;

        self.remember_encrypted(room_id)?;
        let key = outbound_key(room_id, settings.expiry);
        if self.must_replace(&key, &recipients, now_ms) {
            self.replace_outbound(&key, room_id, settings, now_ms)?;
        } else if let Some(record) = self.outbound.get_mut(&key) {
            record.rotation = settings.rotation;
        }
        self.send_keys(&key, recipients)?;
        self.remember_accepted(room_id, members.accepted)?;
        Ok(self.stage(notices))
    }

    fn check_members(&self, members: &BTreeSet<OwnedUserId>) -> Result<(), ShareError> {
        let mut unknown = Vec::new();
        let mut changes = Vec::new();
        for user_id in members {
            let Some(user) = self.users.get(user_id) else {
                continue;
            };
            // A server that cannot be reached must not stop the others: its users' devices are those that were known.
            if user.outdated && user.failed_at_ms.is_none() {
                unknown.push(user_id.clone());
            }
            changes.extend(user.changes(user_id));
        }
        if !changes.is_empty() {
            return Err(ShareError::IdentityChanged { changes });
        }
        if !unknown.is_empty() {
            return Err(ShareError::DevicesUnknown { users: unknown });
        }
        Ok(())
    }

    fn recipients(&self, members: &Sorted, settings: &RoomKeySettings) -> Vec<Recipient> {
        let mut recipients = Vec::new();
        for user_id in members.accepted.union(&members.waiting) {
            let accepted = members.accepted.contains(user_id);
            let Some(user) = self.users.get(user_id) else {
                continue;
            };
            for (device_id, device) in user.devices.iter().filter(|(_, device)| device.encrypts) {
                // Who wakes a dehydrated device one day must find no key of what is over by then.
                if device.dehydrated && settings.expiry.is_some() {
                    continue;
                }
                recipients.push(Recipient {
                    user_id: user_id.clone(),
                    device_id: device_id.clone(),
                    device: device.clone(),
                    withheld: if !accepted {
                        Some(UNACCEPTED)
                    } else if !may_have_key(user.trust(device), settings.devices) {
                        Some(UNVERIFIED)
                    } else {
                        None
                    },
                });
            }
        }
        recipients
    }

    /// Every recipient must have a session; those whose one-time keys could not be had lately are left out.
    fn check_sessions(&self, recipients: &mut [Recipient], now_ms: u64) -> Result<(), ShareError> {
        let mut missing = BTreeSet::new();
        for recipient in recipients
            .iter_mut()
            .filter(|recipient| recipient.withheld.is_none())
        {
            if self.has_session(&recipient.device) {
                continue;
            }
            let asked = self
                .claims_failed
                .get(&(recipient.user_id.clone(), recipient.device_id.clone()));
            if asked.is_some_and(|at_ms| now_ms < at_ms.saturating_add(CLAIM_RETRY_MS)) {
                recipient.withheld = Some("m.no_olm");
            } else {
                missing.insert(recipient.user_id.clone());
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        Err(ShareError::SessionsMissing {
            users: missing.into_iter().collect(),
        })
    }

    /// Whether the session is over, or someone has its key who should not have what follows.
    fn must_replace(&self, key: &str, recipients: &[Recipient], now_ms: u64) -> bool {
        if self
            .outbound
            .get(key)
            .is_none_or(|record| record.is_over(now_ms))
        {
            return true;
        }
        let may: BTreeSet<(&UserId, &DeviceId, &str)> = recipients
            .iter()
            .filter(|recipient| !matches!(recipient.withheld, Some(UNVERIFIED | UNACCEPTED)))
            .map(|recipient| {
                let curve25519 = recipient.device.curve25519.as_str();
                (&*recipient.user_id, &*recipient.device_id, curve25519)
            })
            .collect();
        let given = self
            .shares
            .get(key)
            .into_iter()
            .flat_map(|shares| &shares.given);
        let mut devices = given.flat_map(|(user_id, devices)| {
            devices
                .iter()
                .map(move |(device_id, curve25519)| (&**user_id, &**device_id, curve25519.as_str()))
        });
        devices.any(|device| !may.contains(&device))
    }

    fn send_keys(&mut self, key: &str, recipients: Vec<Recipient>) -> Result<(), CryptoError> {
        let shares = self.shares.entry(key.to_owned()).or_default();
        let (mut given, mut refused) = (Vec::new(), Vec::new());
        for recipient in recipients {
            let Recipient {
                user_id,
                device_id,
                device,
                withheld,
            } = recipient;
            if shares.has(&user_id, &device_id, &device.curve25519) {
                continue;
            }
            match withheld {
                None => given.push((user_id, device_id, device)),
                Some(_)
                    if shares
                        .withheld
                        .contains(&(user_id.clone(), device_id.clone())) => {}
                Some(code) => refused.push((user_id, device_id, code)),
            }
        }
        if given.is_empty() && refused.is_empty() {
            return Ok(());
        }
        self.send_room_key(key, given)?;
        self.send_withheld(key, refused)?;
        self.save_shares(key)
    }

    fn send_room_key(
        &mut self,
        key: &str,
        devices: Vec<(OwnedUserId, OwnedDeviceId, DeviceRecord)>,
    ) -> Result<(), CryptoError> {
        let Some(record) = self.outbound.get(key) else {
            return Ok(());
        };
        let expiry = record.expiry;
        let mut content = room_key_content(record)?;
        let mut messages = Messages::new();
        for (user_id, device_id, device) in devices {
            let class = expiry.map(|expiry| expiry.class);
            let Some(message) =
                self.encrypt_olm(&user_id, &device_id, &device, "m.room_key", &content, class)?
            else {
                continue;
            };
            messages.push((user_id.clone(), device_id.clone(), message));
            let shares = self.shares.entry(key.to_owned()).or_default();
            shares
                .withheld
                .remove(&(user_id.clone(), device_id.clone()));
            let devices = shares.given.entry(user_id).or_default();
            devices.insert(device_id, device.curve25519);
        }
        content.values_mut().for_each(wipe);
        self.queue_room_key(key, messages, expiry.map(|expiry| expiry.dead_at_ms))
    }

    fn send_withheld(
        &mut self,
        key: &str,
        devices: Vec<(OwnedUserId, OwnedDeviceId, &'static str)>,
    ) -> Result<(), CryptoError> {
        let sender_key = self.account.curve25519();
        let Some(record) = self.outbound.get(key) else {
            return Ok(());
        };
        let shares = self.shares.entry(key.to_owned()).or_default();
        let mut messages = Messages::new();
        for (user_id, device_id, code) in devices {
            let mut content = object(json!({
                "algorithm": "m.megolm.v1.aes-sha2",
                "code": code,
                "sender_key": sender_key,
            }))?;
            if code != "m.no_olm" {
                content.insert("room_id".to_owned(), record.room_id.as_str().into());
                content.insert("session_id".to_owned(), record.session.session_id().into());
            }
            messages.push((user_id.clone(), device_id.clone(), into_raw(content)?));
            shares.withheld.insert((user_id, device_id));
        }
        let dead_at_ms = record.expiry.map(|expiry| expiry.dead_at_ms);
        self.queue_to_device("m.room_key.withheld", messages, dead_at_ms)
    }

    /// Changes of identity of those who have the session's key.
    pub(super) fn changes_of_holders(&self, key: &str) -> Vec<IdentityChange> {
        let holders = self
            .shares
            .get(key)
            .into_iter()
            .flat_map(|shares| shares.given.keys());
        holders
            .filter_map(|user_id| Some(self.users.get(user_id)?.changes(user_id)))
            .flatten()
            .collect()
    }
}

fn may_have_key(trust: Trust, policy: SharingPolicy) -> bool {
    match policy {
        SharingPolicy::AllDevices => {
            matches!(
                trust,
                Trust::Verified
                    | Trust::CrossSigned
                    | Trust::FirstUse
                    | Trust::NewDevice
                    | Trust::Unsigned
            )
        }
        SharingPolicy::CrossSignedWherePossible => {
            matches!(
                trust,
                Trust::Verified | Trust::CrossSigned | Trust::FirstUse
            )
        }
        SharingPolicy::CrossSignedOnly => matches!(trust, Trust::Verified | Trust::CrossSigned),
        SharingPolicy::VerifiedOnly => trust == Trust::Verified,
    }
}

/// The content of the session's `m.room_key`, from its present index on.
fn room_key_content(record: &super::outbound::OutboundRecord) -> Result<JsonObject, CryptoError> {
    let mut content = object(json!({
        "algorithm": "m.megolm.v1.aes-sha2",
        "room_id": record.room_id,
        "session_id": record.session.session_id(),
        "session_key": record.session.session_key().to_base64(),
        "shared_history": false,
    }))?;
    if let Some(expiry) = record.expiry {
        let stamp = json!({ "ttl_ms": expiry.class.as_ms(), DEAD_AT_FIELD: expiry.dead_at_ms });
        content.insert(EXPIRY_FIELD.to_owned(), stamp);
    }
    Ok(content)
}
