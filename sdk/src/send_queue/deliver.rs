//! One attempt to send one message.
//!
//! Invariant: a message for an encrypted room is handed to the wire only as ciphertext. What was encrypted once is kept and sent
//! again as it is, as long as anybody could read it, so that an answer that was lost never leads to two ciphertexts of one text.

use std::{sync::Arc, time::Duration};

use ruma::{
    OwnedEventId, RoomId,
    api::client::{message::send_message_event, redact::redact_event},
    events::MessageLikeEventType,
    serde::{JsonObject, Raw},
};
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::oneshot;

use super::{
    Waiting,
    message::REDACTION,
    prepare::{EXPIRED, Prepared, SALT_BYTES},
};
use crate::{
    base::Membership,
    client::{Blocked, Client, ClientError, is_transient, within},
    crypto::Deadline,
    http::{HttpError, REQUEST_TIMEOUT},
    sync_loop::SocketSend,
};

/// What a message without a target's ID waits for.
pub(super) const TARGET_LOST: &str = "the message it refers to was never sent";

/// Why a message did not go out.
#[derive(Debug)]
pub(super) enum Obstacle {
    /// It may go out later, not before this long if the server said so.
    Later(Option<Duration>),
    /// The room waits for somebody's decision.
    Blocked(Blocked),
    /// It never will.
    Failed(String),
}

impl Obstacle {
    /// Something that has to be done before the message can be sent did not succeed: that is not the message's fault.
    pub(super) fn before(error: ClientError) -> Self {
        tracing::debug!(%error, "a message is not ready to be sent");
        match error {
            ClientError::Http(error) => Self::Later(error.retry_after()),
            _ => Self::Later(None),
        }
    }
}

impl From<ClientError> for Obstacle {
    fn from(error: ClientError) -> Self {
        match &error {
            // A session that ended may be followed by a login as the same device, with the queue still there.
            ClientError::SessionEnded | ClientError::NotLoggedIn => Self::Later(None),
            ClientError::Http(http) if http.is_judgement() => Self::Failed(
                http.errcode()
                    .filter(|code| *code != "M_UNKNOWN")
                    .map_or_else(|| http.to_string(), str::to_owned),
            ),
            // A proxy that is being changed, a server that is set up anew: no word about this message.
            ClientError::Http(http) => Self::Later(http.retry_after()),
            _ if is_transient(&error) => Self::Later(None),
            _ => Self::Failed(error.to_string()),
        }
    }
}

/// A message that the server has.
pub(super) struct Delivered {
    pub(super) event_id: OwnedEventId,
    /// When it dies.
    pub(super) deadline: Option<Deadline>,
}

impl Client {
    /// Tries to send a message.
    pub(super) async fn deliver(
        &self,
        room_id: &RoomId,
        waiting: &Arc<Waiting>,
    ) -> Result<Delivered, Obstacle> {
        let state = self
            .room_state(room_id)
            .ok_or(Obstacle::Blocked(Blocked::NotJoined))?;
        if state.membership != Membership::Join {
            return Err(Obstacle::Blocked(Blocked::NotJoined));
        }
        let message = &waiting.message;
        if message.event_type == REDACTION {
            return Ok(Delivered {
                event_id: self.redact_now(room_id, waiting).await?,
                deadline: None,
            });
        }
        let known = self.ask(|machine| {
            let target = waiting.target();
            let target = target.and_then(|event_id| machine.deadline_of(event_id));
            (machine.is_room_encrypted(room_id), target)
        });
        let (known, target) = known.await.map_err(Obstacle::before)?;
        let encrypted = known || state.is_encrypted();
        if !encrypted && message.must_encrypt {
            return Err(Obstacle::Blocked(Blocked::NotEncrypted));
        }
        let now_ms = self.now_ms();
        let prepared = || Prepared::new(waiting, &state, target, now_ms);
        let (event_type, content, deadline) = if let Some(wire) = &message.wire {
            let deadline = message.wire_deadline;
            // Its key is dead for everybody, and to encrypt it anew under the same name would be wrong: the server may have it.
            if deadline.is_some_and(|deadline| deadline.at_ms <= now_ms) {
                return Err(Obstacle::Failed(EXPIRED.to_owned()));
            }
            ("m.room.encrypted", raw(wire)?, deadline)
        } else if encrypted {
            let (wire, deadline) = self
                .ciphertext(room_id, &state, waiting, prepared()?)
                .await?;
            ("m.room.encrypted", wire, deadline)
        } else {
            let prepared = prepared()?;
            let deadline = prepared.deadline(now_ms);
            let mut salt = [0; SALT_BYTES];
            self.inner.rng.fill(&mut salt);
            let content = raw(&prepared.into_plain(salt))?;
            (message.event_type.as_str(), content, deadline)
        };
        let event_id = self.put(room_id, event_type, waiting, content).await?;
        Ok(Delivered { event_id, deadline })
    }

    async fn put(
        &self,
        room_id: &RoomId,
        event_type: &str,
        waiting: &Waiting,
        content: Box<RawValue>,
    ) -> Result<OwnedEventId, Obstacle> {
        if let Some(outcome) = self
            .put_by_socket(room_id, event_type, waiting, &content)
            .await
        {
            return outcome.map_err(|error| ClientError::from(error).into());
        }
        let request = send_message_event::v3::Request::new_raw(
            room_id.to_owned(),
            waiting.transaction_id.clone(),
            MessageLikeEventType::from(event_type),
            Raw::from_json(content),
        );
        Ok(self.request(request).await?.event_id)
    }

    /// Sends over the WebSocket, if there is one; `None` if the message has to go the other way.
    async fn put_by_socket(
        &self,
        room_id: &RoomId,
        event_type: &str,
        waiting: &Waiting,
        content: &RawValue,
    ) -> Option<Result<OwnedEventId, HttpError>> {
        let socket = self.inner.socket.get()?;
        let (answer, answered) = oneshot::channel();
        let send = SocketSend {
            room_id: room_id.to_owned(),
            event_type: event_type.to_owned(),
            transaction_id: waiting.transaction_id.clone(),
            content: content.to_owned(),
            answer,
        };
        socket.send(send).await.ok()?;
        match within(REQUEST_TIMEOUT, answered).await {
            Some(Ok(outcome)) => Some(outcome),
            // The socket broke, or is stuck, before the answer came.
            Some(Err(_)) | None => None,
        }
    }

    async fn redact_now(
        &self,
        room_id: &RoomId,
        waiting: &Waiting,
    ) -> Result<OwnedEventId, Obstacle> {
        let content = waiting.message.finished();
        let target = content
            .as_ref()
            .and_then(|content| content.get("m.relates_to")?.get("event_id")?.as_str());
        let target = target.and_then(|target| OwnedEventId::try_from(target).ok());
        let target = target.ok_or_else(|| Obstacle::Failed(TARGET_LOST.to_owned()))?;
        let transaction_id = waiting.transaction_id.clone();
        let mut request =
            redact_event::v3::Request::new(room_id.to_owned(), target, transaction_id);
        let reason = waiting.message.content.get("reason");
        request.reason = reason
            .and_then(serde_json::Value::as_str)
            .map(str::to_owned);
        Ok(self.request(request).await?.event_id)
    }
}

pub(super) fn raw(content: &JsonObject) -> Result<Box<RawValue>, Obstacle> {
    to_raw_value(content).map_err(|_| Obstacle::Failed(ClientError::Encode.to_string()))
}
