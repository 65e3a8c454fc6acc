//! The expiry policy of a room: what `org.passeur.room.expiry` and `m.room.retention` say.
//!
//! Invariant: a policy holds classes only, and its default is not longer than its maximum. A malformed policy is none at
//! all for the events of others, and is refused from our own users.
//!
//! No part of the specification.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue as RawJsonValue;

use super::Class;

/// The type of the state event that holds the policy.
pub const POLICY_EVENT_TYPE: &str = "org.passeur.room.expiry";

/// The type of the state event by which other servers purge.
/// <https://github.com/matrix-org/matrix-spec-proposals/pull/1763>
pub const RETENTION_EVENT_TYPE: &str = "m.room.retention";

/// What a room says about the life of its messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The lifetime of messages that carry no stamp.
    pub default: Class,
    /// The longest lifetime of any message.
    pub max: Class,
    /// The longest lifetime of messages that were sent under an earlier policy, or under none.
    pub retroactive_max: Option<Class>,
    /// Whether a message may ask to go some time after it was read. Clients see to that.
    pub after_read: bool,
    /// Whether a message may ask to be shown once. Clients see to that.
    pub view_once: bool,
    /// How long after the end of the content the stub may go too, in milliseconds.
    pub stub_ttl_ms: Option<u64>,
    /// Whether servers that do not support expiry are to be kept out.
    pub require_support: bool,
}

/// Why a policy is refused (`M_BAD_JSON`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// A field is missing or of another type.
    #[error("the expiry policy is malformed")]
    Malformed,
    /// A lifetime is not one of the classes.
    #[error("a lifetime of the expiry policy is not one of the classes")]
    NotAClass,
    /// The default is longer than the maximum.
    #[error("the default lifetime is longer than the greatest")]
    DefaultOverMax,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    default_ms: u64,
    max_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retroactive_max_ms: Option<u64>,
    #[serde(default)]
    after_read: bool,
    #[serde(default)]
    view_once: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stub_ttl_ms: Option<u64>,
    #[serde(default)]
    require_support: bool,
}

#[derive(Serialize, Deserialize)]
struct Retention {
    max_lifetime: u64,
}

impl Policy {
    /// A policy of one lifetime.
    pub fn uniform(class: Class) -> Self {
        Self {
            default: class,
            max: class,
            retroactive_max: None,
            after_read: false,
            view_once: false,
            stub_ttl_ms: None,
            require_support: false,
        }
    }

    /// Reads the content of `org.passeur.room.expiry`. Lifetimes are rounded down to classes, and the default to the
    /// maximum: another server may have let such a policy through, and it must not lengthen any life.
    pub fn parse(content: &RawJsonValue) -> Result<Self, PolicyError> {
        let wire =
            serde_json::from_str::<Wire>(content.get()).map_err(|_| PolicyError::Malformed)?;
        let max = Class::round_down(wire.max_ms);
        Ok(Self {
            default: Class::round_down(wire.default_ms).min(max),
            max,
            retroactive_max: wire.retroactive_max_ms.map(Class::round_down),
            after_read: wire.after_read,
            view_once: wire.view_once,
            stub_ttl_ms: wire.stub_ttl_ms,
            require_support: wire.require_support,
        })
    }

    /// Checks what a user of ours wants to set: as [`Policy::parse`], and every lifetime is a class as it stands.
    pub fn validate(content: &RawJsonValue) -> Result<Self, PolicyError> {
        let wire =
            serde_json::from_str::<Wire>(content.get()).map_err(|_| PolicyError::Malformed)?;
        let is_class = |ms: u64| Class::ALL.iter().any(|class| class.ttl_ms() == ms);
        if ![
            Some(wire.default_ms),
            Some(wire.max_ms),
            wire.retroactive_max_ms,
        ]
        .into_iter()
        .flatten()
        .all(is_class)
        {
            return Err(PolicyError::NotAClass);
        }
        if wire.default_ms > wire.max_ms {
            return Err(PolicyError::DefaultOverMax);
        }
        Self::parse(content)
    }

    /// Reads the content of `m.room.retention`. `None` where it sets no greatest lifetime, or one longer than our longest
    /// class: that room wants to keep its messages longer than we could express.
    pub fn from_retention(content: &RawJsonValue) -> Option<Self> {
        let retention = serde_json::from_str::<Retention>(content.get()).ok()?;
        (retention.max_lifetime <= Class::Days28.ttl_ms())
            .then(|| Self::uniform(Class::round_down(retention.max_lifetime)))
    }

    /// The policy that a room's state gives: its own event, else the one that other servers know.
    pub fn of_room(
        expiry: Option<&RawJsonValue>,
        retention: Option<&RawJsonValue>,
    ) -> Option<Self> {
        expiry
            .and_then(|content| Self::parse(content).ok())
            .or_else(|| retention.and_then(Self::from_retention))
    }

    /// The content of `org.passeur.room.expiry`.
    pub fn to_content(&self) -> serde_json::Result<Box<RawJsonValue>> {
        serde_json::value::to_raw_value(&Wire {
            default_ms: self.default.ttl_ms(),
            max_ms: self.max.ttl_ms(),
            retroactive_max_ms: self.retroactive_max.map(Class::ttl_ms),
            after_read: self.after_read,
            view_once: self.view_once,
            stub_ttl_ms: self.stub_ttl_ms,
            require_support: self.require_support,
        })
    }

    /// The content of `m.room.retention` that goes with the policy, so that other servers purge as well.
    pub fn to_retention(&self) -> serde_json::Result<Box<RawJsonValue>> {
        serde_json::value::to_raw_value(&Retention {
            max_lifetime: self.max.ttl_ms(),
        })
    }
}
