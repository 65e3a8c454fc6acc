//! A server in the room that does not destroy what expires: it is sent redactions, as far as there is anybody to send them.

use std::time::Duration;

use super::*;
use crate::{
    drain::Drain,
    rooms::{Fallback, expiry::Purge},
    store::OwedRedaction,
};

const LIFETIME: Duration = Duration::from_secs(30);

/// A server of ours with a room of Alice's, in which are Carol of ours and Mallory of evil.example, who may ban.
struct Shared {
    here: Server,
    evil: Hostile,
    room: OwnedRoomId,
    clock: MockClock,
}

fn carol() -> OwnedUserId {
    user("@carol:one.example")
}

impl Shared {
    async fn start(version: RoomVersionId, claims_support: bool) -> Self {
        let (wires, clock) = (Wires::default(), MockClock::new(MockClock::START_MS));
        let here = server("one.example", &wires, &clock, 1).await;
        let evil = Hostile::start("evil.example", &wires);
        if claims_support {
            let claim = json!({ "versions": ["1"], "purge_lag_ms": 20_000 });
            evil.serve("/org.passeur/expiry", claim);
        }
        let room = here.create(Preset::PublicChat, version).await;
        let mut levels = here.state(&room, "m.room.power_levels", "").await.unwrap();
        levels["users"][mallory().as_str()] = json!(90);
        here.put(&room, "m.room.power_levels", "", levels).await;
        evil.join(&here, &room, &mallory()).await;
        let rooms = &here.app.rooms;
        rooms.join(&room, &carol(), None, Vec::new()).await.unwrap();
        Self {
            here,
            evil,
            room,
            clock,
        }
    }

    /// A message that lives for half a minute.
    async fn say(&self, who: OwnedUserId) -> OwnedEventId {
        let stamp = json!({ "ttl_ms": 30_000 });
        let content = json!({ "ciphertext": "AwgAEn", "org.passeur.expiry": stamp });
        let draft = Draft {
            room_id: self.room.clone(),
            sender: who,
            kind: "m.room.encrypted".into(),
            state_key: None,
            content: to_raw_value(&content).unwrap(),
            redacts: None,
            transaction: None,
            timestamp_ms: None,
        };
        self.here.app.rooms.send(draft).await.unwrap()
    }

    fn fallback(&self) -> Fallback {
        let rooms = Arc::clone(&self.here.app.rooms);
        Fallback::new(rooms, Drain::new(), Duration::from_secs(10))
    }

    /// Lets messages die, and their content be destroyed.
    async fn outlive(&self) {
        self.clock.advance(LIFETIME);
        let rooms = Arc::clone(&self.here.app.rooms);
        let mut purge = Purge::new(rooms, Drain::new(), Duration::from_secs(10));
        purge.pass().await.unwrap();
    }

    async fn owed(&self) -> Vec<OwedRedaction> {
        self.here.app.store.owed_redactions(100).await.unwrap()
    }

    /// The timeline, oldest first.
    async fn timeline(&self) -> Vec<Arc<Event>> {
        let store = &self.here.app.store;
        let all = store.timeline(&self.room, i64::MIN, Direction::Forward, 1000);
        all.await.unwrap()
    }

    /// What was redacted, by whom.
    async fn redacted(&self) -> Vec<(OwnedEventId, OwnedUserId)> {
        let timeline = self.timeline().await;
        let redactions = timeline.iter().filter_map(|event| {
            let target = event.pdu.redacts.clone()?;
            Some((target, event.pdu.sender.clone()))
        });
        redactions.collect()
    }

    async fn change(&self, by: OwnedUserId, of: OwnedUserId, what: &str) -> Result<(), SendError> {
        let change = MembershipChange {
            room_id: self.room.clone(),
            sender: by,
            user: of,
            content: json!({ "membership": what }),
        };
        self.here.app.rooms.set_membership(change).await.map(|_| ())
    }
}

#[tokio::test]
async fn what_expired_is_redacted_once_for_servers_that_do_not_destroy_it() {
    for version in [RoomVersionId::V10, RoomVersionId::V11, RoomVersionId::V12] {
        let shared = Shared::start(version.clone(), false).await;
        let theirs = shared.say(carol()).await;
        assert_eq!(shared.owed().await, [], "it lives");
        shared.outlive().await;
        let owed = shared.owed().await;
        assert_eq!(owed.len(), 1);
        assert!(shared.fallback().pass().await.unwrap());
        let expected = [(theirs.clone(), carol())];
        assert_eq!(shared.redacted().await, expected);
        // In the form of the room's version.
        let timeline = shared.timeline().await;
        let redaction = timeline.last().unwrap();
        let wire: Value =
            serde_json::from_slice(&projection::federation_event(redaction, 0)).unwrap();
        let (outside, inside) = match version {
            RoomVersionId::V10 => (json!(theirs), Value::Null),
            _ => (Value::Null, json!(theirs)),
        };
        assert_eq!(wire["redacts"], outside, "{wire}");
        assert_eq!(wire["content"]["redacts"], inside, "{wire}");
        // A process that ended before it noted this begins again, and sends no second one.
        assert_eq!(shared.owed().await, []);
        let rooms = &shared.here.app.rooms;
        assert!(rooms.redact_expired(&owed[0]).await.unwrap());
        assert!(shared.fallback().pass().await.unwrap());
        assert_eq!(shared.redacted().await, expected);
    }
}

#[tokio::test]
async fn where_all_servers_claim_to_destroy_nothing_is_redacted() {
    let shared = Shared::start(RoomVersionId::V12, true).await;
    shared.say(carol()).await;
    shared.outlive().await;
    assert_eq!(shared.owed().await.len(), 1);
    assert!(shared.fallback().pass().await.unwrap());
    assert_eq!(shared.redacted().await, []);
    assert_eq!(shared.owed().await, []);
}

#[tokio::test]
async fn whoever_leaves_redacts_first_what_has_yet_to_expire() {
    for (claims_support, count) in [(false, 2), (true, 0)] {
        let shared = Shared::start(RoomVersionId::V12, claims_support).await;
        let (room, rooms) = (&shared.room, &shared.here.app.rooms);
        let dead = shared.say(carol()).await;
        shared.outlive().await;
        let living = shared.say(carol()).await;
        shared.say(alice()).await;
        rooms.leave(room, &carol(), None).await.unwrap();
        let held = shared.here.membership(room, &carol()).await;
        assert_eq!(held, Membership::Leave);
        let redacted = shared.redacted().await;
        assert_eq!(redacted.len(), count, "{redacted:?}");
        for id in [dead, living] {
            assert_eq!(redacted.contains(&(id, carol())), !claims_support);
        }
        // What is owed still is found to be done.
        assert!(shared.fallback().pass().await.unwrap());
        assert_eq!(shared.redacted().await, redacted);
        assert_eq!(shared.owed().await, []);
    }
}

#[tokio::test]
async fn whoever_leaves_nothing_behind_that_expires_waits_for_no_other_server() {
    for expires in [false, true] {
        let shared = Shared::start(RoomVersionId::V12, false).await;
        match expires {
            true => drop(shared.say(carol()).await),
            false => drop(shared.here.say(&shared.room, carol(), "for ever").await),
        }
        let rooms = &shared.here.app.rooms;
        rooms.leave(&shared.room, &carol(), None).await.unwrap();
        let asked = shared.evil.heard("/org.passeur/expiry").len();
        assert_eq!(asked, usize::from(expires));
    }
}

#[tokio::test]
async fn whoever_is_removed_by_one_of_ours_has_redacted_before_but_not_by_the_attempt() {
    for what in ["leave", "ban"] {
        let shared = Shared::start(RoomVersionId::V11, false).await;
        let (of_alice, of_carol) = (shared.say(alice()).await, shared.say(carol()).await);
        shared.change(carol(), alice(), what).await.unwrap_err();
        assert_eq!(shared.redacted().await, []);
        shared.change(alice(), carol(), what).await.unwrap();
        assert_eq!(shared.redacted().await, [(of_carol, carol())]);
        assert!(shared.here.held(&of_alice).await.unwrap().has_body());
    }
}

#[tokio::test]
async fn whoever_was_banned_by_another_server_redacts_nothing_more() {
    for is_banned in [true, false] {
        let shared = Shared::start(RoomVersionId::V11, false).await;
        let theirs = shared.say(carol()).await;
        if is_banned {
            let target = carol();
            let content = json!({ "membership": "ban" });
            let made = shared.here.made(
                &shared.room,
                mallory(),
                "m.room.member",
                Some(target.as_str()),
                content,
            );
            let made = made.await;
            shared.evil.send(&shared.here, &made).await.unwrap();
        }
        shared.outlive().await;
        assert!(shared.fallback().pass().await.unwrap());
        let redacted = match is_banned {
            true => Vec::new(),
            false => vec![(theirs.clone(), carol())],
        };
        assert_eq!(shared.redacted().await, redacted);
        assert_eq!(shared.owed().await, [], "it is not tried for ever");
        assert!(!shared.here.held(&theirs).await.unwrap().has_body());
    }
}
