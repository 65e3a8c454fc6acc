//! What our users see of what another server sends, however it lies.

use std::collections::BTreeSet;

use bytes::Bytes;
use http::{HeaderMap, Response};

use super::{invites::Invite, *};
use crate::config::Resource;

const MEDIA: &str = "/_matrix/client/v1/media/download/peer.org";

/// Alice with a client.
struct Reader {
    router: Router,
    token: String,
    device: String,
}

/// What she was answered.
struct Seen {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Seen {
    fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

impl Reader {
    async fn start(world: &World) -> Self {
        let served = BTreeSet::from([Resource::Client, Resource::Media]);
        let mut reader = Self {
            router: router::routes(&world.app, &served),
            token: String::new(),
            device: String::new(),
        };
        let account = json!({
            "username": "alice", "password": "quetzal feathers", "auth": {"type": "m.login.dummy"},
        });
        let path = "/_matrix/client/v3/register";
        let answer = reader.ask("POST", path, account.to_string()).await.json();
        reader.token = answer["access_token"].as_str().unwrap().to_owned();
        reader.device = answer["device_id"].as_str().unwrap().to_owned();
        reader
    }

    async fn ask(&self, method: &str, path: &str, body: String) -> Seen {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token));
        let request = request.body(Body::from(body)).unwrap();
        let answer = self.router.clone().oneshot(request).await.unwrap();
        Seen {
            status: answer.status().as_u16(),
            headers: answer.headers().clone(),
            body: answer.into_body().collect().await.unwrap().to_bytes(),
        }
    }

    async fn get(&self, path: &str) -> Seen {
        self.ask("GET", path, String::new()).await
    }

    async fn sync(&self) -> Value {
        let seen = self.get("/_matrix/client/v3/sync").await;
        assert_eq!(seen.status, 200);
        seen.json()
    }
}

/// An answer with a file.
fn multipart(headers: &str, file: &str, end: &str) -> Response<Bytes> {
    let body = format!(
        "\r\n--XYZ\r\nContent-Type: application/json\r\n\r\n{{}}\r\n--XYZ\r\n{headers}\r\n\r\n{file}{end}"
    );
    let kind = "multipart/mixed; boundary=XYZ";
    let response = Response::builder().header(header::CONTENT_TYPE, kind);
    response.body(body.into()).unwrap()
}

const END: &str = "\r\n--XYZ--\r\n";

#[tokio::test]
async fn media_of_another_server_run_in_no_browser() {
    let world = World::start().await;
    let alice = Reader::start(&world).await;
    for (kind, shown) in [
        ("text/html", "attachment"),
        ("TEXT/HTML; charset=utf-8", "attachment"),
        ("image/svg+xml", "attachment"),
        ("application/xhtml+xml", "attachment"),
        ("text/javascript", "attachment"),
        ("nonsense", "attachment"),
        // The control.
        ("image/png", "inline"),
    ] {
        world.network.serve(peer_name(), move |_| {
            // What that server would have a browser do with it does not count.
            let headers = format!("Content-Type: {kind}\r\nContent-Disposition: inline");
            multipart(&headers, "<script>", END)
        });
        let seen = alice.get(&format!("{MEDIA}/abc")).await;
        assert_eq!((seen.status, &seen.body[..]), (200, &b"<script>"[..]));
        let disposition = seen.header("content-disposition");
        assert!(disposition.starts_with(shown), "{kind}: {disposition}");
        assert!(
            seen.header("content-security-policy")
                .starts_with("sandbox;")
        );
        assert_eq!(seen.header("x-content-type-options"), "nosniff");
    }
}

#[tokio::test]
async fn media_that_are_too_long_or_cut_off_are_refused() {
    let world = World::with(|config| config.media.upload_bytes_max = 1_000).await;
    let alice = Reader::start(&world).await;
    let png = "Content-Type: image/png";
    let long = |bytes: usize| "x".repeat(bytes);
    let answers = [
        multipart(png, &long(1_001), END),
        multipart(png, &long(100_000), END),
        // No end, or the end of something else.
        multipart(png, "half", ""),
        multipart(png, "half", "\r\n--ABC--\r\n"),
        answer(200, "{}"),
        answer(200, ""),
        answer(302, "{}"),
    ];
    for (n, wrong) in answers.into_iter().enumerate() {
        let before = world.network.requests().len();
        world.network.serve(peer_name(), move |_| wrong.clone());
        let seen = alice.get(&format!("{MEDIA}/abc")).await;
        let expected = if n < 2 {
            (502, "M_TOO_LARGE")
        } else {
            (502, "M_UNKNOWN")
        };
        let errcode = seen.json()["errcode"].clone();
        assert_eq!(
            (seen.status, errcode.as_str()),
            (expected.0, Some(expected.1)),
            "{n}"
        );
        let asked = world.network.requests().len() - before;
        assert_eq!(asked, 1, "{n}: nothing is followed");
    }
    // The control: as long as a file may be.
    let largest = multipart(png, &long(1_000), END);
    world.network.serve(peer_name(), move |_| largest.clone());
    let seen = alice.get(&format!("{MEDIA}/abc")).await;
    assert_eq!((seen.status, seen.header("content-length")), (200, "1000"));
}

#[tokio::test]
async fn media_that_lie_elsewhere_are_fetched_from_there_and_no_further() {
    let world = World::with(|config| config.media.upload_bytes_max = 1_000).await;
    let alice = Reader::start(&world).await;
    let cdn = ruma::server_name!("cdn.example");
    let point_to = |location: &str| {
        let pointer = multipart(&format!("Location: {location}"), "", END);
        world.network.serve(peer_name(), move |_| pointer.clone());
    };
    let file = |status: u16, bytes: usize| {
        let response = Response::builder().status(status);
        let response = response
            .header(header::CONTENT_TYPE, "image/png")
            .header(header::LOCATION, "https://cdn.example/further");
        response.body(Bytes::from("x".repeat(bytes))).unwrap()
    };
    let asked = || {
        let requests = world.network.requests().into_iter();
        let of_cdn = requests.filter(|(server, _)| server == cdn);
        of_cdn.map(|(_, request)| request).collect::<Vec<_>>()
    };
    for (location, status, bytes, expected) in [
        ("https://cdn.example/a/b?c=d", 200, 1_000, (200, 1)),
        ("https://cdn.example/a/b?c=d", 200, 1_001, (502, 1)),
        ("https://cdn.example/a/b?c=d", 302, 5, (502, 1)),
        ("https://cdn.example/a/b?c=d", 404, 5, (404, 1)),
        ("http://cdn.example/a/b?c=d", 200, 5, (502, 0)),
        ("file:///etc/hostname", 200, 5, (502, 0)),
        ("/a/b?c=d", 200, 5, (502, 0)),
    ] {
        point_to(location);
        world.network.serve(cdn, move |_| file(status, bytes));
        let before = asked().len();
        let seen = alice.get(&format!("{MEDIA}/abc")).await;
        let times = asked().len() - before;
        assert_eq!((seen.status, times), expected, "{location} {status}");
        if expected.0 == 200 {
            assert_eq!(
                (seen.header("content-type"), seen.body.len()),
                ("image/png", bytes)
            );
        }
    }
    for request in asked() {
        assert_eq!(request.uri(), "/a/b?c=d");
        assert!(request.headers().is_empty(), "nobody learns who asks");
    }
}

#[tokio::test]
async fn a_server_that_knows_no_signed_download_is_asked_as_before() {
    let world = World::start().await;
    let alice = Reader::start(&world).await;
    world.network.serve(peer_name(), |request| {
        match request
            .uri()
            .path()
            .starts_with("/_matrix/media/v3/download/peer.org/abc")
        {
            true => answer(200, "old"),
            false => answer(404, r#"{"errcode":"M_UNRECOGNIZED","error":"?"}"#),
        }
    });
    let seen = alice.get(&format!("{MEDIA}/abc")).await;
    assert_eq!((seen.status, &seen.body[..]), (200, &b"old"[..]));
    let requests = world.network.requests();
    let (_, last) = requests.last().unwrap();
    assert!(last.uri().query().unwrap().contains("allow_remote=false"));
    // The control: what it does not have is not asked for twice.
    let before = requests.len();
    world.network.serve(peer_name(), |_| {
        answer(404, r#"{"errcode":"M_NOT_FOUND","error":"?"}"#)
    });
    let seen = alice.get(&format!("{MEDIA}/def")).await;
    assert_eq!(
        (seen.status, world.network.requests().len()),
        (404, before + 1)
    );
}

#[tokio::test]
async fn ids_that_are_paths_are_asked_of_nobody() {
    let world = World::start().await;
    let alice = Reader::start(&world).await;
    let asked = || world.network.count(peer_name());
    let before = asked();
    for id in [
        "..%2F..%2Fadmin",
        "%2e%2e",
        "a%2Fb",
        "a%3Fb",
        "a%00",
        "a%0d%0aHost:x",
    ] {
        let seen = alice.get(&format!("{MEDIA}/{id}")).await;
        assert_eq!((seen.status, asked()), (404, before), "{id}");
    }
    // The control.
    alice.get(&format!("{MEDIA}/honest-ID_1")).await;
    assert_eq!(asked(), before + 1);
}

fn shown(kind: &str, state_key: Value, content: Value) -> Value {
    json!([{"type": kind, "sender": bob(), "state_key": state_key, "content": content}])
}

#[tokio::test]
async fn whatever_an_invite_shows_of_its_room_sync_goes_on() {
    let name = |content: Value| shown("m.room.name", json!(""), content);
    let many: Vec<Value> = (0..5_000)
        .map(|n| json!({"type": "m.room.member", "sender": bob(), "state_key": n.to_string(), "content": {}}))
        .collect();
    for state in [
        json!([5, null, "x", [], {}]),
        json!({"a": 1}),
        name(json!([])),
        name(json!({"name": {"a": [1]}})),
        name(json!({"name": "x".repeat(60_000)})),
        shown("m.room.name", json!(7), json!({})),
        shown(
            "m.room.create",
            json!(""),
            json!({"type": 5, "room_version": {}, "predecessor": "x"}),
        ),
        shown("m.room.member", json!(alice()), json!({"membership": 5})),
        shown(
            "m.room.join_rules",
            json!(""),
            json!({"join_rule": "odd", "allow": 5}),
        ),
        shown("m.room.encryption", json!(""), json!({"algorithm": []})),
        shown("m.room.canonical_alias", json!(""), json!({"alias": "#"})),
        shown("", json!(""), json!({"": {"": -9007199254740991_i64}})),
        json!(many),
    ] {
        let world = World::start().await;
        let own = world.shared_room().await;
        let alice = Reader::start(&world).await;
        let (status, answer) = world.bring_with(&Invite::default(), state, |_| {}).await;
        assert!([200, 400].contains(&status), "{answer}");
        let sync = alice.sync().await;
        assert!(sync["rooms"]["join"][own.as_str()].is_object(), "{sync}");
    }
    // The control: what an honest one shows is seen.
    let world = World::start().await;
    let alice = Reader::start(&world).await;
    let honest = name(json!({"name": "Newsroom"}));
    world.bring_with(&Invite::default(), honest, |_| {}).await;
    let sync = alice.sync().await;
    assert!(sync["rooms"]["invite"].to_string().contains("Newsroom"));
}

#[tokio::test]
async fn nobody_sends_to_devices_in_anothers_name() {
    let world = World::start().await;
    world.shared_room().await;
    let reader = Reader::start(&world).await;
    let message = |sender: &str| {
        json!({
            "sender": sender, "type": "m.room_key_request", "message_id": sender,
            "messages": {alice(): {&reader.device: {"from": sender}}},
        })
    };
    for (n, sender) in ["@carol:third.org", "@alice:here.org", "@bob:peer.org"]
        .iter()
        .enumerate()
    {
        world
            .edu(&n.to_string(), "m.direct_to_device", message(sender))
            .await;
    }
    let sync = reader.sync().await;
    let events = sync["to_device"]["events"].as_array().unwrap();
    // The control is Bob's, who is of the server that sends.
    let senders: Vec<_> = events.iter().map(|event| &event["sender"]).collect();
    assert_eq!(senders, ["@bob:peer.org"]);
}
