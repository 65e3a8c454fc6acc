//! The commands of `passeur-alert`.
//!
//! Exit codes: 0 done; 2 wrong usage or configuration; 3 it could not start; 4 the session was ended by the server.

use std::{
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use clap::{Parser, Subcommand};
use passeur_sdk::ClientError;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::{
    config::{Config, ConfigError, ENV_PREFIX, LogConfig, TEMPLATE, write_new},
    run::{RunError, read_secret, start},
};

/// Wrong usage or configuration.
const EXIT_CONFIG: u8 = 2;

/// It could not start.
const EXIT_START: u8 = 3;

/// The session was ended by the server.
const EXIT_SESSION: u8 = 4;

/// How many random bytes a secret has.
const SECRET_BYTES: usize = 32;

/// Brings alerts from monitoring systems into an encrypted room.
#[derive(Debug, Parser)]
#[command(name = "passeur-alert", version, about, long_about = None)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a commented configuration and fresh secrets; nothing is overwritten
    Init {
        /// The folder to write into
        #[arg(long, default_value = ".")]
        dir: PathBuf,
    },
    /// Run until told to stop by SIGTERM or SIGINT
    Run {
        /// The configuration file
        #[arg(long)]
        config: PathBuf,
    },
    /// Check the configuration and the files it names, and do nothing else
    CheckConfig {
        /// The configuration file
        #[arg(long)]
        config: PathBuf,
    },
}

/// Carries out what the arguments ask for.
pub async fn main(cli: Cli) -> ExitCode {
    match cli.command {
        Command::Init { dir } => report(init(&dir)),
        Command::CheckConfig { config } => report(check(&config)),
        Command::Run { config } => match load(&config) {
            Ok(config) => run(config).await,
            Err(error) => failed(&error, EXIT_CONFIG),
        },
    }
}

fn report(outcome: Result<String, String>) -> ExitCode {
    match outcome {
        Ok(said) => {
            // Whoever closed our output does not want to hear it.
            let _ = writeln!(io::stdout(), "{said}");
            ExitCode::SUCCESS
        }
        Err(error) => failed(&error, EXIT_CONFIG),
    }
}

fn failed(error: &dyn std::fmt::Display, code: u8) -> ExitCode {
    let _ = writeln!(io::stderr(), "passeur-alert: {error}");
    ExitCode::from(code)
}

fn load(path: &Path) -> Result<Config, ConfigError> {
    let environment = std::env::vars_os().filter_map(|(name, value)| {
        let name = name
            .into_string()
            .ok()
            .filter(|name| name.starts_with(ENV_PREFIX))?;
        Some((name, value.into_string().ok()?))
    });
    Config::load(path, environment)
}

fn init(dir: &Path) -> Result<String, String> {
    std::fs::create_dir_all(dir)
        .map_err(|error| format!("cannot make {}: {error}", dir.display()))?;
    let secrets = ["webhook.token", "store.passphrase"];
    let config = dir.join("alert.toml");
    let taken = secrets
        .iter()
        .map(|name| dir.join(name))
        .chain([config.clone()])
        .find(|p| p.exists());
    if let Some(path) = taken {
        return Err(ConfigError::Exists(path).to_string());
    }
    for name in secrets {
        let secret = fresh_secret().ok_or("the system gives no random bytes")?;
        write_new(&dir.join(name), &secret).map_err(|error| error.to_string())?;
    }
    write_new(&config, TEMPLATE).map_err(|error| error.to_string())?;
    Ok(format!(
        "Wrote {config}, and beside it webhook.token and store.passphrase.\n\
         Fill in [homeserver] and [room], put the account's password into the file `password`, then:\n\
         passeur-alert check-config --config {config}\n\
         passeur-alert run --config {config}",
        config = config.display()
    ))
}

fn fresh_secret() -> Option<String> {
    let mut bytes = [0; SECRET_BYTES];
    getrandom::fill(&mut bytes).ok()?;
    Some(URL_SAFE_NO_PAD.encode(bytes))
}

fn check(path: &Path) -> Result<String, String> {
    let config = load(path).map_err(|error| error.to_string())?;
    let secrets = [
        &config.webhook.token_file,
        &config.store.passphrase_file,
        &config.homeserver.password_file,
    ];
    for secret in secrets {
        read_secret(secret).map_err(|error| error.to_string())?;
    }
    let tls = config
        .webhook
        .tls
        .iter()
        .flat_map(|(certificate, key)| [certificate, key]);
    for file in tls.chain(&config.homeserver.extra_ca_files) {
        std::fs::File::open(file)
            .map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    }
    Ok(format!("{} is right.", path.display()))
}

async fn run(config: Config) -> ExitCode {
    log(&config.log);
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        return failed(&"signals cannot be received", EXIT_START);
    };
    let mut told = std::pin::pin!(async {
        tokio::select! { _ = terminate.recv() => {} _ = interrupt.recv() => {} }
    });
    let started = tokio::select! {
        () = &mut told => return ExitCode::SUCCESS,
        started = start(config) => started,
    };
    let mut running = match started {
        Ok(running) => running,
        Err(error) => return failed(&error, EXIT_START),
    };
    tokio::select! {
        () = &mut told => {
            tracing::info!("stopping");
            running.stop().await;
            ExitCode::SUCCESS
        }
        ended = running.ended() => match ended {
            Ok(()) => ExitCode::SUCCESS,
            Err(error @ RunError::Client(ClientError::SessionEnded)) => failed(&error, EXIT_SESSION),
            Err(error) => failed(&error, EXIT_START),
        },
    }
}

/// Only our own crates speak: what libraries log has not been checked for what it says about people.
fn log(config: &LogConfig) {
    let level = &config.level;
    let filter = format!("off,passeur_sdk={level},passeur_bots={level},passeur_alert={level}");
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr);
    // An error means that somebody has set up logging before us.
    let _ = if config.json {
        builder.json().try_init()
    } else {
        builder.try_init()
    };
}
