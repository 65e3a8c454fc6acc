//! `[well_known]`: what the server says of itself under `/.well-known/matrix/`.
//!
//! Invariant: a client is never sent to plain HTTP, except on its own machine.
//! Specification: client-server API, "Well-known URIs"; server-server API, "Server discovery".

use ruma::{OwnedServerName, OwnedUserId};
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
    /// `support_page`: where people find help.
    pub support_page: Option<String>,
    /// `contacts`: whom people may write to. Without these and a page `/.well-known/matrix/support` is not found.
    pub support_contacts: Vec<SupportContact>,
}

/// Whom to write to about this server.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SupportContact {
    /// What for: `m.role.admin`, `m.role.security` or a role of one's own.
    pub role: String,
    /// By e-mail.
    pub email_address: Option<String>,
    /// By Matrix.
    pub matrix_id: Option<OwnedUserId>,
}

impl WellKnownConfig {
    pub(super) fn check(&self, problems: &mut Problems) {
        if self
            .client_base_url
            .as_ref()
            .is_some_and(|url| !is_safe_url(url))
        {
            problems.add(
                "well_known.client_base_url",
                "must be an https:// URL, as \"https://matrix.example.org\"",
            );
        }
        if self
            .support_page
            .as_ref()
            .is_some_and(|url| !is_safe_url(url))
        {
            problems.add(
                "well_known.support_page",
                "must be an https:// URL, as \"https://example.org/help\"",
            );
        }
        for (index, contact) in self.support_contacts.iter().enumerate() {
            if contact.email_address.is_none() && contact.matrix_id.is_none() {
                problems.add(
                    format!("well_known.support_contacts.{index}"),
                    "needs an email_address, a matrix_id or both",
                );
            }
        }
    }
}

/// Whether nobody is sent to plain HTTP, except on their own machine.
fn is_safe_url(url: &str) -> bool {
    let host = url.strip_prefix("https://").or_else(|| {
        let host = url.strip_prefix("http://")?;
        ["localhost", "127.0.0.1", "[::1]"]
            .iter()
            .any(|own| host.starts_with(own))
            .then_some(host)
    });
    host.is_some_and(|host| !host.is_empty()) && !url.contains(['?', '#', ' '])
}
