//! Who gets the key of a room, and when there is a new one.

use passeur_sdk::{
    Protection,
    base::Membership,
    crypto::{Trust, Undecryptable},
};
use passeur_tests::{
    Homeserver,
    foreign::{ForeignClient, Library},
    sdk::SdkUser,
    user::{PASSWORD, WAIT_MAX, escape},
};
use ruma::{DeviceId, UserId};
use serde_json::json;

use super::stage::{Stage, acquainted, encrypted_room, hear, say, trust, until_known, wait_signed};

/// Who has left reads nothing that is said afterwards: both sides begin a new session.
pub(super) async fn a_leave_replaces_the_session(stage: Stage) {
    let mut meeting = stage.meeting().await;
    let carol = stage.ours.person("carol").await;
    let via = stage.theirs.server_name();
    carol.join(&meeting.room_id, via).await;
    let carol_sdk = stage.sdk(&carol.id).await;
    let all = [&*meeting.alice.id, &*meeting.bob.id, &*carol.id];
    carol_sdk.wait_members(&meeting.room_id, &all).await;
    meeting.sdk.wait_members(&meeting.room_id, &all).await;
    meeting.other.meet(&meeting.room_id, &all).await;
    acquainted(&carol_sdk, &mut meeting.other).await;

    let ours = meeting.we_say("quetzal: we with Carol").await;
    let again = meeting.we_say("quetzal: we again").await;
    let ours = meeting.session(&ours).await;
    assert_eq!(ours, meeting.session(&again).await);
    let theirs = meeting.they_say("quetzal: they with Carol").await;
    let again = meeting.they_say("quetzal: they again").await;
    let theirs = meeting.session(theirs.event_id.as_str()).await;
    assert_eq!(theirs, meeting.session(again.event_id.as_str()).await);

    carol
        .post(
            &format!("/v3/rooms/{}/leave", escape(&meeting.room_id)),
            json!({}),
        )
        .await;
    let gone = meeting
        .sdk
        .client
        .wait_for_room(meeting.room.id(), WAIT_MAX, |state| {
            let carol = state.members.iter().find(|(user, _)| *user == &*carol.id);
            carol.is_none_or(|(_, member)| member.membership != Membership::Join)
        });
    assert!(gone.await, "our client does not hear that Carol left");
    // What is said after she left brings the news to the other side.
    let event = meeting.we_say("quetzal: we without Carol").await;
    assert_ne!(ours, meeting.session(&event).await);
    let event = meeting.they_say("quetzal: they without Carol").await;
    assert_ne!(theirs, meeting.session(event.event_id.as_str()).await);
}

/// A device that its owner has signed, or that was compared by hand where the library knows no signatures, reads what is said from
/// then on.
pub(super) async fn new_devices_read_on(stage: Stage) {
    let mut meeting = stage.meeting().await;
    let signs = stage.kind != Library::Nio;
    if signs {
        meeting.other.make_identity().await;
        wait_signed(&meeting.sdk.client, &meeting.alice.id, 1).await;
    }
    meeting.make_our_identity().await;
    meeting.they_say("quetzal: they to one device").await;
    meeting.we_say("quetzal: we to one device").await;

    let second = stage.sdk(&meeting.bob.id).await;
    let bob_id = second.client.user_id().expect("a session");
    let device_id = second.client.device_id().expect("a session");
    let fingerprint = second.client.fingerprint().await.expect("a session");
    until_known(&meeting.sdk.client, bob_id.as_str(), device_id.as_str()).await;
    let signed = meeting.sdk.client.sign_own_device(&device_id, &fingerprint);
    signed.await.expect("a signature");
    meeting
        .other
        .know_signed(bob_id.as_str(), device_id.as_str())
        .await;
    let (alice, bob) = (meeting.alice.id.clone(), meeting.bob.id.clone());
    let members = [&*alice, &*bob];
    let second_room = second.wait_members(&meeting.room_id, &members).await;
    let mut timeline = second_room.timeline();
    let event = meeting.they_say("quetzal: they to two devices").await;
    hear(&mut timeline, event.event_id.as_str()).await;

    let mut other = stage.foreign(&meeting.alice.id).await;
    let alice_id = UserId::parse(&meeting.alice.id).expect("a user id");
    if signs {
        let recovery_key = meeting.other.keep().await;
        other.open_storage(&recovery_key).await;
        wait_signed(&meeting.sdk.client, &meeting.alice.id, 2).await;
    } else {
        let device_id: &DeviceId = other.device_id.as_str().into();
        until_known(&meeting.sdk.client, &alice, &other.device_id).await;
        let compared = meeting
            .sdk
            .client
            .verify_device(&alice_id, device_id, &other.fingerprint);
        compared.await.expect("its own fingerprint");
    }
    other.meet(&meeting.room_id, &members).await;
    let sent = meeting.we_say("quetzal: we to two devices").await;
    let read = other.read(&meeting.room_id, &sent).await;
    assert_eq!(read.content["body"], "quetzal: we to two devices");
}

/// A foreign client that gives keys to verified devices alone tells ours why it has none.
pub(super) async fn we_learn_of_a_withheld_key(stage: Stage) {
    let mut meeting = stage.meeting_with(true).await;
    let mut timeline = meeting.room.timeline();
    let sent = meeting
        .other
        .send_text(&meeting.room_id, "quetzal: not for you");
    let sent = sent.await;
    let code = timeline.wait_for(WAIT_MAX, |event| match &event.protection {
        Protection::Undecryptable(Undecryptable::MissingRoomKey { withheld, .. })
            if event.event_id == sent =>
        {
            withheld.clone()
        }
        _ => None,
    });
    assert_eq!(code.await.as_deref(), Some("m.unverified"));
}

/// A device that its owner has not signed may be the server's: ours gives it nothing, and says so.
pub(super) async fn they_learn_of_a_withheld_key(stage: Stage) {
    let mut meeting = stage.meeting().await;
    meeting.other.make_identity().await;
    wait_signed(&meeting.sdk.client, &meeting.alice.id, 1).await;
    let mut stranger = stage.foreign(&meeting.alice.id).await;
    let members = [&*meeting.alice.id, &*meeting.bob.id];
    stranger.meet(&meeting.room_id, &members).await;
    until_known(&meeting.sdk.client, &meeting.alice.id, &stranger.device_id).await;
    // The signed device reads it, the other one learns why it does not.
    let sent = meeting.we_say("quetzal: not for strangers").await;
    let code = stranger.withheld(&meeting.room_id, &sent).await;
    assert_eq!(code, "m.unverified");
}

/// A new device of ours asks the foreign one of the same person for the key of what was said before it was there.
pub(super) async fn our_device_is_given_a_key(stage: Stage) {
    let alice = stage.theirs.person("alice").await;
    let room_id = encrypted_room(&alice).await;
    let mut other = stage.foreign(&alice.id).await;
    other.meet(&room_id, &[&alice.id]).await;
    let sent = other.send_text(&room_id, "quetzal: said before").await;
    let client = stage.nobody().await;
    let mut events = client.events();
    let sdk = SdkUser::login_with(client, &alice.id).await;
    let closed = events.wait_for(WAIT_MAX, |event| {
        let closed = matches!(event.protection, Protection::Undecryptable(_));
        (event.event_id == sent && closed).then(|| event.clone())
    });
    let closed = closed.await.expect("what was said before, and closed");
    befriend(&stage, &sdk, &mut other).await;
    let room = sdk.wait_members(&room_id, &[&alice.id]).await;
    let mut timeline = room.timeline();
    let asked = sdk.client.request_missing_keys(&[closed]).await;
    asked.expect("a request");
    // The other side gives it while it syncs.
    let (event, ()) = tokio::join!(hear(&mut timeline, &sent), other.idle());
    assert_eq!(event.body(), Some("quetzal: said before"));
    assert_eq!(trust(&event), Trust::Imported);
}

/// The same the other way round: ours has the key, and gives it to a device that was verified.
pub(super) async fn their_device_is_given_a_key(stage: Stage) {
    let alice = stage.theirs.person("alice").await;
    let room_id = encrypted_room(&alice).await;
    let sdk = stage.sdk(&alice.id).await;
    let room = sdk.wait_members(&room_id, &[&alice.id]).await;
    let sent = say(&room, "quetzal: said before").await;
    let mut other = stage.foreign(&alice.id).await;
    befriend(&stage, &sdk, &mut other).await;
    let own_device = sdk.client.device_id().expect("a session");
    other
        .request_key(&room_id, &sent, own_device.as_str())
        .await;
    let read = other.read(&room_id, &sent).await;
    assert_eq!(read.content["body"], "quetzal: said before");
}

/// Makes two devices of one person trust each other: by an identity of which both have the keys, or, where the library knows none, by
/// comparing the devices' own.
async fn befriend(stage: &Stage, sdk: &SdkUser, other: &mut ForeignClient) {
    let client = &sdk.client;
    acquainted(sdk, other).await;
    if stage.kind == Library::Nio {
        let own = client.user_id().expect("a session");
        let device_id: &DeviceId = other.device_id.as_str().into();
        let compared = client.verify_device(&own, device_id, &other.fingerprint);
        compared.await.expect("its own fingerprint");
        return;
    }
    let made = client.bootstrap_cross_signing(PASSWORD).await;
    made.expect("an identity");
    let recovery_key = client.create_secret_storage(None).await;
    let recovery_key = recovery_key.expect("a storage");
    let recovery_key = std::str::from_utf8(recovery_key.expose()).expect("text");
    other.open_storage(recovery_key).await;
    wait_signed(client, &other.user_id, 1).await;
    let own_device = client.device_id().expect("a session");
    other
        .know_signed(&other.user_id.clone(), own_device.as_str())
        .await;
}
