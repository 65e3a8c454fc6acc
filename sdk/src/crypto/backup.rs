//! The key backup: room keys on the server, encrypted for whoever holds the backup's private key.
//!
//! The algorithm authenticates nothing: whoever knows the public key, and that is the server, can put keys into a backup. So what comes out
//! of it proves no sender.
//!
//! Invariant: keys are put only into a backup whose public key is signed by our own identity or device, or belongs to the private key that
//! we hold; a backup that takes the place of ours is used only after the same test. Keys of expiring messages are never put in.
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#server-side-key-backups>

use std::collections::BTreeMap;

use ruma::{
    OwnedRoomId,
    api::client::backup::{BackupAlgorithm, RoomKeyBackup},
    serde::{JsonObject, Raw},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use vodozemac::{
    Curve25519PublicKey, Curve25519SecretKey, Ed25519PublicKey, base64_decode, base64_encode,
    pk_encryption::{Message, PkDecryption, PkEncryption},
};
use zeroize::{Zeroize, Zeroizing};

use super::{
    account::object,
    changes::{Staged, Table},
    error::CryptoError,
    exported::{ExportedKey, ImportOutcome},
    inbound::InboundKey,
    machine::{OlmMachine, SINGLE},
    secret::SecretBytes,
    signing::{into_raw, is_signed_by, sign},
};

/// The only algorithm that is known.
pub const BACKUP_ALGORITHM: &str = "m.megolm_backup.v1.curve25519-aes-sha2";

/// So many keys go into one request.
const KEYS_PER_UPLOAD_MAX: usize = 100;

/// What is known of our backup.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct BackupRecord {
    /// The version at the server; `None` while it is being made.
    version: Option<String>,
    /// The public key, unpadded base64.
    public_key: String,
    /// The private key, unpadded base64, if it is here.
    secret: Option<String>,
}

impl Drop for BackupRecord {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

/// How it stands with the backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackupStatus {
    /// The server has none.
    None,
    /// Keys are put into it.
    Enabled {
        /// Its version.
        version: String,
        /// Whether its private key is here, so that keys can be taken out.
        can_restore: bool,
    },
    /// There is one that nothing proves to be ours: nothing is put into it. If it took the place of one that was in use, `replaced` is
    /// set: somebody with our password made it, or the server.
    Untrusted {
        /// Its version.
        version: String,
        /// Whether another one was in use before.
        replaced: bool,
    },
}

/// Keys to be put into the backup.
#[derive(Debug, Clone)]
pub struct BackupUpload {
    /// The backup's version.
    pub version: String,
    /// The keys.
    pub rooms: BTreeMap<OwnedRoomId, RoomKeyBackup>,
    /// Which sessions they are.
    sessions: Vec<(InboundKey, u32)>,
}

impl BackupUpload {
    /// How many keys there are.
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub const fn len(&self) -> usize {
        self.sessions.len()
    }
}

/// What came of a restored backup, and the sessions that are new, by their rooms.
pub type Restored = (ImportOutcome, Vec<(OwnedRoomId, String)>);

impl OlmMachine {
    /// Makes the key of a new backup, for `POST /room_keys/version`; then call [`backup_created`](Self::backup_created).
    ///
    /// # Errors
    /// [`CryptoError::Encode`] if a record cannot be serialised.
    pub fn create_backup(&mut self) -> Result<Staged<Raw<BackupAlgorithm>>, CryptoError> {
        let key = PkDecryption::new();
        let public_key = key.public_key().to_base64();
        let mut secret = key.secret_key().to_bytes();
        let encoded = base64_encode(secret.as_slice());
        secret.zeroize();
        let mut auth_data = object(json!({ "public_key": public_key }))?;
        let user_id = self.user_id.clone();
        sign(&mut auth_data, &user_id, self.device_id.as_str(), |bytes| {
            self.account.account.sign(bytes)
        })?;
        let keys = self.cross_signing.as_ref();
        if let Some(master) = keys.and_then(|keys| keys.master.as_ref()) {
            let name = master.public_key().to_base64();
            sign(&mut auth_data, &user_id, &name, |bytes| master.sign(bytes))?;
        }
        self.backup = Some(BackupRecord {
            version: None,
            public_key,
            secret: Some(encoded),
        });
        self.save_backup()?;
        let algorithm = into_raw(object(
            json!({ "algorithm": BACKUP_ALGORITHM, "auth_data": auth_data }),
        )?)?;
        Ok(self.stage(algorithm))
    }

    /// Says which version the server gave the backup.
    ///
    /// # Errors
    /// [`CryptoError::NoBackup`] if none was made.
    pub fn backup_created(&mut self, version: &str) -> Result<Staged<()>, CryptoError> {
        let backup = self.backup.as_mut().ok_or(CryptoError::NoBackup)?;
        backup.version = Some(version.to_owned());
        self.save_backup()?;
        Ok(self.stage(()))
    }

    /// Takes notice of the backup that the server has: its version and `auth_data` if there is one of the known algorithm. Call it after
    /// `GET /room_keys/version`, at each start, and when the server says `M_WRONG_ROOM_KEYS_VERSION`.
    ///
    /// # Errors
    /// [`CryptoError::Encode`] if the record cannot be serialised.
    pub fn observe_backup(
        &mut self,
        current: Option<(&str, &JsonObject)>,
    ) -> Result<Staged<BackupStatus>, CryptoError> {
        let Some((version, auth_data)) = current else {
            self.forget_version()?;
            return Ok(self.stage(BackupStatus::None));
        };
        let known = self.backup.as_ref();
        let before = known.and_then(|backup| backup.version.clone());
        let public_key = auth_data.get("public_key").and_then(Value::as_str);
        let public_key = public_key.filter(|key| Curve25519PublicKey::from_base64(key).is_ok());
        let holds_secret = known.is_some_and(|backup| {
            backup.secret.is_some() && Some(backup.public_key.as_str()) == public_key
        });
        let Some(public_key) =
            public_key.filter(|_| holds_secret || self.backup_is_signed(auth_data))
        else {
            let replaced = before.is_some();
            self.forget_version()?;
            return Ok(self.stage(BackupStatus::Untrusted {
                version: version.to_owned(),
                replaced,
            }));
        };
        let unchanged = before.as_deref() == Some(version)
            && known.is_some_and(|backup| backup.public_key == public_key);
        if !unchanged {
            let secret = self
                .backup
                .as_mut()
                .filter(|_| holds_secret)
                .and_then(|backup| backup.secret.take());
            self.backup = Some(BackupRecord {
                version: Some(version.to_owned()),
                public_key: public_key.to_owned(),
                secret,
            });
            self.save_backup()?;
        }
        Ok(self.stage(BackupStatus::Enabled {
            version: version.to_owned(),
            can_restore: holds_secret,
        }))
    }

    /// Nothing is put into the backup any more; its private key is kept, since it may be wanted for the version that comes.
    fn forget_version(&mut self) -> Result<(), CryptoError> {
        if let Some(backup) = self.backup.as_mut()
            && backup.version.take().is_some()
        {
            self.save_backup()?;
        }
        Ok(())
    }

    /// Whether our verified identity, this device or a verified device of ours has signed a backup's key.
    fn backup_is_signed(&self, auth_data: &JsonObject) -> bool {
        let Some(own) = self.users.get(&self.user_id) else {
            return false;
        };
        let signed_by = |name: &str, key: &str| {
            Ed25519PublicKey::from_base64(key)
                .is_ok_and(|key| is_signed_by(auth_data, &self.user_id, name, &key))
        };
        let by_identity = own.identity.as_ref().is_some_and(|identity| {
            identity.verified && !own.has_changes() && signed_by(&identity.master, &identity.master)
        });
        by_identity
            || signed_by(self.device_id.as_str(), &self.account.ed25519())
            || own.devices.iter().any(|(device_id, device)| {
                self.trusted_own_device(device_id.as_str()).is_some()
                    && signed_by(device_id.as_str(), &device.ed25519)
            })
    }

    pub(super) fn backup_secret(&self) -> Option<SecretBytes> {
        let secret = self.backup.as_ref()?.secret.as_ref()?;
        Some(SecretBytes::new(secret.clone().into_bytes()))
    }

    /// Takes the backup's private key. If a backup is known, it must be that one's.
    pub(super) fn take_backup_secret(&mut self, secret: &str) -> Result<(), CryptoError> {
        let key = parse_secret(secret).ok_or(CryptoError::SecretMismatch)?;
        let public_key = key.public_key().to_base64();
        match self.backup.as_mut() {
            Some(backup) if backup.version.is_some() && backup.public_key != public_key => {
                return Err(CryptoError::SecretMismatch);
            }
            Some(backup) if backup.public_key == public_key => {
                backup.secret = Some(secret.to_owned());
            }
            _ => {
                self.backup = Some(BackupRecord {
                    version: None,
                    public_key,
                    secret: Some(secret.to_owned()),
                });
            }
        }
        self.save_backup()
    }

    fn save_backup(&mut self) -> Result<(), CryptoError> {
        match &self.backup {
            Some(backup) => self.pending.put(Table::Backup, SINGLE, backup),
            None => Ok(()),
        }
    }

    /// The next keys to be put into the backup, for `PUT /room_keys/keys`; `None` if it has all that it may have, or is not in use. Then
    /// call [`backed_up`](Self::backed_up).
    ///
    /// # Errors
    /// [`CryptoError::Key`] if a key cannot be encrypted.
    pub fn next_backup(&self) -> Result<Option<BackupUpload>, CryptoError> {
        let Some((version, public_key)) = self
            .backup
            .as_ref()
            .and_then(|backup| Some((backup.version.as_ref()?, &backup.public_key)))
        else {
            return Ok(None);
        };
        let public_key =
            Curve25519PublicKey::from_base64(public_key).map_err(|_| CryptoError::Key)?;
        let encryption = PkEncryption::from_key(public_key);
        let mut upload = BackupUpload {
            version: version.clone(),
            rooms: BTreeMap::new(),
            sessions: Vec::new(),
        };
        let due = self.inbound.iter().filter(|(_, record)| {
            record.expiry.is_none() && record.backed_up_in.as_ref() != Some(version)
        });
        for (key, record) in due.take(KEYS_PER_UPLOAD_MAX) {
            let Some(plaintext) = record.export() else {
                continue;
            };
            let message = encryption
                .encrypt(plaintext.expose())
                .map_err(|_| CryptoError::Key)?;
            let first_index = record.session.first_known_index();
            let data = object(json!({
                "first_message_index": first_index,
                "forwarded_count": u32::from(record.imported),
                "is_verified": !record.imported,
                "session_data": {
                    "ephemeral": message.ephemeral_key.to_base64(),
                    "ciphertext": base64_encode(&message.ciphertext),
                    "mac": base64_encode(&message.mac),
                },
            }))?;
            let room = upload.rooms.entry(record.room_id.clone());
            let room = room.or_insert_with(|| RoomKeyBackup::new(BTreeMap::new()));
            room.sessions
                .insert(key.session_id.clone(), into_raw(data)?);
            upload.sessions.push((key.clone(), first_index));
        }
        Ok((!upload.sessions.is_empty()).then_some(upload))
    }

    /// Says that the server has taken the keys.
    ///
    /// # Errors
    /// [`CryptoError::Encode`] if a record cannot be serialised.
    pub fn backed_up(&mut self, upload: &BackupUpload) -> Result<Staged<()>, CryptoError> {
        for (key, first_index) in &upload.sessions {
            let Some(record) = self.inbound.get_mut(key) else {
                continue;
            };
            // One that reaches further back by now goes in again.
            if record.session.first_known_index() == *first_index {
                record.backed_up_in = Some(upload.version.clone());
                self.save_inbound(key)?;
            }
        }
        Ok(self.stage(()))
    }

    /// Takes the keys of the backup, as `GET /room_keys/keys` gives them.
    ///
    /// # Errors
    /// [`CryptoError::NoBackup`] if the private key is not here.
    pub fn restore_backup(
        &mut self,
        rooms: &BTreeMap<OwnedRoomId, RoomKeyBackup>,
    ) -> Result<Staged<Restored>, CryptoError> {
        let backup = self.backup.as_ref().ok_or(CryptoError::NoBackup)?;
        let secret = backup.secret.as_deref().ok_or(CryptoError::NoBackup)?;
        let decryption = parse_secret(secret).ok_or(CryptoError::NoBackup)?;
        let (mut outcome, mut sessions) = (ImportOutcome::default(), Vec::new());
        for (room_id, room) in rooms {
            for (session_id, data) in &room.sessions {
                let key = decrypt_entry(&decryption, data.json().get()).and_then(|fields| {
                    ExportedKey::from_fields(fields, room_id.as_str(), session_id)
                });
                let before = outcome.imported;
                self.import_exported(key, &mut outcome)?;
                if outcome.imported > before {
                    sessions.push((room_id.clone(), session_id.clone()));
                }
            }
        }
        Ok(self.stage((outcome, sessions)))
    }
}

fn parse_secret(secret: &str) -> Option<PkDecryption> {
    let bytes = Zeroizing::new(base64_decode(secret).ok()?);
    let bytes = Zeroizing::new(<[u8; 32]>::try_from(bytes.as_slice()).ok()?);
    Some(PkDecryption::from_key(Curve25519SecretKey::from_slice(
        &bytes,
    )))
}

fn decrypt_entry(decryption: &PkDecryption, data: &str) -> Option<JsonObject> {
    let data: Value = serde_json::from_str(data).ok()?;
    let part = |name: &str| data.get("session_data")?.get(name)?.as_str();
    let message =
        Message::from_base64(part("ciphertext")?, part("mac")?, part("ephemeral")?).ok()?;
    let plaintext = Zeroizing::new(decryption.decrypt(&message).ok()?);
    serde_json::from_slice(&plaintext).ok()
}
