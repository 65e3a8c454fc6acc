//! One room, as a program uses it.
//!
//! Invariant: everything that is said in a room goes through the send queue, so it survives the process and keeps its order; what
//! only asks or changes membership goes to the server at once.
//!
//! Specification: <https://spec.matrix.org/v1.19/client-server-api/#events-and-rooms>

use std::{fmt, sync::Arc, time::Duration};

use ruma::{
    OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UInt, UserId,
    api::client::{
        membership::{
            invite_user::{self, v3::InviteUserId},
            join_room_by_id, kick_user, leave_room,
        },
        message::get_message_events,
        receipt::create_receipt,
        state::send_state_event,
        typing::create_typing_event::{
            self,
            v3::{Typing, TypingInfo},
        },
    },
    events::StateEventType,
    serde::{JsonObject, Raw},
};
use serde_json::{Value, json};

use crate::{
    base::{EXPIRY_POLICY_TYPE, ExpiryPolicy, Member, Membership, RoomState},
    client::{Client, ClientError, Event, Stream},
    crypto::{Changes, CryptoError},
    send_queue::{SendOptions, Sending, Target},
    store::Batch,
    sync_loop::reveal,
};

mod expiry_support;
mod members;
mod replies;

pub use self::expiry_support::ExpirySupport;

/// The most events in one page of history.
pub const PAGE_EVENTS_MAX: u32 = 100;

/// How long a typing notice holds.
const TYPING_TIMEOUT: Duration = Duration::from_secs(20);

/// A room; a handle that costs nothing.
#[derive(Clone)]
pub struct Room {
    client: Client,
    room_id: OwnedRoomId,
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room").finish_non_exhaustive()
    }
}

/// Some events of a room's history.
#[derive(Clone, Debug)]
pub struct Page {
    /// Newest first.
    pub events: Vec<Event>,
    /// Where older events begin; `None` at the room's beginning.
    pub end: Option<String>,
}

/// A room's events as they arrive.
#[derive(Debug)]
pub struct Timeline {
    room_id: OwnedRoomId,
    events: Stream<Event>,
}

impl Timeline {
    /// The next event; `None` when the client is gone.
    pub async fn next(&mut self) -> Option<Arc<Event>> {
        loop {
            let event = self.events.next().await?;
            if event.room_id == self.room_id {
                return Some(event);
            }
        }
    }

    /// The first event for which `wanted` gives something, with what it gives; `None` if there is none within `patience`.
    pub async fn wait_for<R>(
        &mut self,
        patience: Duration,
        mut wanted: impl FnMut(&Event) -> Option<R> + Send,
    ) -> Option<R> {
        let room_id = &self.room_id;
        let ours = |event: &Event| (event.room_id == *room_id).then(|| wanted(event)).flatten();
        self.events.wait_for(patience, ours).await
    }

    /// Waits for a message with this text.
    pub async fn wait_for_text(&mut self, patience: Duration, text: &str) -> Option<Event> {
        self.wait_for(patience, |event| {
            (event.body() == Some(text)).then(|| event.clone())
        })
        .await
    }
}

impl Room {
    pub(crate) const fn new(client: Client, room_id: OwnedRoomId) -> Self {
        Self { client, room_id }
    }

    /// The room's ID.
    #[must_use]
    pub fn id(&self) -> &RoomId {
        &self.room_id
    }

    /// The client.
    #[must_use]
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// What is known of the room; `None` before the first sync that tells of it.
    #[must_use]
    pub fn state(&self) -> Option<Arc<RoomState>> {
        self.client.room_state(&self.room_id)
    }

    /// Whether the room was ever seen to be encrypted.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.state().is_some_and(|state| state.is_encrypted())
    }

    /// Whether we are in it.
    #[must_use]
    pub fn is_joined(&self) -> bool {
        self.state()
            .is_some_and(|state| state.membership == Membership::Join)
    }

    /// Whether we are invited.
    #[must_use]
    pub fn is_invited(&self) -> bool {
        self.state()
            .is_some_and(|state| state.membership == Membership::Invite)
    }

    /// Everybody who is or was asked to be in the room.
    #[must_use]
    pub fn members(&self) -> Vec<(OwnedUserId, Member)> {
        let Some(state) = self.state() else {
            return Vec::new();
        };
        let members = state.members.iter();
        members
            .map(|(user, member)| (user.clone(), member.clone()))
            .collect()
    }

    /// The room's events as they arrive, from now on.
    #[must_use]
    pub fn timeline(&self) -> Timeline {
        Timeline {
            room_id: self.room_id.clone(),
            events: self.client.events(),
        }
    }

    /// Queues an event; returns once it is on disk.
    ///
    /// # Errors
    ///
    /// [`ClientError::QueueFull`], [`ClientError::Store`], or [`ClientError::UnknownTarget`].
    pub async fn queue(
        &self,
        event_type: &str,
        content: JsonObject,
        options: SendOptions,
    ) -> Result<Sending, ClientError> {
        self.client
            .enqueue(&self.room_id, event_type, content, options)
            .await
    }

    /// Queues an event whose content is any JSON object.
    ///
    /// # Errors
    ///
    /// As [`Room::queue`], and [`ClientError::Encode`] if it is no JSON object.
    pub async fn send(&self, event_type: &str, content: Value) -> Result<Sending, ClientError> {
        self.queue(event_type, object(content)?, SendOptions::default())
            .await
    }

    /// Queues a text.
    ///
    /// # Errors
    ///
    /// As [`Room::queue`].
    pub async fn send_text(&self, text: &str) -> Result<Sending, ClientError> {
        self.send_text_with(text, SendOptions::default()).await
    }

    /// Queues a text with options, for instance a lifetime.
    ///
    /// # Errors
    ///
    /// As [`Room::queue`].
    pub async fn send_text_with(
        &self,
        text: &str,
        options: SendOptions,
    ) -> Result<Sending, ClientError> {
        self.queue("m.room.message", message("m.text", text)?, options)
            .await
    }

    /// Queues a notice: a text from a program, to which programs do not answer.
    ///
    /// # Errors
    ///
    /// As [`Room::queue`].
    pub async fn send_notice(
        &self,
        text: &str,
        options: SendOptions,
    ) -> Result<Sending, ClientError> {
        self.queue("m.room.message", message("m.notice", text)?, options)
            .await
    }

    /// Queues a new text for an earlier message of ours. It lives as long as that one.
    ///
    /// # Errors
    ///
    /// As [`Room::queue`].
    pub async fn edit(&self, target: Target, text: &str) -> Result<Sending, ClientError> {
        self.edit_with(target, text, SendOptions::default()).await
    }

    /// The same with options, for instance a shorter lifetime.
    ///
    /// # Errors
    ///
    /// As [`Room::queue`].
    pub async fn edit_with(
        &self,
        target: Target,
        text: &str,
        options: SendOptions,
    ) -> Result<Sending, ClientError> {
        let mut content = message("m.text", &format!("* {text}"))?;
        let new_content = message("m.text", text)?;
        content.insert("m.new_content".to_owned(), Value::Object(new_content));
        content.insert("m.relates_to".to_owned(), json!({"rel_type": "m.replace"}));
        let options = SendOptions {
            target: Some(target),
            ..options
        };
        self.queue("m.room.message", content, options).await
    }

    /// Queues a reaction, usually an emoji. It lives as long as what it is a reaction to.
    ///
    /// # Errors
    ///
    /// As [`Room::queue`].
    pub async fn react(&self, target: Target, key: &str) -> Result<Sending, ClientError> {
        self.react_with(target, key, SendOptions::default()).await
    }

    /// The same with options, for instance a shorter lifetime.
    ///
    /// # Errors
    ///
    /// As [`Room::queue`].
    pub async fn react_with(
        &self,
        target: Target,
        key: &str,
        options: SendOptions,
    ) -> Result<Sending, ClientError> {
        let relation = json!({"m.relates_to": {"rel_type": "m.annotation", "key": key}});
        let options = SendOptions {
            target: Some(target),
            ..options
        };
        self.queue("m.reaction", object(relation)?, options).await
    }

    /// Queues a redaction. The reason is not encrypted.
    ///
    /// # Errors
    ///
    /// As [`Room::queue`].
    pub async fn redact(
        &self,
        target: Target,
        reason: Option<&str>,
    ) -> Result<Sending, ClientError> {
        let mut content = JsonObject::new();
        if let Some(reason) = reason {
            content.insert("reason".to_owned(), reason.into());
        }
        let options = SendOptions {
            target: Some(target),
            ..SendOptions::default()
        };
        self.queue("m.room.redaction", content, options).await
    }

    /// Sets how long the room's messages live, and `m.room.retention` beside it for servers that know only that.
    ///
    /// # Errors
    ///
    /// [`ClientError::Http`] with the server's errcode.
    pub async fn set_expiry(&self, policy: &ExpiryPolicy) -> Result<(), ClientError> {
        let content = serde_json::to_value(policy).map_err(|_| ClientError::Encode)?;
        self.send_state(EXPIRY_POLICY_TYPE, "", content).await?;
        let lifetime = policy.max_ms.or(policy.default_ms);
        let retention = json!({"max_lifetime": lifetime});
        self.send_state("m.room.retention", "", retention)
            .await
            .map(drop)
    }

    /// Turns encryption on, for ever.
    ///
    /// # Errors
    ///
    /// [`ClientError::Http`] with the server's errcode.
    pub async fn enable_encryption(&self) -> Result<(), ClientError> {
        let content = json!({"algorithm": "m.megolm.v1.aes-sha2"});
        self.send_state("m.room.encryption", "", content)
            .await
            .map(drop)
    }

    /// Sets a piece of the room's state. State is never encrypted.
    ///
    /// # Errors
    ///
    /// [`ClientError::Http`] with the server's errcode.
    pub async fn send_state(
        &self,
        event_type: &str,
        state_key: &str,
        content: Value,
    ) -> Result<OwnedEventId, ClientError> {
        let body = serde_json::value::to_raw_value(&content).map_err(|_| ClientError::Encode)?;
        let request = send_state_event::v3::Request::new_raw(
            self.room_id.clone(),
            StateEventType::from(event_type),
            state_key.to_owned(),
            Raw::from_json(body),
        );
        Ok(self.client.request(request).await?.event_id)
    }

    /// Asks somebody to join, and accepts them as one who may have the room's keys.
    ///
    /// # Errors
    ///
    /// [`ClientError::Http`] with the server's errcode.
    pub async fn invite(&self, user: &UserId) -> Result<(), ClientError> {
        let whom = InviteUserId::new(user.to_owned());
        let request = invite_user::v3::Request::new(self.room_id.clone(), whom.into());
        self.client.request(request).await?;
        let accepted = self
            .client
            .staged(|machine, _| machine.accept_invited(&self.room_id, user));
        Ok(accepted.await??)
    }

    /// Joins; what is known of the room arrives with the next sync.
    ///
    /// # Errors
    ///
    /// [`ClientError::Http`] with the server's errcode.
    pub async fn join(&self) -> Result<(), ClientError> {
        let request = join_room_by_id::v3::Request::new(self.room_id.clone());
        self.client.request(request).await.map(drop)
    }

    /// Leaves, or declines an invitation.
    ///
    /// # Errors
    ///
    /// [`ClientError::Http`] with the server's errcode.
    pub async fn leave(&self) -> Result<(), ClientError> {
        let request = leave_room::v3::Request::new(self.room_id.clone());
        self.client.request(request).await.map(drop)
    }

    /// Removes somebody.
    ///
    /// # Errors
    ///
    /// [`ClientError::Http`] with the server's errcode.
    pub async fn kick(&self, user: &UserId) -> Result<(), ClientError> {
        let request = kick_user::v3::Request::new(self.room_id.clone(), user.to_owned());
        self.client.request(request).await.map(drop)
    }

    /// Says that everything up to this event was read, to our own devices only.
    ///
    /// # Errors
    ///
    /// [`ClientError::Http`] with the server's errcode.
    pub async fn mark_read(&self, event_id: OwnedEventId) -> Result<(), ClientError> {
        let kind = create_receipt::v3::ReceiptType::ReadPrivate;
        let request = create_receipt::v3::Request::new(self.room_id.clone(), kind, event_id);
        self.client.request(request).await.map(drop)
    }

    /// Says to everybody in the room that we are typing, or no longer are.
    ///
    /// # Errors
    ///
    /// [`ClientError::Http`] with the server's errcode.
    pub async fn typing(&self, typing: bool) -> Result<(), ClientError> {
        let state = if typing {
            Typing::Yes(TypingInfo::new(TYPING_TIMEOUT))
        } else {
            Typing::No
        };
        let user_id = self.client.session()?.user_id;
        let request = create_typing_event::v3::Request::new(user_id, self.room_id.clone(), state);
        self.client.request(request).await.map(drop)
    }

    /// A page of history, backwards from `from` or else from where the newest sync began.
    ///
    /// # Errors
    ///
    /// [`ClientError::Http`] with the server's errcode.
    pub async fn messages(&self, from: Option<String>, limit: u32) -> Result<Page, ClientError> {
        let from = from.or_else(|| self.state()?.prev_batch.clone());
        let mut request = get_message_events::v3::Request::backward(self.room_id.clone());
        request.from = from;
        request.limit = UInt::from(limit.min(PAGE_EVENTS_MAX));
        let answer = self.client.request(request).await?;
        let room_id = &self.room_id;
        let revealed = self.client.step(|machine, now_ms| {
            let mut changes = Changes::new();
            let events = answer
                .chunk
                .iter()
                .filter_map(|event| reveal(machine, room_id, event.json(), now_ms, &mut changes));
            let events: Vec<_> = events.collect();
            Ok::<_, CryptoError>((Batch::from(changes), events))
        });
        Ok(Page {
            events: self.client.shown(revealed.await??),
            end: answer.end,
        })
    }
}

fn object(content: Value) -> Result<JsonObject, ClientError> {
    match content {
        Value::Object(content) => Ok(content),
        _ => Err(ClientError::Encode),
    }
}

fn message(kind: &str, text: &str) -> Result<JsonObject, ClientError> {
    object(json!({"msgtype": kind, "body": text}))
}
