//! A message whose deadline passes while the peer is away reaches it as a stub: what leaves later is what is shown then.

use std::time::Duration;

use super::*;

/// How often all tasks have their turn between two steps of the clock: a request must not run out of its time meanwhile.
const YIELDS_PER_STEP: usize = 20_000;

impl World {
    async fn tell(&self, room: &OwnedRoomId, kind: &str, state_key: Option<&str>, content: Value) {
        let draft = Draft {
            room_id: room.clone(),
            sender: alice().to_owned(),
            kind: kind.into(),
            state_key: state_key.map(str::to_owned),
            content: serde_json::value::to_raw_value(&content).unwrap(),
            redacts: None,
            transaction: None,
            timestamp_ms: None,
        };
        self.app.rooms.send(draft).await.unwrap();
    }

    /// The messages in the transactions to the peer so far, each as often as it was sent, with its transaction's path.
    fn messages(&self) -> Vec<(String, Value)> {
        let mut messages = Vec::new();
        for (server, request) in self.network.requests() {
            let body: Value = serde_json::from_slice(request.body()).unwrap_or_default();
            for pdu in body["pdus"].as_array().into_iter().flatten() {
                if server == peer_name() && pdu["type"] == "m.room.message" {
                    messages.push((request.uri().path().to_owned(), pdu.clone()));
                }
            }
        }
        messages
    }

    /// Waits until the peer was sent a message that is deeper in the room, for which time passes by steps.
    async fn until_message(&self, deeper_than: u64, step: Duration) {
        let waiting = async {
            while self
                .messages()
                .iter()
                .all(|(_, pdu)| depth(pdu) <= deeper_than)
            {
                for _ in 0..YIELDS_PER_STEP {
                    tokio::task::yield_now().await;
                }
                self.clock.advance(step);
            }
        };
        let limit = Duration::from_secs(30);
        let waited = tokio::time::timeout(limit, waiting).await;
        waited.unwrap_or_else(|_| panic!("of all messages came {:?}", self.messages()));
    }
}

fn depth(pdu: &Value) -> u64 {
    pdu["depth"].as_u64().unwrap()
}

#[tokio::test]
async fn a_message_that_leaves_after_its_deadline_is_a_stub() {
    let world = World::start().await;
    let room = world.shared_room().await;
    // What is said while the peer is out of the room it is not owed.
    world.set(&room, Membership::Leave).await;
    let policy = json!({"default_ms": 30_000, "max_ms": 300_000});
    world
        .tell(&room, "org.passeur.room.expiry", Some(""), policy)
        .await;
    world.set(&room, Membership::Join).await;
    world.network.serve(peer_name(), |_| answer(503, "{}"));
    let message = |body: &str| json!({"msgtype": "m.text", "body": body});
    world
        .tell(&room, "m.room.message", None, message("in flight"))
        .await;
    world.until_message(0, Duration::ZERO).await;
    // The control: before the deadline it leaves as it is. The peer did not take it.
    let (transaction, pdu) = world.messages().remove(0);
    assert_eq!(pdu["content"]["body"], "in flight");
    world
        .tell(&room, "m.room.message", None, message("waiting"))
        .await;
    world
        .network
        .serve(peer_name(), |_| answer(200, r#"{"pdus":{}}"#));
    let before = world.messages().len();
    world.clock.advance(Duration::from_secs(31));
    let step = Duration::from_secs(5);
    world.until_message(depth(&pdu), step).await;
    let late = world.messages().split_off(before);
    assert_eq!(late[0].0, transaction, "the same transaction again");
    assert_eq!(depth(&late[0].1), depth(&pdu));
    for (_, pdu) in &late {
        assert_eq!(pdu["content"], json!({}), "{pdu}");
        // The graph is whole.
        let is_whole = pdu["hashes"].is_object() && pdu["signatures"].is_object();
        assert!(is_whole, "{pdu}");
    }
}
