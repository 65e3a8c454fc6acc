//! `passeur check-config`: whether `serve` would start, as far as files tell.
//!
//! Invariant: nothing is written, bound or connected to.

use super::{Failure, say};
use crate::{config::Config, key_files, listener::Listeners, outbound};

/// Loads what `serve` loads.
pub(super) fn run(config: &Config) -> Result<(), Failure> {
    key_files::load_signing_key(&config.signing_key_path())?;
    key_files::load_token_key(&config.token_key_path())?;
    Listeners::check(&config.listeners)?;
    outbound::check_tls(&config.federation)?;
    say(format_args!(
        "the configuration of {} is good",
        config.server_name
    ))
}
