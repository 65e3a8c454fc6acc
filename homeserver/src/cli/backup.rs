//! `passeur backup`: a copy of everything that the server needs, but for the keys of what expires.
//!
//! Invariant: a backup is a folder that nobody else may read; it is one once its list of files, which is written last, is there. The key
//! store is never in it, so what has expired since it was made cannot be read from it. Restoring overwrites nothing.

use std::{
    fs::{self, DirBuilder},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};

use self::archive::{Archive, CONFIG, DATABASE, KEYS, MEDIA, Reading};
use super::{ConfigArgs, Failure, runtime, say};
use crate::{
    clock::{Clock, SystemClock},
    config::{Config, is_inside},
    key_files::create_private_file,
    server::{open_store, store_options},
    store::{FileKeyStore, GoOnFromBackup, KeyStore, copy_database},
};

mod archive;
#[cfg(test)]
mod tests;

/// The folder of uploads that are not whole: they are not part of a backup.
const UNFINISHED: &str = "unfinished";
/// What the names of the keys begin with, in the data folder.
const KEY_FILES: [&str; 2] = ["signing.key", "tokens.key"];

/// What to do with backups.
#[derive(Debug, Subcommand)]
pub(super) enum BackupCommand {
    /// Copy database, media, configuration and keys into a new folder, also while the server runs
    Create(CreateArgs),
    /// Check that a backup is whole
    Verify(VerifyArgs),
    /// Make a server's folders of a backup; nothing is overwritten
    Restore(RestoreArgs),
}

/// Where a backup goes.
#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// The folder to make
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Where the configuration is.
    #[command(flatten)]
    config: ConfigArgs,
}

/// Which backup is checked.
#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// The backup
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
}

/// Where a backup comes from.
#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// The backup
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// The configuration, which says where everything goes; that of the backup is written there if there is none.
    #[command(flatten)]
    config: ConfigArgs,
}

/// Does it, and says what it did.
pub(super) fn run(command: &BackupCommand) -> Result<(), Failure> {
    match command {
        BackupCommand::Create(args) => create(&args.config, &args.to),
        BackupCommand::Verify(args) => {
            let archive = Reading::open(&args.from)?;
            let (files, bytes) = archive.verify()?;
            say(format_args!(
                "the backup of {} is whole: {files} files, {bytes} bytes",
                archive.server_name()
            ))
        }
        BackupCommand::Restore(args) => restore(&args.from, &args.config),
    }
}

fn create(args: &ConfigArgs, to: &Path) -> Result<(), Failure> {
    let config = args.load()?;
    let places = [Some(config.media_dir()), config.expiry.key_store.clone()];
    if places.iter().flatten().any(|place| is_inside(to, place)) {
        return Err(format!("{}: choose a folder outside of the data", to.display()).into());
    }
    let made_ms = SystemClock::new().now_ms();
    let mut archive = Archive::begin(to, config.server_name.as_str(), made_ms)?;
    let (options, copy) = (store_options(&config), to.join(DATABASE));
    let copied = copy_database(&options, &copy);
    // The database first: whatever file it speaks of is there.
    if runtime()?.block_on(copied)? {
        archive.note(DATABASE)?;
    } else {
        say(
            "note: the database is PostgreSQL and not in this backup: keep a pg_dump that was made just before (docs/expiry.md)",
        )?;
    }
    archive.copy(&args.config, CONFIG)?;
    for file in names(&config.data_dir)? {
        if KEY_FILES.iter().any(|name| file.starts_with(name)) {
            archive.copy(&config.data_dir.join(&file), &format!("{KEYS}/{file}"))?;
        }
    }
    let media = config.media_dir();
    let shelves = if media.is_dir() {
        names(&media)?
    } else {
        Vec::new()
    };
    for shelf in shelves.iter().filter(|shelf| *shelf != UNFINISHED) {
        for file in names(&media.join(shelf))? {
            archive.copy(
                &media.join(shelf).join(&file),
                &format!("{MEDIA}/{shelf}/{file}"),
            )?;
        }
    }
    archive.finish()?;
    if config.expiry.key_store.is_none() {
        say("note: expiry.key_store is not set: this backup keeps what expires from now on")?;
    }
    say(format_args!("made {}", to.display()))
}

fn restore(from: &Path, args: &ConfigArgs) -> Result<(), Failure> {
    let archive = Reading::open(from)?;
    archive.verify()?;
    if !args.config.exists() {
        let folder = args
            .config
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        make_folder(folder.unwrap_or(Path::new(".")))?;
        create_private_file(&args.config, &fs::read(from.join(CONFIG))?)?;
        say(format_args!("wrote {}", args.config.display()))?;
    }
    let config = args.load()?;
    if config.server_name.as_str() != archive.server_name() {
        let (there, here) = (archive.server_name(), &config.server_name);
        return Err(format!("the backup is of {there}, the configuration of {here}").into());
    }
    let database = config.database_url();
    let database = database.expose().strip_prefix("sqlite:").map(PathBuf::from);
    if database.is_some() != archive.has(DATABASE) {
        return Err("the backup and the configuration are of different kinds of databases".into());
    }
    let mut moves = Vec::new();
    for file in archive.files() {
        let to = match (file.split_once('/'), &database) {
            (None, Some(database)) if file == DATABASE => database.clone(),
            (Some((KEYS, name)), _) => config.data_dir.join(name),
            (Some((MEDIA, name)), _) => config.media_dir().join(name),
            _ => continue,
        };
        if to.exists() {
            return Err(
                format!("{} is there already: nothing is overwritten", to.display()).into(),
            );
        }
        moves.push((file, to));
    }
    make_folder(&config.data_dir)?;
    for (file, to) in moves {
        if let Some(folder) = to.parent() {
            make_folder(folder)?;
        }
        archive.restore(file, &to)?;
    }
    runtime()?.block_on(go_on(&config))?;
    if let Some(folder) = &config.expiry.key_store
        && FileKeyStore::new(folder.clone()).load()?.is_none()
    {
        say(format_args!(
            "note: {} has no keys: bring back those of this server, or, if they are lost, run `passeur expiry forget-keys`",
            folder.display()
        ))?;
    }
    say(format_args!("restored {}", config.server_name))
}

async fn go_on(config: &Config) -> Result<(), Failure> {
    let store = open_store(config).await?;
    let gone_on = store.commit(GoOnFromBackup).await;
    store.close().await;
    gone_on?;
    Ok(())
}

fn make_folder(folder: &Path) -> Result<(), Failure> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| format!("{}: {error}", folder.display()).into())
}

/// The names in a folder.
fn names(folder: &Path) -> Result<Vec<String>, Failure> {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        // Every name here was made by this program.
        names.extend(entry.map_err(failed)?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}
