//! Vouching for keys: what this server knows of others' keys, with its own signature added.
//!
//! Invariant: only a document that was checked is passed on, and a stranger's question makes this server ask another one at
//! most as often as its own needs would.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#querying-keys-through-another-server>

use passeur_protocol::json::parse_object;
use ruma::{
    CanonicalJsonObject, MilliSecondsSinceUnixEpoch, ServerName,
    api::federation::discovery::ServerSigningKeys, serde::Raw,
};
use serde_json::value::to_raw_value;

use super::{
    OwnKeys, ServerKeys,
    document::{BadDocument, DOCUMENT_BYTES_MAX},
};
use crate::store::StoreError;

/// The document of `GET /_matrix/key/v2/server`.
///
/// # Errors
/// [`BadDocument`] if it cannot be made, which a valid key pair never causes.
pub fn signed_document(own: &OwnKeys) -> Result<Raw<ServerSigningKeys>, BadDocument> {
    raw(&own.document()?)
}

fn raw(object: &CanonicalJsonObject) -> Result<Raw<ServerSigningKeys>, BadDocument> {
    let json = to_raw_value(object).map_err(|_| BadDocument)?;
    Ok(Raw::from_json(json))
}

impl ServerKeys {
    /// What is known of a server's keys, signed by that server and by this one. It is fetched if nothing is known that is
    /// valid until `minimum_valid_until`, or now if that is not given.
    ///
    /// # Errors
    /// What the database says.
    pub async fn vouch(
        &self,
        server: &ServerName,
        minimum_valid_until: Option<MilliSecondsSinceUnixEpoch>,
    ) -> Result<Option<Raw<ServerSigningKeys>>, StoreError> {
        if server == self.own().server_name() {
            return Ok(signed_document(self.own()).ok());
        }
        let now_ms = self.0.clock.now_ms();
        let needed = minimum_valid_until.map_or(now_ms, |min| min.get().into());
        let mut known = self.0.store.key_document(server).await?;
        if known
            .as_ref()
            .is_none_or(|known| known.valid_until_ts < needed)
        {
            self.refresh(server, &[], None).await;
            known = self.0.store.key_document(server).await?;
        }
        Ok(known.and_then(|known| self.countersign(&known.json)))
    }

    fn countersign(&self, json: &str) -> Option<Raw<ServerSigningKeys>> {
        let mut object = parse_object(json.as_bytes(), DOCUMENT_BYTES_MAX).ok()?;
        self.own().sign(&mut object).ok()?;
        raw(&object).ok()
    }
}
