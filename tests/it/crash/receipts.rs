//! Receipts while servers are killed: the last one that was acknowledged stands, at the reader's server and at the other one.

use std::sync::Arc;

use passeur_tests::{
    Homeserver,
    server::TestServer,
    user::{User, WAIT_MAX, escape},
};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::Load;

/// A reader at each server; each ends with the last event whose receipt was acknowledged.
pub(super) struct Readers(Vec<(String, JoinHandle<String>)>);

impl Readers {
    /// Has them join the room, and read all the time.
    pub(super) async fn start(servers: &[TestServer; 2], load: &Arc<Load>) -> Self {
        let mut readers = Vec::new();
        for (at, server) in servers.iter().enumerate() {
            let user = User::register(server, &format!("reader_{at}")).await;
            user.join(&load.room, servers[0].server_name()).await;
            readers.push((user.id.clone(), tokio::spawn(read(user, Arc::clone(load)))));
        }
        Self(readers)
    }

    /// After it is enough: waits until each of the others sees what each reader read last.
    pub(super) async fn expect_last(self, others: [&User; 2], room: &str) {
        for (reader, task) in self.0 {
            let last = tokio::time::timeout(WAIT_MAX, task).await;
            let last = last.expect("a reader stands still").unwrap();
            for other in others {
                let seen =
                    async { while read_by(other, room, &reader).await != Some(last.clone()) {} };
                let seen = tokio::time::timeout(WAIT_MAX, seen).await;
                seen.expect("an acknowledged receipt is missing");
            }
        }
    }
}

/// Says of the newest event that it was read, again and again until it is acknowledged, then of the next one.
async fn read(user: User, load: Arc<Load>) -> String {
    let room = escape(&load.room);
    let mut round = load.round.clone();
    let mut count = load.count.subscribe();
    let mut last = None;
    loop {
        tokio::select! {
            _ = count.changed() => {}
            _ = round.changed() => {}
        }
        if round.borrow_and_update().is_none() {
            return last.expect("some receipt was acknowledged");
        }
        let newest = format!("/v3/rooms/{room}/messages?dir=b&limit=1");
        let Some(Ok(page)) = user.attempt(Method::GET, &newest, None).await else {
            continue;
        };
        let event_id = page["chunk"][0]["event_id"].as_str().unwrap().to_owned();
        let path = format!("/v3/rooms/{room}/receipt/m.read/{}", escape(&event_id));
        loop {
            match user.attempt(Method::POST, &path, Some(&json!({}))).await {
                Some(Ok(_)) => break last = Some(event_id),
                Some(Err(refusal)) if refusal.status < 500 => panic!("{refusal:?}"),
                // The server is down: there is no point in trying before it is up.
                _ => round.changed().await.unwrap(),
            }
        }
    }
}

/// What a reader has read, as a newcomer's client is told.
async fn read_by(user: &User, room: &str, reader: &str) -> Option<String> {
    let answer = user.get("/v3/sync").await;
    let events = answer["rooms"]["join"][room]["ephemeral"]["events"].as_array()?;
    let receipts = events.iter().find(|event| event["type"] == "m.receipt")?;
    let of_reader = |receipts: &Value| !receipts["m.read"][reader].is_null();
    let mut found = receipts["content"].as_object()?.iter();
    found
        .find(|(_, receipts)| of_reader(receipts))
        .map(|(event_id, _)| event_id.clone())
}
