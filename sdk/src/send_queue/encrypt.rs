//! From a queued message to its ciphertext.
//!
//! Invariant: nothing is encrypted before every member's devices are known and the room key has been sent to those that may have
//! it; an identity that changed stops the room until somebody decides. The ciphertext replaces the plaintext on disk in the
//! transaction that moves the ratchet on.

use std::sync::Arc;

use ruma::{OwnedUserId, RoomId};
use serde_json::value::RawValue;

use super::{Waiting, deliver::Obstacle, prepare::Prepared};
use crate::{
    base::RoomState,
    client::{Blocked, Client, ClientError},
    crypto::{Deadline, EncryptError, EncryptOptions, RoomKeySettings, Rotation, ShareError},
    expiry::{ExpiryClass, ExpiryStamp},
    store::Batch,
};

/// The most rounds of asking for devices and sessions in one attempt.
const SHARE_ROUNDS_MAX: usize = 6;

/// What came of sharing a room key.
enum Shared {
    /// Everybody who may have it has it, or it is on its way.
    Yes,
    /// Somebody has to decide first.
    Blocked(Blocked),
    /// Somebody's devices are not known yet.
    NotYet,
}

impl Client {
    /// The message as it goes over the wire, and when it dies.
    pub(super) async fn ciphertext(
        &self,
        room_id: &RoomId,
        state: &RoomState,
        waiting: &Arc<Waiting>,
        prepared: Prepared,
    ) -> Result<(Box<RawValue>, Option<Deadline>), Obstacle> {
        match self
            .share(room_id, state, prepared.class)
            .await
            .map_err(Obstacle::before)?
        {
            Shared::Yes => {}
            Shared::Blocked(reason) => return Err(Obstacle::Blocked(reason)),
            Shared::NotYet => return Err(Obstacle::Later(None)),
        }
        let options = EncryptOptions {
            expiry: prepared.class.map(ExpiryStamp::new),
            ..EncryptOptions::default()
        };
        let event_type = &waiting.message.event_type;
        let _one_at_a_time = self.queue_writing().await;
        // What was taken out of the queue meanwhile must not be put back on disk.
        let current = self.queued(room_id, waiting.id);
        let current = current.ok_or(Obstacle::Later(None))?;
        let encrypted = self.step(|machine, now_ms| {
            let content = &prepared.content;
            let staged =
                machine.encrypt_room_event(room_id, event_type, content, options, now_ms)?;
            let (changes, wire) = staged.into_parts();
            let wire = wire.into_json();
            let mut batch = Batch::from(changes);
            let deadline = prepared.deadline(now_ms);
            let kept = current.encrypted(&wire, deadline);
            batch.send_queue_put.push(
                kept.message
                    .to_item(kept.id, room_id, &kept.transaction_id)
                    .map_err(|_| EncryptError::NotAnObject)?,
            );
            Ok((batch, (wire, kept, deadline)))
        });
        let (wire, kept, deadline) = encrypted
            .await
            .map_err(Obstacle::before)?
            .map_err(obstacle)?;
        self.replace(room_id, vec![kept]);
        Ok((wire, deadline))
    }

    /// Makes sure that everybody who may read the message has, or is being sent, its key.
    async fn share(
        &self,
        room_id: &RoomId,
        state: &RoomState,
        class: Option<ExpiryClass>,
    ) -> Result<Shared, ClientError> {
        let members: Vec<OwnedUserId> = state.recipients().cloned().collect();
        let encryption = state.encryption.clone().unwrap_or_default();
        let default = RoomKeySettings::default().rotation;
        let settings = RoomKeySettings {
            rotation: match (
                encryption.rotation_period_ms,
                encryption.rotation_period_msgs,
            ) {
                (None, None) => default,
                (period_ms, messages) => {
                    Rotation::new(period_ms.unwrap_or(u64::MAX), messages.unwrap_or(u64::MAX))
                }
            },
            devices: self.inner.config.sharing,
            members: self.inner.config.members,
            expiry: class,
        };
        self.staged(|machine, _| machine.update_tracked_users(&members))
            .await??;
        let mut failure = None;
        for _ in 0..SHARE_ROUNDS_MAX {
            let shared = self.staged(|machine, now_ms| {
                machine.share_room_key(room_id, &members, &settings, now_ms)
            });
            match shared.await? {
                Ok(notices) => {
                    self.tell_notices(notices);
                    let outcome = self.send_outgoing().await;
                    // What is the matter with another room's keys, or another device, is no reason to wait.
                    let waits = self
                        .ask(|machine| machine.is_room_key_under_way(room_id, class))
                        .await?;
                    return match outcome {
                        Err(error) if waits => Err(error),
                        _ => Ok(Shared::Yes),
                    };
                }
                Err(ShareError::DevicesUnknown { .. }) => {
                    if let Some(error) = failure.take() {
                        return Err(error);
                    }
                    failure = self.send_outgoing().await.err();
                }
                Err(ShareError::SessionsMissing { users }) => self.make_sessions(&users).await?,
                Err(ShareError::IdentityChanged { changes }) => {
                    return Ok(Shared::Blocked(Blocked::IdentityChanged(changes)));
                }
                Err(ShareError::NewMembers { users }) => {
                    return Ok(Shared::Blocked(Blocked::NewMembers(users)));
                }
                Err(ShareError::Machine(error)) => return Err(error.into()),
            }
        }
        // Some server does not say what devices its users have; it may come back.
        Ok(Shared::NotYet)
    }
}

fn obstacle(error: EncryptError) -> Obstacle {
    match error {
        EncryptError::IdentityChanged { changes } => {
            Obstacle::Blocked(Blocked::IdentityChanged(changes))
        }
        // The session was replaced between sharing and encrypting.
        EncryptError::RoomKeyNotShared => Obstacle::Later(None),
        EncryptError::Machine(error) => Obstacle::before(error.into()),
        error @ (EncryptError::TooLarge { .. } | EncryptError::NotAnObject) => {
            Obstacle::Failed(error.to_string())
        }
    }
}
