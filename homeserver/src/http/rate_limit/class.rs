//! Which limit a route falls under.
//!
//! Invariant: judged by the route's template alone, so that nobody chooses his limit by what he writes into a path.

use http::Method;

use crate::config::RateClass;

/// What part of a client's route makes it a class of its own; the first that fits counts.
const CLIENT_ROUTES: [(&str, RateClass); 23] = [
    // Each of the first takes a password as proof.
    ("/account/password", RateClass::Login),
    ("/account/deactivate", RateClass::Login),
    ("/login", RateClass::Login),
    ("/fallback/web", RateClass::Login),
    ("/delete_devices", RateClass::Login),
    ("/devices/", RateClass::Login),
    ("/device_signing/upload", RateClass::Login),
    ("/register", RateClass::Registration),
    ("/keys/", RateClass::Keys),
    ("/room_keys/", RateClass::Keys),
    ("/createRoom", RateClass::Join),
    ("/join/", RateClass::Join),
    ("/knock/", RateClass::Join),
    ("/join", RateClass::Join),
    ("/invite", RateClass::Join),
    ("/upgrade", RateClass::Join),
    ("/send/", RateClass::Message),
    ("/sendToDevice/", RateClass::Message),
    ("/redact/", RateClass::Message),
    ("/receipt/", RateClass::Message),
    ("/read_markers", RateClass::Message),
    ("/typing/", RateClass::Message),
    ("/state/", RateClass::Message),
];

/// The class of a route; an empty template is a path that no route takes.
pub(super) fn class_of(method: &Method, template: &str) -> RateClass {
    if template.starts_with("/_matrix/federation/") || template.starts_with("/_matrix/key/") {
        return RateClass::Federation;
    }
    if template.contains("/media/") {
        return RateClass::Media;
    }
    if method == Method::GET {
        return RateClass::General;
    }
    CLIENT_ROUTES
        .iter()
        .find(|(part, _)| template.contains(part))
        .map_or(RateClass::General, |&(_, class)| class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_fall_under_their_class() {
        for (method, template, class) in [
            (Method::POST, "/_matrix/client/v3/login", RateClass::Login),
            (Method::GET, "/_matrix/client/v3/login", RateClass::General),
            (
                Method::POST,
                "/_matrix/client/v3/register",
                RateClass::Registration,
            ),
            (
                Method::PUT,
                "/_matrix/client/v3/rooms/{room_id}/send/{event_type}/{txn_id}",
                RateClass::Message,
            ),
            (
                Method::POST,
                "/_matrix/client/v3/rooms/{room_id}/join",
                RateClass::Join,
            ),
            (
                Method::GET,
                "/_matrix/client/v3/rooms/{room_id}/joined_members",
                RateClass::General,
            ),
            (
                Method::POST,
                "/_matrix/client/v3/keys/query",
                RateClass::Keys,
            ),
            (
                Method::PUT,
                "/_matrix/client/v3/room_keys/keys",
                RateClass::Keys,
            ),
            (Method::POST, "/_matrix/media/v3/upload", RateClass::Media),
            (
                Method::GET,
                "/_matrix/client/v1/media/download/{server_name}/{media_id}",
                RateClass::Media,
            ),
            (
                Method::PUT,
                "/_matrix/federation/v1/send/{transaction_id}",
                RateClass::Federation,
            ),
            (Method::GET, "/_matrix/key/v2/server", RateClass::Federation),
            (Method::GET, "", RateClass::General),
        ] {
            assert_eq!(class_of(&method, template), class, "{method} {template}");
        }
    }
}
