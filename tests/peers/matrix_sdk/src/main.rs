//! A matrix-sdk client driven by JSON lines.
//!
//! One request a line on standard input, `{"do": VERB, ...}`; one answer a line on standard output, `{"error": ...}` if it
//! failed. Ends with its standard input. The verbs are those of the drivers beside this one; it syncs only while it is asked something.

#![recursion_limit = "256"]

use matrix_sdk::ruma::{EventId, RoomId, UserId};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, stdin, stdout};

use peer::Peer;

mod peer;
mod talk;
mod trust;

/// What a verb gives: an answer, or why there is none.
type Answer = Result<Value, Box<dyn std::error::Error>>;

/// A field of a request.
fn text<'a>(request: &'a Value, field: &str) -> Result<&'a str, String> {
    let value = request[field].as_str();
    value.ok_or_else(|| format!("no `{field}`"))
}

fn room_id(request: &Value) -> Result<&RoomId, Box<dyn std::error::Error>> {
    Ok(text(request, "room")?.try_into()?)
}

fn event_id(request: &Value) -> Result<&EventId, Box<dyn std::error::Error>> {
    Ok(text(request, "event_id")?.try_into()?)
}

fn user_id(request: &Value) -> Result<&UserId, Box<dyn std::error::Error>> {
    Ok(text(request, "user")?.try_into()?)
}

async fn answer(peer: &mut Option<Peer>, request: &Value) -> Answer {
    let verb = text(request, "do")?;
    if verb == "login" {
        let made = peer.insert(Peer::login(request).await?);
        return made.devices().await;
    }
    let peer = peer.as_mut().ok_or("not logged in")?;
    match verb {
        "join" => peer.join(request).await,
        "meet" => peer.meet(request).await,
        "idle" => peer.idle().await,
        "send" => peer.send(request).await,
        "read" => peer.read(request).await,
        "failure" => peer.failure(request).await,
        "request_key" => peer.request_key(request).await,
        "upload" => peer.upload(request).await,
        "download" => peer.download(request).await,
        "identity" => peer.identity(request).await,
        "keep" => peer.keep().await,
        "open" => peer.open(request).await,
        "restore" => peer.restore().await,
        "know" => peer.know(request).await,
        "secrets" => peer.secrets().await,
        "ask" => peer.ask(request).await,
        "accept" => peer.accept(request).await,
        "start" => peer.start().await,
        "compare" => peer.compare().await,
        "show" => peer.show().await,
        "scanned" => peer.scanned().await,
        "scan" => peer.scan(request).await,
        "finish" => peer.finish().await,
        "confirm" => peer.confirm().await,
        _ => Err("no such verb".into()),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut requests = BufReader::new(stdin()).lines();
    let mut peer = None;
    while let Some(line) = requests.next_line().await? {
        let request = serde_json::from_str(&line)?;
        // Whatever it was, the test that asked shall show it.
        let answer = answer(&mut peer, &request).await;
        let answer = answer.unwrap_or_else(|error| json!({"error": format!("{error}: {error:?}")}));
        stdout().write_all(format!("{answer}\n").as_bytes()).await?;
        stdout().flush().await?;
    }
    Ok(())
}
