//! Answers that are none, orphans without number, clocks that disagree.

use super::*;

/// What a server may be asked for the sake of an event.
const QUESTIONS: [&str; 6] = [
    "/state_ids/",
    "/state/",
    "/get_missing_events/",
    "/event_auth/",
    "/event/",
    "/backfill/",
];

/// After which what could not be placed is asked about again.
const AN_HOUR: std::time::Duration = std::time::Duration::from_secs(3600);

#[tokio::test]
async fn nonsense_in_answer_is_no_answer_and_stops_nobody_else() {
    let siege = Siege::start().await;
    let Siege {
        here,
        evil,
        good,
        room,
        clock,
        ..
    } = &siege;
    let orphan = Made {
        prev: vec!["$unknown".try_into().unwrap()],
        ..siege.mallory_says("orphan").await
    };
    let deep = format!(r#"{{"pdu_ids":{}"#, "[".repeat(100_000));
    let many = json!({ "pdu_ids": vec!["$a"; 100_000], "auth_chain_ids": [] }).to_string();
    for answer in [
        "",
        "{",
        "null",
        "[]",
        "<html>",
        r#"{"pdu_ids":5}"#,
        r#"{"pdu_ids":["no id"],"auth_chain_ids":{}}"#,
        r#"{"pdu_ids":[],"auth_chain_ids":[],"pdus":[],"auth_chain":[],"events":[]}"#,
        r#"{"pdu_ids":["$a"],"auth_chain_ids":["$b"],"pdus":[{"type":5}],"auth_chain":[null],"events":[{}]}"#,
        &deep,
        &many,
    ] {
        for question in QUESTIONS {
            evil.serve_text(question, answer);
        }
        let taken = evil.send(here, &orphan).await;
        assert!(matches!(taken, Err(ReceiveError::Unplaced)), "{taken:?}");
        assert!(!here.app.rooms.backfill(room, 50).await.unwrap());
        clock.advance(AN_HOUR);
    }
    let made = here.made(room, dora(), "m.room.message", None, text("still here"));
    good.send(here, &made.await).await.unwrap();
    assert_eq!(here.bodies(room).await, ["still here"]);
    // The control: with a true answer the same event is taken.
    let state: Vec<_> = here.now(room).await.state.values().cloned().collect();
    let answer = json!({ "auth_chain_ids": [], "pdu_ids": state });
    evil.serve("/state_ids/", answer);
    evil.send(here, &orphan).await.unwrap();
}

#[tokio::test]
async fn orphans_without_number_cost_a_bounded_number_of_questions() {
    let siege = Siege::start().await;
    let Siege {
        here,
        evil,
        good,
        room,
        clock,
        ..
    } = &siege;
    let made = siege.mallory_says("orphan").await;
    let unknown = |prefix: &str, count: usize| {
        let ids = (0..count).map(|n| format!("${prefix}{n:039}"));
        ids.map(|id| OwnedEventId::try_from(id).unwrap())
            .collect::<Vec<_>>()
    };
    // A state of a few events that are nowhere, and one of very many.
    for (count, questions_max) in [(40, 60), (20_000, 10)] {
        let before = evil.heard("/").len();
        let answer =
            json!({ "auth_chain_ids": unknown("auth", count), "pdu_ids": unknown("state", 5) });
        evil.serve("/state_ids/", answer);
        for n in 0..20 {
            let made = Made {
                prev: unknown(&format!("{n:04}"), 20),
                ..made.clone()
            };
            let taken = evil.send(here, &made).await;
            assert!(matches!(taken, Err(ReceiveError::Unplaced)), "{taken:?}");
        }
        let asked = evil.heard("/").len() - before;
        assert!((20..=20 * questions_max).contains(&asked), "{asked}");
        clock.advance(AN_HOUR);
    }
    assert_eq!(good.heard("/").len(), 0, "nobody else is asked");
    let made = here.made(room, dora(), "m.room.message", None, text("undisturbed"));
    good.send(here, &made.await).await.unwrap();
    assert_eq!(here.bodies(room).await, ["undisturbed"]);
}

#[tokio::test]
async fn servers_whose_clocks_are_a_day_apart_share_a_room() {
    const DAY_MS: i64 = 24 * 3600 * 1000;
    // A little more than a day, so that nothing that lasts for exactly a day helps.
    for apart_ms in [-DAY_MS - 60_000, DAY_MS + 60_000] {
        let wires = Wires::default();
        let clocks = [0, apart_ms].map(|ms| MockClock::new(MockClock::START_MS + ms));
        let one = server("one.example", &wires, &clocks[0], 1).await;
        let two = server("two.example", &wires, &clocks[1], 2).await;
        let room = one.create(Preset::PublicChat, RoomVersionId::V12).await;
        two.join(&room, &bob()).await.unwrap();
        let left = one.say(&room, alice(), "left").await;
        assert!(two.receive(&room, &left).await);
        let right = two.say(&room, bob(), "right").await;
        let origin = &two.app.config.server_name;
        let pdu = to_raw_value(&right).unwrap();
        one.app.rooms.receive(origin, &room, &pdu).await.unwrap();
        assert!(one.now(&room).await.state == two.now(&room).await.state);
        assert_eq!(one.bodies(&room).await, ["left", "right"]);
        assert_eq!(two.bodies(&room).await, ["left", "right"]);
    }
}
