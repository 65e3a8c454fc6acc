//! Devices and identities, as people compare them.
//!
//! Invariant: trust is raised only by a fingerprint that somebody typed or compared, never by what a server says.
//!
//! Specification: <https://spec.matrix.org/v1.19/client-server-api/#device-verification>

use ruma::{
    DeviceId, UserId,
    api::client::uiaa::{AuthData, MatrixUserIdentifier, Password, UserIdentifier},
};

use super::{Client, ClientError};
use crate::{
    crypto::{DeviceInfo, IdentityChange},
    http::HttpError,
};

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

    /// Makes cross-signing keys and signs this device with them, so that others can tell it from one that a server made up. The
    /// server may ask for the password. Does nothing if the keys are there already.
    ///
    /// # Errors
    ///
    /// [`ClientError::Http`] with the server's errcode.
    pub async fn bootstrap_cross_signing(&self, password: &str) -> Result<(), ClientError> {
        if self.ask(|machine| machine.has_cross_signing_keys()).await? {
            return Ok(());
        }
        let upload = self
            .staged(|machine, _| machine.create_cross_signing())
            .await??;
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
