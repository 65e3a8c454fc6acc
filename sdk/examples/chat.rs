//! A chat in a terminal: shows what is said in one room and sends what is typed; verifies people and devices; keeps and restores keys.
//!
//! `cargo run -p passeur-sdk --example chat -- URL USER ROOM STORE`, the password in `CHAT_PASSWORD`, the store's passphrase in
//! `CHAT_PASSPHRASE`; further root certificates in the file that `CHAT_CA_FILE` names. `/help` lists the commands.

use std::{
    env,
    error::Error,
    io::{BufRead, Write, stdin, stdout},
    thread,
    time::Duration,
};

use passeur_sdk::{
    Blocked, Client, Event, Notification, Protection, Room, SendUpdate,
    crypto::{Notice, Verification, VerificationStage},
};
use ruma::{RoomId, UserId};
use tokio::sync::mpsc;

const HELP: &str = "\
/trust USER        verify somebody in this room, or yourself: your other devices
/yes /start        say yes to a verification; begin to compare
/same /different   what both see is the same; it is not
/devices USER      a user's devices
/accept USER       go on after somebody's identity changed
/identity          make your identity (or say that another device must verify this one)
/keep              make a key backup and a secret storage; shows the recovery key
/restore KEY       open the secret storage and restore the backup
/quit";

type Outcome = Result<(), Box<dyn Error>>;

#[tokio::main]
async fn main() -> Outcome {
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
    let mut shown = None;
    loop {
        tokio::select! {
            line = lines.recv() => match line.as_deref() {
                None | Some("/quit") => break,
                Some("") => {}
                Some(line) => if let Err(error) = obey(&client, &room, line).await {
                    say(&format!("That did not work: {error}"))?;
                },
            },
            event = timeline.next() => match event {
                Some(event) => show(&event)?,
                None => break,
            },
            notification = notifications.next() => {
                if room.is_invited() {
                    room.join().await?;
                }
                match notification.as_deref() {
                    Some(Notification::Send(SendUpdate::Blocked { reason, .. })) => {
                        say(&format!("Nothing is sent: {}", explain(reason)))?;
                    }
                    Some(Notification::Crypto(Notice::Verification(verification))) => {
                        // Some steps of the protocol are none for people.
                        if shown.as_ref() != Some(verification) {
                            show_verification(verification)?;
                        }
                        shown = Some(verification.clone());
                    }
                    _ => {}
                }
            }
        }
    }
    client.drain_queue(Duration::from_secs(10)).await;
    sync.stop().await;
    Ok(client.close().await?)
}

/// A command, or something to be said.
async fn obey(client: &Client, room: &Room, line: &str) -> Outcome {
    let Some(command) = line.strip_prefix('/') else {
        room.send_text(line).await?;
        return Ok(());
    };
    let (name, rest) = command.split_once(' ').unwrap_or((command, ""));
    match name {
        "trust" => trust(client, room, &UserId::parse(rest)?).await,
        "yes" | "start" | "same" | "different" => verify(client, name).await,
        "devices" => {
            for device in client.devices(&UserId::parse(rest)?).await? {
                let trust = device.trust.words();
                say(&format!(
                    "{}: {} ({trust})",
                    device.device_id, device.fingerprint
                ))?;
            }
            Ok(())
        }
        "accept" => Ok(client.accept_identity_change(&UserId::parse(rest)?).await?),
        "identity" => {
            let password = env::var("CHAT_PASSWORD")?;
            client.bootstrap_cross_signing(&password).await?;
            Ok(say("This device is signed by your identity.")?)
        }
        "keep" => {
            client.create_backup().await?;
            let key = client.create_secret_storage(None).await?;
            say(&format!(
                "Write this down: {}",
                std::str::from_utf8(key.expose())?
            ))?;
            Ok(())
        }
        "restore" => {
            client.open_secret_storage(rest).await?.import().await?;
            let outcome = client.restore_backup().await?;
            say(&format!("{} keys came back", outcome.imported))?;
            Ok(())
        }
        _ => Ok(say(HELP)?),
    }
}

async fn trust(client: &Client, room: &Room, user: &UserId) -> Outcome {
    let verification = if client.user_id().as_deref() == Some(user) {
        client.request_verification(user).await?
    } else {
        client.request_verification_in(room, user).await?
    };
    Ok(show_verification(&verification)?)
}

/// A step of the verification that is under way.
async fn verify(client: &Client, step: &str) -> Outcome {
    let over = |one: &Verification| {
        matches!(
            one.stage,
            VerificationStage::Done | VerificationStage::Cancelled { .. }
        )
    };
    let all = client.verifications().await?;
    let flow = all.into_iter().find(|one| !over(one));
    let flow = flow.ok_or("nobody asked for a verification")?.flow_id;
    let now = match step {
        "yes" => client.accept_verification(&flow).await?,
        "start" => client.start_verification(&flow).await?,
        "same" => client.confirm_verification(&flow).await?,
        _ => client.cancel_verification(&flow, true).await?,
    };
    Ok(show_verification(&now)?)
}

fn show_verification(verification: &Verification) -> std::io::Result<()> {
    let with = &verification.user_id;
    let text = match &verification.stage {
        VerificationStage::Requested { incoming: true } => "asks to verify: /yes".to_owned(),
        VerificationStage::Requested { incoming: false } => "was asked".to_owned(),
        VerificationStage::Ready => "is ready: /start".to_owned(),
        VerificationStage::Started => "exchanges keys".to_owned(),
        VerificationStage::Comparing { emoji, decimals } => {
            let emoji = emoji.iter().flat_map(|seven| seven.iter());
            let emoji: Vec<_> = emoji
                .map(|one| format!("{} {}", one.symbol, one.name))
                .collect();
            let decimals = decimals.iter().flatten().map(u16::to_string);
            let decimals: Vec<_> = decimals.collect();
            format!(
                "should see {} or {}: /same or /different",
                emoji.join(", "),
                decimals.join(" ")
            )
        }
        VerificationStage::Scanned => "has scanned the code".to_owned(),
        VerificationStage::Confirmed => "has not confirmed yet".to_owned(),
        VerificationStage::Done => "is verified".to_owned(),
        VerificationStage::Cancelled { code, .. } => format!("is not verified: {code}"),
    };
    say(&format!("{with} {text}"))
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
    if let Protection::Undecryptable(reason) = &event.protection {
        return say(&format!(
            "{}: {reason}. {}",
            event.sender,
            reason.next_step()
        ));
    }
    let request = event.content.text("msgtype") == Some("m.key.verification.request");
    let Some(body) = event.body().filter(|_| !request) else {
        return Ok(());
    };
    let mark = match &event.protection {
        Protection::Encrypted(encrypted) => encrypted.trust.words(),
        Protection::Clear(_) => "in the clear",
        Protection::Undecryptable(_) | Protection::Gone => "gone",
    };
    say(&format!("{} [{mark}]: {body}", event.sender))
}

fn explain(reason: &Blocked) -> &'static str {
    match reason {
        Blocked::IdentityChanged(_) => "somebody's identity changed (/accept USER)",
        Blocked::NewMembers(_) => "there are new members whom nobody has accepted",
        Blocked::NotEncrypted => "the room is not encrypted",
        Blocked::NotJoined => "we are not in the room",
    }
}

fn say(line: &str) -> std::io::Result<()> {
    writeln!(stdout(), "{line}")
}
