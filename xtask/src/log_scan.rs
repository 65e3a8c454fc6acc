//! Searches the log that the tests left for anything personal: identifiers, addresses, tokens, bodies.
//!
//! Every test server logs into one folder at the level `debug`, and so do the tests that run a server in their own process, at the
//! level `trace`. The names of the tests' users and the bodies of their
//! messages contain [`MARKER`]; identifiers, addresses and tokens are known by their shape.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::Path,
};

/// The word in the name of every test user and in every body that a test sends (`passeur_tests::MARKER`).
const MARKER: &str = "quetzal";

/// The shortest word that counts as random, in characters: shorter than any token that a server gives.
const SECRET_CHARS_MIN: usize = 20;

/// How many findings are printed before the rest is only counted.
const FINDINGS_PRINTED_MAX: usize = 20;

/// Searches every file directly in `folder`; an error tells how many lines gave something away.
pub(crate) fn run(folder: &Path) -> Result<(), String> {
    let mut lines = 0_usize;
    let mut found = 0_usize;
    let entries = fs::read_dir(folder)
        .map_err(|error| format!("cannot read {}: {error}", folder.display()))?;
    for entry in entries {
        let path = entry
            .map_err(|error| format!("cannot read {}: {error}", folder.display()))?
            .path();
        let bytes =
            fs::read(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        for (number, line) in String::from_utf8_lossy(&bytes).lines().enumerate() {
            lines += 1;
            let Some(what) = gives_away(line) else {
                continue;
            };
            found += 1;
            if found <= FINDINGS_PRINTED_MAX {
                println!("{}:{}: {what}: {line}", path.display(), number + 1);
            }
        }
    }
    println!("{lines} lines of log searched, {found} give something away");
    if lines == 0 {
        return Err("the tests left no log to search".to_owned());
    }
    if found == 0 {
        Ok(())
    } else {
        Err(format!(
            "{found} lines of the tests' log give something away"
        ))
    }
}

/// What personal thing a line of log shows, if any.
fn gives_away(line: &str) -> Option<&'static str> {
    if line.to_ascii_lowercase().contains(MARKER) {
        return Some("a test user's name or a message's body");
    }
    let id = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    let localpart = |c: char| c.is_ascii_alphanumeric() || "-_.=/+".contains(c);
    if follows(line, "@", localpart, 1, Some(':')) {
        Some("a user ID")
    } else if follows(line, "!", id, 40, None) || follows(line, "!", localpart, 8, Some(':')) {
        Some("a room ID")
    } else if follows(line, "$", id, 40, None) {
        Some("an event ID")
    } else if follows(line, "#", localpart, 1, Some(':')) {
        Some("an alias")
    } else if line.contains("mxc://") {
        Some("a place of media")
    } else if follows(line, "eyJ", id, 16, None) || line.split(|c| !id(c)).any(is_secret) {
        Some("a token")
    } else if line.split(is_between_words).any(is_address) {
        Some("an address")
    } else {
        None
    }
}

/// Whether a word is long and random, as tokens of refreshing, logging in and registering are; hashes in hexadecimal are not meant.
fn is_secret(word: &str) -> bool {
    let has = |kind: fn(&char) -> bool| word.chars().any(|c| kind(&c));
    word.len() >= SECRET_CHARS_MIN
        && has(char::is_ascii_lowercase)
        && has(char::is_ascii_uppercase)
        && has(char::is_ascii_digit)
}

/// Whether `c` ends an address in running text. Colons, dots, brackets and percent signs are parts of addresses.
fn is_between_words(c: char) -> bool {
    !(c.is_ascii_alphanumeric() || ":.[]%".contains(c))
}

/// Whether `word` is an address of the Internet, with or without a port, or one with a full stop or colon behind it.
fn is_address(word: &str) -> bool {
    let word = word.trim_end_matches(['.', ':']);
    let bare = word.trim_matches(['[', ']']);
    // `::` is a path's separator in the name of a part of the program.
    bare.len() > 2 && (word.parse::<SocketAddr>().is_ok() || bare.parse::<IpAddr>().is_ok())
}

/// Whether `sigil` stands somewhere before at least `least` characters of a kind, with `end` right after them if given.
fn follows(
    line: &str,
    sigil: &str,
    kind: impl Fn(char) -> bool,
    least: usize,
    end: Option<char>,
) -> bool {
    line.match_indices(sigil).any(|(at, _)| {
        let rest = &line[at + sigil.len()..];
        let run = rest.find(|c| !kind(c)).unwrap_or(rest.len());
        run >= least && end.is_none_or(|end| rest[run..].starts_with(end))
    })
}

#[cfg(test)]
mod tests {
    use super::gives_away;

    #[test]
    fn personal_things_are_found() {
        let token = format!("authorized with eyJ{}", "a".repeat(30));
        let event = format!("stored ${}", "aB3-_".repeat(9));
        let room = format!("room=!{}", "x".repeat(43));
        let lines = [
            "login of Quetzal_alice",
            "user=@alice:127.0.0.1:8448",
            "room=!abcdefghijk:example.org",
            "connection from 127.0.0.1:52110 closed",
            "peer=192.0.2.7, 3 times",
            "no answer from [::1]:8448.",
            "peer=\"2001:db8::5\"",
            "alias=#newsroom:example.org",
            "kept mxc://example.org/abc",
            "refreshed by qY7rT0pLw3ZkVb81NcXe",
            &token,
            &event,
            &room,
        ];
        for line in lines {
            assert!(gives_away(line).is_some(), "{line}");
        }
    }

    #[test]
    fn ordinary_lines_pass() {
        let lines = [
            "2026-11-23T12:00:00Z INFO listening",
            "SELECT a FROM t WHERE b = $1 AND c != 2",
            "GET /_matrix/client/v3/rooms/{roomId}/send 200 took_us=1200 client=h:3fa9c0",
            "done!",
            "passeur_homeserver::server listening at 12:30:05 version=1.2.3",
        ];
        for line in lines {
            assert_eq!(gives_away(line), None, "{line}");
        }
    }
}
