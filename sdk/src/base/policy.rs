//! A room's expiry policy, the state event `org.passeur.room.expiry`.
//!
//! Invariant: a policy only ever shortens what a sender asks for, and a class is never rounded up.

use serde::{Deserialize, Serialize};

use crate::expiry::ExpiryClass;

/// Type of the state event by which servers that do not know ours purge; its state key is empty.
pub(super) const RETENTION_TYPE: &str = "m.room.retention";

/// Type of the state event; its state key is empty.
pub const EXPIRY_POLICY_TYPE: &str = "org.passeur.room.expiry";

/// How long messages of a room live.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpiryPolicy {
    /// The lifetime of messages that name none, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_ms: Option<u64>,
    /// The longest lifetime that a message may have, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_ms: Option<u64>,
    /// A bound laid on messages that were sent before this policy, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retroactive_max_ms: Option<u64>,
    /// Whether messages may ask to be gone some time after they were read.
    #[serde(default)]
    pub after_read: bool,
    /// Whether messages may ask to be shown once only.
    #[serde(default)]
    pub view_once: bool,
    /// How long after its deadline the stub of a message is kept, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stub_ttl_ms: Option<u64>,
    /// Whether only servers that delete may take part.
    #[serde(default)]
    pub require_support: bool,
}

impl ExpiryPolicy {
    /// A policy whose messages live for `class` unless they ask for less.
    #[must_use]
    pub fn new(class: ExpiryClass) -> Self {
        Self {
            default_ms: Some(class.as_ms()),
            max_ms: Some(class.as_ms()),
            ..Self::default()
        }
    }

    /// The policy that an `m.room.retention` event stands for in a room without one of ours. A room that keeps its messages longer
    /// than the longest class has none.
    pub(super) fn from_retention(max_lifetime_ms: u64) -> Option<Self> {
        (max_lifetime_ms <= ExpiryClass::Days28.as_ms())
            .then(|| Self::new(ExpiryClass::from_ms(max_lifetime_ms)))
    }

    /// The class of a message for which `wanted` was asked: the wanted one or else the default, at most the maximum.
    #[must_use]
    pub fn class(&self, wanted: Option<ExpiryClass>) -> Option<ExpiryClass> {
        let longest = self.max_ms.map(ExpiryClass::from_ms);
        let class = wanted
            .or(self.default_ms.map(ExpiryClass::from_ms))
            .or(longest);
        match (class, longest) {
            (Some(class), Some(longest)) => Some(class.min(longest)),
            (class, _) => class,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_shortens_and_never_lengthens() {
        let policy = ExpiryPolicy::new(ExpiryClass::Days7);
        assert_eq!(policy.class(None), Some(ExpiryClass::Days7));
        assert_eq!(
            policy.class(Some(ExpiryClass::Days28)),
            Some(ExpiryClass::Days7)
        );
        assert_eq!(
            policy.class(Some(ExpiryClass::Hour1)),
            Some(ExpiryClass::Hour1)
        );
        let only_max = ExpiryPolicy {
            max_ms: Some(3_700_000),
            ..ExpiryPolicy::default()
        };
        assert_eq!(only_max.class(None), Some(ExpiryClass::Hour1));
        assert_eq!(ExpiryPolicy::default().class(None), None);
        assert_eq!(
            ExpiryPolicy::default().class(Some(ExpiryClass::Day1)),
            Some(ExpiryClass::Day1)
        );
    }
}
