//! Messages to devices while servers are killed: each that was acknowledged comes to each receiver once, at the sender's server and at
//! the other one, whatever answers were lost on the way.

use std::{collections::BTreeMap, sync::Arc};

use passeur_tests::{
    server::TestServer,
    user::{User, WAIT_MAX},
};
use reqwest::Method;
use serde_json::{Map, Value, json};
use tokio::{sync::watch, task::JoinHandle};

use super::Load;

/// A type of message that no client here understands.
const KIND: &str = "org.example.quetzal";

/// What came to a receiver, and how often.
type Got = BTreeMap<String, usize>;

/// A sender and a receiver at each server.
pub(super) struct Notes {
    senders: Vec<JoinHandle<Vec<String>>>,
    receivers: Vec<JoinHandle<Got>>,
    /// How many different ones each receiver is to have, once that is known.
    wanted: watch::Sender<Option<usize>>,
}

impl Notes {
    /// Begins to send and to receive. The receivers must share a room with the senders for nothing.
    pub(super) async fn start(servers: &[TestServer; 2], load: &Arc<Load>) -> Self {
        let wanted = watch::Sender::new(None);
        let (mut receivers, mut to) = (Vec::new(), Vec::new());
        for (at, server) in servers.iter().enumerate() {
            let user = User::register(server, &format!("receiver_{at}")).await;
            to.push(user.id.clone());
            receivers.push(tokio::spawn(receive(
                user,
                Arc::clone(load),
                wanted.subscribe(),
            )));
        }
        let mut senders = Vec::new();
        for (at, server) in servers.iter().enumerate() {
            let name = format!("note_{at}");
            let user = User::register(server, &name).await;
            senders.push(tokio::spawn(send(user, name, to.clone(), Arc::clone(load))));
        }
        Self {
            senders,
            receivers,
            wanted,
        }
    }

    /// After it is enough: waits until everything has come, then checks that it came once.
    pub(super) async fn expect_all_once(self) {
        let mut expected = Got::new();
        for sender in self.senders {
            let sent = tokio::time::timeout(WAIT_MAX, sender).await;
            let sent = sent.expect("a sender stands still").unwrap();
            expected.extend(sent.into_iter().map(|note| (note, 1)));
        }
        assert!(!expected.is_empty());
        self.wanted.send_replace(Some(expected.len()));
        for receiver in self.receivers {
            let got = tokio::time::timeout(WAIT_MAX, receiver).await;
            let got = got.expect("an acknowledged message to a device is missing");
            assert_eq!(got.unwrap(), expected);
        }
    }
}

/// Sends to all receivers until it is enough, each message again under its id until it is acknowledged; what was.
async fn send(user: User, name: String, to: Vec<String>, load: Arc<Load>) -> Vec<String> {
    let mut round = load.round.clone();
    let mut count = load.count.subscribe();
    let mut acknowledged = Vec::new();
    for number in 0.. {
        // One for each message of the room: the receivers' queues must not outgrow the test.
        tokio::select! {
            _ = count.changed() => {}
            _ = round.changed() => {}
        }
        if round.borrow_and_update().is_none() {
            break;
        }
        let note = format!("{name} {number}");
        let of_each = |id: &String| (id.clone(), json!({"*": {"note": note}}));
        let messages: Map<String, Value> = to.iter().map(of_each).collect();
        let path = format!("/v3/sendToDevice/{KIND}/{number}");
        let body = json!({"messages": messages});
        loop {
            match user.attempt(Method::PUT, &path, Some(&body)).await {
                Some(Ok(_)) => break acknowledged.push(note),
                Some(Err(refusal)) if refusal.status < 500 => panic!("{name}: {refusal:?}"),
                // The server is down: there is no point in trying before it is up.
                _ => round.changed().await.unwrap(),
            }
        }
    }
    acknowledged
}

/// Syncs as a client does: it keeps what an answer brings, then presents its token. Ends once as much has come as is wanted.
async fn receive(user: User, load: Arc<Load>, mut wanted: watch::Receiver<Option<usize>>) -> Got {
    let mut round = load.round.clone();
    let (mut since, mut got) = (String::new(), Got::new());
    loop {
        let wanted = *wanted.borrow_and_update();
        if wanted.is_some_and(|wanted| got.len() >= wanted) {
            return got;
        }
        round.mark_unchanged();
        let path = format!("/v3/sync?timeout=1000{since}");
        match user.attempt(Method::GET, &path, None).await {
            Some(Ok(answer)) => {
                let events = answer["to_device"]["events"].as_array();
                for event in events.into_iter().flatten() {
                    let note = event["content"]["note"].as_str().unwrap().to_owned();
                    *got.entry(note).or_default() += 1;
                }
                since = format!("&since={}", answer["next_batch"].as_str().unwrap());
            }
            Some(Err(refusal)) if refusal.status < 500 => panic!("{refusal:?}"),
            _ => round.changed().await.unwrap(),
        }
    }
}
