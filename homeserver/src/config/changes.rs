//! What of a configuration that was read again is not taken over before the next start.
//!
//! Invariant: every section is compared, but for what may change while the server runs. A secret that was changed for another is not
//! noticed: none is ever put in words, not even to be compared.

use std::fmt::Debug;

use super::Config;

/// One section of the file: its name, and what it says.
struct Section<'a>(&'static str, &'a dyn Debug);

impl Config {
    /// The sections in which `new` differs and that need a restart.
    #[must_use]
    pub fn changed_sections(&self, new: &Self) -> Vec<&'static str> {
        let pairs = self.sections().into_iter().zip(new.sections());
        pairs
            .filter(|(old, new)| format!("{:?}", old.1) != format!("{:?}", new.1))
            .map(|(old, _)| old.0)
            .collect()
    }

    /// All sections but `rate_limits` and the log's level, which are taken over at once.
    fn sections(&self) -> [Section<'_>; 16] {
        [
            Section("server_name", &self.server_name),
            Section("data_dir", &self.data_dir),
            Section("listeners", &self.listeners),
            Section("database", &self.database),
            Section("registration", &self.registration),
            Section("passwords", &self.passwords),
            Section("rooms", &self.rooms),
            Section("federation", &self.federation),
            Section("admin", &self.admin),
            Section("log", &self.log.format),
            Section("media", &self.media),
            Section("well_known", &self.well_known),
            Section("presence", &self.presence),
            Section("expiry", &self.expiry),
            Section("turn", &self.turn),
            Section("profiles", &self.profiles),
        ]
    }
}

#[cfg(test)]
mod tests {
    use ruma::server_name;

    use super::*;
    use crate::config::LogLevel;

    #[test]
    fn what_needs_a_restart_is_named_and_the_rest_is_not() {
        let old = Config::for_test(server_name!("example.org").to_owned(), "/data".into());
        let mut new = old.clone();
        new.log.level = LogLevel::Trace;
        new.rate_limits.enabled = !old.rate_limits.enabled;
        assert!(old.changed_sections(&new).is_empty());
        new.federation.allowed_servers = Some(Vec::new());
        new.media.upload_bytes_max += 1;
        assert_eq!(old.changed_sections(&new), ["federation", "media"]);
    }
}
