//! Stories of the room directory and of aliases.

use super::*;

const LIST: &str = "/publicRooms";

impl Server {
    async fn published(&self, creator: &User, name: &str, extra: Value) -> String {
        // Rooms of version 12 are named after their first event: two of the same moment would be one.
        self.clock.advance(std::time::Duration::from_millis(1));
        let mut body = json!({"preset": "public_chat", "visibility": "public", "name": name});
        for (key, value) in extra.as_object().cloned().unwrap_or_default() {
            body[key] = value;
        }
        let answer = expect_ok(self.post(creator, "/createRoom", body).await);
        answer["room_id"].as_str().unwrap().to_owned()
    }
}

/// The rooms of a page.
fn rooms(page: &Value) -> Vec<&str> {
    let chunk = page["chunk"].as_array().unwrap();
    chunk
        .iter()
        .map(|room| room["room_id"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn a_published_room_is_listed_with_all_that_describes_it() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let extra = json!({
        "topic": "What happens", "room_alias_name": "news",
        "creation_content": {"type": "m.space"},
        "initial_state": [
            {"type": "m.room.avatar", "content": {"url": "mxc://example.org/a"}},
            {"type": "m.room.history_visibility", "content": {"history_visibility": "world_readable"}},
            {"type": "m.room.guest_access", "content": {"guest_access": "can_join"}},
        ],
    });
    let room = server.published(&alice, "Newsroom", extra).await;
    server.room(&alice, json!({"name": "not published"})).await;
    // Nobody has to log in.
    let page = expect_ok(server.call("GET", LIST, "", Value::Null).await);
    assert_eq!(
        page["chunk"],
        json!([{
            "room_id": room, "name": "Newsroom", "topic": "What happens", "room_type": "m.space",
            "canonical_alias": "#news:example.org", "avatar_url": "mxc://example.org/a",
            "num_joined_members": 1, "join_rule": "public", "world_readable": true, "guest_can_join": true,
        }])
    );
    assert_eq!(page["total_room_count_estimate"], 1);
    assert!(page.get("next_batch").is_none() && page.get("prev_batch").is_none());
}

#[tokio::test]
async fn whoever_may_name_a_room_publishes_it_and_takes_it_back() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = server.room(&alice, json!({})).await;
    server.join(&bob, &room).await;
    let path = format!("/directory/list/room/{room}");
    let seen = |answer: Answer| expect_ok(answer)["visibility"].clone();
    assert_eq!(seen(server.get(&alice, &path).await), "private");
    let refused = server
        .put(&bob, &path, json!({"visibility": "public"}))
        .await;
    expect(&refused, 403, "M_FORBIDDEN");
    // Public is what an empty body means.
    expect_ok(server.put(&alice, &path, json!({})).await);
    expect_ok(server.put(&alice, &path, json!({})).await);
    assert_eq!(seen(server.get(&alice, &path).await), "public");
    assert_eq!(rooms(&expect_ok(server.get(&bob, LIST).await)), [&room]);
    expect_ok(
        server
            .put(&alice, &path, json!({"visibility": "private"}))
            .await,
    );
    assert_eq!(seen(server.get(&alice, &path).await), "private");
    assert!(rooms(&expect_ok(server.get(&bob, LIST).await)).is_empty());
    let unknown = "/directory/list/room/!none:example.org";
    expect(&server.get(&alice, unknown).await, 404, "M_NOT_FOUND");
    let unknown = server.put(&alice, unknown, json!({})).await;
    expect(&unknown, 404, "M_NOT_FOUND");
}

#[tokio::test]
async fn a_room_that_all_have_left_is_not_listed() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let room = server.published(&alice, "Newsroom", json!({})).await;
    expect_ok(
        server
            .post(&alice, &format!("/rooms/{room}/leave"), json!({}))
            .await,
    );
    let page = expect_ok(server.get(&alice, LIST).await);
    assert!(rooms(&page).is_empty());
}

#[tokio::test]
async fn the_directory_is_paged_forth_and_back() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let mut expected = Vec::new();
    for number in 0..5 {
        let name = format!("Room {number}");
        expected.push(server.published(&alice, &name, json!({})).await);
    }
    let largest = expected.remove(3);
    server.join(&bob, &largest).await;
    expected.sort();
    expected.insert(0, largest);
    let mut found = Vec::new();
    let mut query = String::new();
    let mut back = String::new();
    for page in 0..3 {
        let answer = expect_ok(server.get(&alice, &format!("{LIST}?limit=2{query}")).await);
        found.extend(rooms(&answer).into_iter().map(str::to_owned));
        assert_eq!(answer["total_room_count_estimate"], 5);
        assert_eq!(answer.get("prev_batch").is_some(), page > 0);
        assert_eq!(answer.get("next_batch").is_some(), page < 2);
        if page < 2 {
            query = format!("&since={}", answer["next_batch"].as_str().unwrap());
        }
        back = answer["prev_batch"].as_str().unwrap_or_default().to_owned();
    }
    assert_eq!(found, expected);
    let before = expect_ok(
        server
            .get(&alice, &format!("{LIST}?limit=2&since={back}"))
            .await,
    );
    assert_eq!(rooms(&before), expected[2..4]);
    let broken = server.get(&alice, &format!("{LIST}?since=nothing")).await;
    expect(&broken, 400, "M_INVALID_PARAM");
}

#[tokio::test]
async fn the_directory_is_searched_by_words_and_by_type() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let named = server.published(&alice, "Élections", json!({})).await;
    let topic = json!({"topic": "about ÉLECTIONS"});
    let described = server.published(&alice, "Other", topic).await;
    let space = json!({"creation_content": {"type": "m.space"}, "room_alias_name": "desk"});
    let space = server.published(&alice, "Space", space).await;
    let search = async |filter: Value| {
        let answer = server.post(&alice, LIST, json!({"filter": filter})).await;
        let page = expect_ok(answer);
        let mut found: Vec<String> = rooms(&page).into_iter().map(str::to_owned).collect();
        found.sort();
        found
    };
    let mut both = vec![named.clone(), described.clone()];
    both.sort();
    assert_eq!(
        search(json!({"generic_search_term": "élections"})).await,
        both
    );
    assert_eq!(search(json!({"room_types": [null]})).await, both);
    assert_eq!(
        search(json!({"room_types": ["m.space"]})).await,
        std::slice::from_ref(&space)
    );
    assert_eq!(
        search(json!({"generic_search_term": "#desk"})).await,
        [space]
    );
    assert_eq!(
        search(json!({"room_types": [null, "m.space"]})).await.len(),
        3
    );
    let everywhere = json!({"include_all_networks": true});
    assert_eq!(
        rooms(&expect_ok(server.post(&alice, LIST, everywhere).await)).len(),
        3
    );
    let bridged = json!({"third_party_instance_id": "irc"});
    let refused = server.post(&alice, LIST, bridged).await;
    expect(&refused, 400, "M_INVALID_PARAM");
    let nobody = server.call("POST", LIST, "", json!({})).await;
    expect(&nobody, 401, "M_MISSING_TOKEN");
}

#[tokio::test]
async fn another_servers_directory_is_asked_for_users_only() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let path = format!("{LIST}?server=elsewhere.org");
    let nobody = server.call("GET", &path, "", Value::Null).await;
    expect(&nobody, 401, "M_MISSING_TOKEN");
    // There is no such server in this test.
    assert_eq!(server.get(&alice, &path).await.0, 502);
    let own = format!("{LIST}?server=example.org");
    assert_eq!(server.get(&alice, &own).await.0, 200);
}

#[tokio::test]
async fn an_alias_is_taken_once_and_removed_with_its_canonical_place() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = server
        .room(&alice, json!({"room_alias_name": "news"}))
        .await;
    server.join(&bob, &room).await;
    let path = "/directory/room/%23news:example.org";
    let answer = expect_ok(server.get(&bob, path).await);
    assert_eq!(answer, json!({"room_id": room, "servers": ["example.org"]}));
    let again = server.put(&bob, path, json!({"room_id": room})).await;
    expect(&again, 409, "M_ROOM_IN_USE");
    expect(
        &server.call("DELETE", path, &bob.token, Value::Null).await,
        403,
        "M_FORBIDDEN",
    );
    expect_ok(server.call("DELETE", path, &alice.token, Value::Null).await);
    expect(&server.get(&bob, path).await, 404, "M_NOT_FOUND");
    expect(
        &server.call("DELETE", path, &alice.token, Value::Null).await,
        404,
        "M_NOT_FOUND",
    );
    let canonical = format!("/rooms/{room}/state/m.room.canonical_alias");
    assert_eq!(expect_ok(server.get(&bob, &canonical).await), json!({}));
    // What bob made, alice may remove: she may set the canonical alias.
    let path = "/directory/room/%23his:example.org";
    expect_ok(server.put(&bob, path, json!({"room_id": room})).await);
    expect_ok(server.call("DELETE", path, &alice.token, Value::Null).await);
}

#[tokio::test]
async fn local_aliases_are_told_to_members_and_of_rooms_that_all_may_read() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = server
        .room(&alice, json!({"room_alias_name": "news"}))
        .await;
    let path = format!("/rooms/{room}/aliases");
    let told = json!({"aliases": ["#news:example.org"]});
    assert_eq!(expect_ok(server.get(&alice, &path).await), told);
    expect(&server.get(&bob, &path).await, 403, "M_FORBIDDEN");
    let visibility = format!("/rooms/{room}/state/m.room.history_visibility");
    let open = json!({"history_visibility": "world_readable"});
    expect_ok(server.put(&alice, &visibility, open).await);
    assert_eq!(expect_ok(server.get(&bob, &path).await), told);
    let unknown = "/rooms/!none:example.org/aliases";
    expect(&server.get(&bob, unknown).await, 403, "M_FORBIDDEN");
}
