//! PostgreSQL goes and comes back under load: requests fail meanwhile instead of hanging, nothing acknowledged is lost, nothing comes
//! twice.

use std::{path::Path, sync::Arc};

use passeur_tests::{
    ca::TestCa,
    postgres::{SOCKET, socket_folder},
    server::{Database, Setup, TestServer},
    user::{User, WAIT_MAX},
};
use reqwest::Method;
use serde_json::json;
use tokio::{
    net::{UnixListener, UnixStream},
    sync::{Mutex, watch},
    task::JoinHandle,
};

/// Users who send all the time.
const SENDERS: usize = 4;

/// Stands between the server and PostgreSQL, whose cluster other tests use too.
struct Wire {
    passing: JoinHandle<()>,
}

impl Wire {
    /// Takes connections in a folder and passes them on, all of them in one task that can be cut.
    fn lay(folder: &Path) -> Self {
        let socket = folder.join(SOCKET);
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(socket).unwrap();
        let passing = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((mut from, _)) = listener.accept().await {
                connections.spawn(async move {
                    let mut to = UnixStream::connect(socket_folder().join(SOCKET))
                        .await
                        .unwrap();
                    // Either side may break off.
                    let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
                });
            }
        });
        Self { passing }
    }

    /// Breaks every connection; new ones are refused.
    async fn cut(self) {
        self.passing.abort();
        let _ = self.passing.await;
    }
}

/// Sends one message after another, each again under its id until it is acknowledged; the bodies in their order.
async fn send_until(
    user: User,
    name: String,
    room: String,
    mut enough: watch::Receiver<bool>,
    refused: Arc<Mutex<Vec<String>>>,
) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for number in 0.. {
        if *enough.borrow_and_update() {
            break;
        }
        let body = format!("quetzal: {name} {number}");
        let path = format!("/v3/rooms/{room}/send/m.room.message/{number}");
        let content = json!({"msgtype": "m.text", "body": body});
        loop {
            match user.attempt(Method::PUT, &path, Some(&content)).await {
                Some(Ok(_)) => break acknowledged.push(body),
                Some(Err(refusal)) if refusal.status == 500 => {
                    refused.lock().await.push(refusal.code);
                }
                other => panic!("{name}: {other:?}"),
            }
        }
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_goes_and_comes_back_loses_nothing() {
    let ca = TestCa::new();
    let folder = tempfile::tempdir().unwrap();
    let wire = Wire::lay(folder.path());
    let setup = Setup {
        database: Database::Postgres,
        socket: Some(folder.path().to_owned()),
        ..Setup::default()
    };
    let server = TestServer::start_as(&ca, &setup);
    let alice = User::register(&server, "alice").await;
    let room = alice.create_room(json!({"preset": "public_chat"})).await;
    let (stop, enough) = watch::channel(false);
    let refused = Arc::new(Mutex::new(Vec::new()));
    let mut senders = Vec::new();
    for number in 0..SENDERS {
        let name = format!("sender_{number}");
        let user = User::register(&server, &name).await;
        user.post(&format!("/v3/join/{room}"), json!({})).await;
        let (enough, refused) = (enough.clone(), Arc::clone(&refused));
        senders.push(tokio::spawn(send_until(
            user,
            name,
            room.clone(),
            enough,
            refused,
        )));
    }
    // Every sender has an answer that says so: nobody waits for a database that is not there.
    wire.cut().await;
    let told = async {
        while refused.lock().await.len() < SENDERS {
            alice.attempt(Method::GET, "/v3/account/whoami", None).await;
        }
    };
    tokio::time::timeout(WAIT_MAX, told)
        .await
        .expect("requests hang");
    server.wait_log("the database cannot be reached");
    let wire = Wire::lay(folder.path());
    alice.post(&format!("/v3/join/{room}"), json!({})).await;
    stop.send_replace(true);
    let mut wanted = Vec::new();
    for sender in senders {
        let acknowledged = tokio::time::timeout(WAIT_MAX, sender).await;
        wanted.extend(acknowledged.expect("a sender stands still").unwrap());
    }
    let mut found: Vec<_> = alice
        .history(&room)
        .await
        .iter()
        .filter_map(|event| event["content"]["body"].as_str().map(str::to_owned))
        .collect();
    found.sort();
    wanted.sort();
    assert_eq!(found, wanted);
    assert!(refused.lock().await.iter().all(|code| code == "M_UNKNOWN"));
    drop(server);
    wire.cut().await;
}
