//! `[turn]`: the relay that calls go through when two devices cannot reach each other.
//!
//! Invariant: the secret that is shared with the relay leaves the server only as a MAC that expires.
//! Specification: client-server API, "Voice over IP".

use std::time::Duration;

use serde::Deserialize;

use super::{Secret, problem::Problems};

/// Longest life of credentials that can be set, in seconds: a week.
const CREDENTIALS_SECS_MAX: u64 = 7 * 86_400;
/// Most URIs of relays.
const URIS_MAX: usize = 16;

/// A TURN server that takes time-limited credentials.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TurnConfig {
    /// `turn:` and `turns:` URIs of the relay; none if there is no relay.
    pub uris: Vec<String>,
    /// The secret that the relay knows too (coturn: `static-auth-secret`).
    pub shared_secret: Option<Secret>,
    /// How long credentials work, in seconds.
    pub credentials_secs: u64,
}

impl Default for TurnConfig {
    fn default() -> Self {
        Self {
            uris: Vec::new(),
            shared_secret: None,
            credentials_secs: 86_400,
        }
    }
}

impl TurnConfig {
    /// How long credentials work.
    #[must_use]
    pub const fn lifetime(&self) -> Duration {
        Duration::from_secs(self.credentials_secs)
    }

    pub(super) fn check(&self, problems: &mut Problems) {
        if self.uris.is_empty() != self.shared_secret.is_none() {
            problems.add(
                "turn",
                "needs both uris and shared_secret, or neither: give the one that is missing",
            );
        }
        if self.uris.len() > URIS_MAX {
            problems.add("turn.uris", format!("has more than {URIS_MAX} entries"));
        }
        for (index, uri) in self.uris.iter().enumerate() {
            let host = uri
                .strip_prefix("turn:")
                .or_else(|| uri.strip_prefix("turns:"));
            if host.is_none_or(str::is_empty) {
                problems.add(
                    format!("turn.uris.{index}"),
                    "must begin with turn: or turns:, as \"turn:turn.example.org:3478?transport=udp\"",
                );
            }
        }
        if !(60..=CREDENTIALS_SECS_MAX).contains(&self.credentials_secs) {
            problems.add(
                "turn.credentials_secs",
                format!("must lie between 60 and {CREDENTIALS_SECS_MAX} seconds"),
            );
        }
    }
}
