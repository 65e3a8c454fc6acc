//! `event_fields` of a filter: which fields of an event are told.
//!
//! Invariant: what is left is a part of the event; a path that leads nowhere takes nothing else
//! with it. Fields without which an event is no event are always told.
//!
//! Spec: <https://spec.matrix.org/v1.19/appendices/#dot-separated-property-paths>

use serde_json::{Map, Value};

/// Fields without which a client could not place an event.
const ALWAYS: [&str; 6] = [
    "event_id",
    "origin_server_ts",
    "room_id",
    "sender",
    "state_key",
    "type",
];
/// How deep a path may lead; deeper ones are cut, so that more is told, never less.
const SEGMENTS_MAX: usize = 32;

/// The paths of a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields(Vec<Vec<String>>);

impl Fields {
    /// Reads paths such as `content.body`; `\` escapes a dot or itself.
    pub fn new(paths: &[String]) -> Self {
        Self(paths.iter().map(|path| split(path)).collect())
    }

    /// The event with only these fields. What is no JSON object is given back as it is.
    pub fn apply(&self, event: &[u8]) -> Vec<u8> {
        let Ok(Value::Object(event)) = serde_json::from_slice::<Value>(event) else {
            return event.to_vec();
        };
        let mut kept = Map::new();
        for path in &self.0 {
            keep(&event, path, &mut kept);
        }
        for name in ALWAYS {
            if let Some(value) = event.get(name) {
                kept.insert(name.to_owned(), value.clone());
            }
        }
        Value::Object(kept).to_string().into_bytes()
    }
}

fn split(path: &str) -> Vec<String> {
    let mut segments = vec![String::new()];
    let mut escaped = false;
    for letter in path.chars() {
        let dot = letter == '.' && !escaped;
        if dot && segments.len() == SEGMENTS_MAX {
            break;
        } else if dot {
            segments.push(String::new());
        } else if letter == '\\' && !escaped {
            escaped = true;
            continue;
        } else if let Some(segment) = segments.last_mut() {
            segment.push(letter);
        }
        escaped = false;
    }
    segments
}

fn keep(from: &Map<String, Value>, path: &[String], to: &mut Map<String, Value>) {
    let Some((name, rest)) = path.split_first() else {
        return;
    };
    let Some(value) = from.get(name) else { return };
    if rest.is_empty() {
        to.insert(name.clone(), value.clone());
    } else if let Value::Object(value) = value {
        let inner = to
            .entry(name.clone())
            .or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(inner) = inner {
            keep(value, rest, inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_the_fields_asked_for_are_left() {
        let event = json!({
            "type": "m.room.message", "sender": "@a:x.org", "unsigned": {"age": 1},
            "content": {"body": "hello", "msgtype": "m.text", "a.b": {"c": 1}},
        });
        let paths = [
            "content.body",
            r"content.a\.b.c",
            "content.absent",
            "sender.x",
        ];
        let fields = Fields::new(&paths.map(str::to_owned));
        let left: Value =
            serde_json::from_slice(&fields.apply(event.to_string().as_bytes())).unwrap();
        assert_eq!(
            left,
            json!({
                "type": "m.room.message", "sender": "@a:x.org",
                "content": {"body": "hello", "a.b": {"c": 1}},
            })
        );
    }

    #[test]
    fn hostile_paths_are_cut() {
        let deep = "a.".repeat(10_000);
        assert_eq!(split(&deep).len(), SEGMENTS_MAX);
        assert_eq!(split(""), [""]);
        assert_eq!(split(r"\\.\."), [r"\", "."]);
    }
}
