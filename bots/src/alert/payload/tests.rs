//! Bodies as monitoring systems post them, and bodies that nobody should.

use super::*;

/// As in Alertmanager's documentation, with two alerts that differ in their instance.
pub(crate) const ALERTMANAGER: &str = r#"{
  "version": "4", "groupKey": "{}:{alertname=\"DiskFull\"}", "truncatedAlerts": 0,
  "status": "firing", "receiver": "passeur",
  "groupLabels": {"alertname": "DiskFull"},
  "commonLabels": {"alertname": "DiskFull", "severity": "critical", "site": "paris"},
  "commonAnnotations": {"summary": "A disk is nearly full"},
  "externalURL": "http://alertmanager:9093",
  "alerts": [
    {"status": "firing", "labels": {"alertname": "DiskFull", "severity": "critical", "site": "paris", "instance": "a:9100"},
     "annotations": {"summary": "A disk is nearly full", "description": "/ has 2 % left"},
     "startsAt": "2026-01-01T00:00:00Z", "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "", "fingerprint": "f1"},
    {"status": "resolved", "labels": {"alertname": "DiskFull", "severity": "critical", "site": "paris", "instance": "b:9100"},
     "annotations": {"summary": "A disk is nearly full"},
     "startsAt": "2026-01-01T00:00:00Z", "endsAt": "2026-01-01T01:00:00Z", "generatorURL": "", "fingerprint": "f2"}
  ]}"#;

#[test]
fn alertmanagers_group_keeps_what_differs_per_alert() {
    let notification = from_alertmanager(ALERTMANAGER.as_bytes()).unwrap();
    assert_eq!(
        notification.key,
        r#"alertmanager {}:{alertname="DiskFull"}"#
    );
    assert_eq!(notification.status, Status::Firing);
    assert_eq!(notification.severity, "critical");
    assert_eq!(notification.title, "DiskFull");
    assert_eq!(notification.body, "A disk is nearly full");
    assert_eq!(notification.alerts[0].labels, ["instance=a:9100"]);
    assert_eq!(notification.alerts[0].summary, "");
    assert_eq!(notification.alerts[0].description, "/ has 2 % left");
    assert_eq!(notification.alerts[1].status, Status::Resolved);
}

#[test]
fn grafanas_title_is_taken() {
    let body = r#"{"receiver":"r","status":"resolved","orgId":1,"alerts":[],"groupLabels":{},
        "commonLabels":{},"commonAnnotations":{},"version":"1","groupKey":"g","truncatedAlerts":3,
        "title":"[RESOLVED] Latency","state":"ok","message":"m"}"#;
    let notification = from_grafana(body.as_bytes()).unwrap();
    assert_eq!(notification.title, "[RESOLVED] Latency");
    assert_eq!(notification.status, Status::Resolved);
    assert_eq!(notification.left_out, 3);
}

#[test]
fn the_worst_severity_counts() {
    let alert =
        |severity: &str| format!(r#"{{"status":"firing","labels":{{"severity":"{severity}"}}}}"#);
    let check = |severities: &[&str], expected: &str| {
        let alerts: Vec<_> = severities.iter().map(|name| alert(name)).collect();
        let body = format!(
            r#"{{"groupKey":"g","status":"firing","alerts":[{}]}}"#,
            alerts.join(",")
        );
        assert_eq!(from_grafana(body.as_bytes()).unwrap().severity, expected);
    };
    check(&["info", "Critical", "warning"], "critical");
    check(&["purple", "info"], "info");
    check(&["purple"], "purple");
    check(&[], "");
}

#[test]
fn the_plain_form_needs_only_a_title() {
    let notification = from_plain(br#"{"title":"Backup failed"}"#).unwrap();
    assert_eq!(notification.key, "message Backup failed");
    assert_eq!(notification.status, Status::Firing);
    let body = br#"{"title":"t","body":"b","severity":"INFO","key":"k","status":"resolved"}"#;
    let notification = from_plain(body).unwrap();
    assert_eq!(
        (notification.key.as_str(), notification.severity.as_str()),
        ("message k", "info")
    );
    assert_eq!(notification.status, Status::Resolved);
}

#[test]
fn what_is_not_of_the_form_is_refused() {
    for body in [
        "",
        "[]",
        "null",
        "{",
        r#"{"title":1}"#,
        "\u{0}",
        r#"{"body":"b"}"#,
    ] {
        assert_eq!(
            from_plain(body.as_bytes()),
            Err(PayloadError::Form),
            "{body}"
        );
    }
    assert_eq!(
        from_plain(br#"{"title":" \n "}"#),
        Err(PayloadError::Missing)
    );
    for body in [
        r#"{"groupKey":"g","status":"firing"}"#,
        r#"{"status":"firing","alerts":[]}"#,
        r#"{"groupKey":"g","status":"firing","alerts":[{"status":"firing","labels":{"a":1}}]}"#,
    ] {
        assert_eq!(
            from_grafana(body.as_bytes()),
            Err(PayloadError::Form),
            "{body}"
        );
    }
    let empty_key = br#"{"groupKey":"","status":"firing","alerts":[]}"#;
    assert_eq!(from_grafana(empty_key), Err(PayloadError::Missing));
    assert_eq!(
        from_grafana("[".repeat(100_000).as_bytes()),
        Err(PayloadError::Form)
    );
}

#[test]
fn texts_and_counts_are_bounded() {
    let alert = format!(
        r#"{{"status":"firing","labels":{{"x":"{0}"}},"annotations":{{"description":"{0}"}}}}"#,
        "é".repeat(5000)
    );
    let alerts = vec![alert; 50].join(",");
    let body = format!(r#"{{"groupKey":"g","status":"firing","alerts":[{alerts}]}}"#);
    let notification = from_grafana(body.as_bytes()).unwrap();
    assert_eq!(notification.alerts.len(), ALERTS_MAX);
    assert_eq!(notification.left_out, 30);
    assert!(notification.alerts[0].description.chars().count() <= FIELD_CHARS_MAX + 1);
    assert!(notification.alerts[0].labels[0].chars().count() <= FIELD_CHARS_MAX + 1);
}

#[test]
fn control_characters_do_not_break_lines() {
    let notification = from_plain(br#"{"title":"a\nb\u0007c","body":"one\ntwo\r"}"#).unwrap();
    assert_eq!(notification.title, "a b c");
    assert_eq!(notification.body, "one\ntwo");
}

#[test]
fn alertmanager_speaks_version_4_or_is_refused() {
    for other in ["\"3\"", "\"5\"", "4", "null"] {
        let body = ALERTMANAGER.replace("\"version\": \"4\"", &format!("\"version\": {other}"));
        assert_eq!(
            from_alertmanager(body.as_bytes()),
            Err(PayloadError::Form),
            "{other}"
        );
    }
    let body = ALERTMANAGER.replace("\"version\": \"4\",", "");
    assert_eq!(from_alertmanager(body.as_bytes()), Err(PayloadError::Form));
    assert!(from_grafana(body.as_bytes()).is_ok());
}

#[test]
fn one_sender_cannot_edit_the_messages_of_another() {
    let group = ALERTMANAGER.replace("{}:{alertname=\\\"DiskFull\\\"}", "k");
    let keys = [
        from_alertmanager(group.as_bytes()).unwrap().key,
        from_grafana(group.as_bytes()).unwrap().key,
        from_plain(br#"{"title":"t","key":"k"}"#).unwrap().key,
    ];
    assert_eq!(keys, ["alertmanager k", "grafana k", "message k"]);
}
