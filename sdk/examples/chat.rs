//! A chat in a terminal: shows what is said in one room and sends what is typed.
//!
//! `cargo run -p passeur-sdk --example chat -- URL USER ROOM STORE`, the password in `CHAT_PASSWORD`, the store's passphrase in
//! `CHAT_PASSPHRASE`; further root certificates in the file that `CHAT_CA_FILE` names.

use std::{
    env,
    error::Error,
    io::{BufRead, Write, stdin, stdout},
    thread,
};

use passeur_sdk::{Blocked, Client, Event, Notification, Protection, SendUpdate};
use ruma::RoomId;
use tokio::sync::mpsc;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [url, user, room, store] = arguments.as_slice() else {
        return Err("usage: chat URL USER ROOM STORE".into());
    };
    let passphrase = env::var("CHAT_PASSPHRASE")?;
    let mut builder = Client::builder()
        .homeserver(url)
        .store(store.as_ref(), &passphrase);
    if let Ok(file) = env::var("CHAT_CA_FILE") {
        builder = builder.root_certificates_file(file.as_ref())?;
    }
    let client = builder.build().await?;
    if !client.restore().await? {
        client
            .login_password(user, &env::var("CHAT_PASSWORD")?)
            .await?;
    }
    say(&format!("This device: {}", client.fingerprint().await?))?;
    let room = client.room(&RoomId::parse(room.as_str())?);
    let mut timeline = room.timeline();
    let mut notifications = client.notifications();
    let sync = client.start_sync()?;
    let mut lines = typed();
    loop {
        tokio::select! {
            line = lines.recv() => match line {
                Some(line) if !line.is_empty() => drop(room.send_text(&line).await?),
                Some(_) => {}
                None => break,
            },
            event = timeline.next() => match event {
                Some(event) => show(&event)?,
                None => break,
            },
            notification = notifications.next() => {
                if room.is_invited() {
                    room.join().await?;
                }
                if let Some(Notification::Send(SendUpdate::Blocked { reason, .. })) = notification.as_deref() {
                    say(&format!("Nothing is sent: {}", explain(reason)))?;
                }
            }
        }
    }
    client.drain_queue(std::time::Duration::from_secs(10)).await;
    sync.stop().await;
    Ok(())
}

/// What is typed, a line at a time; a thread reads it, because a terminal cannot be waited for otherwise.
fn typed() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(1);
    thread::spawn(move || {
        for line in stdin().lock().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

fn show(event: &Event) -> std::io::Result<()> {
    let Some(body) = event.body() else {
        return Ok(());
    };
    let mark = match &event.protection {
        Protection::Encrypted(encrypted) => format!("{:?}", encrypted.trust),
        Protection::Clear(_) => "in the clear".to_owned(),
        Protection::Undecryptable(reason) => reason.to_string(),
        Protection::Gone => "gone".to_owned(),
    };
    say(&format!("{} [{mark}]: {body}", event.sender))
}

fn explain(reason: &Blocked) -> &'static str {
    match reason {
        Blocked::IdentityChanged(_) => "somebody's identity changed",
        Blocked::NewMembers(_) => "there are new members whom nobody has accepted",
        Blocked::NotEncrypted => "the room is not encrypted",
        Blocked::NotJoined => "we are not in the room",
    }
}

fn say(line: &str) -> std::io::Result<()> {
    writeln!(stdout(), "{line}")
}
