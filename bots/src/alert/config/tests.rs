//! Configurations that are right, and what is said about those that are not.

use super::*;

fn load(text: &str, environment: &[(&str, &str)]) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("alert.toml");
    std::fs::write(&path, text).unwrap();
    let environment = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let shown = path.display().to_string();
    Config::load(&path, environment).map_err(|error| error.to_string().replace(&shown, "FILE"))
}

fn refused(text: &str, environment: &[(&str, &str)]) -> String {
    load(text, environment).unwrap_err()
}

#[test]
fn the_template_is_valid() {
    let config = load(TEMPLATE, &[]).unwrap();
    assert_eq!(config.homeserver.user, "alerts");
    assert!(config.store.path.is_absolute());
    assert_eq!(config.webhook.body_bytes_max, BODY_BYTES_DEFAULT);
    assert_eq!(config.expiry.class("critical"), Some(ExpiryClass::Days28));
    assert_eq!(config.expiry.class("unheard of"), Some(ExpiryClass::Days7));
}

#[test]
fn every_commented_key_of_the_template_is_valid() {
    let uncommented: Vec<_> = TEMPLATE
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') => rest,
            _ => line,
        })
        .collect();
    let config = load(&uncommented.join("\n"), &[]).unwrap();
    assert!(config.webhook.tls.is_some());
    assert_eq!(config.room.operators.len(), 1);
}

#[test]
fn an_unknown_key_is_refused_with_line_and_nearest_key() {
    let text = TEMPLATE.replace("token_file", "tokenfile");
    let line = text
        .lines()
        .position(|line| line.starts_with("tokenfile"))
        .unwrap()
        + 1;
    assert_eq!(
        refused(&text, &[]),
        format!("FILE, line {line}: `tokenfile` is not known here; did you mean `token_file`?")
    );
    let text = TEMPLATE.replace("[webhook]", "[webhok]");
    assert!(refused(&text, &[]).contains("did you mean `webhook`?"));
    let text = TEMPLATE.replace("default = \"7d\"", "default = \"8d\"");
    assert!(refused(&text, &[]).contains("`8d` is not known here; did you mean `1d`?"));
}

#[test]
fn a_value_of_the_wrong_kind_is_refused_with_its_line() {
    let text = TEMPLATE.replace("\"!room:example.org\"", "7");
    let line = text.lines().position(|line| line == "id = 7").unwrap() + 1;
    assert!(refused(&text, &[]).starts_with(&format!("FILE, line {line}: ")));
    assert!(refused("[homeserver", &[]).starts_with("FILE, line 1: "));
}

#[test]
fn the_environment_overrides_the_file() {
    let environment = [
        (
            "PASSEUR_ALERT__HOMESERVER__URL",
            "https://other.example.org",
        ),
        ("PASSEUR_ALERT__WEBHOOK__BODY_BYTES_MAX", "77"),
        ("PASSEUR_ALERT__ROOM__OPERATORS", "[\"@bob:example.org\"]"),
        ("PASSEUR_ALERT__EXPIRY__SEVERITY__INFO", "30s"),
        ("UNRELATED", "x"),
    ];
    let config = load(TEMPLATE, &environment).unwrap();
    assert_eq!(config.homeserver.url, "https://other.example.org");
    assert_eq!(config.webhook.body_bytes_max, 77);
    assert_eq!(config.room.operators[0], "@bob:example.org");
    assert_eq!(config.expiry.class("info"), Some(ExpiryClass::Seconds30));
}

#[test]
fn an_unknown_variable_is_refused_by_name() {
    assert_eq!(
        refused(TEMPLATE, &[("PASSEUR_ALERT__STORE__PTH", "x")]),
        "PASSEUR_ALERT__STORE__PTH: `pth` is not known here; did you mean `path`?"
    );
}

#[test]
fn what_is_missing_is_named() {
    assert_eq!(refused("", &[]), "homeserver.url is missing");
    assert_eq!(
        refused(&TEMPLATE.replace("id = \"!room:example.org\"", ""), &[]),
        "room.id is missing"
    );
    let half_tls = TEMPLATE.replace("#tls_key_file", "tls_key_file");
    assert_eq!(
        refused(&half_tls, &[]),
        "webhook.tls_certificate_file is missing"
    );
}

#[test]
fn plain_http_beyond_loopback_is_refused() {
    let open = TEMPLATE.replace("127.0.0.1:9095", "0.0.0.0:9095");
    assert!(refused(&open, &[]).starts_with("webhook.listen is not a loopback address"));
    let body = TEMPLATE.replace("#body_bytes_max = 1048576", "body_bytes_max = 0");
    assert!(refused(&body, &[]).starts_with("webhook.body_bytes_max must be"));
}

#[test]
fn a_file_that_is_there_is_not_overwritten() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    write_new(&path, "one").unwrap();
    assert!(matches!(
        write_new(&path, "two"),
        Err(ConfigError::Exists(_))
    ));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "one");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
}
