//! Answers, in the room itself or in a thread.
//!
//! Invariant: what is answered is named and never quoted, so that no copy of it outlives it; an answer has a lifetime of its own.
//!
//! Specification: <https://spec.matrix.org/v1.19/client-server-api/#rich-replies>,
//! <https://spec.matrix.org/v1.19/client-server-api/#threading>

use ruma::EventId;
use serde_json::{Value, json};

use super::{Room, message};
use crate::{
    client::{ClientError, Event},
    send_queue::{SendOptions, Sending},
};

impl Room {
    /// Queues a text that answers an event. If that stands in a thread, so does the answer.
    ///
    /// # Errors
    ///
    /// As [`Room::queue`].
    pub async fn reply(
        &self,
        to: &Event,
        text: &str,
        options: SendOptions,
    ) -> Result<Sending, ClientError> {
        let answered = json!({"event_id": to.event_id});
        let relation = match to.thread_root() {
            Some(root) => json!({
                "rel_type": "m.thread", "event_id": root, "is_falling_back": false, "m.in_reply_to": answered,
            }),
            None => json!({"m.in_reply_to": answered}),
        };
        self.relate(relation, text, options).await
    }

    /// Queues a text in the thread that begins with the event `root`, which stands in no thread itself. `latest` is the thread's newest event,
    /// or the root: clients that know no threads show the text as an answer to it.
    ///
    /// # Errors
    ///
    /// As [`Room::queue`].
    pub async fn say_in_thread(
        &self,
        root: &EventId,
        latest: &EventId,
        text: &str,
        options: SendOptions,
    ) -> Result<Sending, ClientError> {
        let relation = json!({
            "rel_type": "m.thread", "event_id": root, "is_falling_back": true,
            "m.in_reply_to": {"event_id": latest},
        });
        self.relate(relation, text, options).await
    }

    async fn relate(
        &self,
        relation: Value,
        text: &str,
        options: SendOptions,
    ) -> Result<Sending, ClientError> {
        let mut content = message("m.text", text)?;
        content.insert("m.relates_to".to_owned(), relation);
        self.queue("m.room.message", content, options).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        fake_server::{FakeServer, PATIENCE, joined, room, timeline},
        store::MemoryStore,
    };

    #[tokio::test]
    async fn an_answer_names_what_it_answers_stays_in_its_thread_and_quotes_nothing() {
        let server = FakeServer::start().await;
        let alice = server.alice(Arc::new(MemoryStore::new())).await;
        server.push_sync(joined(&room("a"), false));
        alice.sync_once(PATIENCE).await.unwrap();
        let in_room = alice.room(&room("a"));
        let thread = json!({"rel_type": "m.thread", "event_id": "$root"});
        for (relation, expected) in [
            (
                json!(null),
                json!({"m.in_reply_to": {"event_id": "$asked"}}),
            ),
            (
                thread,
                json!({
                    "rel_type": "m.thread", "event_id": "$root", "is_falling_back": false,
                    "m.in_reply_to": {"event_id": "$asked"},
                }),
            ),
        ] {
            let mut events = in_room.timeline();
            let asked = json!({
                "type": "m.room.message", "event_id": "$asked", "sender": "@bob:two", "origin_server_ts": 1,
                "content": {"msgtype": "m.text", "body": "a secret question", "m.relates_to": relation},
            });
            server.push_sync(timeline(&room("a"), &asked));
            alice.sync_once(PATIENCE).await.unwrap();
            let asked = events.wait_for_text(PATIENCE, "a secret question").await;
            let options = SendOptions::default();
            let sent = in_room.reply(&asked.unwrap(), "yes", options).await;
            sent.unwrap().event_id(PATIENCE).await.unwrap();
            let content = server.lock().puts.last().unwrap().content.clone();
            assert_eq!(content["m.relates_to"], expected);
            assert_eq!(content["body"], "yes");
            assert!(!content.to_string().contains("question"));
        }
    }

    #[tokio::test]
    async fn a_text_in_a_thread_names_the_root_and_stands_in_for_an_answer() {
        let server = FakeServer::start().await;
        let alice = server.alice(Arc::new(MemoryStore::new())).await;
        server.push_sync(joined(&room("a"), false));
        alice.sync_once(PATIENCE).await.unwrap();
        let (root, latest) = (ruma::event_id!("$root"), ruma::event_id!("$latest"));
        let in_room = alice.room(&room("a"));
        let sent = in_room.say_in_thread(root, latest, "more", SendOptions::default());
        sent.await.unwrap().event_id(PATIENCE).await.unwrap();
        let expected = json!({
            "rel_type": "m.thread", "event_id": "$root", "is_falling_back": true,
            "m.in_reply_to": {"event_id": "$latest"},
        });
        let shared = server.lock();
        assert_eq!(shared.puts[0].content["m.relates_to"], expected);
    }
}
