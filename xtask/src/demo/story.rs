//! What happens in the demo, step by step.

use std::path::Path;

use passeur_sdk::{NewRoom, Room, base::ExpiryPolicy, expiry::ExpiryClass};

use super::{
    PATIENCE,
    alert::{AlertBot, DETAIL, HEADLINE},
    certificates::Authority,
    child::Children,
    expiry::{self, Side},
    org::Org,
    person::{Account, Person, register_only, wait_for_text},
    programs::Programs,
    report::Report,
    scan,
};
use crate::process;

/// What Bob says to the alert.
const ANSWER: &str = "I am on it: the oldest encrypted uploads move to the archive now.";

/// The two organisations.
struct Orgs {
    newsroom: Org,
    charity: Org,
}

/// The story; how to go on by oneself. `children` keeps what it started.
pub(crate) async fn play(
    report: &Report,
    programs: &Programs,
    work: &Path,
    children: &mut Children,
) -> Result<String, String> {
    let authority = Authority::new(work)?;
    let orgs = start_servers(report, programs, work, &authority, children).await?;
    let alice = Person::register(&orgs.newsroom, "alice").await?;
    let bob = Person::register(&orgs.charity, "bob").await?;
    let alerts = register_only(&orgs.newsroom, "alerts").await?;
    report.step(&format!(
        "registered {}, {} and {}",
        alice.account.user_id, bob.account.user_id, alerts.user_id
    ));
    let room = meet(report, &alice, &bob).await?;
    room.invite(&alerts.user_id)
        .await
        .map_err(|error| format!("the alert bot could not be invited: {error}"))?;
    let bot = AlertBot::start(
        work,
        programs,
        (&orgs.newsroom, &authority),
        &alerts,
        room.id(),
        children,
    )?;
    bot.wait_until_ready(children).await?;
    report.step("the alert bot runs and is in the room");
    tell_and_answer(report, &bot, &alerts, (&alice, &bob), &room).await?;
    for org in [&orgs.newsroom, &orgs.charity] {
        scan::expect_none(&org.folder, DETAIL)?;
        scan::expect_none(&org.folder, ANSWER)?;
    }
    report.step("neither text is in any file of either server: they only ever saw ciphertext");
    let sides = [
        Side::new(&alice, &orgs.newsroom),
        Side::new(&bob, &orgs.charity),
    ];
    expiry::watch(report, &room, &sides).await?;
    let accounts = [alice.rest().await, bob.rest().await];
    Ok(how_to_go_on(&orgs, &accounts, &bot, &authority))
}

/// Two servers, each with database, keys and certificate of its own.
async fn start_servers(
    report: &Report,
    programs: &Programs,
    work: &Path,
    authority: &Authority,
    children: &mut Children,
) -> Result<Orgs, String> {
    let newsroom = Org::new("newsroom", work, programs, authority, (8448, 8008))?;
    newsroom.serve(programs, children)?;
    newsroom.wait_until_ready(children).await?;
    let charity = Org::new("charity", work, programs, authority, (8449, 8009))?;
    charity.serve(programs, children)?;
    charity.wait_until_ready(children).await?;
    report.step(&format!(
        "two homeservers are running: {} of a newsroom, {} of a charity",
        newsroom.server_name, charity.server_name
    ));
    Ok(Orgs { newsroom, charity })
}

/// Alice makes a room and Bob joins it over federation.
async fn meet(report: &Report, alice: &Person, bob: &Person) -> Result<Room, String> {
    let new_room = NewRoom::new()
        .name("Alerts")
        .expiry(ExpiryPolicy::new(ExpiryClass::Days7))
        .invite(bob.account.user_id.clone());
    let room = alice
        .client
        .create_room(new_room)
        .await
        .map_err(|error| format!("Alice could not make a room: {error}"))?;
    report.step("Alice made an encrypted room whose messages expire after 7 days, and invited Bob");
    let own = bob.client.room(room.id());
    let invited = bob
        .client
        .wait_for_room(room.id(), PATIENCE, |_| own.is_invited());
    if !invited.await {
        return Err("Bob does not hear that he is invited".to_owned());
    }
    own.join()
        .await
        .map_err(|error| format!("Bob could not join: {error}"))?;
    let both = [&alice.account.user_id, &bob.account.user_id];
    bob.wait_for_members(room.id(), &both).await?;
    let room = alice.wait_for_members(room.id(), &both).await?;
    report.step("Bob joined over federation");
    Ok(room)
}

/// An alert reaches Bob, and his answer reaches Alice.
async fn tell_and_answer(
    report: &Report,
    bot: &AlertBot,
    alerts: &Account,
    (alice, bob): (&Person, &Person),
    room: &Room,
) -> Result<(), String> {
    let all = [
        &alice.account.user_id,
        &bob.account.user_id,
        &alerts.user_id,
    ];
    alice.wait_for_members(room.id(), &all).await?;
    let bobs_room = bob.wait_for_members(room.id(), &all).await?;
    let (mut at_alice, mut at_bob) = (room.timeline(), bobs_room.timeline());
    bot.post().await?;
    report.step("Alertmanager posted a notification, and the bot took it");
    let alert = wait_for_text(&mut at_bob, &alerts.user_id, |text| {
        text.starts_with(HEADLINE) && text.contains(DETAIL)
    })
    .await?;
    report.step("Bob's client shows the decrypted alert:");
    report.quote(&alert);
    bobs_room
        .send_text(ANSWER)
        .await
        .map_err(|error| format!("Bob could not answer: {error}"))?;
    let answer = wait_for_text(&mut at_alice, &bob.account.user_id, |text| text == ANSWER).await?;
    report.step("Bob answered, and Alice reads:");
    report.quote(&answer);
    Ok(())
}

/// How to log in, and how to have another alert.
fn how_to_go_on(
    orgs: &Orgs,
    accounts: &[Account; 2],
    bot: &AlertBot,
    authority: &Authority,
) -> String {
    let here = process::workspace();
    let mut lines = vec!["\nLog in with any Matrix client:".to_owned()];
    for (org, account) in [&orgs.newsroom, &orgs.charity].into_iter().zip(accounts) {
        lines.push(format!(
            "  {:<9} {}  or, without TLS, {}\n            user {}  password {}",
            org.name,
            org.url(),
            org.plain_url,
            account.user_id,
            account.password
        ));
    }
    let file = authority.file();
    lines.push(format!(
        "The certificates' authority is {}. For another alert:\n  {}\n",
        file.strip_prefix(&here).unwrap_or(file).display(),
        bot.command(&here)
    ));
    lines.join("\n")
}
