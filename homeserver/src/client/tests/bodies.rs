//! What becomes of bodies that are none, at every endpoint that takes one.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#standard-error-response>

use http::Method;

use super::*;
use crate::http::route::table;

/// Endpoints whose body is a file.
const FILES: [&str; 2] = ["/_matrix/media/v3/upload", "/_matrix/media/v3/upload/{}/{}"];

/// Endpoints whose body has members that the specification requires, with what they require.
const REQUIRING: [&str; 38] = [
    "POST /v3/account/3pid/add",
    "POST /v3/account/3pid/bind",
    "POST /v3/account/3pid/delete",
    "POST /v3/account/3pid/email/requestToken",
    "POST /v3/account/3pid/msisdn/requestToken",
    "POST /v3/account/3pid/unbind",
    "POST /v3/account/password",
    "POST /v3/account/password/email/requestToken",
    "POST /v3/account/password/msisdn/requestToken",
    "POST /v3/delete_devices",
    "POST /v3/keys/claim",
    "POST /v3/keys/query",
    "POST /v3/login",
    "POST /v3/pushers/set",
    "POST /v3/refresh",
    "POST /v3/register/email/requestToken",
    "POST /v3/register/msisdn/requestToken",
    "POST /v3/room_keys/version",
    "POST /v3/rooms/{}/ban",
    "POST /v3/rooms/{}/invite",
    "POST /v3/rooms/{}/kick",
    "POST /v3/rooms/{}/unban",
    "POST /v3/rooms/{}/upgrade",
    "POST /v3/search",
    "POST /v3/user_directory/search",
    "PUT /v1/admin/lock/{}",
    "PUT /v1/admin/suspend/{}",
    "PUT /v3/directory/room/{}",
    "PUT /v3/presence/{}/status",
    "PUT /v3/pushrules/global/{}/{}",
    "PUT /v3/pushrules/global/{}/{}/actions",
    "PUT /v3/pushrules/global/{}/{}/enabled",
    "PUT /v3/room_keys/keys",
    "PUT /v3/room_keys/keys/{}",
    "PUT /v3/room_keys/keys/{}/{}",
    "PUT /v3/room_keys/version/{}",
    "PUT /v3/rooms/{}/typing/{}",
    "PUT /v3/sendToDevice/{}/{}",
];

/// An endpoint that takes a body.
struct Endpoint {
    method: Method,
    /// Its path as in the specification, with `{}` for what varies.
    path: String,
    /// Its path in the story.
    filled: String,
}

/// All of them, as the router has them.
fn endpoints(user: &User, room: &str, event: &str) -> Vec<Endpoint> {
    let state = "/_matrix/client/v3/rooms/{room_id}/state/{event_type}";
    let search = "/_matrix/client/v3/search";
    let apart = [(Method::PUT, state), (Method::POST, search)];
    let noted = table::noted().into_iter().chain(apart);
    let of = |(method, path): (Method, &str)| {
        let parts = path.split('/').map(|part| match part {
            "{user_id}" => &*user.id,
            "{room_id}" | "{room_id_or_alias}" => room,
            "{event_id}" => event,
            "{device_id}" => &*user.device,
            "{kind}" => "override",
            "{receipt_type}" => "m.read",
            "{room_alias}" => "%23new:example.org",
            part if part.starts_with('{') => "x",
            part => part,
        });
        let filled: Vec<&str> = parts.collect();
        let parts = path.split('/');
        let parts = parts.map(|part| if part.starts_with('{') { "{}" } else { part });
        Endpoint {
            method,
            path: parts.collect::<Vec<_>>().join("/"),
            filled: filled.join("/"),
        }
    };
    let is_meant = |endpoint: &Endpoint| {
        let is_file = FILES.contains(&&*endpoint.path);
        // What stands at several paths is one endpoint.
        let is_other = ["/r0/", "/unstable/"].map(|part| endpoint.path.contains(part));
        [Method::POST, Method::PUT].contains(&endpoint.method) && !is_file && is_other == [false; 2]
    };
    noted.map(of).filter(is_meant).collect()
}

/// What is wrong with an answer to a body, if anything.
fn fault(endpoint: &Endpoint, body: &str, answer: &Answer) -> Option<&'static str> {
    let (status, errcode) = (answer.0, answer.1["errcode"].as_str());
    let short = endpoint.path.trim_start_matches("/_matrix/client");
    let is_requiring = REQUIRING.contains(&&*format!("{} {short}", endpoint.method));
    if status >= 500 {
        return Some("no fault of the client's");
    }
    if status >= 400 && errcode.is_none() && answer.1["flows"].is_null() {
        return Some("no errcode");
    }
    match body {
        "[]" if (status, errcode) != (400, Some("M_BAD_JSON")) => Some("JSON of another shape"),
        "{\"a\":" if (status, errcode) != (400, Some("M_NOT_JSON")) => Some("no JSON"),
        "" if endpoint.method == Method::PUT && (status, errcode) != (400, Some("M_NOT_JSON")) => {
            Some("nothing is no JSON")
        }
        "" if is_requiring && (status, errcode) != (400, Some("M_NOT_JSON")) => {
            Some("nothing is no JSON where something is required")
        }
        "{}" if is_requiring && !matches!(errcode, Some("M_BAD_JSON" | "M_MISSING_PARAM")) => {
            Some("a required member is missing")
        }
        _ => None,
    }
}

#[tokio::test]
async fn a_body_that_is_none_is_the_clients_fault_everywhere() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let room = server.room(&alice, json!({})).await;
    let event = server.say(&alice, &room, "one").await;
    let endpoints = endpoints(&alice, &room, &event);
    for required in REQUIRING {
        let is_there = |endpoint: &Endpoint| {
            let short = endpoint.path.trim_start_matches("/_matrix/client");
            format!("{} {short}", endpoint.method) == required
        };
        assert!(endpoints.iter().any(is_there), "{required}");
    }
    let mut faults = Vec::new();
    for endpoint in &endpoints {
        for body in ["[]", "{\"a\":", "", "{}"] {
            // Some of them end the session.
            let user = server.login("alice").await;
            let answer = server
                .send(
                    endpoint.method.as_str(),
                    &endpoint.filled,
                    &user.token,
                    Body::from(body),
                )
                .await;
            if let Some(fault) = fault(endpoint, body, &answer) {
                let (method, path) = (&endpoint.method, &endpoint.path);
                faults.push(format!("{method} {path} {body:?}: {fault}: {answer:?}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[tokio::test]
async fn a_login_without_json_is_none() {
    let server = Server::start().await;
    server.register("alice").await;
    for (body, errcode) in [
        ("", "M_NOT_JSON"),
        ("type=m.login.password", "M_NOT_JSON"),
        ("{\"type\":", "M_NOT_JSON"),
        ("\"m.login.password\"", "M_BAD_JSON"),
        ("null", "M_BAD_JSON"),
        ("{}", "M_BAD_JSON"),
        ("{\"type\":3}", "M_BAD_JSON"),
        ("{\"type\":\"m.login.password\"}", "M_BAD_JSON"),
        ("{\"type\":\"org.example.none\"}", "M_UNKNOWN"),
    ] {
        let answer = server.send("POST", "/login", "", Body::from(body)).await;
        assert_eq!(
            (answer.0, &answer.1["errcode"]),
            (400, &json!(errcode)),
            "{body}"
        );
    }
}
