//! `passeur keys`: the keys of the server, from the command line.
//!
//! Invariant: a running server is not disturbed; no private key is shown.

use clap::Subcommand;

use super::{ConfigArgs, Failure, say};
use crate::{clock::Rng, key_files::rotation};

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// Make a new key to sign events with; the server uses it from its next start on, and publishes the old one as expired
    Rotate(ConfigArgs),
}

/// Does it, and says what it did.
pub(super) fn run(command: &KeysCommand, rng: &dyn Rng) -> Result<(), Failure> {
    let KeysCommand::Rotate(config) = command;
    let path = config.load()?.signing_key_path();
    let version = rotation::prepare(&path, rng)?;
    say(format_args!(
        "made ed25519:{version}: the server signs with it from its next start on"
    ))
}
