//! Devices and identities, as people compare them.
//!
//! Invariant: trust is raised only by a fingerprint that somebody typed or compared, never by what a server says.
//!
//! Specification: <https://spec.matrix.org/v1.19/client-server-api/#device-verification>

use ruma::{
    DeviceId, UserId,
    api::client::uiaa::{AuthData, MatrixUserIdentifier, Password, UserIdentifier},
};

use super::{Client, ClientError, Event, Protection};
use crate::{
    crypto::{CrossSigningUpload, DeviceInfo, IdentityChange, Undecryptable},
    http::HttpError,
};

/// How often our own list is fetched until it is up to date.
const OWN_FETCHES_MAX: usize = 5;

impl Client {
    /// This device's fingerprint, in groups of four characters.
    ///
    /// # Errors
    ///
    /// [`ClientError::NotLoggedIn`].
    pub async fn fingerprint(&self) -> Result<String, ClientError> {
        self.ask(|machine| machine.fingerprint()).await
    }

    /// A user's devices, as far as they are known.
    ///
    /// # Errors
    ///
    /// [`ClientError::NotLoggedIn`].
    pub async fn devices(&self, user: &UserId) -> Result<Vec<DeviceInfo>, ClientError> {
        self.ask(|machine| machine.devices(user)).await
    }

    /// A user's master cross-signing key in groups of four characters; `None` without cross-signing.
    ///
    /// # Errors
    ///
    /// [`ClientError::NotLoggedIn`].
    pub async fn master_key(&self, user: &UserId) -> Result<Option<String>, ClientError> {
        self.ask(|machine| machine.master_key(user)).await
    }

    /// Changes of identity that nobody has accepted.
    ///
    /// # Errors
    ///
    /// [`ClientError::NotLoggedIn`].
    pub async fn identity_changes(&self) -> Result<Vec<IdentityChange>, ClientError> {
        self.ask(|machine| machine.identity_changes()).await
    }

    /// Accepts every pending change of a user's identity, so that sending goes on. What was verified is not any more.
    ///
    /// # Errors
    ///
    /// [`ClientError::Crypto`] if nothing is known of the user.
    pub async fn accept_identity_change(&self, user: &UserId) -> Result<(), ClientError> {
        self.staged(|machine, _| machine.accept_identity_change(user))
            .await??;
        self.wake_queue();
        Ok(())
    }

    /// Marks a device as verified, if `fingerprint` is its own.
    ///
    /// # Errors
    ///
    /// [`ClientError::Crypto`] if the fingerprint is another's or the device is not known.
    pub async fn verify_device(
        &self,
        user: &UserId,
        device: &DeviceId,
        fingerprint: &str,
    ) -> Result<(), ClientError> {
        self.staged(|machine, _| machine.verify_device(user, device, fingerprint))
            .await??;
        Ok(())
    }

    /// Marks a user as verified, if `master_key` is theirs.
    ///
    /// # Errors
    ///
    /// [`ClientError::Crypto`] if the key is another's or the user has none.
    pub async fn verify_user(&self, user: &UserId, master_key: &str) -> Result<(), ClientError> {
        self.staged(|machine, _| machine.verify_user(user, master_key))
            .await??;
        Ok(())
    }

    /// Compares a user's master key, marks it as verified and signs it, so that all our devices trust it.
    ///
    /// # Errors
    ///
    /// [`ClientError::Crypto`] if the key is another's, the user has none, or this device does not hold our own.
    pub async fn sign_user(&self, user: &UserId, master_key: &str) -> Result<(), ClientError> {
        self.staged(|machine, _| machine.sign_user(user, master_key))
            .await??;
        self.send_outgoing().await
    }

    /// Compares the fingerprint of another device of ours, marks it as verified and signs it.
    ///
    /// # Errors
    ///
    /// [`ClientError::Crypto`] if the fingerprint is another's, or this device does not hold our own cross-signing keys.
    pub async fn sign_own_device(
        &self,
        device: &DeviceId,
        fingerprint: &str,
    ) -> Result<(), ClientError> {
        self.staged(|machine, _| machine.sign_own_device(device, fingerprint))
            .await??;
        self.send_outgoing().await
    }

    /// Asks our other verified devices for the keys of events that could not be decrypted for want of them.
    ///
    /// # Errors
    ///
    /// [`ClientError`] if the requests cannot be recorded or sent.
    pub async fn request_missing_keys(&self, events: &[Event]) -> Result<(), ClientError> {
        for event in events {
            let Protection::Undecryptable(Undecryptable::MissingRoomKey { session_id, .. }) =
                &event.protection
            else {
                continue;
            };
            let sender_key = event.content.text("sender_key");
            self.staged(|machine, _| {
                machine.request_room_key(&event.room_id, session_id, sender_key)
            })
            .await??;
        }
        self.send_outgoing().await
    }

    /// Whether this device is signed by our identity: others can then tell it from one that a server made up.
    ///
    /// # Errors
    ///
    /// [`ClientError::NotLoggedIn`].
    pub async fn is_cross_signed(&self) -> Result<bool, ClientError> {
        self.ask(|machine| machine.is_cross_signed()).await
    }

    /// Makes cross-signing keys and signs this device with them, so that others can tell it from one that a server made up. The
    /// server may ask for the password. Does nothing if the keys are here already.
    ///
    /// # Errors
    ///
    /// [`ClientError::Crypto`] with [`IdentityExists`](crate::crypto::CryptoError::IdentityExists) if the user has an identity already: have
    /// another device verify this one, open the secret storage, or [`reset_cross_signing`](Self::reset_cross_signing).
    /// [`ClientError::Http`] with the server's errcode.
    pub async fn bootstrap_cross_signing(&self, password: &str) -> Result<(), ClientError> {
        self.fetch_own_devices().await?;
        if self
            .ask(|machine| machine.is_cross_signing_published())
            .await?
        {
            return Ok(());
        }
        let upload = self
            .staged(|machine, _| machine.create_cross_signing())
            .await??;
        self.upload_cross_signing(upload, password).await
    }

    /// Makes sure that our own list is known, and with it whether we have an identity.
    async fn fetch_own_devices(&self) -> Result<(), ClientError> {
        let own = [self.session()?.user_id];
        // A notice of change may come at any moment, in particular just after logging in.
        for _ in 0..OWN_FETCHES_MAX {
            self.send_outgoing().await?;
            if !self.ask(|machine| machine.has_outdated_users(&own)).await? {
                return Ok(());
            }
        }
        Err(HttpError::Unreachable.into())
    }

    /// Makes a new identity in place of whatever there was: everyone who knew the old one is warned, and our other devices must be verified
    /// anew. The device that waits on the server is deleted, because the old identity has signed it: have another one wait.
    ///
    /// # Errors
    ///
    /// [`ClientError::Http`] with the server's errcode. If the device that waits is what could not be deleted, the identity is new all the
    /// same: [`is_cross_signed`](Self::is_cross_signed) says so, and [`delete_dehydrated_device`](Self::delete_dehydrated_device) is left to
    /// be done.
    pub async fn reset_cross_signing(&self, password: &str) -> Result<(), ClientError> {
        let upload = self
            .staged(|machine, _| machine.reset_cross_signing())
            .await??;
        self.upload_cross_signing(upload, password).await?;
        // Afterwards, since what it has received would be lost for nothing if the password were wrong.
        match self.delete_dehydrated_device().await {
            // A server that keeps none knows no such endpoint.
            Err(ClientError::Http(error)) if error.errcode() == Some("M_UNRECOGNIZED") => Ok(()),
            outcome => outcome.map(drop),
        }
    }

    async fn upload_cross_signing(
        &self,
        upload: CrossSigningUpload,
        password: &str,
    ) -> Result<(), ClientError> {
        let mut request = upload.signing_keys;
        match self.request(request.clone()).await {
            Ok(_) => {}
            Err(ClientError::Http(HttpError::Interactive(info))) => {
                let user = MatrixUserIdentifier::from(self.session()?.user_id);
                let mut auth = Password::new(UserIdentifier::Matrix(user), password.to_owned());
                auth.session = info.session;
                request.auth = Some(AuthData::Password(auth));
                self.request(request).await?;
            }
            Err(error) => return Err(error),
        }
        self.request(upload.signatures).await?;
        self.staged(|machine, _| machine.cross_signing_uploaded())
            .await??;
        Ok(())
    }
}
