//! What is said in rooms, and what is read of it.

use matrix_sdk::{
    attachment::AttachmentConfig,
    deserialized_responses::{TimelineEvent, TimelineEventKind, UnableToDecryptReason},
    ruma::events::room::message::{MessageType, RoomMessageEventContent},
};
use serde_json::{Value, json};

use crate::{Answer, event_id, peer::Peer, room_id, text};

impl Peer {
    pub(crate) async fn send(&self, request: &Value) -> Answer {
        let room = self.room(room_id(request)?)?;
        let sent = room
            .send_raw(text(request, "type")?, request["content"].clone())
            .await?;
        Ok(json!({"event_id": sent.response.event_id}))
    }

    /// Looks at an event after each sync until `wanted` gives something.
    async fn look<T>(
        &self,
        request: &Value,
        wanted: impl Fn(&TimelineEvent) -> Option<T>,
    ) -> Result<T, Box<dyn std::error::Error>> {
        let room = self.room(room_id(request)?)?;
        loop {
            self.turn().await?;
            // What the server has not heard of yet may still come.
            if let Ok(event) = room.event(event_id(request)?, None).await
                && let Some(found) = wanted(&event)
            {
                return Ok(found);
            }
        }
    }

    async fn opened(&self, request: &Value) -> Result<(Value, bool), Box<dyn std::error::Error>> {
        let (event, decrypted) = self
            .look(request, |event| match &event.kind {
                TimelineEventKind::UnableToDecrypt { .. } => None,
                TimelineEventKind::Decrypted(_) => Some((event.raw().clone(), true)),
                TimelineEventKind::PlainText { .. } => Some((event.raw().clone(), false)),
            })
            .await?;
        // It may have come while the last sync was under way, with news that stand before it.
        self.turn().await?;
        Ok((serde_json::from_str(event.json().get())?, decrypted))
    }

    pub(crate) async fn read(&self, request: &Value) -> Answer {
        let (event, decrypted) = self.opened(request).await?;
        Ok(json!({
            "sender": event["sender"], "type": event["type"], "content": event["content"], "decrypted": decrypted,
        }))
    }

    pub(crate) async fn failure(&self, request: &Value) -> Answer {
        let code = self.look(request, |event| match &event.kind {
            TimelineEventKind::UnableToDecrypt { utd_info, .. } => match &utd_info.reason {
                UnableToDecryptReason::MissingMegolmSession {
                    withheld_code: Some(code),
                } => serde_json::to_value(code).ok(),
                _ => None,
            },
            _ => None,
        });
        Ok(json!({"code": code.await?}))
    }

    /// The library asks by itself for a key that it misses, once it has tried.
    pub(crate) async fn request_key(&self, request: &Value) -> Answer {
        let closed = |event: &TimelineEvent| {
            matches!(event.kind, TimelineEventKind::UnableToDecrypt { .. }).then_some(())
        };
        self.look(request, closed).await?;
        Ok(json!({}))
    }

    pub(crate) async fn upload(&self, request: &Value) -> Answer {
        let room = self.room(room_id(request)?)?;
        let contents = text(request, "text")?.as_bytes().to_vec();
        let (name, config) = (text(request, "name")?, AttachmentConfig::new());
        let sent = room
            .send_attachment(name, &mime::TEXT_PLAIN, contents, config)
            .await?;
        Ok(json!({"event_id": sent.event_id}))
    }

    pub(crate) async fn download(&self, request: &Value) -> Answer {
        let (event, _) = self.opened(request).await?;
        let content: RoomMessageEventContent = serde_json::from_value(event["content"].clone())?;
        let MessageType::File(file) = content.msgtype else {
            return Err("no file".into());
        };
        let contents = self.client.media().get_file(&file, false).await?;
        Ok(json!({"text": String::from_utf8(contents.ok_or("nothing in it")?)?}))
    }
}
