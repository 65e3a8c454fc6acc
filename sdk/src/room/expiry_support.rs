//! Which servers of a room do not say that they delete what expires.
//!
//! Invariant: what a server says is a claim and never told as a fact; a server that says nothing counts as one that does not claim it.
//!
//! Not part of the specification: `docs/expiry.md`, "Other servers".

use std::fmt::Write;

use ruma::OwnedServerName;

use super::Room;
use crate::{client::ClientError, http::HttpError};

/// So many servers are named in words; the others are counted.
const NAMED_MAX: usize = 5;

/// The request, as our servers know it.
mod get_expiry_support {
    use ruma::{
        OwnedRoomId, OwnedServerName,
        api::{
            EmptyBody, IncomingResponse, Metadata, OutgoingRequest,
            auth_scheme::AccessToken,
            error::{DeserializationError, Error, IntoHttpError},
            path_builder::PathBuilder,
        },
        metadata,
    };
    use serde::Deserialize;

    metadata! {
        method: GET,
        rate_limited: false,
        authentication: AccessToken,
        history: {
            unstable => "/_matrix/client/unstable/org.passeur/rooms/{room_id}/expiry_support",
        }
    }

    /// Asks about a room.
    #[derive(Clone, Debug)]
    pub(super) struct Request {
        pub(super) room_id: OwnedRoomId,
    }

    /// What the server says.
    #[derive(Debug, Deserialize)]
    pub(super) struct Response {
        /// Those that answered and do not claim it.
        pub(super) lacking: Vec<OwnedServerName>,
        /// Those that did not answer.
        pub(super) unknown: Vec<OwnedServerName>,
    }

    // By hand, because ruma's macros for it work in ruma's own crates only.
    impl OutgoingRequest for Request {
        type Body = EmptyBody<true>;
        type EndpointError = Error;
        type IncomingResponse = Response;

        fn try_into_http_request_inner(
            self,
            base_url: &str,
            supported: <Self::PathBuilder as PathBuilder>::Input<'_>,
        ) -> Result<http::Request<Self::Body>, IntoHttpError> {
            let url = Self::make_endpoint_url(supported, base_url, &[&self.room_id], "")?;
            let request = http::Request::builder().method(Self::METHOD).uri(url);
            Ok(request.body(EmptyBody)?)
        }
    }

    impl IncomingResponse for Response {
        type EndpointError = Error;

        fn try_from_http_response_inner(
            response: http::Response<&[u8]>,
        ) -> Result<Self, DeserializationError> {
            Ok(serde_json::from_slice(response.body())?)
        }
    }
}

/// Which servers of a room do not say that they delete what expires. What they say is a claim: nobody can prove that something was deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExpirySupport {
    /// They answered, and do not say that they delete.
    pub lacking: Vec<OwnedServerName>,
    /// They did not answer.
    pub unknown: Vec<OwnedServerName>,
}

impl ExpirySupport {
    /// Whether every server of the room says that it deletes.
    #[must_use]
    pub fn is_claimed_by_all(&self) -> bool {
        self.lacking.is_empty() && self.unknown.is_empty()
    }

    /// The same in words for people.
    #[must_use]
    pub fn words(&self) -> String {
        if self.is_claimed_by_all() {
            return "Every server of this room says that it deletes messages when their time is over.".to_owned();
        }
        let mut words = String::new();
        let said = [
            (&self.lacking, "does not delete", "do not delete"),
            (
                &self.unknown,
                "has not said whether it deletes",
                "have not said whether they delete",
            ),
        ];
        for (servers, one, many) in said.into_iter().filter(|(servers, ..)| !servers.is_empty()) {
            let (noun, verb) = if servers.len() == 1 {
                ("server", one)
            } else {
                ("servers", many)
            };
            let space = if words.is_empty() { "" } else { " " };
            // Writing to a string does not fail.
            let _ = write!(
                words,
                "{space}{} {noun} of this room {verb} messages when their time is over: {}.",
                servers.len(),
                names(servers)
            );
        }
        words
    }
}

fn names(servers: &[OwnedServerName]) -> String {
    let mut names: Vec<&str> = servers
        .iter()
        .take(NAMED_MAX)
        .map(|name| name.as_str())
        .collect();
    let more = format!("and {} more", servers.len().saturating_sub(NAMED_MAX));
    if servers.len() > NAMED_MAX {
        names.push(&more);
    }
    names.join(", ")
}

impl Room {
    /// Asks which servers of the room do not say that they delete messages when their time is over: to be shown before anything is written
    /// that should not stay. A homeserver that does not know the question does not delete, and of the others nothing is known then.
    ///
    /// # Errors
    ///
    /// [`ClientError::Http`] with the server's errcode: `M_FORBIDDEN` if we are not in the room.
    pub async fn expiry_support(&self) -> Result<ExpirySupport, ClientError> {
        let request = get_expiry_support::Request {
            room_id: self.room_id.clone(),
        };
        match self.client.request(request).await {
            Ok(answer) => Ok(ExpirySupport {
                lacking: answer.lacking,
                unknown: answer.unknown,
            }),
            Err(ClientError::Http(error)) if is_unknown_endpoint(&error) => self.nothing_claimed(),
            Err(error) => Err(error),
        }
    }

    fn nothing_claimed(&self) -> Result<ExpirySupport, ClientError> {
        let own = self.client.session()?.user_id.server_name().to_owned();
        let mut unknown: Vec<OwnedServerName> = Vec::new();
        if let Some(state) = self.state() {
            unknown.extend(state.joined().map(|user| user.server_name().to_owned()));
            unknown.sort();
            unknown.dedup();
            unknown.retain(|server| *server != own);
        }
        Ok(ExpirySupport {
            lacking: vec![own],
            unknown,
        })
    }
}

/// "If a request is made to an unknown endpoint, the server responds with 404 and `M_UNRECOGNIZED`"; older ones give no errcode, or 400.
fn is_unknown_endpoint(error: &HttpError) -> bool {
    match error {
        HttpError::Matrix {
            status, errcode, ..
        } => errcode == "M_UNRECOGNIZED" || (*status == 404 && errcode == "M_UNKNOWN"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::{
        fake_server::{FakeServer, joined, room},
        store::MemoryStore,
    };

    fn support(lacking: &[&str], unknown: &[&str]) -> ExpirySupport {
        let parse = |names: &[&str]| {
            let names = names.iter();
            names.map(|name| (*name).try_into().unwrap()).collect()
        };
        ExpirySupport {
            lacking: parse(lacking),
            unknown: parse(unknown),
        }
    }

    #[test]
    fn the_words_name_who_does_not_delete_and_claim_nothing_for_the_others() {
        let all = support(&[], &[]);
        assert!(all.is_claimed_by_all());
        assert!(all.words().contains("says that it deletes"));
        let some = support(&["two.example"], &["three.example", "four.example"]);
        assert!(!some.is_claimed_by_all());
        assert_eq!(
            some.words(),
            "1 server of this room does not delete messages when their time is over: two.example. \
             2 servers of this room have not said whether they delete messages when their time is over: three.example, four.example."
        );
        let many = support(&["a", "b", "c", "d", "e", "f", "g"], &[]).words();
        assert!(
            many.starts_with("7 servers") && many.ends_with("d, e, and 2 more."),
            "{many}"
        );
    }

    #[tokio::test]
    async fn the_servers_answer_is_told_and_a_server_that_knows_no_such_question_does_not_delete() {
        let server = FakeServer::start().await;
        let client = server.alice(Arc::new(MemoryStore::new())).await;
        let _sync = client.start_sync().unwrap();
        let mut sync = joined(&room("r"), true);
        let events = &mut sync["rooms"]["join"][room("r").as_str()]["state"]["events"];
        let bob = json!({
            "type": "m.room.member", "state_key": "@bob:two", "sender": "@bob:two",
            "event_id": "$b", "origin_server_ts": 1, "content": {"membership": "join"}
        });
        events.as_array_mut().unwrap().push(bob);
        server.push_sync(sync);
        let known = client.room(&room("r"));
        let patience = crate::fake_server::PATIENCE;
        let id = room("r");
        let came = client.wait_for_room(&id, patience, |_| known.members().len() == 2);
        assert!(came.await);
        let asked = known.expiry_support().await.unwrap();
        assert_eq!(asked, support(&["one"], &["two"]));
        let path = "/_matrix/client/unstable/org.passeur/rooms/!r:one/expiry_support";
        let answer = |status: u16, body: Value| {
            let mut shared = server.lock();
            shared.answers.insert(path.to_owned(), (status, body));
        };
        answer(200, json!({"lacking": ["two"], "unknown": [], "more": 1}));
        let asked = known.expiry_support().await.unwrap();
        assert_eq!(asked, support(&["two"], &[]));
        answer(200, json!({"lacking": [], "unknown": []}));
        assert!(known.expiry_support().await.unwrap().is_claimed_by_all());
        // Neither a refusal nor nonsense is taken for an answer.
        answer(403, json!({"errcode": "M_FORBIDDEN", "error": ""}));
        assert!(known.expiry_support().await.is_err());
        answer(200, json!({"lacking": ["not a name"], "unknown": []}));
        assert!(known.expiry_support().await.is_err());
    }
}
