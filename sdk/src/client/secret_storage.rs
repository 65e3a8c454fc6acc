//! Secret storage and key backup: what survives the loss of all devices.
//!
//! Invariant: a secret from the server is used only if it is the private half of what is pinned or signed; a backup gets keys only if it is
//! proved to be ours.
//!
//! Specification: <https://spec.matrix.org/v1.19/client-server-api/#secrets>

use ruma::{
    OwnedRoomId,
    api::client::{
        backup::{
            add_backup_keys, create_backup_version, delete_backup_version, get_backup_keys,
            get_latest_backup_info,
        },
        config::{get_global_account_data, set_global_account_data},
    },
    events::GlobalAccountDataEventType,
    serde::{JsonObject, Raw},
};
use serde_json::{Value, json};

use super::{Client, ClientError};
use crate::{
    clock::SystemRng,
    crypto::{
        BACKUP_ALGORITHM, BackupStatus, ImportOutcome, SecretBytes, SecretName, SecretStorageKey,
        decrypt_key_export, encrypt_key_export,
    },
    http::HttpError,
};

/// The account data that names the storage in use.
const DEFAULT_KEY: &str = "m.secret_storage.default_key";

/// Before the id of a storage, in the account data that describe it.
const KEY_PREFIX: &str = "m.secret_storage.key.";

/// The most rounds of requests in which keys are put into the backup at once.
const BACKUP_ROUNDS_MAX: usize = 10_000;

/// An opened secret storage.
#[derive(Debug)]
pub struct SecretStorage {
    client: Client,
    key_id: String,
    key: SecretStorageKey,
}

impl Client {
    /// Makes a new secret storage, the default one from now on, and puts the secrets of this device into it. Gives the recovery key, for the
    /// user to write down; with a passphrase that opens the storage too.
    ///
    /// # Errors
    ///
    /// [`ClientError::Http`] with the server's errcode.
    pub async fn create_secret_storage(
        &self,
        passphrase: Option<&str>,
    ) -> Result<SecretBytes, ClientError> {
        let passphrase = passphrase.map(|text| SecretBytes::new(text.as_bytes().to_vec()));
        // Deriving a key keeps a core busy for a while: not on a thread that serves other tasks.
        let made = tokio::task::spawn_blocking(move || match passphrase {
            Some(text) => {
                let text = String::from_utf8_lossy(text.expose());
                let (key, description) = SecretStorageKey::from_new_passphrase(&text, &SystemRng);
                (key, Some(description))
            }
            None => (SecretStorageKey::random(&SystemRng), None),
        });
        let (key, passphrase) = made.await.map_err(|_| ClientError::Encode)?;
        let key_id = self.inner.rng.name();
        let description = key.describe(passphrase, &SystemRng);
        self.set_account_data(&format!("{KEY_PREFIX}{key_id}"), description)
            .await?;
        let storage = SecretStorage {
            client: self.clone(),
            key_id: key_id.clone(),
            key,
        };
        storage.store().await?;
        // Last, so that the storage that was in use stays it until this one is whole.
        let default = JsonObject::from_iter([("key".to_owned(), key_id.into())]);
        self.set_account_data(DEFAULT_KEY, default).await?;
        Ok(storage.key.recovery_key())
    }

    /// Opens the secret storage in use by what the user typed: the recovery key or the passphrase.
    ///
    /// # Errors
    ///
    /// [`ClientError::NoSecretStorage`] if there is none, [`ClientError::SecretStorage`] if what was typed does not open it.
    pub async fn open_secret_storage(&self, typed: &str) -> Result<SecretStorage, ClientError> {
        let default = self.account_data(DEFAULT_KEY).await?;
        let key_id = default
            .as_ref()
            .and_then(|content| content.get("key"))
            .and_then(Value::as_str)
            .ok_or(ClientError::NoSecretStorage)?
            .to_owned();
        let description = self.account_data(&format!("{KEY_PREFIX}{key_id}")).await?;
        let description = description.ok_or(ClientError::NoSecretStorage)?;
        let typed = SecretBytes::new(typed.as_bytes().to_vec());
        let opened = tokio::task::spawn_blocking(move || {
            SecretStorageKey::open(&String::from_utf8_lossy(typed.expose()), &description)
        });
        let key = opened.await.map_err(|_| ClientError::Encode)??;
        Ok(SecretStorage {
            client: self.clone(),
            key_id,
            key,
        })
    }

    async fn account_data(&self, event_type: &str) -> Result<Option<JsonObject>, ClientError> {
        let user_id = self.session()?.user_id;
        let kind = GlobalAccountDataEventType::from(event_type);
        let request = get_global_account_data::v3::Request::new(user_id, kind);
        match self.request(request).await {
            Ok(answer) => Ok(serde_json::from_str(answer.account_data.json().get()).ok()),
            Err(error) if is_not_found(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn set_account_data(
        &self,
        event_type: &str,
        content: JsonObject,
    ) -> Result<(), ClientError> {
        let user_id = self.session()?.user_id;
        let kind = GlobalAccountDataEventType::from(event_type);
        let content = Raw::from_json_string(Value::Object(content).to_string());
        let content = content.map_err(|_| ClientError::Encode)?;
        let request = set_global_account_data::v3::Request::new_raw(user_id, kind, content);
        self.request(request).await.map(drop)
    }

    /// Makes a new key backup in place of whatever there was; keys are put into it from now on. Put its private key into secret storage
    /// afterwards: [`SecretStorage::store`].
    ///
    /// # Errors
    ///
    /// [`ClientError::Http`] with the server's errcode.
    pub async fn create_backup(&self) -> Result<(), ClientError> {
        let algorithm = self.staged(|machine, _| machine.create_backup()).await??;
        let request = create_backup_version::v3::Request::new(algorithm);
        let version = self.request(request).await?.version;
        self.staged(|machine, _| machine.backup_created(&version))
            .await??;
        self.back_up_keys().await.map(drop)
    }

    /// Deletes a version of the backup, with all keys in it.
    ///
    /// # Errors
    ///
    /// [`ClientError::Http`] with the server's errcode.
    pub async fn delete_backup(&self, version: &str) -> Result<(), ClientError> {
        let request = delete_backup_version::v3::Request::new(version.to_owned());
        self.request(request).await?;
        self.check_backup().await.map(drop)
    }

    /// Asks the server for the backup, and tells whether it may be used.
    ///
    /// # Errors
    ///
    /// [`ClientError::Http`] with the server's errcode.
    pub async fn check_backup(&self) -> Result<BackupStatus, ClientError> {
        let request = get_latest_backup_info::v3::Request::new();
        let current = match self.request(request).await {
            Ok(answer) => {
                let algorithm = answer.algorithm.json().get();
                let parsed: JsonObject =
                    serde_json::from_str(algorithm).map_err(|_| HttpError::BadAnswer)?;
                let known =
                    parsed.get("algorithm").and_then(Value::as_str) == Some(BACKUP_ALGORITHM);
                let data = parsed.get("auth_data").and_then(Value::as_object).cloned();
                // Of another algorithm nothing is known, so nothing of it is trusted.
                Some((answer.version, data.filter(|_| known).unwrap_or_default()))
            }
            Err(error) if is_not_found(&error) => None,
            Err(error) => return Err(error),
        };
        let current = current
            .as_ref()
            .map(|(version, data)| (version.as_str(), data));
        Ok(self
            .staged(|machine, _| machine.observe_backup(current))
            .await??)
    }

    /// Puts all keys into the backup that it may have and does not; gives their number. The sync does so by itself.
    ///
    /// # Errors
    ///
    /// [`ClientError::Http`]; with `M_WRONG_ROOM_KEYS_VERSION` the backup was replaced, and nothing is put into the new one unless
    /// [`check_backup`](Self::check_backup) finds it to be ours.
    pub async fn back_up_keys(&self) -> Result<usize, ClientError> {
        let mut count = 0;
        for _ in 0..BACKUP_ROUNDS_MAX {
            let Some(upload) = self.ask(|machine| machine.next_backup()).await?? else {
                break;
            };
            let (version, rooms) = (upload.version.clone(), upload.rooms.clone());
            match self
                .request(add_backup_keys::v3::Request::new(version, rooms))
                .await
            {
                Ok(_) => {}
                Err(error) => {
                    if is_refused_with(&error, "M_WRONG_ROOM_KEYS_VERSION") || is_not_found(&error)
                    {
                        self.check_backup().await?;
                    }
                    return Err(error);
                }
            }
            count += upload.len();
            self.staged(|machine, _| machine.backed_up(&upload))
                .await??;
        }
        Ok(count)
    }

    /// Takes the keys out of the backup, and tells the events that waited for them.
    ///
    /// # Errors
    ///
    /// [`ClientError::Crypto`] with [`NoBackup`](crate::crypto::CryptoError::NoBackup) if its private key is not here.
    pub async fn restore_backup(&self) -> Result<ImportOutcome, ClientError> {
        let version = match self.check_backup().await? {
            BackupStatus::Enabled { version, .. } => version,
            BackupStatus::None | BackupStatus::Untrusted { .. } => {
                return Err(crate::crypto::CryptoError::NoBackup.into());
            }
        };
        let request = get_backup_keys::v3::Request::new(version);
        let rooms = self.request(request).await?.rooms;
        let (outcome, sessions) = self
            .staged(|machine, _| machine.restore_backup(&rooms))
            .await??;
        self.try_waiting(&sessions).await?;
        Ok(outcome)
    }

    /// All room keys that may leave this device, as an encrypted file.
    ///
    /// # Errors
    ///
    /// [`ClientError::NotLoggedIn`].
    pub async fn export_room_keys(&self, passphrase: &str) -> Result<String, ClientError> {
        let keys = self.ask(|machine| machine.export_room_keys()).await??;
        let passphrase = SecretBytes::new(passphrase.as_bytes().to_vec());
        let file = tokio::task::spawn_blocking(move || {
            let passphrase = String::from_utf8_lossy(passphrase.expose());
            encrypt_key_export(&keys, &passphrase, &SystemRng)
        });
        file.await.map_err(|_| ClientError::Encode)
    }

    /// Takes the room keys of such a file, and tells the events that waited for them.
    ///
    /// # Errors
    ///
    /// [`ClientError::KeyExport`] if it cannot be read.
    pub async fn import_room_keys(
        &self,
        file: &str,
        passphrase: &str,
    ) -> Result<ImportOutcome, ClientError> {
        let file = file.to_owned();
        let passphrase = SecretBytes::new(passphrase.as_bytes().to_vec());
        let keys = tokio::task::spawn_blocking(move || {
            decrypt_key_export(&file, &String::from_utf8_lossy(passphrase.expose()))
        });
        let keys = keys.await.map_err(|_| ClientError::Encode)??;
        let outcome = self
            .staged(|machine, _| machine.import_room_keys(&keys))
            .await??;
        let waiting = self.waiting_events();
        let sessions: Vec<(OwnedRoomId, String)> = waiting
            .into_values()
            .map(|event| (event.room_id, event.session_id))
            .collect();
        self.try_waiting(&sessions).await?;
        Ok(outcome)
    }
}

impl SecretStorage {
    /// Puts every secret that this device holds into the storage.
    ///
    /// # Errors
    ///
    /// [`ClientError::Http`] with the server's errcode.
    pub async fn store(&self) -> Result<(), ClientError> {
        let secrets = self.client.ask(|machine| machine.export_secrets()).await?;
        for (name, secret) in secrets {
            self.put(name.as_str(), &secret).await?;
        }
        Ok(())
    }

    /// Puts one secret into the storage.
    pub(super) async fn put(&self, name: &str, secret: &SecretBytes) -> Result<(), ClientError> {
        let mut content = self.key.encrypt(&self.key_id, name, secret, &SystemRng);
        // Other storages of the user may hold the secret too.
        if let Some(before) = self.client.account_data(name).await?
            && let Some(Value::Object(mut all)) = before.get("encrypted").cloned()
        {
            if let Some(Value::Object(ours)) = content.remove("encrypted") {
                all.extend(ours);
            }
            content = JsonObject::from_iter([("encrypted".to_owned(), json!(all))]);
        }
        self.client.set_account_data(name, content).await
    }

    /// Takes one secret out of the storage, if it is there.
    pub(super) async fn get(&self, name: &str) -> Result<Option<SecretBytes>, ClientError> {
        match self.client.account_data(name).await? {
            Some(content) => Ok(self.key.decrypt(&self.key_id, name, &content)?),
            None => Ok(None),
        }
    }

    /// Whose storage it is.
    pub(super) const fn client(&self) -> &Client {
        &self.client
    }

    /// Takes the secrets out of the storage: this device is then signed by our identity, and can restore the backup. Gives the names of
    /// those that were there.
    ///
    /// # Errors
    ///
    /// [`ClientError::SecretStorage`] if one was tampered with; [`ClientError::Crypto`] with
    /// [`SecretMismatch`](crate::crypto::CryptoError::SecretMismatch) if one is not the private half of our identity.
    pub async fn import(&self) -> Result<Vec<SecretName>, ClientError> {
        // Our own identity, against which the secrets are held.
        self.client.send_outgoing().await?;
        self.client.check_backup().await?;
        let mut imported = Vec::new();
        for name in SecretName::ALL {
            let Some(secret) = self.get(name.as_str()).await? else {
                continue;
            };
            self.client
                .staged(|machine, _| machine.import_secret(name, &secret))
                .await??;
            imported.push(name);
        }
        self.client.send_outgoing().await?;
        self.client.check_backup().await?;
        Ok(imported)
    }
}

fn is_refused_with(error: &ClientError, code: &str) -> bool {
    matches!(error, ClientError::Http(HttpError::Matrix { errcode, .. }) if errcode == code)
}

pub(super) fn is_not_found(error: &ClientError) -> bool {
    is_refused_with(error, "M_NOT_FOUND")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{fake_server::FakeServer, store::MemoryStore};

    #[tokio::test]
    async fn what_opens_the_storage_never_leaves_this_device() {
        let server = FakeServer::start().await;
        let client = server.alice(Arc::new(MemoryStore::new())).await;
        let passphrase = "correct horse battery staple";
        let recovery_key = client
            .create_secret_storage(Some(passphrase))
            .await
            .unwrap();
        let recovery_key = std::str::from_utf8(recovery_key.expose()).unwrap();
        for typed in [recovery_key, passphrase, "another one altogether"] {
            let opened = client.open_secret_storage(typed).await;
            assert_eq!(opened.is_ok(), typed != "another one altogether");
        }
        let traffic = server.lock().traffic.join("\n");
        // What is sent is seen here: the password of the login, for one.
        assert!(traffic.contains(r#""password":"secret""#), "{traffic}");
        assert!(traffic.contains(DEFAULT_KEY));
        let bare: String = recovery_key.split_whitespace().collect();
        for secret in [
            recovery_key,
            &bare,
            &bare[..12],
            passphrase,
            "battery",
            "altogether",
        ] {
            assert!(!traffic.contains(secret), "{secret} was sent");
        }
    }
}
