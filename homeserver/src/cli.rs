//! The command line: what an operator does with the program.
//!
//! Invariant: a password is never an argument, since every user of the machine may read those. What a command answers goes to
//! standard output; what went wrong, and what to do about it, to standard error, with exit code 1.

use std::{fmt::Display, io::Write, path::PathBuf, process::ExitCode, sync::Arc};

use clap::{Args, Parser, Subcommand};

use crate::{
    accounts::Accounts,
    clock::{OsRng, SystemClock},
    config::{Config, ConfigError},
    server::open_store,
};

mod backup;
mod check_config;
mod expiry;
mod init;
mod keys;
mod password;
mod registration_token;
mod report;
mod serve;
#[cfg(test)]
mod tests;
mod user;

/// Threads for work that blocks, such as hashing passwords: each hash takes as much memory as the configuration says.
const BLOCKING_THREADS_MAX: usize = 16;

/// A Matrix homeserver for organisations whose messages must not outlive their purpose.
#[derive(Debug, Parser)]
#[command(name = "passeur", version, arg_required_else_help = true)]
struct Cli {
    /// What to do.
    #[command(subcommand)]
    command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
enum Command {
    /// Make a data folder with a commented configuration and new keys
    Init(init::InitArgs),
    /// Run the server until SIGTERM or SIGINT; SIGHUP reads certificates, log level and rate limits again
    Serve(ConfigArgs),
    /// Check the configuration, the keys and the certificates, without touching the database
    CheckConfig(ConfigArgs),
    /// Make and manage accounts, also while the server runs
    #[command(subcommand)]
    User(user::UserCommand),
    /// Make and manage registration tokens, also while the server runs
    #[command(subcommand)]
    RegistrationToken(registration_token::TokenCommand),
    /// See and remove what users reported, also while the server runs
    #[command(subcommand)]
    Report(report::ReportCommand),
    /// Make, check and restore backups, in which the keys of what expires never are
    #[command(subcommand)]
    Backup(backup::BackupCommand),
    /// Change the key that signs events, also while the server runs
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// See whether expired content is destroyed in time; give up keys that are lost
    #[command(subcommand)]
    Expiry(expiry::ExpiryCommand),
}

/// Where the configuration is.
#[derive(Debug, Clone, Args)]
struct ConfigArgs {
    /// The configuration file; PASSEUR__SECTION__KEY from the environment is laid over it
    #[arg(long, value_name = "FILE", default_value = "passeur.toml")]
    config: PathBuf,
}

impl ConfigArgs {
    fn load(&self) -> Result<Config, ConfigError> {
        Config::load(&self.config, environment())
    }
}

/// What went wrong, in words for the operator.
type Failure = Box<dyn std::error::Error>;

/// Runs the program on the process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    run(Cli::parse().command)
}

fn run(command: Command) -> ExitCode {
    let done = match command {
        Command::Init(args) => init::run(&args, &OsRng),
        Command::Serve(args) => serve::run(&args.config),
        Command::CheckConfig(args) => args
            .load()
            .map_err(Failure::from)
            .and_then(|config| check_config::run(&config)),
        Command::User(command) => on_accounts(command.config(), async |accounts| {
            user::run(&command, accounts).await
        }),
        Command::Report(command) => on_accounts(command.config(), async |accounts| {
            report::run(&command, accounts).await
        }),
        Command::Expiry(command) => expiry::run(&command),
        Command::Backup(command) => backup::run(&command),
        Command::Keys(command) => keys::run(&command, &OsRng),
        Command::RegistrationToken(command) => on_accounts(command.config(), async |accounts| {
            registration_token::run(&command, accounts).await
        }),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            complain(&failure);
            ExitCode::FAILURE
        }
    }
}

/// Does something with the accounts in the database, beside a running server or without one.
fn on_accounts(
    config: &ConfigArgs,
    work: impl AsyncFnOnce(&Accounts) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let config = config.load()?;
    runtime()?.block_on(async {
        let store = open_store(&config).await?;
        let accounts = Accounts::new(
            Arc::clone(&store),
            Arc::new(SystemClock::new()),
            Arc::new(OsRng),
            &config,
        );
        let done = work(&accounts).await;
        store.close().await;
        done
    })
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .build()
}

/// The environment, without what is not text.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Writes a line to standard output.
fn say(line: impl Display) -> Result<(), Failure> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}

/// Writes what went wrong to standard error; if even that is closed, the exit code has to do.
fn complain(failure: &dyn Display) {
    let _ = writeln!(std::io::stderr(), "passeur: {failure}");
}
