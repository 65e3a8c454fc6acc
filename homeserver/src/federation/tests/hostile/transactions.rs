//! Transactions of which one part is not what it should be.

use axum::http::header::AUTHORIZATION;
use passeur_protocol::x_matrix::{Body as Signed, SignedRequest};

use super::*;

impl Hostile {
    /// Sends the text of a transaction, signed as it is.
    async fn transaction(&self, here: &Server, id: &str, body: &str) -> (u16, Value) {
        let uri = format!("/_matrix/federation/v1/send/{id}");
        self.put(here, &uri, body).await
    }

    /// Puts a text, canonical JSON, signed as it is.
    pub(super) async fn put(&self, here: &Server, uri: &str, body: &str) -> (u16, Value) {
        let request = SignedRequest {
            method: "PUT",
            uri,
            origin: self.keys.server_name(),
            destination: &here.app.config.server_name,
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
    let good_text = String::from_utf8(good.json().to_vec()).unwrap();
    let odd = [
        "1.5".to_owned(),
        "1e3".to_owned(),
        "90071992547409930".to_owned(),
        "-0".to_owned(),
        nested(99),
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
