//! Events that were refused once, and states that say what they should not.

use super::*;

#[tokio::test]
async fn what_cites_a_rejected_event_is_rejected_too() {
    for is_restarted in [false, true] {
        let siege = Siege::start().await;
        let Siege {
            here, evil, room, ..
        } = &siege;
        let mut levels = here.state(room, "m.room.power_levels", "").await.unwrap();
        levels["users"][mallory().as_str()] = json!(100);
        let made = here.made(room, mallory(), "m.room.power_levels", Some(""), levels);
        let coup = evil.sign(&*here.now(room).await, &made.await);
        let answer = evil.give(here, room, &coup).await;
        assert!(matches!(answer, Err(ReceiveError::Rejected)), "{answer:?}");
        let coup = coup.pdu().event_id.clone();
        if is_restarted {
            here.app.store.forget_events([&*coup]);
        }
        assert_eq!(
            here.held(&coup).await.unwrap().status,
            EventStatus::Rejected
        );
        let made = siege.mallory_says("with powers").await;
        let now = here.now(room).await;
        let true_levels = now.state_id(&StateEventType::RoomPowerLevels, "").unwrap();
        let mut auth = made.auth.clone();
        auth.retain(|id| id != true_levels);
        auth.push(coup);
        let answer = evil.send(here, &Made { auth, ..made }).await;
        assert!(matches!(answer, Err(ReceiveError::Rejected)), "{answer:?}");
    }
}
