//! Verifying people and devices by comparing emoji or numbers, or by scanning a code.
//!
//! Invariant: trust is raised only after the person here has said that the strings match; the machine decides the rest. What happens is told
//! as [`Notice::Verification`](crate::crypto::Notice::Verification).
//!
//! Specification: <https://spec.matrix.org/v1.19/client-server-api/#short-authentication-string-sas-verification>

use std::time::Duration;

use ruma::UserId;

use super::{Client, ClientError};
use crate::{
    Room, SendOptions,
    crypto::{CryptoError, OlmMachine, RoomMessage, SecretBytes, Staged, Verification},
    store::Batch,
};

/// How long the request may take to reach the server.
const REQUEST_PATIENCE: Duration = Duration::from_secs(60);

impl Client {
    /// Asks all devices of a user to verify with this one: our own other devices, or somebody's with whom we share no room.
    ///
    /// # Errors
    ///
    /// [`ClientError::Crypto`] if the user has no devices that are known, or an identity that changed and was not accepted.
    pub async fn request_verification(&self, user: &UserId) -> Result<Verification, ClientError> {
        let users = [user.to_owned()];
        self.staged(|machine, _| machine.update_tracked_users(&users))
            .await??;
        self.send_outgoing().await?;
        let flow_id = self.inner.rng.name();
        self.verification_step(|machine, now_ms| {
            let own = (user == machine.user_id()).then(|| machine.device_id().to_owned());
            let devices = machine.devices(user).into_iter();
            let devices = devices.filter(|device| !device.dehydrated);
            let devices = devices.map(|device| device.device_id);
            let devices: Vec<_> = devices.filter(|id| own.as_ref() != Some(id)).collect();
            machine.request_verification(user, &devices, &flow_id, now_ms)
        })
        .await
    }

    /// Asks somebody in a room that is shared with them.
    ///
    /// # Errors
    ///
    /// [`ClientError::Crypto`] as above; [`ClientError::NotSent`] if the request does not reach the server.
    pub async fn request_verification_in(
        &self,
        room: &Room,
        user: &UserId,
    ) -> Result<Verification, ClientError> {
        let content = self
            .ask(|machine| machine.verification_request_content(user))
            .await??;
        let sending = room.queue("m.room.message", content, SendOptions::default());
        let event_id = sending.await?.event_id(REQUEST_PATIENCE).await;
        let event_id = event_id.map_err(|_| ClientError::NotSent)?;
        self.verification_step(|machine, now_ms| {
            machine.verification_requested(room.id(), event_id.as_str(), user, now_ms)
        })
        .await
    }

    /// Says yes to a verification that the other side asked for.
    ///
    /// # Errors
    ///
    /// [`ClientError::Crypto`] if there is none of that name that waits for this.
    pub async fn accept_verification(&self, flow_id: &str) -> Result<Verification, ClientError> {
        self.verification_step(|machine, _| machine.accept_verification(flow_id))
            .await
    }

    /// Begins to compare, once both sides are ready.
    ///
    /// # Errors
    ///
    /// [`ClientError::Crypto`] if there is none of that name that is ready.
    pub async fn start_verification(&self, flow_id: &str) -> Result<Verification, ClientError> {
        self.verification_step(|machine, _| machine.start_sas(flow_id))
            .await
    }

    /// The code to be shown, as the bytes of one segment in byte mode, if
    /// [both sides can do that](crate::crypto::Verification::codes).
    ///
    /// # Errors
    ///
    /// [`ClientError::Crypto`] if none can be shown now, or one side has no cross-signing identity.
    pub async fn verification_code(&self, flow_id: &str) -> Result<SecretBytes, ClientError> {
        let rng = self.inner.rng.clone();
        let code = self.ask(|machine| machine.verification_code(flow_id, &*rng));
        Ok(code.await??)
    }

    /// Takes the bytes of a code that was scanned from the other device.
    ///
    /// # Errors
    ///
    /// [`ClientError::Crypto`] if they are no code, or not that of this verification.
    pub async fn scan_verification_code(
        &self,
        flow_id: &str,
        code: &[u8],
    ) -> Result<Verification, ClientError> {
        self.verification_step(|machine, _| machine.scan_verification_code(flow_id, code))
            .await
    }

    /// Says that both sides see the same, or that the other device says that it has scanned our code.
    ///
    /// # Errors
    ///
    /// [`ClientError::Crypto`] if there is nothing to compare.
    pub async fn confirm_verification(&self, flow_id: &str) -> Result<Verification, ClientError> {
        self.verification_step(|machine, _| machine.confirm_verification(flow_id))
            .await
    }

    /// Ends a verification, in particular because the two sides see different things.
    ///
    /// # Errors
    ///
    /// [`ClientError::Crypto`] if there is none of that name.
    pub async fn cancel_verification(
        &self,
        flow_id: &str,
        strings_differ: bool,
    ) -> Result<Verification, ClientError> {
        self.verification_step(|machine, _| machine.cancel_verification(flow_id, strings_differ))
            .await
    }

    /// The verifications that are under way or ended lately.
    ///
    /// # Errors
    ///
    /// [`ClientError::NotLoggedIn`].
    pub async fn verifications(&self) -> Result<Vec<Verification>, ClientError> {
        self.ask(|machine| machine.verifications()).await
    }

    /// Has the machine take a step of a verification, and sends what comes of it.
    async fn verification_step(
        &self,
        step: impl FnOnce(&mut OlmMachine, u64) -> Result<Staged<Verification>, CryptoError>,
    ) -> Result<Verification, ClientError> {
        let stepped = self.step(|machine, now_ms| {
            let (changes, view) = step(machine, now_ms)?.into_parts();
            let messages = machine.take_room_messages();
            Ok::<_, CryptoError>((Batch::from(changes), (view, messages)))
        });
        let (view, messages) = stepped.await??;
        self.send_room_messages(messages).await?;
        self.send_outgoing().await?;
        // Somebody may have become trustworthy.
        self.wake_queue();
        Ok(view)
    }

    /// Queues the messages that verifications want sent into rooms.
    pub(crate) async fn send_room_messages(
        &self,
        messages: Vec<RoomMessage>,
    ) -> Result<(), ClientError> {
        for message in messages {
            let room = self.room(&message.room_id);
            room.queue(&message.event_type, message.content, SendOptions::default())
                .await?;
        }
        Ok(())
    }
}
