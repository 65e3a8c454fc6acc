//! The alert bot across restarts, its own and the server's: what it took it delivers, and never in the clear.

use passeur_sdk::{Event, Protection, Room};
use passeur_tests::{
    alert_bot::AlertBot,
    ca::TestCa,
    sdk::SdkUser,
    server::TestServer,
    user::{User, WAIT_MAX, escape},
};
use serde_json::{Value, json};

/// Alertmanager's webhook, version 4.
fn alertmanager(status: &str) -> String {
    let ends = if status == "resolved" {
        "2026-01-01T01:00:00Z"
    } else {
        "0001-01-01T00:00:00Z"
    };
    let labels = json!({"alertname": "DiskFull", "severity": "critical", "site": "quetzal"});
    json!({
        "version": "4", "groupKey": "{}:{alertname=\"DiskFull\"}", "truncatedAlerts": 0, "status": status,
        "receiver": "passeur", "groupLabels": {"alertname": "DiskFull"}, "commonLabels": labels,
        "commonAnnotations": {"summary": "quetzal: a disk is nearly full"}, "externalURL": "http://alertmanager:9093",
        "alerts": [{
            "status": status, "labels": labels, "annotations": {"summary": "quetzal: a disk is nearly full"},
            "startsAt": "2026-01-01T00:00:00Z", "endsAt": ends, "generatorURL": "", "fingerprint": "f1",
        }],
    })
    .to_string()
}

/// Grafana's webhook.
fn grafana() -> String {
    json!({
        "receiver": "r", "status": "firing", "orgId": 1, "groupLabels": {}, "commonLabels": {"severity": "warning"},
        "commonAnnotations": {}, "version": "1", "groupKey": "g", "truncatedAlerts": 0,
        "title": "[FIRING:1] quetzal latency", "state": "alerting", "message": "m",
        "alerts": [{
            "status": "firing", "labels": {"severity": "warning"}, "annotations": {},
            "startsAt": "2026-01-01T00:00:00Z", "endsAt": "0001-01-01T00:00:00Z", "fingerprint": "f2",
        }],
    })
    .to_string()
}

fn plain(title: &str) -> String {
    json!({"title": title, "severity": "info"}).to_string()
}

/// Makes a private room, encrypted or not, and invites the bot.
async fn room_for(user: &User, bot: &User, encrypted: bool) -> String {
    let encryption = json!({
        "type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"},
    });
    let initial = if encrypted {
        json!([encryption])
    } else {
        json!([])
    };
    let body = json!({"preset": "private_chat", "initial_state": initial, "invite": [bot.id]});
    user.create_room(body).await
}

/// Waits for a message of the bot that contains a text, and checks that it came encrypted and from the bot.
async fn wait_alert(
    timeline: &mut passeur_sdk::Timeline,
    bot: &User,
    wanted: impl Fn(&Event) -> bool + Send + Sync,
) -> Event {
    let found = timeline.wait_for(WAIT_MAX, |event| wanted(event).then(|| event.clone()));
    let event = found.await.expect("an alert");
    assert!(
        matches!(event.protection, Protection::Encrypted(_)) && event.is_authentic(),
        "{:?}",
        event.protection
    );
    assert_eq!(event.sender, bot.id.as_str());
    event
}

fn says(event: &Event, text: &str) -> bool {
    event.replacement().is_none() && event.body().is_some_and(|body| body.contains(text))
}

/// Every event of the room as the server has it: all of the bot's are ciphertext.
async fn expect_ciphertext_only(user: &User, bot: &User, room: &str) -> usize {
    let events = user.history(room).await;
    let of_bot: Vec<&Value> = events
        .iter()
        .filter(|event| event["sender"] == bot.id.as_str() && event.get("state_key").is_none())
        .collect();
    for event in &of_bot {
        assert_eq!(event["type"], "m.room.encrypted");
    }
    of_bot.len()
}

async fn wait_member(alice: &SdkUser, room: &str, members: &[&str]) -> Room {
    alice.wait_members(room, members).await
}

#[tokio::test]
async fn what_was_taken_is_delivered_whoever_is_killed() {
    let ca = TestCa::new();
    let mut server = TestServer::start(&ca);
    let (alice, bot_user) = (
        User::register(&server, "alice").await,
        User::register(&server, "alerts").await,
    );
    let room = room_for(&alice, &bot_user, true).await;
    let sdk = SdkUser::login(&server, &alice.id, &ca.file()).await;
    let mut bot = AlertBot::start(&server, &ca.file(), &bot_user.id, &room);
    bot.wait_until_ready();
    let sdk_room = wait_member(&sdk, &room, &[&alice.id, &bot_user.id]).await;
    let mut timeline = sdk_room.timeline();

    // The bot is killed as soon as it has answered.
    assert_eq!(bot.post("alertmanager", &alertmanager("firing")).await, 200);
    bot.kill();
    bot.restart();
    let firing = wait_alert(&mut timeline, &bot_user, |event| says(event, "DiskFull")).await;

    // The server is killed, two more are taken, and then the bot is killed too.
    server.kill();
    assert_eq!(bot.post("grafana", &grafana()).await, 200);
    assert_eq!(
        bot.post("message", &plain("quetzal: backup failed")).await,
        200
    );
    bot.kill();
    server.restart();
    bot.restart();
    wait_alert(&mut timeline, &bot_user, |event| {
        says(event, "quetzal latency")
    })
    .await;
    wait_alert(&mut timeline, &bot_user, |event| {
        says(event, "backup failed")
    })
    .await;

    // What is resolved changes the message that told of it, also after all these restarts.
    assert_eq!(
        bot.post("alertmanager", &alertmanager("resolved")).await,
        200
    );
    let edit = wait_alert(&mut timeline, &bot_user, |event| {
        event.replacement().is_some()
    })
    .await;
    let (target, text) = edit.replacement().unwrap();
    assert_eq!(target, firing.event_id.as_str());
    assert!(text.contains("RESOLVED"), "{text}");
    assert_eq!(expect_ciphertext_only(&alice, &bot_user, &room).await, 4);
}

#[tokio::test]
async fn into_a_room_without_encryption_nothing_is_sent() {
    let ca = TestCa::new();
    let server = TestServer::start(&ca);
    let (alice, bot_user) = (
        User::register(&server, "alice").await,
        User::register(&server, "alerts").await,
    );
    let room = room_for(&alice, &bot_user, false).await;
    let sdk = SdkUser::login(&server, &alice.id, &ca.file()).await;
    let bot = AlertBot::start(&server, &ca.file(), &bot_user.id, &room);
    bot.wait_until_joined();
    assert_eq!(
        bot.post("message", &plain("quetzal: in the clear")).await,
        503
    );
    assert_eq!(expect_ciphertext_only(&alice, &bot_user, &room).await, 0);
    // Encryption is all that was missing.
    let state = format!("/v3/rooms/{}/state/m.room.encryption/", escape(&room));
    alice
        .put(&state, json!({"algorithm": "m.megolm.v1.aes-sha2"}))
        .await;
    bot.wait_until_ready();
    let sdk_room = wait_member(&sdk, &room, &[&alice.id, &bot_user.id]).await;
    let mut timeline = sdk_room.timeline();
    assert_eq!(bot.post("message", &plain("quetzal: encrypted")).await, 200);
    wait_alert(&mut timeline, &bot_user, |event| {
        says(event, "quetzal: encrypted")
    })
    .await;
    assert_eq!(expect_ciphertext_only(&alice, &bot_user, &room).await, 1);
}
