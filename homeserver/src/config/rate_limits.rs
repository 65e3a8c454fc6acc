//! `[rate_limits]`: how often each kind of request may come from one user or one address.
//!
//! Invariant: every class has a limit; only all of them together can be switched off.

use serde::Deserialize;

use super::problem::Problems;

/// A kind of request that is counted by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RateClass {
    /// Attempts to log in or to prove a password.
    Login,
    /// Attempts to make an account.
    Registration,
    /// Events sent: messages, state, redactions, receipts, to-device messages.
    Message,
    /// Joins, invites, and new rooms.
    Join,
    /// Upload, query and claim of encryption keys.
    Keys,
    /// Uploads and downloads.
    Media,
    /// Requests of other servers, by address.
    Federation,
    /// Everything else that a client asks.
    General,
}

impl RateClass {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Login,
        Self::Registration,
        Self::Message,
        Self::Join,
        Self::Keys,
        Self::Media,
        Self::Federation,
        Self::General,
    ];

    /// The class as the configuration and the metrics call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Registration => "registration",
            Self::Message => "message",
            Self::Join => "join",
            Self::Keys => "keys",
            Self::Media => "media",
            Self::Federation => "federation",
            Self::General => "general",
        }
    }
}

/// A bucket that refills steadily.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// Requests a second that may come for ever.
    pub per_second: f64,
    /// Requests that may come at once after a pause.
    pub burst: u32,
}

impl RateLimit {
    /// A limit.
    #[must_use]
    pub const fn new(per_second: f64, burst: u32) -> Self {
        Self { per_second, burst }
    }
}

/// The limits of all classes.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateLimitsConfig {
    /// Whether anything is limited.
    pub enabled: bool,
    /// See [`RateClass::Login`].
    pub login: RateLimit,
    /// See [`RateClass::Registration`].
    pub registration: RateLimit,
    /// See [`RateClass::Message`].
    pub message: RateLimit,
    /// See [`RateClass::Join`].
    pub join: RateLimit,
    /// See [`RateClass::Keys`].
    pub keys: RateLimit,
    /// See [`RateClass::Media`].
    pub media: RateLimit,
    /// See [`RateClass::Federation`].
    pub federation: RateLimit,
    /// See [`RateClass::General`].
    pub general: RateLimit,
}

impl Default for RateLimitsConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            login: RateLimit::new(0.2, 10),
            registration: RateLimit::new(0.05, 5),
            message: RateLimit::new(10.0, 100),
            join: RateLimit::new(1.0, 30),
            keys: RateLimit::new(10.0, 100),
            media: RateLimit::new(5.0, 60),
            federation: RateLimit::new(50.0, 500),
            general: RateLimit::new(50.0, 300),
        }
    }
}

impl RateLimitsConfig {
    /// The limit of one class.
    #[must_use]
    pub const fn of(&self, class: RateClass) -> RateLimit {
        match class {
            RateClass::Login => self.login,
            RateClass::Registration => self.registration,
            RateClass::Message => self.message,
            RateClass::Join => self.join,
            RateClass::Keys => self.keys,
            RateClass::Media => self.media,
            RateClass::Federation => self.federation,
            RateClass::General => self.general,
        }
    }

    pub(super) fn check(&self, problems: &mut Problems) {
        for class in RateClass::ALL {
            let RateLimit { per_second, burst } = self.of(class);
            let name = class.name();
            // Below one a day a refill no longer fits the arithmetic of the limiter.
            if !(0.00001..=1_000_000.0).contains(&per_second) {
                problems.add(format!("rate_limits.{name}.per_second"), "must lie between 0.00001 and 1000000: to limit nothing, set rate_limits.enabled = false");
            }
            if !(1..=1_000_000).contains(&burst) {
                problems.add(
                    format!("rate_limits.{name}.burst"),
                    "must lie between 1 and 1000000",
                );
            }
        }
    }
}
