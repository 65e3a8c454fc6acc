//! Libraries stay where their layer is: a crate that may be used in few places is used nowhere else.

use super::{
    expect_none,
    source::{Source, is_path_separator, is_sign, is_word, line},
    workspace_sources,
};

/// A crate, and the folders and files (as prefixes of paths) that may use it.
const CONFINED: [(&str, &[&str]); 9] = [
    (
        "axum",
        &[
            "homeserver/src/client/",
            "homeserver/src/federation/",
            "homeserver/src/http/",
            "homeserver/src/router",
            "homeserver/src/listener",
            "homeserver/src/app.rs",
            "bots/",
            // Small servers that the SDK's own tests talk to.
            "sdk/src/http/tests.rs",
            "sdk/src/fake_server.rs",
            "sdk/src/fake_server/",
        ],
    ),
    (
        "sea_orm",
        &["homeserver/src/store", "sdk/src/store", "migrations/"],
    ),
    (
        "sea_orm_migration",
        &["homeserver/src/store", "sdk/src/store", "migrations/"],
    ),
    ("sqlx", &["homeserver/src/store", "sdk/src/store"]),
    (
        "reqwest",
        &[
            "homeserver/src/outbound/",
            "sdk/src/http.rs",
            "sdk/src/http/",
        ],
    ),
    (
        "vodozemac",
        &["sdk/src/crypto.rs", "sdk/src/crypto/", "sdk/benches/"],
    ),
    (
        "getrandom",
        &["homeserver/src/clock.rs", "sdk/src/clock.rs", "bots/"],
    ),
    ("jsonwebtoken", &["homeserver/src/http/token"]),
    ("argon2", &["homeserver/src/accounts", "sdk/src/store"]),
];

/// A pure folder, and the crates and words that would make it impure.
const PURE: [(&str, &[&str]); 3] = [
    (
        "homeserver/protocol/src/",
        &[
            "tokio",
            "axum",
            "reqwest",
            "sea_orm",
            "async",
            "await",
            "SystemTime",
            "Instant",
            "getrandom",
        ],
    ),
    (
        "sdk/src/crypto/",
        &[
            "tokio",
            "reqwest",
            "sea_orm",
            "async",
            "await",
            "SystemTime",
            "Instant",
        ],
    ),
    (
        "sdk/src/base/",
        &[
            "tokio",
            "reqwest",
            "sea_orm",
            "async",
            "await",
            "SystemTime",
            "Instant",
        ],
    ),
];

/// Complaints about crates used where they may not be.
fn check_confined(source: &Source) -> Vec<String> {
    let mut complaints = Vec::new();
    if source.is_test() || source.path.starts_with("xtask/") {
        return complaints;
    }
    let forbidden: Vec<&str> = CONFINED
        .iter()
        .filter(|(_, places)| !places.iter().any(|place| source.path.starts_with(place)))
        .map(|(name, _)| *name)
        .collect();
    source.each(|before, tokens| {
        let Some(name) = forbidden.iter().find(|name| is_word(tokens.first(), name)) else {
            return;
        };
        // `axum::…` or `use axum`, but neither a field nor the tail of a path.
        let heads_a_path =
            is_path_separator(&tokens[1..]) && !is_sign(before, ':') && !is_sign(before, '.');
        if heads_a_path || is_word(before, "use") || is_word(before, "crate") {
            complaints.push(
                source.complaint(line(&tokens[0]), &format!("`{name}` may not be used here")),
            );
        }
    });
    complaints
}

/// Complaints about what does not belong in a pure folder.
fn check_pure(source: &Source) -> Vec<String> {
    let mut complaints = Vec::new();
    let Some((folder, impure)) = PURE
        .iter()
        .find(|(folder, _)| source.path.starts_with(folder))
    else {
        return complaints;
    };
    source.each(|_, tokens| {
        if let Some(word) = impure.iter().find(|word| is_word(tokens.first(), word)) {
            complaints.push(
                source.complaint(line(&tokens[0]), &format!("{folder} is pure: no `{word}`")),
            );
        }
    });
    complaints
}

#[test]
fn crates_are_used_in_their_layer_only() {
    expect_none(
        &workspace_sources()
            .iter()
            .flat_map(check_confined)
            .collect::<Vec<_>>(),
    );
}

#[test]
fn pure_folders_are_pure() {
    expect_none(
        &workspace_sources()
            .iter()
            .flat_map(check_pure)
            .collect::<Vec<_>>(),
    );
}

#[test]
fn a_crate_outside_its_layer_is_found() {
    let path = "homeserver/src/rooms/send.rs";
    let check = |text: &str| check_confined(&Source::new(path, text)).len();
    assert_eq!(check("use axum::Router;"), 1);
    assert_eq!(check("use sea_orm as orm;"), 1);
    assert_eq!(check("fn a() { let x = vec![reqwest::get(1)]; }"), 1);
    assert_eq!(check("fn a() { ruma::vodozemac::b(); self.axum.c(); }"), 0);
    let in_a_test = Source::new("sdk/src/http/tests.rs", "use axum::Router;");
    assert_eq!(check_confined(&in_a_test), Vec::<String>::new());
    let at_home = Source::new("homeserver/src/http/token.rs", "use jsonwebtoken::encode;");
    assert_eq!(check_confined(&at_home), Vec::<String>::new());
}

#[test]
fn an_impure_word_is_found() {
    let clock = Source::new(
        "homeserver/protocol/src/check.rs",
        "fn a() { std::time::SystemTime::now(); }",
    );
    assert_eq!(
        check_pure(&clock),
        ["homeserver/protocol/src/check.rs:1: homeserver/protocol/src/ is pure: no `SystemTime`"]
    );
    let waits = Source::new("sdk/src/crypto/machine.rs", "async fn a() {}");
    assert_eq!(check_pure(&waits).len(), 1);
}
