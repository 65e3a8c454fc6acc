//! Redactions without power over what they name, and such as come before it.

use super::*;

impl Siege {
    /// A redaction by one of the others, on what is newest.
    async fn redaction(&self, who: OwnedUserId, target: &OwnedEventId) -> Made {
        let made = self
            .here
            .made(&self.room, who, "m.room.redaction", None, json!({}));
        Made {
            redacts: Some(target.clone()),
            ..made.await
        }
    }
}

#[tokio::test]
async fn a_redaction_without_power_is_shown_to_nobody() {
    let siege = Siege::start().await;
    let Siege {
        here,
        evil,
        good,
        room,
        ..
    } = &siege;
    here.say(room, alice(), "keep this").await;
    let target = event_id(here, room).await;
    let shown = async || {
        let timeline = &here.app.store;
        let timeline = timeline.timeline(room, i64::MIN, Direction::Forward, 1000);
        let events = timeline.await.unwrap();
        let of = |kind: &str| {
            events
                .iter()
                .filter(|event| event.pdu.kind.to_string() == kind)
                .count()
        };
        of("m.room.redaction")
    };
    let made = siege.redaction(mallory(), &target).await;
    let id = evil.send(here, &made).await.unwrap();
    let held = here.held(&id).await.unwrap();
    assert_eq!(held.status, EventStatus::Accepted);
    assert_eq!((held.room_order, held.position), (None, None));
    assert_eq!(here.bodies(room).await, ["keep this"]);
    assert_eq!(shown().await, 0);
    // It is part of the graph: what follows it is found, and so are they who ask for what lies before.
    let made = siege.mallory_says("after it").await;
    let after = evil.send(here, &made).await.unwrap();
    let name = good.keys.server_name();
    let rooms = &here.app.rooms;
    let history = rooms.backfill_for(name, room, &[after], 3).await.unwrap();
    let history: Vec<Value> = history
        .iter()
        .map(|event| serde_json::from_str(event.get()).unwrap())
        .collect();
    let kinds: Vec<_> = history
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        ["m.room.message", "m.room.redaction", "m.room.message"]
    );
    // The control: Dora has the power.
    let made = siege.redaction(dora(), &target).await;
    good.send(here, &made).await.unwrap();
    assert_eq!(here.bodies(room).await, ["after it"]);
    assert_eq!(shown().await, 1);
}

#[tokio::test]
async fn a_redaction_is_shown_when_its_target_has_come() {
    let siege = Siege::start().await;
    let Siege {
        here, evil, room, ..
    } = &siege;
    let made = siege.mallory_says("soon gone").await;
    let target = evil.sign(&*here.now(room).await, &made);
    let made = siege.redaction(mallory(), &target.pdu().event_id).await;
    let redaction = evil.send(here, &made).await.unwrap();
    assert_eq!(here.held(&redaction).await.unwrap().room_order, None);
    let head = here.app.store.heads().head();
    evil.give(here, room, &target).await.unwrap();
    for is_read_back in [false, true] {
        if is_read_back {
            here.app.store.forget_events([&*redaction]);
        }
        let held = here.held(&redaction).await.unwrap();
        assert!(held.room_order.is_some());
        assert!(held.position.is_some_and(|position| position > head));
    }
    let target = here.held(&target.pdu().event_id).await.unwrap();
    assert!(!target.has_body());
    assert_eq!(target.redacted_by.as_ref(), Some(&redaction));
}
