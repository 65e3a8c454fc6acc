//! Which other servers say that they destroy what expires: asked once a day, remembered in memory.
//!
//! Invariant: a server of which nothing is known does not support expiry. What is remembered is bounded, and a server that
//! does not answer is asked again at intervals that grow. What a server says is a claim, not a proof.
//!
//! No part of the specification.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use http::{Method, StatusCode};
use quick_cache::sync::Cache;
use ruma::{OwnedServerName, ServerName};
use serde::Deserialize;

use super::{Bounds, Remote, RemoteError};
use crate::clock::{Clock, within};

/// Where a server says what it supports.
pub const EXPIRY_SUPPORT_PATH: &str = "/_matrix/federation/unstable/org.passeur/expiry";
/// The versions of expiry that this server supports; another one is to support one of them.
pub const EXPIRY_VERSIONS: [&str; 1] = ["1"];

/// Servers whose answers are remembered.
const SERVERS_MAX: usize = 10_000;
/// How long an answer holds.
const ANSWER_HOLDS: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a server that did not answer is left alone, at first.
const RETRY_AFTER_MIN: Duration = Duration::from_secs(60);
/// How long it is left alone at most.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60 * 60);
/// What an answer may cost.
const BOUNDS: Bounds = Bounds {
    bytes_max: 64 * 1024,
    timeout: Duration::from_secs(5),
};
/// Servers of one room that are asked for one survey; what is remembered of more is told all the same.
const SURVEYED_MAX: usize = 200;
/// How many of them at a time.
const SURVEYED_AT_ONCE: usize = 16;
/// The longest that a survey may take.
const SURVEY_TIME_MAX: Duration = Duration::from_secs(8);

/// What is known of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// It says that it destroys what expires.
    Claimed,
    /// It answers, and does not say so.
    Lacking,
    /// It has not answered.
    Unknown,
}

/// What was learnt of a server.
#[derive(Clone, Copy, Debug)]
struct Learnt {
    support: Support,
    /// When it is asked again, by the monotonic clock.
    ask_at: Duration,
    /// How long it was left alone for not answering; nothing if it answered.
    left_alone: Duration,
}

/// What other servers say of expiry.
#[derive(Debug)]
pub struct ExpirySupport {
    remote: Remote,
    clock: Arc<dyn Clock>,
    learnt: Cache<OwnedServerName, Learnt>,
}

impl ExpirySupport {
    /// Asks by `remote`; nothing is known yet.
    pub fn new(remote: Remote, clock: Arc<dyn Clock>) -> Self {
        Self {
            remote,
            clock,
            learnt: Cache::new(SERVERS_MAX),
        }
    }

    /// What a server says, asking it if that is not known or was long ago. A claim stands while its server cannot be reached.
    pub async fn of(&self, server: &ServerName) -> Support {
        if server == self.remote.server_name() {
            return Support::Claimed;
        }
        let before = self.learnt.get(server);
        if let Some(before) = before.filter(|before| self.clock.monotonic() < before.ask_at) {
            return before.support;
        }
        let answer = self
            .remote
            .call_raw(server, Method::GET, EXPIRY_SUPPORT_PATH, Vec::new(), BOUNDS)
            .await;
        let answered = match answer {
            Ok(answer) => Some(says_so(answer.body())),
            Err(error) => is_answer(&error).then_some(false),
        };
        let learnt = self.learn(before, answered);
        self.learnt.insert(server.to_owned(), learnt);
        learnt.support
    }

    /// What is remembered of a server, which is not asked.
    pub fn known(&self, server: &ServerName) -> Support {
        match server == self.remote.server_name() {
            true => Support::Claimed,
            false => self
                .learnt
                .get(server)
                .map_or(Support::Unknown, |learnt| learnt.support),
        }
    }

    /// What is known of each of these servers, after as many were asked as bounds allow.
    pub async fn survey(&self, servers: &[OwnedServerName]) -> Vec<(OwnedServerName, Support)> {
        let asking = stream::iter(servers.iter().take(SURVEYED_MAX)).for_each_concurrent(
            SURVEYED_AT_ONCE,
            |server| async move {
                self.of(server).await;
            },
        );
        // Those that did not answer in time are told as what is remembered of them.
        let _in_time = within(&*self.clock, SURVEY_TIME_MAX, asking).await;
        let told = servers.iter();
        told.map(|server| (server.clone(), self.known(server)))
            .collect()
    }

    fn learn(&self, before: Option<Learnt>, answered: Option<bool>) -> Learnt {
        let now = self.clock.monotonic();
        match answered {
            Some(claims) => Learnt {
                support: match claims {
                    true => Support::Claimed,
                    false => Support::Lacking,
                },
                ask_at: now.saturating_add(ANSWER_HOLDS),
                left_alone: Duration::ZERO,
            },
            None => {
                let left_alone = before.map_or(Duration::ZERO, |before| before.left_alone);
                let left_alone = left_alone
                    .saturating_mul(2)
                    .clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX);
                Learnt {
                    support: before.map_or(Support::Unknown, |before| before.support),
                    ask_at: now.saturating_add(left_alone),
                    left_alone,
                }
            }
        }
    }
}

/// Whether an answer names a version that this server supports too.
fn says_so(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Answer {
        versions: Vec<String>,
    }
    serde_json::from_slice::<Answer>(body).is_ok_and(|answer| {
        let mut versions = answer.versions.iter();
        versions.any(|version| EXPIRY_VERSIONS.contains(&version.as_str()))
    })
}

/// Whether a failure says that the server does not know the question, and not that it could not be asked.
fn is_answer(error: &RemoteError) -> bool {
    match error {
        RemoteError::Status { status, .. } => matches!(
            *status,
            StatusCode::BAD_REQUEST
                | StatusCode::NOT_FOUND
                | StatusCode::METHOD_NOT_ALLOWED
                | StatusCode::NOT_IMPLEMENTED
        ),
        RemoteError::TooLarge | RemoteError::Malformed | RemoteError::NotAllowed => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use ruma::server_name;

    use super::*;
    use crate::outbound::testing::{Here, json};

    fn peer() -> &'static ServerName {
        server_name!("peer.org")
    }

    async fn asking() -> (Here, ExpirySupport) {
        let here = Here::start(server_name!("here.org")).await;
        let support = ExpirySupport::new(here.remote.clone(), Arc::new(here.clock.clone()));
        (here, support)
    }

    #[tokio::test]
    async fn only_a_version_that_is_known_here_counts_as_support() {
        for (status, body, expected) in [
            (
                200,
                r#"{"versions":["1"],"purge_lag_ms":5}"#,
                Support::Claimed,
            ),
            (200, r#"{"versions":["2","1"]}"#, Support::Claimed),
            (200, r#"{"versions":["2"]}"#, Support::Lacking),
            (200, r#"{"versions":"1"}"#, Support::Lacking),
            (200, "nonsense", Support::Lacking),
            (404, r#"{"errcode":"M_UNRECOGNIZED"}"#, Support::Lacking),
            (502, "", Support::Unknown),
            (401, "{}", Support::Unknown),
            (429, "{}", Support::Unknown),
        ] {
            let (here, support) = asking().await;
            here.network.serve(peer(), move |_| json(status, body));
            assert_eq!(support.of(peer()).await, expected, "{status} {body}");
            assert_eq!(support.known(peer()), expected);
        }
    }

    #[tokio::test]
    async fn a_server_is_asked_once_a_day() {
        let (here, support) = asking().await;
        here.network
            .serve(peer(), |_| json(200, r#"{"versions":["1"]}"#));
        assert_eq!(support.known(peer()), Support::Unknown);
        for _ in 0..3 {
            assert_eq!(support.of(peer()).await, Support::Claimed);
        }
        assert_eq!(here.network.count(peer()), 1);
        here.clock.advance(ANSWER_HOLDS);
        here.network.serve(peer(), |_| json(404, "{}"));
        assert_eq!(support.of(peer()).await, Support::Lacking);
        assert_eq!(here.network.count(peer()), 2);
        // Of itself, a server knows.
        assert_eq!(support.of(server_name!("here.org")).await, Support::Claimed);
    }

    #[tokio::test]
    async fn a_server_that_is_away_is_asked_less_and_less_and_its_claim_stands() {
        let (here, support) = asking().await;
        let mut gone = RETRY_AFTER_MIN;
        assert_eq!(support.of(peer()).await, Support::Unknown);
        for asked in 1..8 {
            assert_eq!(here.network.count(peer()), asked);
            here.clock.advance(gone - Duration::from_secs(1));
            support.of(peer()).await;
            assert_eq!(here.network.count(peer()), asked, "not yet");
            here.clock.advance(Duration::from_secs(1));
            assert_eq!(support.of(peer()).await, Support::Unknown);
            gone = (gone * 2).min(RETRY_AFTER_MAX);
        }
        here.network
            .serve(peer(), |_| json(200, r#"{"versions":["1"]}"#));
        here.clock.advance(RETRY_AFTER_MAX);
        assert_eq!(support.of(peer()).await, Support::Claimed);
        here.network.remove(peer());
        here.clock.advance(ANSWER_HOLDS);
        assert_eq!(support.of(peer()).await, Support::Claimed);
    }

    #[tokio::test]
    async fn a_survey_ends_though_a_server_never_answers() {
        let (here, support) = asking().await;
        let silent = server_name!("silent.org");
        here.network.silence(silent);
        here.network
            .serve(peer(), |_| json(200, r#"{"versions":["1"]}"#));
        let servers = [peer().to_owned(), silent.to_owned()];
        let survey = support.survey(&servers);
        let clock = async {
            while here.network.hung() == 0 {
                tokio::task::yield_now().await;
            }
            here.clock.advance(SURVEY_TIME_MAX);
        };
        let (told, ()) = tokio::join!(survey, clock);
        let expected = [Support::Claimed, Support::Unknown];
        assert_eq!(told, servers.into_iter().zip(expected).collect::<Vec<_>>());
    }
}
