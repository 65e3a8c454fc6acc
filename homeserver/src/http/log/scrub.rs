//! Takes out of a text what nobody should have put into the log.
//!
//! Invariant: what has the shape of a Matrix identifier, an address or a token leaves as [`WITHHELD`]. This is the second line of
//! defence: messages of errors quote their input, and whoever writes one does not think of the log.
//! Specification: appendices, "Identifier grammar".

use std::net::{IpAddr, SocketAddr};

/// What stands in place of what was taken out.
pub(super) const WITHHELD: &str = "‹withheld›";

/// Shortest run of letters and digits that is taken for a token or a hash, in bytes.
const TOKEN_BYTES_MIN: usize = 24;

/// The text without identifiers, addresses and tokens.
pub(super) fn scrub(text: &str) -> String {
    let mut scrubbed = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let gap = rest.find(|c| !ends_word(c)).unwrap_or(rest.len());
        let (between, word_on) = rest.split_at(gap);
        let (word, after) = word_on.split_at(word_on.find(ends_word).unwrap_or(word_on.len()));
        scrubbed.push_str(between);
        scrub_word(word, &mut scrubbed);
        rest = after;
    }
    scrubbed
}

/// Whether a character stands between words. Those that identifiers may hold (`/`, `=`, `:`) do not.
fn ends_word(c: char) -> bool {
    c.is_whitespace() || c.is_control() || "\"'`,;()<>{}|\\".contains(c)
}

/// Adds what may stay of a word.
fn scrub_word(word: &str, scrubbed: &mut String) {
    let value = word.rsplit_once('=').map_or(word, |(_, value)| value);
    if is_address(word) || is_address(value) || has_escaped_sigil(word) {
        scrubbed.push_str(WITHHELD);
        return;
    }
    let (plain, identifier) = word.split_at(sigil(word).unwrap_or(word.len()));
    for (index, part) in plain.split('/').enumerate() {
        if index > 0 {
            scrubbed.push('/');
        }
        scrubbed.push_str(
            if part
                .split([':', '.', '=', '!', '?', '&', '*'])
                .any(is_token)
            {
                WITHHELD
            } else {
                part
            },
        );
    }
    if !identifier.is_empty() {
        scrubbed.push_str(WITHHELD);
    }
}

/// Where an identifier begins: at a sigil before a letter or digit. `$1` is a parameter of SQL.
fn sigil(word: &str) -> Option<usize> {
    word.match_indices(['@', '!', '#', '$'])
        .map(|(at, _)| at)
        .find(|&at| {
            let name = &word[at + 1..];
            let named = name.starts_with(|c: char| c.is_alphanumeric() || "-_.+/".contains(c));
            named
                && !(word[at..].starts_with('$') && name.bytes().all(|byte| byte.is_ascii_digit()))
        })
}

/// Whether a word holds a sigil as a path or query writes it.
fn has_escaped_sigil(word: &str) -> bool {
    word.match_indices('%')
        .any(|(at, _)| matches!(word.get(at + 1..at + 3), Some("40" | "21" | "23" | "24")))
}

/// Whether a word is an address, with or without a port.
fn is_address(word: &str) -> bool {
    let word = word.trim_end_matches(['.', ':']);
    let bare = word.trim_matches(['[', ']']);
    bare.parse::<IpAddr>().is_ok() || word.parse::<SocketAddr>().is_ok()
}

/// Whether a part of a word looks random: long, of the alphabet of base64, with letters and digits.
fn is_token(part: &str) -> bool {
    let bytes = part.as_bytes();
    let is_random = bytes.len() >= TOKEN_BYTES_MIN
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_+~".contains(byte))
        && bytes.iter().any(u8::is_ascii_digit)
        && bytes.iter().any(u8::is_ascii_alphabetic);
    is_random || part.starts_with("eyJ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        assert_eq!(scrub(text), expected.replace("·", WITHHELD));
    }

    #[test]
    fn identifiers_are_withheld() {
        check("user @alice:example.org is gone", "user · is gone");
        check("room=!abc:example.org, event=$Aq3-_x", "room=·, event=·");
        check("\"#room:example.org\" (@a/b=c:d.org:8448)", "\"·\" (·)");
        check("mxc://x/@y:z", "mxc://x/·");
        check("GET /rooms/%21abc%3Ax/state", "GET ·");
        check("UserId(@alice:example.org)", "UserId(·)");
    }

    #[test]
    fn addresses_are_withheld() {
        check("from 192.0.2.1:443 and [2001:db8::1]:80.", "from · and ·");
        check("peer=192.0.2.1", "·");
        check("2001:db8::1", "·");
    }

    #[test]
    fn tokens_are_withheld() {
        check("token eyJhbGciOiJFZERTQSJ9.e30.c2ln", "token ·");
        check("key 0123456789abcdef0123456789abcdef!", "key ·");
        check("/media/AbCdEfGhIjKlMnOpQrStUvWx1/x", "/media/·/x");
    }

    #[test]
    fn what_an_operator_needs_stays() {
        for text in [
            "/_matrix/client/v3/rooms/{room_id}/send/{event_type}/{txn_id}",
            "SELECT a FROM t WHERE b = $1 AND c != $2",
            "homeserver/src/http/log.rs:17",
            "UNIQUE constraint failed: accounts.localpart (code 2067)",
            "~0123456789abcdef took 1.25 ms!",
            "a stored row of passeur_homeserver::store::events is corrupt",
        ] {
            check(text, text);
        }
    }
}
