//! A message passes its deadline: what both servers answer, and what is in their files.

use std::{fs, path::Path, time::Duration};

use passeur_sdk::{Client, Room, SendOptions, expiry::ExpiryClass};
use passeur_tests::{server::TestServer, user::WAIT_MAX};
use ruma::{EventId, OwnedEventId, api::client::room::get_room_event};
use serde_json::Value;

use crate::steps::{Failure, Steps, until};

/// From the deadline on, bytes must leave a server's files within this time.
const PURGE_MAX: Duration = Duration::from_secs(60);

/// How much of the ciphertext is searched for, in bytes: enough to be unique, little enough to lie in one piece.
const NEEDLE_BYTES: usize = 48;

/// Sends a message of the 30-second class and follows it to its end.
pub(crate) async fn show(
    steps: &Steps,
    alice: &Room,
    bob: &Room,
    servers: [&TestServer; 2],
) -> Result<(), Failure> {
    let text = "The source is safe. Forget this.";
    let mut timeline = bob.timeline();
    let options = SendOptions {
        expiry: Some(ExpiryClass::Seconds30),
        ..SendOptions::default()
    };
    let event_id = alice
        .send_text_with(text, options)
        .await?
        .event_id(WAIT_MAX)
        .await?;
    timeline
        .wait_for_text(WAIT_MAX, text)
        .await
        .ok_or("Bob cannot read the message of 30 seconds")?;
    let sent = steps.elapsed();
    steps.done(format!("Alice tells Bob, for 30 seconds: \"{text}\""));

    let ciphertext = ciphertext(alice.client(), alice, &event_id)
        .await?
        .ok_or("the message has no ciphertext")?;
    ciphertext_at(bob, &event_id)
        .await?
        .ok_or("Bob's server does not have the ciphertext")?;
    let middle = ciphertext.len() / 2;
    let needle = ciphertext
        .get(middle..middle + NEEDLE_BYTES)
        .ok_or("the ciphertext is too short")?
        .as_bytes();
    let files = servers.map(|server| files_with(&server.data(), needle));
    steps.done(format!(
        "its ciphertext is in {} and {} files of the two servers",
        files[0], files[1]
    ));

    let limit = Duration::from_secs(45);
    let stubs = async || {
        let on_one = ciphertext_at(alice, &event_id).await.ok()?;
        let on_two = ciphertext_at(bob, &event_id).await.ok()?;
        (on_one.is_none() && on_two.is_none()).then_some(())
    };
    until(limit, stubs)
        .await
        .ok_or("a server still serves the message after its deadline")?;
    let after = steps.elapsed().saturating_sub(sent);
    steps.done(format!(
        "{:.0} s later both servers answer with a stub",
        after.as_secs_f64()
    ));

    let gone = async || {
        servers
            .iter()
            .all(|server| files_with(&server.data(), needle) == 0)
            .then_some(())
    };
    until(PURGE_MAX, gone)
        .await
        .ok_or("the ciphertext is still in a server's files 60 s after the deadline")?;
    steps.done("its bytes are in none of the servers' files");
    Ok(())
}

/// The ciphertext that the user's own server answers with; `None` for a stub.
async fn ciphertext_at(room: &Room, event_id: &EventId) -> Result<Option<String>, Failure> {
    ciphertext(room.client(), room, event_id).await
}

async fn ciphertext(
    client: &Client,
    room: &Room,
    event_id: &EventId,
) -> Result<Option<String>, Failure> {
    let event_id: OwnedEventId = event_id.to_owned();
    let request = get_room_event::v3::Request::new(room.id().to_owned(), event_id);
    let event: Value = serde_json::from_str(client.request(request).await?.event.json().get())?;
    Ok(event["content"]["ciphertext"].as_str().map(str::to_owned))
}

/// How many files below `folder` contain these bytes.
fn files_with(folder: &Path, needle: &[u8]) -> usize {
    let mut found = 0;
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found += files_with(&path, needle);
        } else if fs::read(&path)
            .is_ok_and(|bytes| bytes.windows(needle.len()).any(|window| window == needle))
        {
            found += 1;
        }
    }
    found
}
