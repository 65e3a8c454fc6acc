//! `[well_known]`: what the server says of itself under `/.well-known/matrix/`.
//!
//! Invariant: a client is never sent to plain HTTP, except on its own machine.
//! Specification: client-server API, "Well-known URIs"; server-server API, "Server discovery".

use ruma::OwnedServerName;
use serde::Deserialize;

use super::problem::Problems;

/// Where clients and servers are sent.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WellKnownConfig {
    /// `m.homeserver.base_url`; without it `/.well-known/matrix/client` is not found.
    pub client_base_url: Option<String>,
    /// `m.server`: host and port that serve federation for `server_name`; without it `/.well-known/matrix/server` is not found.
    pub server: Option<OwnedServerName>,
}

impl WellKnownConfig {
    pub(super) fn check(&self, problems: &mut Problems) {
        if let Some(url) = &self.client_base_url {
            let host = url.strip_prefix("https://").or_else(|| {
                let host = url.strip_prefix("http://")?;
                ["localhost", "127.0.0.1", "[::1]"]
                    .iter()
                    .any(|own| host.starts_with(own))
                    .then_some(host)
            });
            if host.is_none_or(str::is_empty) || url.contains(['?', '#', ' ']) {
                problems.add(
                    "well_known.client_base_url",
                    "must be an https:// URL, as \"https://matrix.example.org\"",
                );
            }
        }
    }
}
