//! `[log]`: how much is logged, and how it is written.
//!
//! Invariant: whatever the level, a log line says nothing personal; that is the business of [`crate::http::log`].

use serde::Deserialize;

/// Least severity of what is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// What an operator must mend.
    Error,
    /// What an operator should look at.
    Warn,
    /// Besides, one line a request.
    #[default]
    Info,
    /// What a developer wants to know.
    Debug,
    /// Everything.
    Trace,
}

/// How a line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The log, on standard error.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// Least severity; read again on SIGHUP.
    pub level: LogLevel,
    /// Shape of a line.
    pub format: LogFormat,
}
