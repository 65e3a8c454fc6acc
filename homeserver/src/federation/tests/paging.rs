//! A client pages out of what its server holds into what another server knows.

use super::*;

pub(super) async fn call(
    router: &Router,
    method: &str,
    path: &str,
    token: &str,
    body: Value,
) -> Value {
    let request = Request::builder()
        .method(method)
        .uri(format!("/_matrix/client/v3{path}"))
        .header("authorization", format!("Bearer {token}"))
        .body(match body {
            Value::Null => Body::empty(),
            body => Body::from(body.to_string()),
        })
        .unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let answer: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(status.as_u16(), 200, "{answer}");
    answer
}

fn ids(page: &Value) -> Vec<String> {
    let events = page["chunk"].as_array().unwrap().iter();
    events
        .map(|event| event["event_id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_late_joiner_pages_both_ways_without_gap_or_duplicate() {
    let Pair { one, two, .. } = pair_with_bare(|_| {}).await;
    let router = router::client(&two.app);
    let account = json!({
        "username": "bob", "password": "quetzal feathers", "auth": {"type": "m.login.dummy"},
    });
    let bob_here = call(&router, "POST", "/register", "", account).await;
    let token = bob_here["access_token"].as_str().unwrap();
    let room = one.create(Preset::PublicChat, RoomVersionId::V12).await;
    for n in 0..70 {
        one.say(&room, alice(), &format!("before {n}")).await;
    }
    two.join(&room, &bob()).await.unwrap();
    let after = one.say(&room, alice(), "after").await;
    assert!(two.receive(&room, &after).await);

    let answer = call(&router, "GET", "/sync?timeout=0", token, Value::Null).await;
    let timeline = &answer["rooms"]["join"][room.as_str()]["timeline"];
    let told = timeline["events"].as_array().unwrap();
    assert_eq!(told.last().unwrap()["content"]["body"], "after");
    let seam = timeline["prev_batch"].as_str().unwrap().to_owned();
    let mut back = Vec::new();
    let mut from = Some(seam.clone());
    while let Some(token_from) = from {
        let path = format!("/rooms/{room}/messages?dir=b&limit=20&from={token_from}");
        let page = call(&router, "GET", &path, token, Value::Null).await;
        back.extend(ids(&page));
        from = page["end"].as_str().map(str::to_owned);
    }
    back.reverse();
    let path = format!("/rooms/{room}/messages?dir=f&limit=500&from={seam}");
    let forward = ids(&call(&router, "GET", &path, token, Value::Null).await);
    assert_eq!(forward.len(), told.len());
    let whole = one
        .app
        .store
        .timeline(&room, i64::MIN, Direction::Forward, 1000)
        .await
        .unwrap();
    let whole: Vec<String> = whole.iter().map(|event| event.id().to_string()).collect();
    assert_eq!([back, forward].concat(), whole);
}

#[tokio::test]
async fn a_page_larger_than_what_came_is_not_the_end() {
    let Pair { one, two, .. } = pair_with_bare(|_| {}).await;
    let router = router::client(&two.app);
    let account = json!({
        "username": "bob", "password": "quetzal feathers", "auth": {"type": "m.login.dummy"},
    });
    let bob_here = call(&router, "POST", "/register", "", account).await;
    let token = bob_here["access_token"].as_str().unwrap();
    let room = one.create(Preset::PublicChat, RoomVersionId::V12).await;
    for n in 0..260 {
        one.say(&room, alice(), &format!("before {n}")).await;
    }
    two.join(&room, &bob()).await.unwrap();
    let mut back = Vec::new();
    let mut from = String::new();
    loop {
        let path = format!("/rooms/{room}/messages?dir=b&limit=200{from}");
        let page = call(&router, "GET", &path, token, Value::Null).await;
        back.extend(ids(&page));
        let Some(end) = page["end"].as_str() else {
            break;
        };
        from = format!("&from={end}");
    }
    back.reverse();
    let whole = one
        .app
        .store
        .timeline(&room, i64::MIN, Direction::Forward, 1000)
        .await
        .unwrap();
    let whole: Vec<String> = whole.iter().map(|event| event.id().to_string()).collect();
    assert_eq!(back, whole);
}

#[tokio::test]
async fn what_happened_during_an_absence_stands_between_the_stays() {
    let Pair { one, two, .. } = pair_with_bare(|_| {}).await;
    let router = router::client(&two.app);
    let account = json!({
        "username": "bob", "password": "quetzal feathers", "auth": {"type": "m.login.dummy"},
    });
    let bob_here = call(&router, "POST", "/register", "", account).await;
    let token = bob_here["access_token"].as_str().unwrap();
    let room = one.create(Preset::PublicChat, RoomVersionId::V12).await;
    for n in 0..130 {
        one.say(&room, alice(), &format!("before {n}")).await;
    }
    for stay in 0..3 {
        two.join(&room, &bob()).await.unwrap();
        for n in 0..5 {
            let said = one.say(&room, alice(), &format!("{stay} {n}")).await;
            assert!(two.receive(&room, &said).await);
        }
        if stay == 2 {
            break;
        }
        two.app.rooms.leave(&room, &bob(), None).await.unwrap();
        let left = event_id(&two, &room).await;
        let left = two.app.store.event(&left).await.unwrap().unwrap();
        let left = projection::federation_event(&left, 0);
        let left: Value = serde_json::from_slice(&left).unwrap();
        let origin: OwnedServerName = "two.example".try_into().unwrap();
        let pdu = to_raw_value(&left).unwrap();
        one.app.rooms.receive(&origin, &room, &pdu).await.unwrap();
        for n in 0..130 {
            one.say(&room, alice(), &format!("absent {stay} {n}")).await;
        }
    }
    let mut back = Vec::new();
    let mut from = String::new();
    loop {
        let path = format!("/rooms/{room}/messages?dir=b&limit=60{from}");
        let page = call(&router, "GET", &path, token, Value::Null).await;
        back.extend(ids(&page));
        let Some(end) = page["end"].as_str() else {
            break;
        };
        from = format!("&from={end}");
        assert!(back.len() < 1000, "history has an end");
    }
    back.reverse();
    let whole = one
        .app
        .store
        .timeline(&room, i64::MIN, Direction::Forward, 1000)
        .await
        .unwrap();
    let whole: Vec<String> = whole.iter().map(|event| event.id().to_string()).collect();
    assert_eq!(back, whole);
    // And the other way round, over what is held now.
    let path = format!("/rooms/{room}/messages?dir=f&limit=500");
    let forward = ids(&call(&router, "GET", &path, token, Value::Null).await);
    assert_eq!(forward, whole);
}
