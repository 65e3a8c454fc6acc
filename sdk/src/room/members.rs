//! Which members of a room may have its keys, as a program asks and decides.
//!
//! Invariant: a server says who the members are, and can name anybody; see [`MemberPolicy`].

use ruma::{OwnedUserId, UserId};

use super::Room;
use crate::{client::ClientError, crypto::MemberPolicy};

impl Room {
    /// Accepts members to whom no key was given yet, under [`MemberPolicy::AcceptedOnly`] and [`MemberPolicy::Confirm`]. Who is named
    /// before anything was sent into the room, is accepted alone.
    ///
    /// # Errors
    ///
    /// [`ClientError::Store`] if it cannot be kept.
    pub async fn accept_members(&self, users: &[OwnedUserId]) -> Result<(), ClientError> {
        let accepted = self
            .client
            .staged(|machine, _| machine.accept_members(&self.room_id, users));
        accepted.await??;
        self.client.wake_queue();
        Ok(())
    }

    /// Whether somebody may have the room's keys, by the client's [`MemberPolicy`] and what was accepted.
    ///
    /// # Errors
    ///
    /// [`ClientError::Store`] if the machine has to be loaded and cannot be.
    pub async fn is_accepted(&self, user: &UserId) -> Result<bool, ClientError> {
        if self.client.inner.config.members == MemberPolicy::Open {
            return Ok(true);
        }
        let accepted = self
            .client
            .ask(|machine| machine.is_accepted(&self.room_id, user));
        accepted.await
    }

    /// Members who get no keys because nobody has accepted them.
    ///
    /// # Errors
    ///
    /// As [`Room::is_accepted`].
    pub async fn waiting_members(&self) -> Result<Vec<OwnedUserId>, ClientError> {
        let Some(state) = self.state() else {
            return Ok(Vec::new());
        };
        let mut waiting = Vec::new();
        for user in state.recipients() {
            if !self.is_accepted(user).await? {
                waiting.push(user.clone());
            }
        }
        Ok(waiting)
    }
}
