//! `passeur init`: a data folder with everything that a server is born with.
//!
//! Invariant: nothing that is there is overwritten; what a first attempt left is completed by the second.

use std::{
    fs::DirBuilder,
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use clap::Args;
use ruma::OwnedServerName;

use super::{Failure, say};
use crate::{
    clock::Rng,
    config::{Config, template},
    key_files::{self, KeyFileError, create_private_file},
};

/// Name of the configuration file, in the data folder.
const CONFIG_FILE: &str = "passeur.toml";

/// What `init` is told.
#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// The part of user IDs after the colon, as example.org or example.org:8448; it can never be changed
    #[arg(long, value_name = "NAME", value_parser = server_name)]
    pub(super) server_name: OwnedServerName,
    /// The folder to make: configuration, keys, media, and an SQLite database
    #[arg(long, value_name = "DIR", default_value = "passeur-data")]
    pub(super) data: PathBuf,
}

fn server_name(text: &str) -> Result<OwnedServerName, &'static str> {
    ruma::ServerName::parse(text)
        .map_err(|_| "write a host with or without a port, as example.org:8448")
}

/// Makes what is not there yet, and says what it did.
pub(super) fn run(args: &InitArgs, rng: &dyn Rng) -> Result<(), Failure> {
    let failed = |error: io::Error| format!("{}: {error}", args.data.display());
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&args.data)
        .map_err(failed)?;
    let file = args.data.join(CONFIG_FILE);
    match create_private_file(&file, template(&args.server_name).as_bytes()) {
        Ok(()) => say(format_args!("wrote {}", file.display()))?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => keep(&file, args)?,
        Err(error) => return Err(format!("{}: {error}", file.display()).into()),
    }
    let config = Config::load(&file, [])?;
    for key in [config.signing_key_path(), config.token_key_path()] {
        match key_files::create(&key, rng) {
            Ok(()) => say(format_args!("wrote {}", key.display()))?,
            Err(KeyFileError::Exists(_)) => say(format_args!("kept {}", key.display()))?,
            Err(error) => return Err(error.into()),
        }
    }
    say(format_args!(
        "edit {0}, then run: passeur serve --config {0}",
        file.display()
    ))
}

/// A configuration that is there stays, but it must be that of the same server.
fn keep(file: &Path, args: &InitArgs) -> Result<(), Failure> {
    let there = Config::load(file, [])?.server_name;
    if there != args.server_name {
        let message = format!(
            "{} is the configuration of {there}: choose another folder",
            file.display()
        );
        return Err(message.into());
    }
    say(format_args!("kept {}", file.display()))
}
