//! Delegation: the document at `/.well-known/matrix/server`, and for how long it is believed.
//!
//! Invariant: whatever a host serves, what comes out is the name of a server or nothing, and work grows with the size of the
//! document alone. How it is fetched, and how long it is kept at least and at most, is the caller's.
//!
//! Specification: <https://spec.matrix.org/v1.19/server-server-api/#getwell-knownmatrixserver>.

use std::time::Duration;

use ruma::OwnedServerName;
use serde::Deserialize;

use crate::{json::check_client_json, limits::WELL_KNOWN_BYTES_MAX};

/// To whom a document delegates. None if it is no strict JSON object, is larger than [`WELL_KNOWN_BYTES_MAX`], or names no
/// server.
pub fn delegation(document: &[u8]) -> Option<OwnedServerName> {
    #[derive(Deserialize)]
    struct Document {
        #[serde(rename = "m.server")]
        server: OwnedServerName,
    }
    check_client_json(document, WELL_KNOWN_BYTES_MAX).ok()?;
    let document: Document = serde_json::from_slice(document).ok()?;
    Some(document.server)
}

/// The age that a `Cache-Control` header allows. None if it does not say.
pub fn max_age(header: &str) -> Option<Duration> {
    let mut directives = header.split(',').map(str::trim);
    directives.find_map(|directive| {
        if directive.eq_ignore_ascii_case("no-store") || directive.eq_ignore_ascii_case("no-cache")
        {
            return Some(Duration::ZERO);
        }
        let (name, value) = directive.split_once('=')?;
        let seconds = value.trim_matches('"').parse().ok()?;
        name.eq_ignore_ascii_case("max-age")
            .then_some(Duration::from_secs(seconds))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_header_is_read() {
        assert_eq!(
            max_age("public, max-age=600"),
            Some(Duration::from_secs(600))
        );
        assert_eq!(max_age("no-store"), Some(Duration::ZERO));
        assert_eq!(max_age("public"), None);
        assert_eq!(max_age("max-age=-1, max-age=99999999999999999999"), None);
    }

    #[test]
    fn a_document_names_one_server_or_none() {
        let named = |text: &str| delegation(text.as_bytes()).map(|name| name.to_string());
        let there = Some("b.org:5".to_owned());
        assert_eq!(named(r#"{"m.server":"b.org:5"}"#), there);
        assert_eq!(named(r#" {"m.server":"b.org:5","x":[0.5]} "#), there);
        for bad in [
            "",
            "<html>",
            "[]",
            "{}",
            r#"{"m.server":5}"#,
            r#"{"m.server":""}"#,
            r#"{"m.server":"https://b.org"}"#,
            r#"{"m.server":"b.org/x"}"#,
            r#"{"m.server":"b.org@c.org"}"#,
            r#"{"m.server":"b.org:99999"}"#,
            r#"{"m.server":"b.org","m.server":"c.org"}"#,
            r#"{"m.server":"b.org","x":1,"x":2}"#,
            r#"{"m.server":"b.org"} {}"#,
        ] {
            assert_eq!(named(bad), None, "{bad}");
        }
        let padded = format!("{}{{\"m.server\":\"b.org:5\"}}", " ".repeat(16_000));
        assert_eq!(named(&padded), there);
        let long = format!("{padded}{}", " ".repeat(1_000));
        assert_eq!(named(&long), None, "beyond the bound");
        let deep = format!("{{\"m.server\":\"b.org\",\"x\":{}", "[".repeat(10_000));
        assert_eq!(named(&deep), None);
    }
}
