//! `passeur-alert`: brings alerts from monitoring systems into an encrypted room.
//!
//! Invariant: an alert is either on disk in the send queue or still with its sender, and never leaves in the clear.
//!
//! In reading order: [`cli`] (the commands), [`config`], [`run`] (from configuration to running parts), [`webhook`] and
//! [`listener`] (the way in), [`payload`] and [`mod@format`] (what is said), [`forward`] (the way out).

pub mod cli;
pub mod config;
pub mod format;
pub mod forward;
pub mod listener;
pub mod payload;
pub mod run;
pub mod webhook;
