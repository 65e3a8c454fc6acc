//! The device that waits on the server for whoever has no other: making it, and reading what it received.
//!
//! Invariant: what is woken is replaced only after everything it received has been read and stored.
//!
//! Proposal: <https://github.com/matrix-org/matrix-spec-proposals/pull/3814>

use ruma::api::client::dehydrated_device::{
    delete_dehydrated_device, get_dehydrated_device, get_events,
};

use super::{Client, ClientError, SecretStorage, secret_storage::is_not_found};
use crate::{
    clock::SystemRng,
    crypto::{CryptoError, DEHYDRATION_KEY_SECRET, DehydrationKey, RehydratedDevice},
    store::Batch,
};

/// The most pages of messages that are read at once.
const PAGES_MAX: usize = 10_000;

impl SecretStorage {
    /// Has a device wait on the server, in place of the one that waits there. Do it again every week or so: a device that waits makes no
    /// new one-time keys. Its key lies in this storage.
    ///
    /// # Errors
    ///
    /// [`ClientError::Crypto`] with [`NoCrossSigningKeys`](CryptoError::NoCrossSigningKeys) if this device cannot sign it;
    /// [`ClientError::Http`] with `M_UNRECOGNIZED` if the server keeps none.
    pub async fn dehydrate_device(&self) -> Result<(), ClientError> {
        let key = match self.dehydration_key().await? {
            Some(key) => key,
            None => {
                let key = DehydrationKey::random(&SystemRng);
                self.put(DEHYDRATION_KEY_SECRET, &key.to_secret()).await?;
                key
            }
        };
        let client = self.client();
        let now_ms = client.now_ms();
        let made = client.ask(|machine| machine.dehydrate_device(&key, now_ms));
        client.request(made.await??).await.map(drop)
    }

    /// Reads what the device received that waits on the server, tells the events that waited for its keys, and has a fresh one wait in its
    /// place if this device can sign that. Gives the number of keys; `None` if no device waits there.
    ///
    /// # Errors
    ///
    /// [`ClientError::Crypto`] if the device is not one that the key in this storage opens; [`ClientError::Http`].
    pub async fn rehydrate_device(&self) -> Result<Option<usize>, ClientError> {
        let client = self.client();
        let request = get_dehydrated_device::unstable::Request::new();
        let found = match client.request(request).await {
            Ok(found) => found,
            Err(error) if is_not_found(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let key = self.dehydration_key().await?.ok_or(CryptoError::Key)?;
        let (device_id, data) = (found.device_id, found.device_data);
        let woken = client.ask(|machine| machine.rehydrate_device(&key, &device_id, &data));
        let count = client.drain(woken.await??).await?;
        match self.dehydrate_device().await {
            Ok(()) | Err(ClientError::Crypto(CryptoError::NoCrossSigningKeys)) => Ok(Some(count)),
            Err(error) => Err(error),
        }
    }

    async fn dehydration_key(&self) -> Result<Option<DehydrationKey>, ClientError> {
        let secret = self.get(DEHYDRATION_KEY_SECRET).await?;
        let key = secret.map(|secret| DehydrationKey::from_secret(&secret));
        Ok(key.transpose()?)
    }
}

impl Client {
    /// Deletes the device that waits on the server: after a reset of the identity that signed it, for instance. Tells whether there was one.
    ///
    /// # Errors
    ///
    /// [`ClientError::Http`] with the server's errcode.
    pub async fn delete_dehydrated_device(&self) -> Result<bool, ClientError> {
        let request = delete_dehydrated_device::unstable::Request::new();
        match self.request(request).await {
            Ok(_) => Ok(true),
            Err(error) if is_not_found(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Reads page after page; each is stored before the next is asked for.
    async fn drain(&self, mut woken: RehydratedDevice) -> Result<usize, ClientError> {
        let (mut next, mut count) = (None, 0);
        for _ in 0..PAGES_MAX {
            let mut request = get_events::unstable::Request::new(woken.device_id().to_owned());
            request.next_batch = next.take();
            let page = self.request(request).await?;
            if page.events.is_empty() {
                break;
            }
            let taken = self.step(|machine, now_ms| {
                let taken = machine.receive_dehydrated_events(&mut woken, &page.events, now_ms)?;
                let (changes, outcome) = taken.into_parts();
                Ok::<_, CryptoError>((Batch::from(changes), outcome))
            });
            let outcome = taken.await??;
            count += outcome.new_room_keys.len();
            self.tell_notices(outcome.notices);
            self.try_waiting(&outcome.new_room_keys).await?;
            next = page.next_batch;
            if next.is_none() {
                break;
            }
        }
        Ok(count)
    }
}
