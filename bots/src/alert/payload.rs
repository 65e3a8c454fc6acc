//! What monitoring systems post, turned into one form.
//!
//! Invariant: any JSON either becomes a [`Notification`] whose every text is bounded, or is
//! refused; nothing here panics or grows with what a sender writes.
//!
//! Alertmanager's webhook (version 4): <https://prometheus.io/docs/alerting/latest/configuration/#webhook_config>.
//! Grafana posts a superset of it.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The most alerts of one group that are kept; the rest is counted.
pub const ALERTS_MAX: usize = 20;

/// The longest text of one field that is kept, in characters.
pub const FIELD_CHARS_MAX: usize = 600;

/// The most labels kept of one alert.
const LABELS_MAX: usize = 12;

/// Whether something is wrong or right again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// At least one alert is firing.
    Firing,
    /// All alerts are over.
    Resolved,
}

/// One alert group's state, as it should be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// What tells this group from others; messages about one key are one message and its edits.
    pub key: String,
    /// Firing as long as one alert is.
    pub status: Status,
    /// The worst severity as the sender names it, in lower case; empty if it names none.
    pub severity: String,
    /// One line.
    pub title: String,
    /// Free text below the title; empty if there is none.
    pub body: String,
    /// The group's alerts, at most [`ALERTS_MAX`].
    pub alerts: Vec<Alert>,
    /// How many alerts more there are.
    pub left_out: u64,
}

/// One alert of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Its own state.
    pub status: Status,
    /// The labels in which it differs from the rest of its group, `name=value`.
    pub labels: Vec<String>,
    /// Its summary; empty if it has none.
    pub summary: String,
    /// Its description; empty if it has none.
    pub description: String,
}

/// Why a body was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// Not JSON, or not JSON of the expected shape.
    #[error("the body is not of the expected form")]
    Form,
    /// A group without `groupKey`, or a message without a title.
    #[error("the body lacks a field that it needs")]
    Missing,
}

/// `{"title", "body", "severity", "key"?, "status"?}`.
#[derive(Debug, Deserialize)]
struct Plain {
    title: String,
    #[serde(default)]
    body: String,
    #[serde(default)]
    severity: String,
    key: Option<String>,
    status: Option<String>,
}

/// Alertmanager's group, with what Grafana adds.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    version: Option<String>,
    group_key: String,
    status: String,
    #[serde(default)]
    truncated_alerts: u64,
    #[serde(default)]
    group_labels: BTreeMap<String, String>,
    #[serde(default)]
    common_labels: BTreeMap<String, String>,
    #[serde(default)]
    common_annotations: BTreeMap<String, String>,
    alerts: Vec<GroupAlert>,
    /// Grafana only.
    title: Option<String>,
}

#[derive(Debug, Deserialize)]
struct GroupAlert {
    status: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// Reads Alertmanager's webhook.
///
/// # Errors
///
/// [`PayloadError`] if the body is not such JSON of version 4 or has no group key.
pub fn from_alertmanager(body: &[u8]) -> Result<Notification, PayloadError> {
    let group = read_group(body)?;
    if group.version.as_deref() != Some("4") {
        return Err(PayloadError::Form);
    }
    from_group(&group, "alertmanager")
}

/// Reads Grafana's webhook, whose version counts on its own.
///
/// # Errors
///
/// [`PayloadError`] if the body is not such JSON or has no group key.
pub fn from_grafana(body: &[u8]) -> Result<Notification, PayloadError> {
    from_group(&read_group(body)?, "grafana")
}

fn read_group(body: &[u8]) -> Result<Group, PayloadError> {
    serde_json::from_slice(body).map_err(|_| PayloadError::Form)
}

fn from_group(group: &Group, sender: &str) -> Result<Notification, PayloadError> {
    if group.group_key.is_empty() {
        return Err(PayloadError::Missing);
    }
    let status = status(&group.status);
    let kept = group
        .alerts
        .iter()
        .take(ALERTS_MAX)
        .map(|alert| group_alert(group, alert));
    Ok(Notification {
        key: key(sender, &group.group_key),
        status,
        severity: worst_severity(group),
        title: group_title(group),
        body: common_text(group),
        alerts: kept.collect(),
        left_out: group.truncated_alerts.saturating_add(
            u64::try_from(group.alerts.len().saturating_sub(ALERTS_MAX)).unwrap_or(u64::MAX),
        ),
    })
}

/// Reads the plain form. Without a key the title is the key.
///
/// # Errors
///
/// [`PayloadError`] if the body is not such JSON or has an empty title.
pub fn from_plain(body: &[u8]) -> Result<Notification, PayloadError> {
    let plain: Plain = serde_json::from_slice(body).map_err(|_| PayloadError::Form)?;
    let title = line(&plain.title);
    if title.is_empty() {
        return Err(PayloadError::Missing);
    }
    Ok(Notification {
        key: key(
            "message",
            plain
                .key
                .as_deref()
                .filter(|key| !key.is_empty())
                .unwrap_or(&plain.title),
        ),
        status: plain.status.as_deref().map_or(Status::Firing, status),
        severity: severity(&plain.severity),
        title,
        body: text(&plain.body),
        alerts: Vec::new(),
        left_out: 0,
    })
}

/// A sender's key among those of all senders: one must not edit another's messages by using its key.
fn key(sender: &str, key: &str) -> String {
    format!("{sender} {key}")
}

fn status(name: &str) -> Status {
    // Anything but a clear all-clear is shown as trouble.
    if matches!(name, "resolved" | "ok" | "normal") {
        Status::Resolved
    } else {
        Status::Firing
    }
}

fn severity(name: &str) -> String {
    line(name).to_lowercase()
}

/// The group's common severity, or the worst of its alerts'.
fn worst_severity(group: &Group) -> String {
    /// The usual names, worst first; others come after them, in the order of the alphabet.
    const ORDER: [&str; 9] = [
        "page", "critical", "error", "high", "warning", "medium", "low", "info", "none",
    ];
    let rank = |name: &String| {
        ORDER
            .iter()
            .position(|known| known == name)
            .unwrap_or(ORDER.len())
    };
    let of_alerts = group
        .alerts
        .iter()
        .filter_map(|alert| alert.labels.get("severity"));
    group
        .common_labels
        .get("severity")
        .into_iter()
        .chain(of_alerts)
        .map(|name| severity(name))
        .min_by_key(|name| (rank(name), name.clone()))
        .unwrap_or_default()
}

fn group_title(group: &Group) -> String {
    if let Some(title) = group
        .title
        .as_deref()
        .map(line)
        .filter(|title| !title.is_empty())
    {
        return title;
    }
    let named = group
        .group_labels
        .get("alertname")
        .or(group.common_labels.get("alertname"));
    let name = named
        .map(|name| line(name))
        .unwrap_or_else(|| "Alert".to_owned());
    let others = group
        .group_labels
        .iter()
        .filter(|(label, _)| *label != "alertname");
    let others: Vec<_> = others
        .take(LABELS_MAX)
        .map(|(name, value)| pair(name, value))
        .collect();
    if others.is_empty() {
        name
    } else {
        line(&format!("{name} ({})", others.join(", ")))
    }
}

/// What all alerts of the group say.
fn common_text(group: &Group) -> String {
    let parts = ["summary", "description", "message"];
    let parts = parts
        .iter()
        .filter_map(|name| group.common_annotations.get(*name));
    text(&parts.cloned().collect::<Vec<_>>().join("\n"))
}

fn group_alert(group: &Group, alert: &GroupAlert) -> Alert {
    let own = |name: &&str| {
        let value = alert.annotations.get(*name)?;
        (group.common_annotations.get(*name) != Some(value)).then_some(value)
    };
    let summary = ["summary", "message"].iter().find_map(own);
    let labels = alert.labels.iter().filter(|(name, value)| {
        group.common_labels.get(*name) != Some(value)
            && group.group_labels.get(*name) != Some(value)
    });
    Alert {
        status: status(&alert.status),
        labels: labels
            .take(LABELS_MAX)
            .map(|(name, value)| pair(name, value))
            .collect(),
        summary: summary.map(|summary| line(summary)).unwrap_or_default(),
        description: own(&"description")
            .map(|description| text(description))
            .unwrap_or_default(),
    }
}

fn pair(name: &str, value: &str) -> String {
    line(&format!("{name}={value}"))
}

/// One line: bounded, without line breaks and control characters.
fn line(input: &str) -> String {
    let printable = input.chars().map(|c| if c.is_control() { ' ' } else { c });
    bounded(&printable.take(FIELD_CHARS_MAX + 1).collect::<String>())
        .trim()
        .to_owned()
}

/// Several lines: bounded, without control characters but line breaks.
fn text(input: &str) -> String {
    let printable = input
        .chars()
        .map(|c| if c.is_control() && c != '\n' { ' ' } else { c });
    bounded(&printable.take(FIELD_CHARS_MAX + 1).collect::<String>())
        .trim()
        .to_owned()
}

fn bounded(input: &str) -> String {
    match input.char_indices().nth(FIELD_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &input[..end]),
        None => input.to_owned(),
    }
}

#[cfg(test)]
pub(crate) mod tests;
