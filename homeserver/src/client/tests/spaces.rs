//! Stories of spaces, of rooms seen from outside, of threads, and of events found by their time.

use super::*;

impl Server {
    /// A space of a user with these rooms in it.
    async fn space(&self, creator: &User, children: &[&str], extra: Value) -> String {
        let mut body = json!({"creation_content": {"type": "m.space"}, "name": "Space"});
        for (key, value) in extra.as_object().cloned().unwrap_or_default() {
            body[key] = value;
        }
        let space = self.room(creator, body).await;
        for (index, child) in children.iter().enumerate() {
            let content = json!({"via": ["example.org"], "order": format!("{index:02}")});
            self.adopt(creator, &space, child, content).await;
        }
        space
    }

    async fn adopt(&self, user: &User, space: &str, child: &str, content: Value) {
        let path = format!("/rooms/{space}/state/m.space.child/{child}");
        expect_ok(self.put(user, &path, content).await);
    }

    async fn hierarchy(&self, user: &User, space: &str, query: &str) -> Answer {
        let path = format!("/_matrix/client/v1/rooms/{space}/hierarchy?{query}");
        self.get(user, &path).await
    }
}

fn ids(page: &Value) -> Vec<&str> {
    let rooms = page["rooms"].as_array().unwrap();
    rooms
        .iter()
        .map(|room| room["room_id"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn a_space_is_walked_depth_first_in_the_order_of_its_children() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let inner_room = server.room(&alice, json!({"name": "inner"})).await;
    let inner = server.space(&alice, &[&inner_room], json!({})).await;
    let last = server.room(&alice, json!({"name": "last"})).await;
    let space = server.space(&alice, &[&inner, &last], json!({})).await;
    // A loop is walked once.
    let back = json!({"via": ["example.org"]});
    server.adopt(&alice, &inner, &space, back).await;
    // A child that was taken out, and one that leads nowhere.
    server
        .adopt(&alice, &space, "!gone:example.org", json!({}))
        .await;
    let page = expect_ok(server.hierarchy(&alice, &space, "").await);
    assert_eq!(ids(&page), [&space, &inner, &inner_room, &last]);
    assert!(page.get("next_batch").is_none());
    let root = &page["rooms"][0];
    assert_eq!(
        (&root["room_type"], &root["join_rule"]),
        (&json!("m.space"), &json!("public"))
    );
    let children = root["children_state"].as_array().unwrap();
    assert_eq!(children.len(), 2);
    let child = &children[0];
    assert_eq!(child["state_key"], inner);
    assert_eq!(child["type"], "m.space.child");
    assert_eq!(child["sender"], alice.id);
    assert_eq!(
        child["content"],
        json!({"via": ["example.org"], "order": "00"})
    );
    assert!(child["origin_server_ts"].is_i64() && child.get("event_id").is_none());
    assert_eq!(page["rooms"][3]["children_state"], json!([]));
    let flat = expect_ok(server.hierarchy(&alice, &space, "max_depth=1").await);
    assert_eq!(ids(&flat), [&space, &inner, &last]);
    let alone = expect_ok(server.hierarchy(&alice, &space, "max_depth=0").await);
    assert_eq!(ids(&alone), [&space]);
}

#[tokio::test]
async fn a_space_is_paged_by_the_same_rules() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let mut rooms = Vec::new();
    for number in 0..4 {
        rooms.push(
            server
                .room(&alice, json!({"name": format!("{number}")}))
                .await,
        );
    }
    let children: Vec<&str> = rooms.iter().map(String::as_str).collect();
    let space = server.space(&alice, &children, json!({})).await;
    let mut found = Vec::new();
    let mut from = String::new();
    loop {
        let page = expect_ok(
            server
                .hierarchy(&alice, &space, &format!("limit=2{from}"))
                .await,
        );
        found.extend(ids(&page).into_iter().map(str::to_owned));
        match page["next_batch"].as_str() {
            Some(next) => from = format!("&from={next}"),
            None => break,
        }
    }
    let mut expected = vec![space.clone()];
    expected.extend(rooms);
    assert_eq!(found, expected);
    for query in [
        format!("limit=2{from}&max_depth=3"),
        format!("limit=2{from}&suggested_only=true"),
        "from=nothing".to_owned(),
        "limit=0".to_owned(),
        "max_depth=-1".to_owned(),
    ] {
        let refused = server.hierarchy(&alice, &space, &query).await;
        expect(&refused, 400, "M_INVALID_PARAM");
    }
}

#[tokio::test]
async fn only_suggested_children_are_shown_if_asked_for() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let (one, two) = (
        server.room(&alice, json!({})).await,
        server.room(&alice, json!({})).await,
    );
    let space = server.space(&alice, &[&one], json!({})).await;
    let suggested = json!({"via": ["example.org"], "suggested": true});
    server.adopt(&alice, &space, &two, suggested).await;
    let page = expect_ok(
        server
            .hierarchy(&alice, &space, "suggested_only=true")
            .await,
    );
    assert_eq!(ids(&page), [&space, &two]);
    let children = page["rooms"][0]["children_state"].as_array().unwrap();
    assert_eq!(children.len(), 1);
}

#[tokio::test]
async fn a_user_sees_of_a_space_what_they_could_enter() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let private = json!({"preset": "private_chat"});
    let hidden = server.room(&alice, private.clone()).await;
    let rule = |content: Value| {
        let state = json!([{"type": "m.room.join_rules", "content": content}]);
        json!({"preset": "private_chat", "initial_state": state})
    };
    let knock = server
        .room(&alice, rule(json!({"join_rule": "knock"})))
        .await;
    let odd = server
        .room(&alice, rule(json!({"join_rule": "org.odd"})))
        .await;
    let invited = json!({"preset": "private_chat", "invite": [bob.id]});
    let invited = server.room(&alice, invited).await;
    let lobby = server.room(&alice, json!({})).await;
    let allow = json!([{"type": "m.room_membership", "room_id": lobby}]);
    let restricted = json!({"join_rule": "restricted", "allow": allow});
    let restricted = server.room(&alice, rule(restricted)).await;
    let children = [&*hidden, &*knock, &*odd, &*invited, &*restricted];
    let space = server.space(&alice, &children, json!({})).await;
    let all = expect_ok(server.hierarchy(&alice, &space, "").await);
    assert_eq!(ids(&all).len(), 6, "who is in them sees all");
    let page = expect_ok(server.hierarchy(&bob, &space, "").await);
    assert_eq!(ids(&page), [&space, &knock, &invited]);
    server.join(&bob, &lobby).await;
    let page = expect_ok(server.hierarchy(&bob, &space, "").await);
    assert_eq!(ids(&page), [&space, &knock, &invited, &restricted]);
    assert_eq!(page["rooms"][3]["allowed_room_ids"], json!([lobby]));
    expect(
        &server.hierarchy(&bob, &hidden, "").await,
        403,
        "M_FORBIDDEN",
    );
    expect(
        &server.hierarchy(&bob, "!none:example.org", "").await,
        403,
        "M_FORBIDDEN",
    );
    expect_ok(
        server
            .post(
                &alice,
                &format!("/rooms/{knock}/ban"),
                json!({"user_id": bob.id}),
            )
            .await,
    );
    let page = expect_ok(server.hierarchy(&bob, &space, "").await);
    assert_eq!(ids(&page), [&space, &invited, &restricted]);
}

#[tokio::test]
async fn a_room_is_summarised_for_those_who_could_enter() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let extra = json!({"name": "News", "room_alias_name": "news", "room_version": "11",
        "initial_state": [{"type": "m.room.encryption", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}]});
    let room = server.room(&alice, extra).await;
    let summary = async |who: &str, name: &str| {
        let path = format!("/_matrix/client/v1/room_summary/{name}");
        server.call("GET", &path, who, Value::Null).await
    };
    let expected = json!({
        "room_id": room, "name": "News", "canonical_alias": "#news:example.org", "join_rule": "public",
        "num_joined_members": 1, "world_readable": false, "guest_can_join": false,
        "encryption": "m.megolm.v1.aes-sha2", "room_version": "11",
    });
    assert_eq!(expect_ok(summary("", &room).await), expected);
    for (user, membership) in [(&alice, "join"), (&bob, "leave")] {
        let mut expected = expected.clone();
        expected["membership"] = json!(membership);
        let name = "%23news:example.org";
        assert_eq!(expect_ok(summary(&user.token, name).await), expected);
    }
    let hidden = server.room(&alice, json!({"preset": "private_chat"})).await;
    let none = "!none:example.org";
    for (who, name) in [
        ("", &*hidden),
        (&*bob.token, &*hidden),
        ("", none),
        (&*bob.token, none),
    ] {
        expect(&summary(who, name).await, 404, "M_NOT_FOUND");
    }
    assert_eq!(summary(&alice.token, &hidden).await.0, 200);
    expect(
        &summary("", "%23none:example.org").await,
        404,
        "M_NOT_FOUND",
    );
}

#[tokio::test]
async fn events_are_found_by_their_time() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = server.room(&alice, json!({})).await;
    let mut sent = Vec::new();
    for number in 0..3 {
        server.clock.advance(std::time::Duration::from_secs(60));
        let id = server.say(&alice, &room, &format!("m{number}")).await;
        let event = expect_ok(
            server
                .get(&alice, &format!("/rooms/{room}/event/{id}"))
                .await,
        );
        sent.push((id, event["origin_server_ts"].as_i64().unwrap()));
    }
    let find = async |user: &User, ts: i64, dir: &str| {
        let path = format!("/_matrix/client/v1/rooms/{room}/timestamp_to_event?ts={ts}&dir={dir}");
        server.get(user, &path).await
    };
    let (middle, at) = &sent[1];
    let expected = json!({"event_id": middle, "origin_server_ts": at});
    for (ts, dir) in [
        (*at, "f"),
        (*at, "b"),
        (at - 1, "f"),
        (at + 1, "b"),
        (sent[0].1 + 1, "f"),
    ] {
        assert_eq!(
            expect_ok(find(&alice, ts, dir).await),
            expected,
            "{ts} {dir}"
        );
    }
    expect(&find(&alice, sent[2].1 + 1, "f").await, 404, "M_NOT_FOUND");
    expect(&find(&alice, 1, "b").await, 404, "M_NOT_FOUND");
    expect(&find(&bob, *at, "b").await, 403, "M_FORBIDDEN");
    expect(&find(&alice, -1, "b").await, 400, "M_INVALID_PARAM");
    expect(&find(&alice, 1, "x").await, 400, "M_INVALID_PARAM");
}

#[tokio::test]
async fn events_that_may_not_be_seen_are_not_found_by_their_time() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let state =
        json!([{"type": "m.room.history_visibility", "content": {"history_visibility": "joined"}}]);
    let room = server.room(&alice, json!({"initial_state": state})).await;
    server.clock.advance(std::time::Duration::from_secs(60));
    let hidden = server.say(&alice, &room, "before").await;
    let hidden = format!("/rooms/{room}/event/{hidden}");
    let hidden = expect_ok(server.get(&alice, &hidden).await);
    server.clock.advance(std::time::Duration::from_secs(60));
    server.join(&bob, &room).await;
    let ts = &hidden["origin_server_ts"];
    let path = format!("/_matrix/client/v1/rooms/{room}/timestamp_to_event?ts={ts}&dir=f");
    let found = expect_ok(server.get(&bob, &path).await);
    let id = found["event_id"].as_str().unwrap();
    let event = expect_ok(server.get(&bob, &format!("/rooms/{room}/event/{id}")).await);
    assert_eq!(
        (&event["type"], &event["state_key"]),
        (&json!("m.room.member"), &json!(bob.id))
    );
}

/// Answers in a thread; the answer's id.
async fn reply(server: &Server, user: &User, room: &str, root: &str, text: &str) -> String {
    let content = json!({
        "msgtype": "m.text", "body": text, "m.relates_to": {"rel_type": "m.thread", "event_id": root},
    });
    let path = format!("/rooms/{room}/send/m.room.message/{text}");
    let answer = expect_ok(server.put(user, &path, content).await);
    answer["event_id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn threads_are_listed_by_their_newest_answer() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = server.room(&alice, json!({})).await;
    server.join(&bob, &room).await;
    let mut roots = Vec::new();
    for number in 0..3 {
        let root = server.say(&alice, &room, &format!("root{number}")).await;
        reply(&server, &alice, &room, &root, &format!("a{number}")).await;
        roots.push(root);
    }
    server.say(&alice, &room, "no_thread").await;
    reply(&server, &bob, &room, &roots[0], "newest").await;
    let list = async |user: &User, query: &str| {
        let path = format!("/_matrix/client/v1/rooms/{room}/threads?{query}");
        server.get(user, &path).await
    };
    let of = |page: &Value| -> Vec<String> {
        let chunk = page["chunk"].as_array().unwrap();
        chunk
            .iter()
            .map(|event| event["event_id"].as_str().unwrap().to_owned())
            .collect()
    };
    let all = expect_ok(list(&bob, "").await);
    let expected = [&*roots[0], &*roots[2], &*roots[1]];
    assert_eq!(of(&all), expected);
    assert!(all.get("next_batch").is_none());
    let bundled = &all["chunk"][0]["unsigned"]["m.relations"]["m.thread"];
    assert_eq!(
        (&bundled["count"], &bundled["current_user_participated"]),
        (&json!(2), &json!(true))
    );
    let his = expect_ok(list(&bob, "include=participated").await);
    assert_eq!(of(&his), [&*roots[0]]);
    let mut found = Vec::new();
    let mut from = String::new();
    for _ in 0..4 {
        let page = expect_ok(list(&bob, &format!("limit=1{from}")).await);
        found.extend(of(&page));
        match page["next_batch"].as_str() {
            Some(next) => from = format!("&from={next}"),
            None => break,
        }
    }
    assert_eq!(found, expected);
    expect(&list(&bob, "from=x").await, 400, "M_INVALID_PARAM");
    expect(&list(&bob, "include=some").await, 400, "M_INVALID_PARAM");
    expect(&list(&bob, "limit=0").await, 400, "M_INVALID_PARAM");
    let carol = server.register("carol").await;
    expect(&list(&carol, "").await, 403, "M_FORBIDDEN");
}

#[tokio::test]
async fn an_event_of_another_room_does_not_relate() {
    let server = Server::start().await;
    let (alice, mallory) = (
        server.register("alice").await,
        server.register("mallory").await,
    );
    let room = server.room(&alice, json!({})).await;
    let root = server.say(&alice, &room, "root").await;
    let other = server.room(&mallory, json!({})).await;
    reply(&server, &mallory, &other, &root, "forged").await;
    let path = format!("/_matrix/client/v1/rooms/{room}/threads");
    assert_eq!(
        expect_ok(server.get(&alice, &path).await)["chunk"],
        json!([])
    );
}
