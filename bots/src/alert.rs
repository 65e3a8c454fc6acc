//! `passeur-alert`: brings alerts from monitoring systems into an encrypted room.
//!
//! Invariant: an alert is either on disk in the send queue or still with its sender, and never leaves in the clear.

pub mod config;
pub mod format;
pub mod listener;
pub mod payload;
pub mod webhook;
