//! How a notification looks in a room: plain text, and HTML in which everything is escaped.
//!
//! Invariant: both texts stay below [`MESSAGE_BYTES_MAX`] as they are written in JSON, where some characters take two or six
//! bytes. So the event, and the event by which it is changed, encrypted and in base64, keep within the 65,536 bytes that the
//! specification allows.
//!
//! Specification: <https://spec.matrix.org/v1.19/client-server-api/#mroommessage-msgtypes>

use super::payload::{Alert, Notification, Status};

/// The most bytes of either text, in JSON.
pub const MESSAGE_BYTES_MAX: usize = 10 * 1024;

/// A message in both forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// For clients that show no HTML, and for notifications.
    pub plain: String,
    /// The subset of HTML that the specification suggests, everything from outside escaped.
    pub html: String,
}

/// Writes a notification down.
#[must_use]
pub fn format(notification: &Notification) -> Message {
    let mut plain = Bounded::default();
    let mut html = Bounded::default();
    let mark = match notification.status {
        Status::Firing => "FIRING",
        Status::Resolved => "RESOLVED",
    };
    let severity = match notification.severity.as_str() {
        "" => String::new(),
        severity => format!(" ({severity})"),
    };
    plain.push(&format!("[{mark}] {}{severity}", notification.title));
    html.push(&format!(
        "<strong>[{mark}]</strong> {}{}",
        escape(&notification.title),
        escape(&severity)
    ));
    if !notification.body.is_empty() {
        plain.push(&format!("\n{}", notification.body));
        html.push(&format!("<br>{}", escape_lines(&notification.body)));
    }
    push_alerts(notification, &mut plain, &mut html);
    Message {
        plain: plain.text,
        html: html.text,
    }
}

fn push_alerts(notification: &Notification, plain: &mut Bounded, html: &mut Bounded) {
    if notification.alerts.is_empty() {
        return;
    }
    let (mut items, mut items_bytes) = (String::new(), "<ul></ul>".len());
    let mut left_out = notification.left_out;
    for alert in &notification.alerts {
        let (line, item) = (alert_plain(alert), alert_html(alert));
        let item_bytes = json_bytes(&item);
        if plain.fits(json_bytes(&line)) && html.fits(items_bytes + item_bytes) {
            plain.push(&line);
            items.push_str(&item);
            items_bytes += item_bytes;
        } else {
            left_out += 1;
        }
    }
    html.push(&format!("<ul>{items}</ul>"));
    if left_out > 0 {
        plain.push(&format!("\n… and {left_out} more"));
        html.push(&format!("… and {left_out} more"));
    }
}

fn alert_plain(alert: &Alert) -> String {
    let mut line = format!("\n- {}", words(alert).join(": "));
    if !alert.description.is_empty() {
        line.push_str(&format!("\n  {}", alert.description.replace('\n', "\n  ")));
    }
    line
}

fn alert_html(alert: &Alert) -> String {
    let words: Vec<_> = words(alert).iter().map(|word| escape(word)).collect();
    let mut item = format!("<li>{}", words.join(": "));
    if !alert.description.is_empty() {
        item.push_str(&format!("<br>{}", escape_lines(&alert.description)));
    }
    item.push_str("</li>");
    item
}

fn words(alert: &Alert) -> Vec<String> {
    let state = match alert.status {
        Status::Firing => "firing",
        Status::Resolved => "resolved",
    };
    let labels = alert.labels.join(", ");
    [state.to_owned(), labels, alert.summary.clone()]
        .into_iter()
        .filter(|word| !word.is_empty())
        .collect()
}

/// Escapes what HTML gives a meaning to.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(c),
        }
    }
    escaped
}

fn escape_lines(text: &str) -> String {
    escape(text).replace('\n', "<br>")
}

/// How many bytes a text takes in JSON, without the quotes around it.
fn json_bytes(text: &str) -> usize {
    let escaped = |c: char| match c {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        c if c < ' ' => 6,
        c => c.len_utf8(),
    };
    text.chars().map(escaped).sum()
}

/// A text that takes only what fits.
#[derive(Debug, Default)]
struct Bounded {
    text: String,
    /// How many bytes it takes in JSON.
    bytes: usize,
}

impl Bounded {
    /// Room kept for the closing line.
    const RESERVE_BYTES: usize = 64;

    fn fits(&self, bytes: usize) -> bool {
        self.bytes + bytes + Self::RESERVE_BYTES <= MESSAGE_BYTES_MAX
    }

    fn push(&mut self, part: &str) {
        let bytes = json_bytes(part);
        if self.bytes + bytes <= MESSAGE_BYTES_MAX {
            self.text.push_str(part);
            self.bytes += bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::payload::{from_grafana, from_plain, tests::ALERTMANAGER};

    #[test]
    fn a_group_reads_well_in_both_forms() {
        let message = format(&from_grafana(ALERTMANAGER.as_bytes()).unwrap());
        assert_eq!(
            message.plain,
            "[FIRING] DiskFull (critical)\nA disk is nearly full\n- firing: instance=a:9100\n  / has 2 % left\n- resolved: instance=b:9100"
        );
        assert_eq!(
            message.html,
            "<strong>[FIRING]</strong> DiskFull (critical)<br>A disk is nearly full<ul><li>firing: instance=a:9100<br>/ has 2 % left</li><li>resolved: instance=b:9100</li></ul>"
        );
    }

    #[test]
    fn nothing_from_outside_becomes_markup() {
        let body = br#"{"title":"<b>&\"'","body":"<script>\n</script>","severity":"<i>"}"#;
        let html = format(&from_plain(body).unwrap()).html;
        assert_eq!(
            html,
            "<strong>[FIRING]</strong> &lt;b&gt;&amp;&quot;&#39; (&lt;i&gt;)<br>&lt;script&gt;<br>&lt;/script&gt;"
        );
    }

    fn group(text: &str, alerts: usize) -> Message {
        let alert = serde_json::json!({
            "status": "firing", "labels": {"x": text}, "annotations": {"description": text}
        });
        let body = serde_json::json!({
            "groupKey": "g", "status": "firing", "alerts": vec![alert; alerts]
        });
        format(&from_grafana(body.to_string().as_bytes()).unwrap())
    }

    /// What both texts take in an event's content.
    fn bytes_in_json(message: &Message) -> usize {
        let body = serde_json::to_string(&message.plain).unwrap();
        let html = serde_json::to_string(&message.html).unwrap();
        body.len() + html.len() - 4
    }

    #[test]
    fn a_large_group_stays_within_the_bound_and_says_what_is_missing() {
        // Characters that HTML, or JSON, makes longer.
        for text in ["<", "\"", "\\", "\n", "\u{1}", "é", "x"] {
            let message = group(&text.repeat(600), 50);
            let bytes = bytes_in_json(&message);
            assert!(bytes <= 2 * MESSAGE_BYTES_MAX, "{text:?}: {bytes}");
            assert!(message.plain.ends_with("more") && message.html.ends_with("more"));
            assert!(message.html.contains("</ul>"));
        }
    }

    #[test]
    fn the_bytes_in_json_are_counted_as_they_are_written() {
        let text: String = (0..0x250).filter_map(char::from_u32).collect();
        let written = serde_json::to_string(&text).unwrap();
        assert_eq!(json_bytes(&text), written.len() - 2);
    }
}
