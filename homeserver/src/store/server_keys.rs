//! Other servers' signing keys.
//!
//! Invariant: a key that was once seen stays, with the last moment for which it is valid, because old events are verified
//! with it.

use ruma::{OwnedServerName, ServerName, serde::Base64};
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, sea_query::OnConflict};

use super::{
    Change, Store, StoreError, Tx,
    entity::{server_key_documents as documents, server_keys as keys},
};

/// One signing key of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKey {
    /// Algorithm and version, as in signatures.
    pub key_id: String,
    /// The public key.
    pub public_key: Base64,
    /// The last moment for which it is valid, in milliseconds since the epoch.
    pub valid_until_ts: i64,
}

/// A server's published keys, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyDocument {
    /// The JSON with its signatures.
    pub json: String,
    /// Until when the server says that it holds, in milliseconds since the epoch.
    pub valid_until_ts: i64,
    /// When it was fetched, in milliseconds since the epoch.
    pub fetched_ts: i64,
}

impl Store {
    /// The keys of one server, current and old.
    ///
    /// # Errors
    /// What the database says; [`StoreError::Corrupt`] for a key that is no base64.
    pub async fn server_keys(&self, server: &ServerName) -> Result<Vec<StoredKey>, StoreError> {
        let rows = keys::Entity::find()
            .filter(keys::Column::ServerName.eq(server.as_str()))
            .all(self.reader())
            .await?;
        let stored = rows.into_iter().map(|row| {
            let public_key = Base64::parse(&row.public_key)
                .map_err(|_| StoreError::corrupt("server_keys", "public_key"))?;
            Ok(StoredKey {
                key_id: row.key_id,
                public_key,
                valid_until_ts: row.valid_until_ts,
            })
        });
        stored.collect()
    }

    /// What a server published last.
    ///
    /// # Errors
    /// What the database says.
    pub async fn key_document(
        &self,
        server: &ServerName,
    ) -> Result<Option<KeyDocument>, StoreError> {
        let row = documents::Entity::find_by_id(server.as_str())
            .one(self.reader())
            .await?;
        Ok(row.map(|row| KeyDocument {
            json: row.document,
            valid_until_ts: row.valid_until_ts,
            fetched_ts: row.fetched_ts,
        }))
    }
}

/// Stores what a server published: its keys, and the document itself.
#[derive(Debug, Clone)]
pub struct StoreServerKeys {
    /// Whose keys they are.
    pub server: OwnedServerName,
    /// The keys, current and old.
    pub keys: Vec<StoredKey>,
    /// The document that they stand in.
    pub document: KeyDocument,
}

impl Change for StoreServerKeys {
    type Output = ();

    async fn apply(&self, tx: &mut Tx) -> Result<(), StoreError> {
        let rows = self.keys.iter().map(|key| keys::ActiveModel {
            server_name: Set(self.server.to_string()),
            key_id: Set(key.key_id.clone()),
            public_key: Set(key.public_key.encode()),
            valid_until_ts: Set(key.valid_until_ts),
        });
        let replace = OnConflict::columns([keys::Column::ServerName, keys::Column::KeyId])
            .update_columns([keys::Column::PublicKey, keys::Column::ValidUntilTs])
            .to_owned();
        keys::Entity::insert_many(rows)
            .on_conflict(replace)
            .exec_without_returning(tx.connection())
            .await?;
        let document = documents::ActiveModel {
            server_name: Set(self.server.to_string()),
            document: Set(self.document.json.clone()),
            valid_until_ts: Set(self.document.valid_until_ts),
            fetched_ts: Set(self.document.fetched_ts),
        };
        let replace = OnConflict::column(documents::Column::ServerName)
            .update_columns([
                documents::Column::Document,
                documents::Column::ValidUntilTs,
                documents::Column::FetchedTs,
            ])
            .to_owned();
        documents::Entity::insert(document)
            .on_conflict(replace)
            .exec_without_returning(tx.connection())
            .await?;
        Ok(())
    }
}
