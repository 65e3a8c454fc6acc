//! Asking a server, or the notaries that the configuration trusts, for keys.
//!
//! Invariant: nothing is stored that [`super::document::check`] did not pass; an answer of a notary must carry the notary's
//! signature as well.

use std::collections::BTreeMap;

use passeur_protocol::limits::KEYS_PER_SERVER_AND_EVENT_MAX;
use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedServerSigningKeyId, ServerName, UInt,
    api::federation::discovery::{
        ServerSigningKeys,
        get_remote_server_keys_batch::v2::{self as notary_api, QueryCriteria},
        get_server_keys::v2 as own_api,
    },
    serde::Raw,
    signatures::PublicKeySet,
};

use super::{
    Inner,
    document::{self, BadDocument, DOCUMENT_BYTES_MAX},
};
use crate::{
    outbound::{Bounds, RemoteError},
    store::{KeyDocument, StoreError, StoreServerKeys},
};

/// Why keys could not be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// Neither the server nor a notary answered.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// What they answered is not signed as it must be.
    #[error(transparent)]
    Document(#[from] BadDocument),
    /// The keys could not be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is asked of a notary: the keys, and until when they must be valid.
pub(super) type Criteria = BTreeMap<OwnedServerSigningKeyId, QueryCriteria>;

/// "servers MUST set the `minimum_valid_until_ts` property to prompt the notary server to attempt to refresh the key if
/// appropriate".
pub(super) fn criteria(ids: &[OwnedServerSigningKeyId], valid_at: i64) -> Criteria {
    let mut until = QueryCriteria::new();
    until.minimum_valid_until_ts = UInt::try_from(valid_at)
        .ok()
        .map(MilliSecondsSinceUnixEpoch);
    let ids = ids.iter().take(KEYS_PER_SERVER_AND_EVENT_MAX);
    ids.map(|id| (id.clone(), until.clone())).collect()
}

const BOUNDS: Bounds = Bounds {
    bytes_max: DOCUMENT_BYTES_MAX,
    ..Bounds::INTERACTIVE
};

impl Inner {
    /// Asks the server itself, then the notaries, and stores what is believed.
    pub(super) async fn fetch(
        &self,
        server: &ServerName,
        wanted: &Criteria,
    ) -> Result<(), FetchError> {
        let direct = self.fetch_directly(server).await;
        let Err(failure) = direct else {
            return Ok(());
        };
        for notary in &self.notaries {
            if notary == server {
                continue;
            }
            let fetched = self.fetch_by_notary(server, notary, wanted).await;
            if fetched.is_ok() {
                return Ok(());
            }
        }
        Err(failure)
    }

    async fn fetch_directly(&self, server: &ServerName) -> Result<(), FetchError> {
        let answer = self
            .remote
            .call_unsigned(server, own_api::Request::new(), BOUNDS)
            .await?;
        self.keep(server, &answer.server_key).await
    }

    async fn fetch_by_notary(
        &self,
        server: &ServerName,
        notary: &ServerName,
        wanted: &Criteria,
    ) -> Result<(), FetchError> {
        let keys = self.keys_of_notary(notary).await?;
        let wanted = BTreeMap::from([(server.to_owned(), wanted.clone())]);
        let request = notary_api::Request::new(wanted);
        let answer = self.remote.call_unsigned(notary, request, BOUNDS).await?;
        for document in &answer.server_keys {
            let signed =
                document::is_signed_by(document.json().get().as_bytes(), notary, keys.clone());
            if signed && self.keep(server, document).await.is_ok() {
                return Ok(());
            }
        }
        Err(BadDocument.into())
    }

    /// The keys of a notary that are valid now, from the store or from itself.
    async fn keys_of_notary(&self, notary: &ServerName) -> Result<PublicKeySet, FetchError> {
        for fetched in [false, true] {
            if fetched {
                self.fetch_directly(notary).await?;
            }
            let now_ms = self.clock.now_ms();
            let stored = self.store.server_keys(notary).await?;
            let valid: PublicKeySet = stored
                .into_iter()
                .filter(|key| now_ms <= key.valid_until_ts)
                .map(|key| (key.key_id, key.public_key))
                .collect();
            if !valid.is_empty() {
                return Ok(valid);
            }
        }
        Err(BadDocument.into())
    }

    /// Checks a document and stores its keys.
    async fn keep(
        &self,
        server: &ServerName,
        document: &Raw<ServerSigningKeys>,
    ) -> Result<(), FetchError> {
        let json = document.json().get();
        let now_ms = self.clock.now_ms();
        let checked = document::check(json.as_bytes(), server, now_ms)?;
        self.store
            .commit(StoreServerKeys {
                server: server.to_owned(),
                keys: checked.keys,
                document: KeyDocument {
                    json: json.to_owned(),
                    valid_until_ts: checked.valid_until_ts,
                    fetched_ts: now_ms,
                },
            })
            .await?;
        // Keys that the document no longer names stay in the store, so it is read again.
        self.known.remove(server);
        Ok(())
    }
}
