//! Members who came later: they wait, the room is told, and an operator accepts them.
//!
//! Invariant: only who is named in the bot's configuration, or by somebody whom the bot obeys, comes to have a room's keys. Names go
//! into the room, encrypted, and never into a log.

use ruma::{OwnedUserId, RoomId, UserId};

use super::run::Bot;
use crate::{ClientError, Notification, Room, SendOptions, crypto::Notice};

/// The most names in one command.
const NAMES_MAX: usize = 20;

impl Bot {
    /// Accepts those who are named from the first; and, in rooms where others were accepted before, those who wait and are named.
    pub(super) async fn accept_known(&self) {
        for room in self.own_rooms() {
            let outcome = if self.has_members() {
                room.accept_members(&self.named()).await
            } else {
                self.accept_waiting(&room).await
            };
            if let Err(error) = outcome {
                tracing::warn!(%error, "the members who are named could not be accepted");
            }
        }
    }

    async fn accept_waiting(&self, room: &Room) -> Result<(), ClientError> {
        let named = self.named();
        let mut waiting = room.waiting_members().await?;
        waiting.retain(|user| named.contains(user));
        if waiting.is_empty() {
            return Ok(());
        }
        room.accept_members(&waiting).await
    }

    /// Takes note of somebody who has come and waits.
    pub(super) async fn meet(&self, notification: &Notification) {
        let Notification::Crypto(Notice::MemberWaits { room_id, user_id }) = notification else {
            return;
        };
        let ours = self.own_rooms().iter().any(|room| room.id() == room_id);
        if !ours {
            return;
        }
        let outcome = if self.named().contains(user_id) {
            let room = self.client().room(room_id);
            room.accept_members(std::slice::from_ref(user_id)).await
        } else {
            self.announce(room_id, user_id).await
        };
        if let Err(error) = outcome {
            tracing::warn!(%error, "a new member could not be dealt with");
        }
    }

    async fn announce(&self, room_id: &RoomId, user_id: &UserId) -> Result<(), ClientError> {
        tracing::warn!("a new member gets no keys until somebody accepts them");
        let prefix = self.prefix_text();
        let text = format!(
            "{user_id} is in this room now and cannot read what I send. To change that: {prefix}accept {user_id}"
        );
        let options = SendOptions {
            must_encrypt: true,
            ..SendOptions::default()
        };
        let room = self.client().room(room_id);
        room.send_notice(&text, options).await.map(drop)
    }
}

/// Carries out the command `accept`; what to answer.
pub(super) async fn accept(room: &Room, rest: &str) -> String {
    let names: Vec<_> = rest.split_whitespace().take(NAMES_MAX).collect();
    let users = names.iter().map(|name| OwnedUserId::try_from(*name));
    let Ok(users) = users.collect::<Result<Vec<_>, _>>() else {
        return "That is no user's ID.".to_owned();
    };
    if users.is_empty() {
        return "accept needs to know whom.".to_owned();
    }
    let outcome = async {
        let waiting = room.waiting_members().await?;
        if !users.iter().all(|user| waiting.contains(user)) {
            return Ok("No such member waits to be accepted.".to_owned());
        }
        room.accept_members(&users).await?;
        Ok::<_, ClientError>("They can read what I send from now on.".to_owned())
    };
    outcome.await.unwrap_or_else(|error| {
        tracing::warn!(%error, "new members could not be accepted");
        "They could not be accepted.".to_owned()
    })
}
