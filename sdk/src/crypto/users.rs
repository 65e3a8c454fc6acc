//! What is known of each user: devices, pinned keys, pending changes of identity.
//!
//! Invariant: keys that were once seen for a device id, or as a user's master key, are replaced only by
//! [`accept_identity_change`](OlmMachine::accept_identity_change); a device that vanishes keeps its pin, so that a server cannot
//! replace it by taking it away first. Spec: <https://spec.matrix.org/v1.19/client-server-api/#tracking-the-device-list-for-a-user>

use std::collections::BTreeMap;

use ruma::{
    DeviceId, OwnedDeviceId, OwnedUserId, UserId, api::client::sync::sync_events::DeviceLists,
    serde::JsonObject,
};
use serde::{Deserialize, Serialize};
use vodozemac::Ed25519PublicKey;

use super::{
    changes::Staged,
    error::{CryptoError, IdentityChange},
    machine::OlmMachine,
    outcome::Trust,
    signing::{grouped, is_signed_by, ungrouped},
};

/// So many devices of one user are listed; more are refused.
pub(super) const DEVICES_PER_USER_MAX: usize = 512;

/// So many devices of one user are remembered, vanished ones included; when there are more, new ones are refused.
pub(super) const PINS_PER_USER_MAX: usize = 2 * DEVICES_PER_USER_MAX;

/// A user.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct UserRecord {
    /// Whether the device list is kept up to date.
    pub(super) tracked: bool,
    /// Whether the server has said that it changed since it was fetched.
    pub(super) outdated: bool,
    /// When the last attempt to fetch it failed, if that was the last attempt.
    pub(super) failed_at_ms: Option<u64>,
    /// Whether it was ever fetched.
    pub(super) fetched: bool,
    /// Counts the server's notices of change: an answer to a query made before the latest is outdated itself.
    pub(super) generation: u64,
    pub(super) devices: BTreeMap<OwnedDeviceId, DeviceRecord>,
    /// Pins of devices that vanished.
    pub(super) vanished: BTreeMap<OwnedDeviceId, DeviceRecord>,
    pub(super) identity: Option<Identity>,
    /// Changes that nobody has accepted: the new values, by what they replace.
    pub(super) changed_devices: BTreeMap<OwnedDeviceId, DeviceRecord>,
    /// `Some(None)` if the master key has gone.
    pub(super) changed_identity: Option<Option<Identity>>,
}

/// A device's pinned keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DeviceRecord {
    pub(super) ed25519: String,
    pub(super) curve25519: String,
    /// Whether it says that it can do Olm and Megolm.
    pub(super) encrypts: bool,
    /// Whether its owner's self-signing key has signed it.
    pub(super) cross_signed: bool,
    /// Whether its fingerprint was compared here.
    pub(super) verified: bool,
    /// Whether it waits on the server without a client: such a device receives room keys, and says nothing.
    #[serde(default)]
    pub(super) dehydrated: bool,
    /// Whether it turned up after other devices of its owner were known.
    #[serde(default)]
    pub(super) late: bool,
    /// For devices of our own user: the keys as the server lists them, to be signed.
    #[serde(default)]
    pub(super) listed: Option<JsonObject>,
}

impl DeviceRecord {
    /// Whether nothing rests on its being known: it was given no key and taken for nobody.
    fn is_worthless(&self) -> bool {
        self.late && !self.verified && !self.cross_signed
    }

    pub(super) fn same_keys(&self, other: &Self) -> bool {
        self.ed25519 == other.ed25519 && self.curve25519 == other.curve25519
    }
}

/// A user's cross-signing keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    /// Pinned when first seen.
    pub(super) master: String,
    /// Signed by the master key.
    pub(super) self_signing: Option<String>,
    /// Signed by the master key; known of our own user only.
    #[serde(default)]
    pub(super) user_signing: Option<String>,
    /// Whether the master key was compared here.
    pub(super) verified: bool,
}

/// A device, for display.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Its id.
    pub device_id: OwnedDeviceId,
    /// Its Ed25519 key in groups of four characters.
    pub fingerprint: String,
    /// Its Curve25519 key, unpadded base64.
    pub curve25519: String,
    /// How well it is known.
    pub trust: Trust,
    /// Whether it waits on the server without a client: it answers nothing.
    pub dehydrated: bool,
}

impl UserRecord {
    /// The changes that nobody has accepted.
    pub(super) fn changes(&self, user_id: &UserId) -> Vec<IdentityChange> {
        let mut changes = Vec::new();
        let was_verified = self
            .identity
            .as_ref()
            .is_some_and(|identity| identity.verified);
        match &self.changed_identity {
            Some(Some(_)) => changes.push(IdentityChange::MasterKey {
                user_id: user_id.to_owned(),
                was_verified,
            }),
            Some(None) => changes.push(IdentityChange::MasterKeyGone {
                user_id: user_id.to_owned(),
                was_verified,
            }),
            None => {}
        }
        changes.extend(
            self.changed_devices
                .keys()
                .map(|device_id| IdentityChange::DeviceKeys {
                    user_id: user_id.to_owned(),
                    device_id: device_id.clone(),
                    was_verified: self.pinned(device_id).is_some_and(|device| device.verified),
                }),
        );
        changes
    }

    pub(super) fn has_changes(&self) -> bool {
        self.changed_identity.is_some() || !self.changed_devices.is_empty()
    }

    pub(super) fn pinned(&self, device_id: &DeviceId) -> Option<&DeviceRecord> {
        self.devices
            .get(device_id)
            .or_else(|| self.vanished.get(device_id))
    }

    /// Whether any device of the user was ever known: what turns up from then on may be the server's.
    pub(super) fn is_known(&self) -> bool {
        !(self.devices.is_empty() && self.vanished.is_empty())
    }

    /// Makes room for one more pin besides `added` new ones; `false` if there is none. Pins that mean something are never given up: a
    /// server could wash them out with devices of its own.
    pub(super) fn make_room(&mut self, added: usize) -> bool {
        if self.devices.len() + self.vanished.len() + added < PINS_PER_USER_MAX {
            return true;
        }
        let mut vanished = self.vanished.iter();
        let worthless = vanished.find(|(_, device)| device.is_worthless());
        let worthless = worthless.map(|(device_id, _)| device_id.clone());
        worthless.is_some_and(|device_id| self.vanished.remove(&device_id).is_some())
    }

    /// Whether one of the devices that were there first, or were compared, has signed a master key.
    pub(super) fn vouches_for(&self, user_id: &UserId, master: &JsonObject) -> bool {
        let mut known = self.devices.iter().chain(&self.vanished);
        known.any(|(device_id, device)| {
            (!device.late || device.verified)
                && Ed25519PublicKey::from_base64(&device.ed25519)
                    .is_ok_and(|key| is_signed_by(master, user_id, device_id.as_str(), &key))
        })
    }

    pub(super) fn trust(&self, device: &DeviceRecord) -> Trust {
        let owner_verified = self
            .identity
            .as_ref()
            .is_some_and(|identity| identity.verified);
        if self.has_changes() {
            Trust::IdentityChanged
        } else if device.verified || (owner_verified && device.cross_signed) {
            Trust::Verified
        } else if device.cross_signed {
            Trust::CrossSigned
        } else if self.identity.is_some() {
            Trust::Unsigned
        } else if device.late {
            Trust::NewDevice
        } else {
            Trust::FirstUse
        }
    }

    fn accept_changes(&mut self) {
        for (device_id, device) in std::mem::take(&mut self.changed_devices) {
            self.vanished.remove(&device_id);
            self.devices.insert(device_id, device);
        }
        if let Some(identity) = self.changed_identity.take() {
            self.identity = identity;
            // Signatures were judged by the old keys: none counts until the list has been fetched again, which a server may put off.
            for device in self.devices.values_mut().chain(self.vanished.values_mut()) {
                device.cross_signed = false;
            }
            self.outdated = true;
            self.generation += 1;
        }
    }
}

impl OlmMachine {
    /// Keeps the device lists of these users up to date from now on: call it with the members of each encrypted room.
    ///
    /// # Errors
    /// [`CryptoError::Encode`] if a record cannot be serialised.
    pub fn update_tracked_users(
        &mut self,
        users: &[OwnedUserId],
    ) -> Result<Staged<()>, CryptoError> {
        for user_id in users {
            self.track(user_id)?;
        }
        Ok(self.stage(()))
    }

    pub(super) fn track(&mut self, user_id: &UserId) -> Result<(), CryptoError> {
        let user = self.users.entry(user_id.to_owned()).or_default();
        if user.tracked {
            return Ok(());
        }
        user.tracked = true;
        user.outdated = true;
        user.generation += 1;
        self.save_user(user_id)
    }

    /// Fetches all device lists again: for a client that may have missed notices of change, for instance because its sync token was
    /// lost.
    ///
    /// # Errors
    /// [`CryptoError::Encode`] if a record cannot be serialised.
    pub fn mark_all_outdated(&mut self) -> Result<Staged<()>, CryptoError> {
        let tracked: Vec<_> = self
            .users
            .iter()
            .filter(|(_, user)| user.tracked)
            .map(|(id, _)| id.clone())
            .collect();
        self.mark_outdated(&tracked)?;
        Ok(self.stage(()))
    }

    fn mark_outdated(&mut self, users: &[OwnedUserId]) -> Result<(), CryptoError> {
        for user_id in users {
            if let Some(user) = self.users.get_mut(user_id).filter(|user| user.tracked) {
                user.outdated = true;
                user.failed_at_ms = None;
                user.generation += 1;
                self.save_user(user_id)?;
            }
        }
        Ok(())
    }

    pub(super) fn update_device_lists(&mut self, lists: &DeviceLists) -> Result<(), CryptoError> {
        self.mark_outdated(&lists.changed)?;
        for user_id in &lists.left {
            // Pins are kept: a user who comes back is not a stranger. Ourselves we always track.
            if *user_id != self.user_id
                && let Some(user) = self.users.get_mut(user_id).filter(|user| user.tracked)
            {
                user.tracked = false;
                self.save_user(user_id)?;
            }
        }
        Ok(())
    }

    /// Accepts every change of a user's identity that is pending. What was verified is not any more.
    ///
    /// # Errors
    /// [`CryptoError::UnknownUser`] if nothing is known of the user.
    pub fn accept_identity_change(&mut self, user_id: &UserId) -> Result<Staged<()>, CryptoError> {
        self.users
            .get_mut(user_id)
            .ok_or(CryptoError::UnknownUser)?
            .accept_changes();
        self.save_user(user_id)?;
        Ok(self.stage(()))
    }

    /// Changes of identity that nobody has accepted, of all users.
    pub fn identity_changes(&self) -> Vec<IdentityChange> {
        self.users
            .iter()
            .flat_map(|(user_id, user)| user.changes(user_id))
            .collect()
    }

    /// The known devices of a user.
    pub fn devices(&self, user_id: &UserId) -> Vec<DeviceInfo> {
        let Some(user) = self.users.get(user_id) else {
            return Vec::new();
        };
        let info = |(device_id, device): (&OwnedDeviceId, &DeviceRecord)| DeviceInfo {
            device_id: device_id.clone(),
            fingerprint: grouped(&device.ed25519),
            curve25519: device.curve25519.clone(),
            trust: user.trust(device),
            dehydrated: device.dehydrated,
        };
        user.devices.iter().map(info).collect()
    }

    /// A user's master cross-signing key in groups of four characters, for people to compare; `None` without cross-signing.
    pub fn master_key(&self, user_id: &UserId) -> Option<String> {
        self.users
            .get(user_id)?
            .identity
            .as_ref()
            .map(|identity| grouped(&identity.master))
    }

    /// Marks a device as verified, if the fingerprint that people compared is its own. Spaces do not matter.
    ///
    /// # Errors
    /// [`CryptoError::FingerprintMismatch`] if it is another's; [`CryptoError::DeviceIdIsKey`] if the server uses the device's id for a
    /// cross-signing key too; [`CryptoError::UnknownUser`], [`CryptoError::UnknownDevice`].
    pub fn verify_device(
        &mut self,
        user_id: &UserId,
        device_id: &DeviceId,
        fingerprint: &str,
    ) -> Result<Staged<()>, CryptoError> {
        let user = self
            .users
            .get_mut(user_id)
            .ok_or(CryptoError::UnknownUser)?;
        let is_key = user.identity.as_ref().is_some_and(|identity| {
            identity.master == device_id.as_str()
                || identity.self_signing.as_deref() == Some(device_id.as_str())
        });
        if is_key {
            return Err(CryptoError::DeviceIdIsKey);
        }
        let device = user
            .devices
            .get_mut(device_id)
            .ok_or(CryptoError::UnknownDevice)?;
        if device.ed25519 != ungrouped(fingerprint) {
            return Err(CryptoError::FingerprintMismatch);
        }
        device.verified = true;
        self.save_user(user_id)?;
        Ok(self.stage(()))
    }

    /// Marks a user as verified, if the master key that people compared is theirs: all devices that they signed are verified then.
    ///
    /// # Errors
    /// [`CryptoError::FingerprintMismatch`] if it is another's; [`CryptoError::UnknownUser`] without cross-signing;
    /// [`CryptoError::DeviceIdIsKey`] if one of their devices has a cross-signing key's id.
    pub fn verify_user(
        &mut self,
        user_id: &UserId,
        master_key: &str,
    ) -> Result<Staged<()>, CryptoError> {
        let user = self
            .users
            .get_mut(user_id)
            .ok_or(CryptoError::UnknownUser)?;
        let identity = user.identity.as_mut().ok_or(CryptoError::UnknownUser)?;
        if user
            .devices
            .keys()
            .any(|device_id| device_id.as_str() == identity.master)
        {
            return Err(CryptoError::DeviceIdIsKey);
        }
        if identity.master != ungrouped(master_key) {
            return Err(CryptoError::FingerprintMismatch);
        }
        identity.verified = true;
        self.save_user(user_id)?;
        Ok(self.stage(()))
    }

    /// Which of the user's devices has this pair of keys, and how well it is known.
    pub(super) fn trust_of(
        &self,
        user_id: &UserId,
        curve25519: &str,
        ed25519: &str,
    ) -> (Option<OwnedDeviceId>, Trust) {
        if *user_id == self.user_id
            && curve25519 == self.account.curve25519()
            && ed25519 == self.account.ed25519()
        {
            return (Some(self.device_id.clone()), Trust::Verified);
        }
        let Some(user) = self.users.get(user_id) else {
            return (None, Trust::UnknownDevice);
        };
        // Vanished devices count: a message from before a logout is still that device's.
        let known = user.devices.iter().chain(&user.vanished);
        let found = known
            .into_iter()
            .find(|(_, device)| device.curve25519 == curve25519 && device.ed25519 == ed25519);
        match found {
            Some((device_id, device)) => (Some(device_id.clone()), user.trust(device)),
            None if user.has_changes() => (None, Trust::IdentityChanged),
            None => (None, Trust::UnknownDevice),
        }
    }
}
