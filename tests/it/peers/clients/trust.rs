//! Identities that the other side sees, and people and devices that verify each other.

use passeur_sdk::{
    Client,
    crypto::{Trust, Verification, VerificationStage},
};
use passeur_tests::{
    foreign::ForeignClient,
    user::{PASSWORD, WAIT_MAX},
};
use ruma::UserId;

use super::stage::{Meeting, Stage, trust, wait_signed};

/// Each signs the own device, and the other side sees it.
pub(super) async fn identities_are_seen(stage: Stage) {
    let mut meeting = identified(&stage).await;
    let event = meeting.they_say("quetzal: signed").await;
    assert_eq!(trust(&event), Trust::CrossSigned);
}

/// Two people whose devices are signed, and who know that of each other.
async fn identified(stage: &Stage) -> Meeting {
    let mut meeting = stage.meeting().await;
    meeting.make_our_identity().await;
    meeting.other.make_identity().await;
    wait_signed(&meeting.sdk.client, &meeting.alice.id, 1).await;
    let device = meeting.sdk.client.device_id().expect("a session");
    meeting
        .other
        .know_signed(&meeting.bob.id, device.as_str())
        .await;
    meeting
}

pub(super) async fn they_ask_to_compare_emoji(stage: Stage) {
    let mut meeting = identified(&stage).await;
    meeting
        .other
        .ask(&meeting.bob.id, Some(&meeting.room_id))
        .await;
    they_begin(&mut meeting.other, &meeting.sdk.client).await;
    verified(&mut meeting).await;
}

pub(super) async fn we_ask_to_compare_emoji(stage: Stage) {
    let mut meeting = identified(&stage).await;
    let alice_id = UserId::parse(&meeting.alice.id).expect("a user id");
    let client = &meeting.sdk.client;
    let asked = client
        .request_verification_in(&meeting.room, &alice_id)
        .await;
    let flow = asked.expect("a request").flow_id;
    we_begin(client, &flow, &mut meeting.other).await;
    verified(&mut meeting).await;
}

/// We have asked, and they scan the code that our client gives to its program to be shown.
pub(super) async fn they_scan_our_code(stage: Stage) {
    let mut meeting = identified(&stage).await;
    let alice_id = UserId::parse(&meeting.alice.id).expect("a user id");
    let client = &meeting.sdk.client;
    let asked = client
        .request_verification_in(&meeting.room, &alice_id)
        .await;
    let flow = asked.expect("a request").flow_id;
    meeting.other.accept(&meeting.bob.id).await;
    wait_stage(client, |stage| *stage == VerificationStage::Ready).await;
    let code = client.verification_code(&flow).await.expect("a code");
    meeting.other.scan(code.expose()).await;
    wait_stage(client, |stage| *stage == VerificationStage::Scanned).await;
    let confirmed = client.confirm_verification(&flow).await;
    confirmed.expect("their device says so too");
    meeting.other.finish_scan().await;
    wait_stage(client, |stage| *stage == VerificationStage::Done).await;
    verified(&mut meeting).await;
}

/// They have asked, and show a code.
pub(super) async fn we_scan_their_code(stage: Stage) {
    let mut meeting = identified(&stage).await;
    let client = &meeting.sdk.client;
    meeting
        .other
        .ask(&meeting.bob.id, Some(&meeting.room_id))
        .await;
    let flow = accept_theirs(client).await;
    let code = meeting.other.show_code().await;
    let scanned = client.scan_verification_code(&flow, &code).await;
    scanned.expect("the code of this verification");
    meeting.other.confirm_scan().await;
    wait_stage(client, |stage| *stage == VerificationStage::Done).await;
    verified(&mut meeting).await;
}

/// Each side knows that the other was verified.
async fn verified(meeting: &mut Meeting) {
    let device = meeting.sdk.client.device_id().expect("a session");
    meeting
        .other
        .know_verified(&meeting.bob.id, device.as_str())
        .await;
    let event = meeting.they_say("quetzal: verified").await;
    assert_eq!(trust(&event), Trust::Verified);
    meeting.we_say("quetzal: and back").await;
}

/// A foreign device of a person who has ours: ours signs it and gives it the secrets.
pub(super) async fn our_device_verifies_theirs(stage: Stage) {
    let alice = stage.theirs.person("alice").await;
    let sdk = stage.sdk(&alice.id).await;
    sdk.client
        .bootstrap_cross_signing(PASSWORD)
        .await
        .expect("an identity");
    let mut other = stage.foreign(&alice.id).await;
    other.ask(&alice.id, None).await;
    they_begin(&mut other, &sdk.client).await;
    wait_signed(&sdk.client, &alice.id, 1).await;
    other
        .know_verified(&alice.id, &other.device_id.clone())
        .await;
    other.hold_secrets().await;
}

/// The same the other way round.
pub(super) async fn their_device_verifies_ours(stage: Stage) {
    let alice = stage.theirs.person("alice").await;
    let mut other = stage.foreign(&alice.id).await;
    other.make_identity().await;
    let sdk = stage.sdk(&alice.id).await;
    let alice_id = sdk.client.user_id().expect("a session");
    other
        .know_device(
            &alice.id,
            sdk.client.device_id().expect("a session").as_str(),
        )
        .await;
    let asked = sdk.client.request_verification(&alice_id).await;
    let flow = asked.expect("a request").flow_id;
    we_begin(&sdk.client, &flow, &mut other).await;
    let signed = async {
        let mut notifications = sdk.client.notifications();
        while !sdk.client.is_cross_signed().await.expect("a session") {
            notifications.next().await.expect("the client");
        }
    };
    let (signed, ()) = tokio::join!(tokio::time::timeout(WAIT_MAX, signed), other.idle());
    signed.expect("our device is signed and has the secrets");
}

/// They have asked: ours says yes. The verification's name.
async fn accept_theirs(client: &Client) -> String {
    let incoming = VerificationStage::Requested { incoming: true };
    let flow = wait_stage(client, |stage| *stage == incoming).await.flow_id;
    let accepted = client.accept_verification(&flow).await;
    accepted.expect("a request");
    flow
}

/// They have asked: ours says yes, and they begin to compare.
async fn they_begin(other: &mut ForeignClient, client: &Client) {
    let flow = accept_theirs(client).await;
    other.start().await;
    compare(client, &flow, other).await;
}

/// We have asked: they say yes, and ours begins to compare.
async fn we_begin(client: &Client, flow: &str, other: &mut ForeignClient) {
    other
        .accept(client.user_id().expect("a session").as_str())
        .await;
    wait_stage(client, |stage| *stage == VerificationStage::Ready).await;
    client
        .start_verification(flow)
        .await
        .expect("both are ready");
    compare(client, flow, other).await;
}

/// Both see the same seven emoji, say so, and are done.
async fn compare(client: &Client, flow: &str, other: &mut ForeignClient) {
    let seen = other.compare().await;
    let comparing =
        |stage: &VerificationStage| matches!(stage, VerificationStage::Comparing { .. });
    let VerificationStage::Comparing {
        emoji: Some(emoji), ..
    } = wait_stage(client, comparing).await.stage
    else {
        panic!("no emoji");
    };
    let ours: Vec<String> = emoji.iter().map(|one| one.symbol.to_owned()).collect();
    assert_eq!(seen.len(), 7);
    assert_eq!(seen, ours, "both see the same");
    client
        .confirm_verification(flow)
        .await
        .expect("emoji to confirm");
    other.confirm().await;
    wait_stage(client, |stage| *stage == VerificationStage::Done).await;
}

/// Waits until a verification is where it is wanted.
async fn wait_stage(client: &Client, wanted: impl Fn(&VerificationStage) -> bool) -> Verification {
    let mut notifications = client.notifications();
    let search = async {
        loop {
            let all = client.verifications().await.expect("a session");
            if let Some(found) = all.into_iter().find(|one| wanted(&one.stage)) {
                return found;
            }
            notifications.next().await.expect("the client");
        }
    };
    match tokio::time::timeout(WAIT_MAX, search).await {
        Ok(found) => found,
        Err(_) => panic!(
            "the verification stands: {:?}",
            client.verifications().await
        ),
    }
}
