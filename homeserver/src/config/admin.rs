//! `[admin]`: who administers the server.
//!
//! Invariant: administrators are users of this server.

use ruma::{OwnedUserId, ServerName, UserId};
use serde::Deserialize;

use super::problem::Problems;

/// The administrators.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdminConfig {
    /// Full user IDs.
    pub users: Vec<OwnedUserId>,
}

impl AdminConfig {
    /// Whether `user` is one of them.
    #[must_use]
    pub fn is_admin(&self, user: &UserId) -> bool {
        self.users.iter().any(|admin| admin == user)
    }

    pub(super) fn check(&self, server_name: &ServerName, problems: &mut Problems) {
        for (index, user) in self
            .users
            .iter()
            .enumerate()
            .filter(|(_, user)| user.server_name() != server_name)
        {
            problems.add(
                format!("admin.users.{index}"),
                format!("{user} is no user of {server_name}: administrators have accounts here"),
            );
        }
    }
}
