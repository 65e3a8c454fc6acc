//! How a notification looks in a room: plain text, and HTML in which everything is escaped.
//!
//! Invariant: both texts stay below [`MESSAGE_BYTES_MAX`], so that the event, encrypted and in
//! base64, keeps within the 65,536 bytes that the specification allows.
//!
//! Specification: <https://spec.matrix.org/v1.19/client-server-api/#mroommessage-msgtypes>

use super::payload::{Alert, Notification, Status};

/// The most bytes of either text.
pub const MESSAGE_BYTES_MAX: usize = 12 * 1024;

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
        plain: plain.0,
        html: html.0,
    }
}

fn push_alerts(notification: &Notification, plain: &mut Bounded, html: &mut Bounded) {
    if notification.alerts.is_empty() {
        return;
    }
    let mut items = String::new();
    let mut left_out = notification.left_out;
    for alert in &notification.alerts {
        let (line, item) = (alert_plain(alert), alert_html(alert));
        if plain.fits(line.len()) && html.fits(items.len() + item.len() + "<ul></ul>".len()) {
            plain.push(&line);
            items.push_str(&item);
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

/// A text that takes only what fits.
#[derive(Debug, Default)]
struct Bounded(String);

impl Bounded {
    /// Room kept for the closing line.
    const RESERVE_BYTES: usize = 64;

    fn fits(&self, bytes: usize) -> bool {
        self.0.len() + bytes + Self::RESERVE_BYTES <= MESSAGE_BYTES_MAX
    }

    fn push(&mut self, part: &str) {
        if self.0.len() + part.len() <= MESSAGE_BYTES_MAX {
            self.0.push_str(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::payload::{from_group, from_plain, tests::ALERTMANAGER};

    #[test]
    fn a_group_reads_well_in_both_forms() {
        let message = format(&from_group(ALERTMANAGER.as_bytes()).unwrap());
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

    #[test]
    fn a_large_group_stays_within_the_bound_and_says_what_is_missing() {
        let alert = format!(
            r#"{{"status":"firing","labels":{{"x":"{0}"}},"annotations":{{"description":"{0}"}}}}"#,
            "<".repeat(600)
        );
        let alerts = vec![alert; 50].join(",");
        let body = format!(r#"{{"groupKey":"g","status":"firing","alerts":[{alerts}]}}"#);
        let message = format(&from_group(body.as_bytes()).unwrap());
        assert!(
            message.plain.len() <= MESSAGE_BYTES_MAX && message.html.len() <= MESSAGE_BYTES_MAX
        );
        assert!(message.plain.ends_with("more") && message.html.ends_with("more"));
        assert!(message.html.contains("</ul>"));
    }
}
