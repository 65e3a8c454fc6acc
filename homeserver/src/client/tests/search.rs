//! Search: words, order, pages, context, and what must not be found.

use super::*;

impl Server {
    async fn search(&self, user: &User, criteria: Value, next: &str) -> Value {
        let path = match next {
            "" => "/search".to_owned(),
            token => format!("/search?next_batch={token}"),
        };
        let body = json!({"search_categories": {"room_events": criteria}});
        let answer = expect_ok(self.post(user, &path, body).await);
        answer["search_categories"]["room_events"].clone()
    }
}

fn bodies_of(results: &Value) -> Vec<String> {
    let results = results["results"].as_array().cloned().unwrap_or_default();
    results
        .iter()
        .map(|found| {
            found["result"]["content"]["body"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect()
}

#[tokio::test]
async fn words_are_found_in_ones_own_rooms() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = server.room(&alice, json!({"name": "Martians"})).await;
    for text in [
        "Martians and men",
        "men alone",
        "a martians tale, martians!",
    ] {
        server.say(&alice, &room, text).await;
    }
    let recent = json!({"search_term": "MARTIANS", "keys": ["content.body"], "order_by": "recent"});
    let found = server.search(&alice, recent.clone(), "").await;
    assert_eq!(
        bodies_of(&found),
        ["a martians tale, martians!", "Martians and men"]
    );
    assert_eq!(found["count"], 2);
    assert_eq!(found["highlights"], json!(["martians"]));
    assert_eq!(found["results"][0]["result"]["room_id"], room);
    assert!(found["results"][0].get("context").is_none());
    let both = json!({"search_term": "men martians"});
    let found = server.search(&alice, both, "").await;
    assert_eq!(bodies_of(&found), ["Martians and men"]);
    let name = json!({"search_term": "martians", "keys": ["content.name"]});
    let found = server.search(&alice, name, "").await;
    assert_eq!(found["results"][0]["result"]["type"], "m.room.name");
    assert_eq!(server.search(&bob, recent, "").await["count"], 0);
    let answer = server.post(&alice, "/search", json!({})).await;
    expect(&answer, 400, "M_BAD_JSON");
    let body = json!({"search_categories": {"room_events": {"search_term": "x"}}});
    let answer = server.post(&alice, "/search?next_batch=zzz", body).await;
    expect(&answer, 400, "M_INVALID_PARAM");
}

#[tokio::test]
async fn results_come_in_pages_with_what_was_said_around_them() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let room = server.room(&alice, json!({})).await;
    for n in 0..5 {
        server.say(&alice, &room, &format!("word {n}")).await;
    }
    let criteria = json!({
        "search_term": "word", "order_by": "recent", "filter": {"limit": 2, "rooms": [room]},
        "event_context": {"before_limit": 1, "after_limit": 1, "include_profile": true},
        "groupings": {"group_by": [{"key": "room_id"}]}, "include_state": true,
    });
    let first = server.search(&alice, criteria.clone(), "").await;
    assert_eq!(bodies_of(&first), ["word 4", "word 3"]);
    let context = &first["results"][1]["context"];
    assert_eq!(context["events_before"][0]["content"]["body"], "word 2");
    assert_eq!(context["events_after"][0]["content"]["body"], "word 4");
    assert!(context["start"].is_string() && context["end"].is_string());
    assert!(context["profile_info"][&alice.id].is_object());
    assert_eq!(
        first["groups"]["room_id"][&room]["results"]
            .as_array()
            .map(Vec::len),
        Some(2)
    );
    // A token inside a group would be one of the group alone.
    assert!(
        first["groups"]["room_id"][&room]
            .get("next_batch")
            .is_none()
    );
    assert!(
        first["state"][&room]
            .as_array()
            .is_some_and(|state| !state.is_empty())
    );
    // What is said meanwhile shifts nothing.
    server.say(&alice, &room, "word later").await;
    let token = first["next_batch"].as_str().unwrap().to_owned();
    let second = server.search(&alice, criteria.clone(), &token).await;
    assert_eq!(bodies_of(&second), ["word 2", "word 1"]);
    let token = second["next_batch"].as_str().unwrap().to_owned();
    let last = server.search(&alice, criteria, &token).await;
    assert_eq!(bodies_of(&last), ["word 0"]);
    assert!(last.get("next_batch").is_none());
}

#[tokio::test]
async fn what_was_redacted_is_not_found() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let room = server.room(&alice, json!({})).await;
    let secret = server.say(&alice, &room, "secret one").await;
    server.say(&alice, &room, "secret two").await;
    let path = format!("/rooms/{room}/redact/{secret}/1");
    expect_ok(server.put(&alice, &path, json!({})).await);
    for order in ["recent", "rank"] {
        let criteria = json!({"search_term": "secret", "order_by": order});
        let found = server.search(&alice, criteria, "").await;
        assert_eq!(bodies_of(&found), ["secret two"]);
    }
}
