//! Lifetimes of messages: the classes a lifetime is rounded to, and the stamp that carries one.
//!
//! Invariant: a lifetime is always one of the seven classes, so that what a server sees (the stamp beside the ciphertext, the
//! lifetime of a to-device message) tells a class and nothing finer; rounding is always *down*, so nothing lives longer than
//! its sender asked. The stamp is `org.passeur.expiry`, an addition to the specification that other clients may ignore.

use ruma::serde::JsonObject;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Name of the stamp in an event's content, inside and outside the ciphertext.
pub const EXPIRY_FIELD: &str = "org.passeur.expiry";

/// Name of the field with random bytes in an expiring message that is not encrypted. Its hash outlives the content; without them, whoever
/// guesses a short text could confirm it by the hash.
pub const SALT_FIELD: &str = "org.passeur.salt";

/// Name of the field beside the ciphertext of a to-device message that carries the key of an expiring session.
pub const TO_DEVICE_TTL_FIELD: &str = "org.passeur.ttl_ms";

/// A lifetime class: how long a message lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "u64", from = "u64")]
pub enum ExpiryClass {
    /// Thirty seconds.
    Seconds30,
    /// Five minutes.
    Minutes5,
    /// One hour.
    Hour1,
    /// Eight hours.
    Hours8,
    /// One day.
    Day1,
    /// Seven days.
    Days7,
    /// Twenty-eight days.
    Days28,
}

impl ExpiryClass {
    /// All classes, shortest first.
    pub const ALL: [Self; 7] = [
        Self::Seconds30,
        Self::Minutes5,
        Self::Hour1,
        Self::Hours8,
        Self::Day1,
        Self::Days7,
        Self::Days28,
    ];

    /// The lifetime in milliseconds.
    pub const fn as_ms(self) -> u64 {
        const MINUTE_MS: u64 = 60_000;
        const HOUR_MS: u64 = 60 * MINUTE_MS;
        const DAY_MS: u64 = 24 * HOUR_MS;
        match self {
            Self::Seconds30 => 30_000,
            Self::Minutes5 => 5 * MINUTE_MS,
            Self::Hour1 => HOUR_MS,
            Self::Hours8 => 8 * HOUR_MS,
            Self::Day1 => DAY_MS,
            Self::Days7 => 7 * DAY_MS,
            Self::Days28 => 28 * DAY_MS,
        }
    }

    /// The longest class that is not longer than `ttl_ms`; the shortest class for anything below it.
    pub fn from_ms(ttl_ms: u64) -> Self {
        Self::ALL
            .into_iter()
            .rev()
            .find(|class| class.as_ms() <= ttl_ms)
            .unwrap_or(Self::Seconds30)
    }
}

impl From<ExpiryClass> for u64 {
    fn from(class: ExpiryClass) -> Self {
        class.as_ms()
    }
}

impl From<u64> for ExpiryClass {
    fn from(ttl_ms: u64) -> Self {
        Self::from_ms(ttl_ms)
    }
}

/// What the sender of a message says about its lifetime: the full form, as it stands inside the ciphertext.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpiryStamp {
    /// How long the message lives after it was sent.
    #[serde(rename = "ttl_ms")]
    pub class: ExpiryClass,
    /// How long it may be shown after it was first displayed, in milliseconds. A client rule; never longer than the class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_read_ms: Option<u64>,
    /// Whether it may be displayed once only. A client rule.
    #[serde(default, skip_serializing_if = "is_false")]
    pub view_once: bool,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_false(value: &bool) -> bool {
    !*value
}

impl ExpiryStamp {
    /// A stamp with a class and no rule about reading.
    pub const fn new(class: ExpiryClass) -> Self {
        Self {
            class,
            after_read_ms: None,
            view_once: false,
        }
    }

    /// The stamp in an event's content. Anything malformed counts as the shortest class: a stamp that cannot be read must not
    /// mean "keep for ever". `None` if there is no stamp.
    pub fn read(content: &JsonObject) -> Option<Self> {
        let stamp = content.get(EXPIRY_FIELD)?;
        Some(Self {
            class: ExpiryClass::from_ms(stamp.get("ttl_ms").and_then(Value::as_u64).unwrap_or(0)),
            after_read_ms: stamp.get("after_read_ms").and_then(Value::as_u64),
            view_once: stamp
                .get("view_once")
                .and_then(Value::as_bool)
                .unwrap_or(false),
        })
    }

    /// Writes the full stamp, for the content inside the ciphertext.
    pub fn write_inner(&self, content: &mut JsonObject) {
        let mut stamp = JsonObject::new();
        stamp.insert("ttl_ms".to_owned(), self.class.as_ms().into());
        if let Some(after_read_ms) = self.after_read_ms {
            stamp.insert("after_read_ms".to_owned(), after_read_ms.into());
        }
        if self.view_once {
            stamp.insert("view_once".to_owned(), true.into());
        }
        content.insert(EXPIRY_FIELD.to_owned(), Value::Object(stamp));
    }

    /// Writes the class alone, for the content that servers see.
    pub fn write_outer(&self, content: &mut JsonObject) {
        let mut stamp = JsonObject::new();
        stamp.insert("ttl_ms".to_owned(), self.class.as_ms().into());
        content.insert(EXPIRY_FIELD.to_owned(), Value::Object(stamp));
    }
}

/// When a received message dies and what else its sender asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageExpiry {
    /// The shorter of the inner and the outer class, and of the session's.
    pub class: ExpiryClass,
    /// When the content must be gone, in milliseconds since the Unix epoch: the earlier of the server's timestamp and the time
    /// of receipt, plus the class.
    pub deadline_ms: u64,
    /// How long it may be shown after it was first displayed, in milliseconds.
    pub after_read_ms: Option<u64>,
    /// Whether it may be displayed once only.
    pub view_once: bool,
    /// The stamp outside the ciphertext is not what the sender wrote inside: a server changed, added or removed it. The user
    /// should be told.
    pub tampered: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_is_rounded_down_to_a_class() {
        assert_eq!(ExpiryClass::from_ms(0), ExpiryClass::Seconds30);
        assert_eq!(ExpiryClass::from_ms(30_000), ExpiryClass::Seconds30);
        assert_eq!(ExpiryClass::from_ms(299_999), ExpiryClass::Seconds30);
        assert_eq!(ExpiryClass::from_ms(300_000), ExpiryClass::Minutes5);
        assert_eq!(ExpiryClass::from_ms(u64::MAX), ExpiryClass::Days28);
        for class in ExpiryClass::ALL {
            assert_eq!(ExpiryClass::from_ms(class.as_ms()), class);
        }
    }

    #[test]
    fn a_malformed_stamp_is_the_shortest_class() {
        let content: JsonObject =
            serde_json::from_str(r#"{"org.passeur.expiry":{"ttl_ms":"for ever"}}"#).unwrap();
        assert_eq!(
            ExpiryStamp::read(&content),
            Some(ExpiryStamp::new(ExpiryClass::Seconds30))
        );
        assert_eq!(ExpiryStamp::read(&JsonObject::new()), None);
    }

    #[test]
    fn the_outer_stamp_tells_the_class_only() {
        let stamp = ExpiryStamp {
            class: ExpiryClass::Hour1,
            after_read_ms: Some(9),
            view_once: true,
        };
        let mut content = JsonObject::new();
        stamp.write_outer(&mut content);
        assert_eq!(
            ExpiryStamp::read(&content),
            Some(ExpiryStamp::new(ExpiryClass::Hour1))
        );
        stamp.write_inner(&mut content);
        assert_eq!(ExpiryStamp::read(&content), Some(stamp));
    }
}
