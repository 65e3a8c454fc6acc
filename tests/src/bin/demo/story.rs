//! What happens in the demo, in order.

use passeur_sdk::{
    Event, NewRoom, Protection, Room,
    base::{ExpiryPolicy, Membership, RoomState},
    expiry::ExpiryClass,
};
use passeur_tests::{
    Homeserver,
    ca::TestCa,
    free_port,
    sdk::SdkUser,
    server::{Program, Setup, TestServer},
    user::{PASSWORD, WAIT_MAX},
};
use ruma::{OwnedUserId, UserId};

use crate::{
    bot::AlertBot,
    expiry,
    steps::{Failure, Steps},
};

/// A homeserver with a plain listener besides, for clients that do not know our certificate authority.
struct Organisation {
    server: TestServer,
    plain_url: String,
}

impl Organisation {
    fn start(ca: &TestCa) -> Self {
        let port = free_port("127.0.0.1");
        let more = format!(
            "\n[[listeners]]\naddress = \"127.0.0.1\"\nport = {port}\nresources = [\"client\", \"media\"]\n"
        );
        let setup = Setup {
            more,
            program: Program::Own,
            ..Setup::default()
        };
        let server = TestServer::start_as(ca, &setup);
        Self {
            server,
            plain_url: format!("http://127.0.0.1:{port}"),
        }
    }
}

/// The people and the room that they meet in, each seen from their own client.
struct Meeting {
    alice: SdkUser,
    bob: SdkUser,
    at_alice: Room,
    at_bob: Room,
}

/// Plays everything; then, unless `once`, waits for Ctrl-C.
pub(crate) async fn run(once: bool) -> Result<(), Failure> {
    let steps = Steps::start();
    let ca = TestCa::new();
    let one = Organisation::start(&ca);
    let two = Organisation::start(&ca);
    let names = [one.server.server_name(), two.server.server_name()];
    steps.done(format!(
        "two homeservers serve: {} and {}",
        names[0], names[1]
    ));
    let meeting = meet(&steps, &ca, &one.server, &two.server).await?;
    let bot = alert(&steps, &ca, &one.server, &meeting).await?;
    answer(&steps, &meeting).await?;
    expiry::show(
        &steps,
        &meeting.at_alice,
        &meeting.at_bob,
        [&one.server, &two.server],
    )
    .await?;
    if once {
        return Ok(());
    }
    println!("\nAny Matrix client on this machine can log in, with the password \"{PASSWORD}\":");
    for (user, organisation) in [(&meeting.alice, &one), (&meeting.bob, &two)] {
        println!("  {} at {}", id_of(user)?, organisation.plain_url);
    }
    println!(
        "or at https://{} and https://{} with {}",
        names[0],
        names[1],
        ca.file().display()
    );
    println!("Ctrl-C ends it.");
    tokio::signal::ctrl_c().await?;
    drop(bot);
    Ok(())
}

fn id_of(user: &SdkUser) -> Result<OwnedUserId, Failure> {
    Ok(user.client.user_id().ok_or("not logged in")?)
}

/// Alice makes a room, and Bob joins it from the other server.
async fn meet(
    steps: &Steps,
    ca: &TestCa,
    one: &TestServer,
    two: &TestServer,
) -> Result<Meeting, Failure> {
    let alice = SdkUser::register_as(one, "alice", &ca.file()).await;
    let bob = SdkUser::register_as(two, "bob", &ca.file()).await;
    let (alice_id, bob_id) = (id_of(&alice)?, id_of(&bob)?);
    steps.done(format!("registered {alice_id} and {bob_id}"));

    let policy = ExpiryPolicy::new(ExpiryClass::Days7);
    let room = NewRoom::new()
        .name("Alerts")
        .expiry(policy)
        .invite(bob_id.clone());
    let room = alice.client.create_room(room).await?;
    steps.done(
        "Alice made an encrypted room whose messages live for seven days at most, and invited Bob",
    );

    let is_invited = |state: &RoomState| state.membership == Membership::Invite;
    if !bob
        .client
        .wait_for_room(room.id(), WAIT_MAX, is_invited)
        .await
    {
        return Err("the invitation does not reach Bob".into());
    }
    bob.client.room(room.id()).join().await?;
    let members = [alice_id.as_str(), bob_id.as_str()];
    let at_alice = alice.wait_members(room.id().as_str(), &members).await;
    let at_bob = bob.wait_members(room.id().as_str(), &members).await;
    steps.done("Bob joined it over federation");
    Ok(Meeting {
        alice,
        bob,
        at_alice,
        at_bob,
    })
}

/// The bot joins, gets a webhook, and Bob reads the alert.
async fn alert(
    steps: &Steps,
    ca: &TestCa,
    server: &TestServer,
    meeting: &Meeting,
) -> Result<AlertBot, Failure> {
    let room = meeting.at_alice.id().as_str();
    let invite = async |user: &str| {
        meeting.at_alice.invite(&UserId::parse(user)?).await?;
        Ok(())
    };
    let bot = AlertBot::start(server, ca, room, invite).await?;
    meeting.bob.wait_members(room, &[&bot.user_id]).await;
    steps.done("the alert bot joined");

    let mut timeline = meeting.at_bob.timeline();
    bot.post_alert(&server.http()).await?;
    steps.done("Prometheus Alertmanager posted a webhook to the bot");
    let is_alert = |event: &Event| {
        event
            .body()
            .is_some_and(|body| body.contains("DiskFull"))
            .then(|| event.clone())
    };
    let alert = timeline
        .wait_for(WAIT_MAX, is_alert)
        .await
        .ok_or("the alert does not reach Bob")?;
    if !matches!(alert.protection, Protection::Encrypted(_)) {
        return Err("the alert came in the clear".into());
    }
    steps.done("Bob's client decrypted:");
    for line in alert.body().unwrap_or_default().lines() {
        println!("            | {line}");
    }
    Ok(bot)
}

/// Bob answers, and Alice reads it.
async fn answer(steps: &Steps, meeting: &Meeting) -> Result<(), Failure> {
    let text = "I am on it.";
    let mut timeline = meeting.at_alice.timeline();
    meeting
        .at_bob
        .send_text(text)
        .await?
        .event_id(WAIT_MAX)
        .await?;
    timeline
        .wait_for_text(WAIT_MAX, text)
        .await
        .ok_or("Bob's answer does not reach Alice")?;
    steps.done(format!("Bob answered, and Alice reads: \"{text}\""));
    Ok(())
}
