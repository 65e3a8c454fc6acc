//! `passeur init`: a data folder with everything that a server is born with.
//!
//! Invariant: nothing that is there is overwritten; what a first attempt left is completed by the second.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use clap::Args;
use ruma::OwnedServerName;

use super::{Failure, say};
use crate::{
    clock::Rng,
    config::{Config, is_inside, template},
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
    /// The folder of the keys under which expiring content is encrypted, outside of the data folder; beside it if absent
    #[arg(long, value_name = "DIR")]
    pub(super) key_store: Option<PathBuf>,
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
    let key_store = key_store(args).map_err(failed)?;
    if is_inside(&key_store, &args.data) {
        let message = format!(
            "{} lies in the data folder: a copy of the data would take the keys along. Say --key-store with a folder elsewhere",
            key_store.display()
        );
        return Err(message.into());
    }
    let file = args.data.join(CONFIG_FILE);
    let text = template(&args.server_name, &key_store);
    match create_private_file(&file, text.as_bytes()) {
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
    if let Some(folder) = &config.expiry.key_store {
        make_key_store(folder)?;
    }
    say(format_args!(
        "edit {0}, then run: passeur serve --config {0}",
        file.display()
    ))
}

/// Where the keys of what expires shall be.
fn key_store(args: &InitArgs) -> io::Result<PathBuf> {
    if let Some(folder) = &args.key_store {
        return std::path::absolute(folder);
    }
    let data = fs::canonicalize(&args.data)?;
    let mut name = data.file_name().unwrap_or_default().to_owned();
    name.push("-keys");
    Ok(data.with_file_name(name))
}

/// Makes the folder of the keys, unless it is there.
fn make_key_store(folder: &Path) -> Result<(), Failure> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => say(format_args!("made {}", folder.display())),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            say(format_args!("kept {}", folder.display()))
        }
        Err(error) => Err(format!(
            "{}: {error}: make this folder, for the server's user alone, or say another one in expiry.key_store",
            folder.display()
        )
        .into()),
    }
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
