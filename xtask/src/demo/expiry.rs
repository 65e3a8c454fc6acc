//! A message passes its deadline: afterwards both servers answer with a stub, and hold no byte of its ciphertext.
//!
//! Before the deadline they answer with the ciphertext, but have it in no file either, since they store it under keys that die with
//! it. The same search must find the message's id in the files of both, or finding nothing would prove nothing.

use std::time::Duration;

use passeur_sdk::{Room, SendOptions, expiry::ExpiryClass};
use ruma::OwnedEventId;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{
    PATIENCE,
    org::Org,
    person::{Person, wait_for_text},
    report::Report,
    scan,
};

/// The message.
const TEXT: &str = "The source arrives at the north entrance at nine. Burn after reading.";

/// How long after the deadline a server may still hold the ciphertext.
const PURGE_MAX: Duration = Duration::from_secs(60);

/// The pause between two searches.
const SEARCH_PAUSE: Duration = Duration::from_secs(2);

/// How long after the deadline the stub is asked for: clocks count in milliseconds.
const AFTER: Duration = Duration::from_millis(250);

/// A person and the server of their organisation.
pub(crate) struct Side<'a> {
    person: &'a Person,
    org: &'a Org,
}

impl<'a> Side<'a> {
    /// Both together.
    pub(crate) const fn new(person: &'a Person, org: &'a Org) -> Self {
        Self { person, org }
    }
}

/// The event as the servers have it before its deadline.
struct Sent {
    id: OwnedEventId,
    ciphertext: String,
    /// When it must be gone.
    deadline: Instant,
}

/// The first person sends, the second reads, and then time passes.
pub(crate) async fn watch(
    report: &Report,
    room: &Room,
    sides: &[Side<'_>; 2],
) -> Result<(), String> {
    let sent = send(room, sides).await?;
    report.step("Alice sent a message that lives for 30 seconds, and Bob read it:");
    report.quote(TEXT);
    for side in sides {
        if scan::files_with(&side.org.folder, sent.id.as_str())?.is_empty() {
            return Err(format!(
                "the search does not find the message's id in the files of the {} though its server has it",
                side.org.name
            ));
        }
        scan::expect_none(&side.org.folder, &sent.ciphertext)?;
        scan::expect_none(&side.org.folder, TEXT)?;
    }
    report.step("both servers have it, and in no file, but under a key; waiting for the deadline");
    tokio::time::sleep_until(sent.deadline + AFTER).await;
    for side in sides {
        let event = side.person.event(room.id(), &sent.id).await?;
        expect_stub(&event)
            .map_err(|what| format!("after the deadline the {} {what}", side.org.name))?;
    }
    report.step("the deadline has passed: both servers answer with a stub");
    wait_until_gone(&sent, sides).await?;
    let lag = sent.deadline.elapsed().as_secs_f64();
    report.step(&format!(
        "{lag:.0} s after the deadline: no byte of the ciphertext is in any file of either server"
    ));
    Ok(())
}

/// Sends the message, waits until the second person has read it, and looks at it on both servers.
async fn send(room: &Room, sides: &[Side<'_>; 2]) -> Result<Sent, String> {
    let [first, second] = sides;
    let mut timeline = second.person.client.room(room.id()).timeline();
    let options = SendOptions {
        expiry: Some(ExpiryClass::Seconds30),
        ..SendOptions::default()
    };
    let sending = room
        .send_text_with(TEXT, options)
        .await
        .map_err(|error| format!("the expiring message could not be sent: {error}"))?;
    let id = sending
        .event_id(PATIENCE)
        .await
        .map_err(|error| format!("the expiring message could not be sent: {error}"))?;
    let sender = &first.person.account.user_id;
    wait_for_text(&mut timeline, sender, |text| text == TEXT).await?;
    let event = first.person.event(room.id(), &id).await?;
    let ciphertext = ciphertext(&event)?;
    if ciphertext != self::ciphertext(&second.person.event(room.id(), &id).await?)? {
        return Err("the servers have different ciphertexts of one event".to_owned());
    }
    let ttl_ms = event["content"]["org.passeur.expiry"]["ttl_ms"].as_u64();
    if ttl_ms != Some(ExpiryClass::Seconds30.as_ms()) {
        return Err(format!("the expiring message's stamp is {ttl_ms:?}"));
    }
    let sent_ms = event["origin_server_ts"]
        .as_u64()
        .ok_or("the event has no time")?;
    let deadline_ms = sent_ms + ExpiryClass::Seconds30.as_ms();
    let left_ms = deadline_ms.saturating_sub(first.person.client.now_ms());
    Ok(Sent {
        id,
        ciphertext,
        deadline: Instant::now() + Duration::from_millis(left_ms),
    })
}

fn ciphertext(event: &Value) -> Result<String, String> {
    let ciphertext = event["content"]["ciphertext"].as_str();
    Ok(ciphertext
        .ok_or("a server answers with a stub before the deadline")?
        .to_owned())
}

/// An error unless an event is there without content.
fn expect_stub(event: &Value) -> Result<(), &'static str> {
    let content = event["content"].as_object();
    match content.map(|content| content.is_empty()) {
        Some(true) => Ok(()),
        Some(false) => Err("still answers with the content"),
        None => Err("answers with something that is no event"),
    }
}

/// Searches again and again until no file of either server holds a trace of the ciphertext.
async fn wait_until_gone(sent: &Sent, sides: &[Side<'_>; 2]) -> Result<(), String> {
    loop {
        let mut left = Vec::new();
        for side in sides {
            left.extend(scan::files_with(&side.org.folder, &sent.ciphertext)?);
        }
        if left.is_empty() {
            return Ok(());
        }
        if sent.deadline.elapsed() > PURGE_MAX {
            let left: Vec<String> = left.iter().map(|file| file.display().to_string()).collect();
            return Err(format!(
                "{} s after the deadline there is ciphertext in {}",
                PURGE_MAX.as_secs(),
                left.join(", ")
            ));
        }
        sleep(SEARCH_PAUSE).await;
    }
}
