//! Transactions of which one part is not what it should be.

use axum::http::header::AUTHORIZATION;
use passeur_protocol::{
    limits::PDU_BYTES_MAX,
    x_matrix::{Body as Signed, SignedRequest},
};

use super::*;
use crate::store::Scope;

impl Hostile {
    /// Sends the text of a transaction, signed as it is.
    pub(super) async fn transaction(&self, here: &Server, id: &str, body: &str) -> (u16, Value) {
        let uri = format!("/_matrix/federation/v1/send/{id}");
        self.put(here, &uri, body).await
    }

    /// Puts a text, canonical JSON, signed as it is.
    pub(super) async fn put(&self, here: &Server, uri: &str, body: &str) -> (u16, Value) {
        let names = (self.keys.server_name(), &*here.app.config.server_name);
        self.put_between(here, names, uri, body).await
    }

    /// As [`Hostile::put`], and says who it is from and for whom.
    pub(super) async fn put_between(
        &self,
        here: &Server,
        (origin, destination): (&ServerName, &ServerName),
        uri: &str,
        body: &str,
    ) -> (u16, Value) {
        let request = SignedRequest {
            method: "PUT",
            uri,
            origin,
            destination,
            body: Signed::Canonical(body.as_bytes()),
        };
        let header = request.sign(self.keys.key_pair()).unwrap().to_string();
        // What travels is not canonical.
        let body = body.replace(',', " ,\n");
        let request = Request::put(uri).header(AUTHORIZATION, header);
        let request = request.body(Body::from(body)).unwrap();
        let router = router::federation(&here.app);
        let response = router.oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap())
    }
}

/// A transaction of Mallory's server that holds the text of one event.
pub(super) fn holding(pdu: &str) -> String {
    format!(r#"{{"edus":[],"origin":"evil.example","origin_server_ts":1,"pdus":[{pdu}]}}"#)
}

pub(super) fn text_of(event: &SignedPdu) -> String {
    String::from_utf8(event.json().to_vec()).unwrap()
}

fn nested(levels: usize) -> String {
    format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels))
}

#[tokio::test]
async fn one_item_that_is_not_canonical_keeps_back_no_other() {
    let siege = Siege::start().await;
    let Siege {
        here, evil, room, ..
    } = &siege;
    let made = siege.mallory_says("good").await;
    let good = evil.sign(&*here.now(room).await, &made);
    let good_text = text_of(&good);
    let odd = [
        "1.5".to_owned(),
        "1e3".to_owned(),
        "90071992547409930".to_owned(),
        "-0".to_owned(),
        nested(99),
        nested(120),
        nested(9_000),
    ];
    for (n, odd) in odd.iter().enumerate() {
        let bad = good_text.replace(r#""good""#, odd);
        assert!(bad.contains(odd));
        let edu = format!(r#"{{"content":{{"a":{odd}}},"edu_type":"org.example"}}"#);
        let body = format!(
            r#"{{"edus":[{edu}],"origin":"evil.example","origin_server_ts":1,"pdus":[{bad},{good_text}]}}"#
        );
        let (status, answer) = evil.transaction(here, &n.to_string(), &body).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["pdus"][good.pdu().event_id.as_str()], json!({}));
        assert_eq!(here.bodies(room).await, ["good"]);
    }
    // The control: what is signed is what is sent, whatever numbers it holds.
    let body = r#"{"edus":[],"origin":"evil.example","origin_server_ts":1.5,"pdus":[]}"#;
    let (status, _) = evil
        .transaction(here, "x", &body.replace("1.5", "1.50"))
        .await;
    assert_ne!(status, 401);
}

#[tokio::test]
async fn an_event_that_cannot_be_read_is_answered_by_its_name() {
    let siege = Siege::start().await;
    let Siege {
        here, evil, room, ..
    } = &siege;
    let made = siege.mallory_says("good").await;
    let event = evil.sign(&*here.now(room).await, &made);
    let id = event.pdu().event_id.as_str();
    for (n, odd) in ["1.5".to_owned(), nested(120)].iter().enumerate() {
        let bad = text_of(&event).replace(r#""good""#, odd);
        let (_, answer) = evil.transaction(here, &n.to_string(), &holding(&bad)).await;
        assert!(answer["pdus"][id]["error"].is_string(), "{answer}");
    }
    let (_, answer) = evil
        .transaction(here, "x", &holding(&text_of(&event)))
        .await;
    assert_eq!(answer["pdus"][id], json!({}));
}

#[tokio::test]
async fn the_events_of_a_transaction_are_taken_in_the_order_of_the_graph() {
    let siege = Siege::start().await;
    let Siege {
        here, evil, room, ..
    } = &siege;
    let now = here.now(room).await;
    let first = siege.mallory_says("first").await;
    let earlier = evil.sign(&now, &first);
    let later = Made {
        content: text("second"),
        prev: vec![earlier.pdu().event_id.clone()],
        depth: first.depth + 1,
        ..first
    };
    let later = evil.sign(&now, &later);
    let body = holding(&format!("{},{}", text_of(&later), text_of(&earlier)));
    let (status, answer) = evil.transaction(here, "1", &body).await;
    let fine = json!({
        later.pdu().event_id.as_str(): {}, earlier.pdu().event_id.as_str(): {},
    });
    assert_eq!((status, &answer["pdus"]), (200, &fine));
    assert_eq!(here.bodies(room).await, ["first", "second"]);
    // Nobody was asked for what lay beside.
    assert!(evil.heard("/get_missing_events/").is_empty());
    assert!(evil.heard("/state_ids/").is_empty());
}

#[test]
fn what_failed_here_is_no_answer_to_the_peer() {
    use crate::rooms::SendError;
    for (error, is_passing) in [
        (SendError::Busy, true),
        (SendError::Storage, true),
        (SendError::Damaged, false),
        (SendError::Unplaced, false),
        (SendError::Rejected(String::new()), false),
    ] {
        assert_eq!(ReceiveError::from(error).is_passing(), is_passing);
    }
}

#[tokio::test]
async fn a_transaction_replayed_with_other_content_is_answered_and_not_carried_out() {
    let siege = Siege::start().await;
    let Siege {
        here, evil, room, ..
    } = &siege;
    let one = siege.mallory_says("one").await;
    let one = text_of(&evil.sign(&*here.now(room).await, &one));
    let two = siege.mallory_says("two").await;
    let two = text_of(&evil.sign(&*here.now(room).await, &two));
    let first = evil.transaction(here, "1", &holding(&one)).await;
    assert_eq!(first.0, 200, "{}", first.1);
    assert_eq!(evil.transaction(here, "1", &holding(&two)).await, first);
    assert_eq!(here.bodies(room).await, ["one"]);
    // The control: under an identifier of its own it is carried out.
    assert_eq!(evil.transaction(here, "2", &holding(&two)).await.0, 200);
    assert_eq!(here.bodies(room).await, ["one", "two"]);
}

#[tokio::test]
async fn an_event_of_64_kib_is_taken_and_one_of_a_byte_more_is_not() {
    let siege = Siege::start().await;
    let Siege {
        here, evil, room, ..
    } = &siege;
    let small = siege.mallory_says("x").await;
    let now = here.now(room).await;
    let rest = evil.sign(&now, &small).json().len() - 1;
    let largest = Made {
        content: text(&"x".repeat(PDU_BYTES_MAX - rest)),
        ..small.clone()
    };
    let largest = evil.sign(&now, &largest);
    assert_eq!(largest.json().len(), PDU_BYTES_MAX);
    let larger = text_of(&largest).replacen(r#""body":"x"#, r#""body":"xx"#, 1);
    let small = text_of(&evil.sign(&now, &small));
    let both = holding(&format!("{larger},{small}"));
    let (status, answer) = evil.transaction(here, "1", &both).await;
    assert_eq!(status, 200);
    let id = largest.pdu().event_id.as_str();
    let error = answer["pdus"][id]["error"].as_str().unwrap();
    assert!(error.contains("larger than an event may be"), "{error}");
    assert_eq!(here.bodies(room).await, ["x"]);
    let exact = holding(&text_of(&largest));
    let (_, answer) = evil.transaction(here, "2", &exact).await;
    assert_eq!(answer["pdus"][id], json!({}));
    assert_eq!(here.bodies(room).await.len(), 2);
}

#[tokio::test]
async fn a_key_is_there_before_the_event_that_it_opens() {
    let siege = Siege::start().await;
    let Siege {
        here, evil, room, ..
    } = &siege;
    let account = json!({
        "username": "ann", "password": "quetzal feathers", "auth": { "type": "m.login.dummy" },
    });
    let request = Request::post("/_matrix/client/v3/register");
    let request = request.body(Body::from(account.to_string())).unwrap();
    let response = router::client(&here.app).oneshot(request).await.unwrap();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let ann: Value = serde_json::from_slice(&bytes).unwrap();
    let (name, device) = (
        ann["user_id"].as_str().unwrap(),
        ann["device_id"].as_str().unwrap(),
    );
    let made = siege.mallory_says("locked").await;
    let event = evil.sign(&*here.now(room).await, &made);
    let key = json!({
        "content": {
            "message_id": "1", "messages": { name: { device: { "key": 1 } } }, "sender": mallory(), "type": "m.room.encrypted",
        },
        "edu_type": "m.direct_to_device",
    });
    let body = format!(
        r#"{{"edus":[{key}],"origin":"evil.example","origin_server_ts":1,"pdus":[{}]}}"#,
        text_of(&event)
    );
    let (status, answer) = evil.transaction(here, "1", &body).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(here.bodies(room).await, ["locked"]);
    let (store, ann) = (&here.app.store, user(name));
    let waiting = store.to_device_of(&ann, device.into(), 0, i64::MAX, 10, 0);
    let newest = store.newest_of(Scope::Room(room)).await.unwrap();
    let [key] = &waiting.await.unwrap()[..] else {
        panic!("one message waits");
    };
    assert!(key.position < newest, "{} {newest}", key.position);
}
