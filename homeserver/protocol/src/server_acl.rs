//! Which servers a room lets in.
//!
//! Invariant: an ACL is compiled once, and a check costs time in proportion to the server's name and the number of
//! patterns that begin like it: a hostile ACL event cannot buy more.
//!
//! Specification: <https://spec.matrix.org/v1.19/client-server-api/#server-access-control-lists-acls-for-rooms>.

use std::collections::HashSet;

use ruma::ServerName;
use serde::Deserialize;
use serde_json::value::RawValue as RawJsonValue;

use crate::glob::Glob;

/// The compiled content of an `m.room.server_acl` event. Keep it as long as that event is in the state.
#[derive(Debug, Clone)]
pub struct ServerAcl {
    allows_ip_literals: bool,
    allow: Patterns,
    deny: Patterns,
}

impl ServerAcl {
    /// Compiles the content of the event. Fields of another type count as absent, entries of another type are passed over,
    /// and without `allow` no server is let in.
    pub fn new(content: &RawJsonValue) -> Self {
        #[derive(Deserialize, Default)]
        struct Content {
            #[serde(default)]
            allow_ip_literals: serde_json::Value,
            #[serde(default)]
            allow: serde_json::Value,
            #[serde(default)]
            deny: serde_json::Value,
        }
        let content = serde_json::from_str::<Content>(content.get()).unwrap_or_default();
        Self {
            allows_ip_literals: content.allow_ip_literals.as_bool().unwrap_or(true),
            allow: Patterns::new(&content.allow),
            deny: Patterns::new(&content.deny),
        }
    }

    /// Whether `server` may take part. Ports do not matter.
    pub fn is_allowed(&self, server: &ServerName) -> bool {
        if !self.allows_ip_literals && server.is_ip_literal() {
            return false;
        }
        let host = server.host().to_lowercase();
        !self.deny.match_host(&host) && self.allow.match_host(&host)
    }
}

/// The patterns of one list.
#[derive(Debug, Clone)]
struct Patterns {
    /// Those without wildcards.
    exact: HashSet<String>,
    globs: Vec<Glob>,
}

impl Patterns {
    fn new(list: &serde_json::Value) -> Self {
        let entries = list
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(serde_json::Value::as_str);
        let (globs, exact) = entries
            .map(str::to_lowercase)
            .partition::<Vec<_>, _>(|entry| entry.contains(['*', '?']));
        Self {
            exact: exact.into_iter().collect(),
            globs: globs
                .iter()
                .filter_map(|pattern| Glob::new(pattern))
                .collect(),
        }
    }

    fn match_host(&self, host: &str) -> bool {
        self.exact.contains(host) || self.globs.iter().any(|glob| glob.matches(host))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::raw;

    fn check(acl: serde_json::Value, server: &str, expect: bool) {
        let allowed = ServerAcl::new(&raw(&acl)).is_allowed(server.try_into().unwrap());
        assert_eq!(allowed, expect, "{acl} {server}");
    }

    #[test]
    fn the_rules_hold_row_by_row() {
        check(json!({}), "one.example", false);
        check(json!({ "allow": ["*"] }), "one.example", true);
        check(
            json!({ "allow": ["*"], "deny": ["*.evil.example"] }),
            "a.evil.example",
            false,
        );
        check(
            json!({ "allow": ["*"], "deny": ["*.evil.example"] }),
            "evil.example",
            true,
        );
        check(
            json!({ "allow": ["*"], "deny": ["ONE.example"] }),
            "one.EXAMPLE:8448",
            false,
        );
        check(json!({ "allow": ["one.example"] }), "one.example:443", true);
        check(json!({ "allow": ["one.example"] }), "two.example", false);
        check(json!({ "allow": ["?.example"] }), "a.example", true);
        check(json!({ "allow": ["?.example"] }), "aa.example", false);
        check(
            json!({ "allow": ["*"], "allow_ip_literals": false }),
            "1.2.3.4:8448",
            false,
        );
        check(
            json!({ "allow": ["*"], "allow_ip_literals": false }),
            "[::1]",
            false,
        );
        check(json!({ "allow": ["*"] }), "1.2.3.4", true);
    }

    #[test]
    fn odd_fields_count_as_absent() {
        check(json!({ "allow": "*" }), "one.example", false);
        check(
            json!({ "allow": ["*", 5], "deny": [null, "two.example"] }),
            "one.example",
            true,
        );
        check(
            json!({ "allow": ["*", 5], "deny": [null, "two.example"] }),
            "two.example",
            false,
        );
        check(
            json!({ "allow": ["*"], "allow_ip_literals": "no" }),
            "1.2.3.4",
            true,
        );
        check(json!([]), "one.example", false);
    }

    #[test]
    fn a_hostile_list_takes_no_time() {
        let patterns = (0..8_000).map(|n| format!("a*a*{n}")).collect::<Vec<_>>();
        let acl = ServerAcl::new(&raw(&json!({ "allow": ["*"], "deny": patterns })));
        let server = format!("{}.example", "a".repeat(60));
        for _ in 0..3 {
            assert!(acl.is_allowed((&*server).try_into().unwrap()));
        }
    }
}
