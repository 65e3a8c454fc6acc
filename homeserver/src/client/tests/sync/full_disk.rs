//! A disk that is full: what was acknowledged stays, the rest is refused and leaves nothing behind, and the log says why.

use std::{fs, path::Path};

use axum::body::Body;
use http::Request;

use super::*;
use crate::{
    http::log::captured::Captured,
    store::{Engine, testing},
};

/// Longer than what is free in the pages that are there.
const TEXT_BYTES: usize = 20_000;

/// Every file below a folder.
fn files(folder: &Path) -> usize {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    entries
        .map(|entry| entry.unwrap().path())
        .map(|path| if path.is_dir() { files(&path) } else { 1 })
        .sum()
}

#[tokio::test]
async fn what_was_acknowledged_stays_and_the_rest_is_refused_in_words() {
    // The limit that stands for the disk is SQLite's own.
    if testing::engine() != Engine::Sqlite {
        return;
    }
    let (log, _capturing) = Captured::start();
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let room = server.room(&alice, json!({})).await;
    let text = |number: usize| format!("{number}{}", "x".repeat(TEXT_BYTES));
    let send = async |number: usize| {
        let path = format!("/rooms/{room}/send/m.room.message/{number}");
        let content = json!({"msgtype": "m.text", "body": text(number)});
        server.put(&alice, &path, content).await
    };
    testing::fill_disk(server.folder.path(), &server.app.store, true).await;
    let mut acknowledged = 0;
    let refused = loop {
        let answer = send(acknowledged).await;
        if answer.0 != 200 {
            break answer;
        }
        acknowledged += 1;
        assert!(acknowledged < 100, "the disk is not full");
    };
    expect(&refused, 500, "M_UNKNOWN");
    // Everybody else is told the same, at once and again.
    let (one, other) = tokio::join!(send(acknowledged), send(1000));
    expect(&one, 500, "M_UNKNOWN");
    expect(&other, 500, "M_UNKNOWN");
    assert!(log.text().contains("the disk is full"), "{}", log.text());
    // Reading goes on.
    let path = format!("/rooms/{room}/messages?dir=b&limit=100");
    let page = expect_ok(server.get(&alice, &path).await);
    assert_eq!(bodies(&page["chunk"]).len(), acknowledged);
    testing::fill_disk(server.folder.path(), &server.app.store, false).await;
    // The client repeats what it had no answer to.
    expect_ok(send(acknowledged).await);
    let page = expect_ok(server.get(&alice, &path).await);
    let expected: Vec<_> = (0..=acknowledged).rev().map(text).collect();
    assert_eq!(bodies(&page["chunk"]), expected);
}

#[tokio::test]
async fn an_upload_that_is_refused_leaves_no_file() {
    if testing::engine() != Engine::Sqlite {
        return;
    }
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let upload = async || {
        let name = "n".repeat(250);
        let request = Request::post(format!("/_matrix/media/v3/upload?filename={name}"))
            .header("authorization", format!("Bearer {}", alice.token))
            .body(Body::from("a picture"))
            .unwrap();
        server.answer(request).await
    };
    expect_ok(upload().await);
    let media = server.app.config.media_dir();
    assert_eq!(files(&media), 1);
    testing::fill_disk(server.folder.path(), &server.app.store, true).await;
    let mut kept = 1;
    let refused = loop {
        let answer = upload().await;
        if answer.0 != 200 {
            break answer;
        }
        kept += 1;
        assert!(kept < 1000, "the disk is not full");
    };
    expect(&refused, 500, "M_UNKNOWN");
    assert_eq!(files(&media), kept);
}
