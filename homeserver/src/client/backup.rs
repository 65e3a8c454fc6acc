//! Backups of room keys.
//!
//! Invariant: the server sees ciphertext; which of two keys is kept is decided in
//! `store/backups.rs`. An entry is kept as it was sent.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#server-side-key-backups>

use std::collections::BTreeMap;

use http::StatusCode;
use ruma::{
    UInt, UserId,
    api::{
        client::backup::KeyBackupData,
        error::{ErrorKind, WrongRoomKeysVersionErrorData},
    },
    serde::Raw,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    app::App,
    http::error::ApiError,
    store::{Backup, BackupEdit, BackupEdited, BackupKey, EditBackup, KeySelection},
};

pub(crate) mod add_backup_keys;
pub(crate) mod add_backup_keys_for_room;
pub(crate) mod add_backup_keys_for_session;
pub(crate) mod create_backup_version;
pub(crate) mod delete_backup_keys;
pub(crate) mod delete_backup_keys_for_room;
pub(crate) mod delete_backup_keys_for_session;
pub(crate) mod delete_backup_version;
pub(crate) mod get_backup_info;
pub(crate) mod get_backup_keys;
pub(crate) mod get_backup_keys_for_room;
pub(crate) mod get_backup_keys_for_session;
pub(crate) mod get_latest_backup_info;
pub(crate) mod update_backup_version;

/// The longest entry, in bytes.
const ENTRY_BYTES_MAX: usize = 16 * 1024;
/// The longest name of a session, in bytes.
const SESSION_ID_BYTES_MAX: usize = passeur_protocol::limits::ID_BYTES_MAX;
/// The longest description of an algorithm, in bytes.
const ALGORITHM_BYTES_MAX: usize = 32 * 1024;

/// Entries by room and session, with the JSON that they are stored as.
type Entries = BTreeMap<String, BTreeMap<String, Box<RawValue>>>;

/// An algorithm with what it needs.
struct Algorithm {
    name: String,
    auth_data: String,
    /// The version that it says it is of.
    version: Option<String>,
}

impl Algorithm {
    fn read(json: &RawValue) -> Result<Self, ApiError> {
        #[derive(Deserialize)]
        struct Wire {
            algorithm: String,
            auth_data: Box<RawValue>,
            version: Option<String>,
        }
        if json.get().len() > ALGORITHM_BYTES_MAX {
            return Err(ApiError::too_large());
        }
        let wire: Wire = serde_json::from_str(json.get())
            .map_err(|_| ApiError::bad_json("There is no algorithm, or it lacks its data"))?;
        if !wire.auth_data.get().starts_with('{') {
            return Err(ApiError::bad_json("`auth_data` is no object"));
        }
        Ok(Self {
            name: wire.algorithm,
            auth_data: wire.auth_data.get().to_owned(),
            version: wire.version,
        })
    }
}

fn no_backup() -> ApiError {
    ApiError::not_found("There is no such backup")
}

/// The number of a version as clients name it.
fn version_of(version: &str) -> Result<i64, ApiError> {
    let number: i64 = version.parse().map_err(|_| no_backup())?;
    // Only as it was told: `+1` and `01` name nothing.
    Some(number)
        .filter(|number| number.to_string() == version)
        .ok_or_else(no_backup)
}

/// A version that exists.
async fn existing(app: &App, user: &UserId, version: &str) -> Result<Backup, ApiError> {
    let version = version_of(version)?;
    let found = app.store.backup(user, Some(version)).await?;
    found.ok_or_else(no_backup)
}

/// A version as clients see it; its data as they were sent.
#[derive(Debug, Serialize)]
struct Described {
    algorithm: String,
    auth_data: Box<RawValue>,
    count: u64,
    etag: String,
    version: String,
}

/// The sessions of a room, as clients see them.
#[derive(Debug, Serialize)]
struct Sessions {
    sessions: BTreeMap<String, Box<RawValue>>,
}

/// A version as clients see it: algorithm with its data, count and etag.
async fn describe(app: &App, user: &UserId, backup: &Backup) -> Result<Described, ApiError> {
    let auth_data: Box<RawValue> =
        RawValue::from_string(backup.auth_data.clone()).map_err(|_| ApiError::internal())?;
    let count = app.store.backup_count(user, backup.version).await?;
    Ok(Described {
        algorithm: backup.algorithm.clone(),
        auth_data,
        count,
        etag: backup.etag.to_string(),
        version: backup.version.to_string(),
    })
}

/// An entry as it is stored, with what decides which of two is kept.
fn entry(room: &str, session: &str, json: &Raw<KeyBackupData>) -> Result<BackupKey, ApiError> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        first_message_index: UInt,
        forwarded_count: UInt,
        is_verified: bool,
        #[serde(borrow)]
        session_data: &'a RawValue,
    }
    let json = json.json().get();
    if json.len() > ENTRY_BYTES_MAX || session.len() > SESSION_ID_BYTES_MAX {
        return Err(ApiError::too_large());
    }
    let wire: Wire<'_> = serde_json::from_str(json)
        .map_err(|_| ApiError::bad_json("A key lacks something, or holds a wrong value"))?;
    if !wire.session_data.get().starts_with('{') {
        return Err(ApiError::bad_json("`session_data` is no object"));
    }
    Ok(BackupKey {
        room_id: room.to_owned(),
        session_id: session.to_owned(),
        first_message_index: wire.first_message_index.into(),
        forwarded_count: wire.forwarded_count.into(),
        is_verified: wire.is_verified,
        content: json.to_owned(),
    })
}

/// Changes keys of a version; answers its etag and how many it holds.
async fn edit(
    app: &App,
    user: &UserId,
    version: &str,
    edit: BackupEdit,
) -> Result<(String, UInt), ApiError> {
    let change = EditBackup {
        user_id: user.to_owned(),
        version: version_of(version)?,
        edit,
    };
    match app.store.commit(change).await?.output {
        BackupEdited::Stored { etag, count } => {
            let count = UInt::try_from(count).unwrap_or(UInt::MAX);
            Ok((etag.to_string(), count))
        }
        BackupEdited::NotFound => Err(no_backup()),
        BackupEdited::WrongVersion { current } => {
            let data = WrongRoomKeysVersionErrorData::new(current.to_string());
            Err(ApiError::new(
                StatusCode::FORBIDDEN,
                ErrorKind::WrongRoomKeysVersion(data),
                "There is a newer backup",
            ))
        }
        BackupEdited::TooMany => Err(ApiError::too_large()),
    }
}

/// Keys of a version, by room and session.
async fn read(
    app: &App,
    user: &UserId,
    version: &str,
    which: KeySelection,
) -> Result<Entries, ApiError> {
    let backup = existing(app, user, version).await?;
    let mut entries = Entries::new();
    for key in app.store.backup_keys(user, backup.version, &which).await? {
        let json = RawValue::from_string(key.content).map_err(|_| ApiError::internal())?;
        entries
            .entry(key.room_id)
            .or_default()
            .insert(key.session_id, json);
    }
    Ok(entries)
}
