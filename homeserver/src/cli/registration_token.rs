//! `passeur registration-token`: invitations to register, from the command line.
//!
//! Invariant: a token is shown to the operator only, on standard output.
//! Specification: client-server API, "Token-authenticated registration".

use clap::{Args, Subcommand};

use super::{ConfigArgs, Failure, say};
use crate::{
    accounts::{Accounts, admin},
    clock::{Clock, SystemClock},
    store::RegistrationToken,
};

/// Milliseconds in an hour.
const HOUR_MS: i64 = 3_600_000;

/// What to do with tokens.
#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Make a token and print it
    Create(CreateArgs),
    /// List all tokens, one a line: token, uses, limit, expiry in milliseconds since 1970
    List(ConfigArgs),
    /// Revoke a token; accounts that were made with it stay
    Revoke(RevokeArgs),
}

/// What the new token is like.
#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// The token itself; a random one if not given
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// How many accounts it may make; without a limit if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    uses: Option<i64>,
    /// Hours until it expires; never if not given
    #[arg(long, value_name = "HOURS", value_parser = clap::value_parser!(i64).range(1..=87600))]
    expires_in: Option<i64>,
    /// Where the configuration is.
    #[command(flatten)]
    config: ConfigArgs,
}

/// Which token ends.
#[derive(Debug, Args)]
pub(super) struct RevokeArgs {
    /// The token itself
    #[arg(value_name = "TOKEN")]
    token: String,
    /// Where the configuration is.
    #[command(flatten)]
    config: ConfigArgs,
}

impl TokenCommand {
    pub(super) fn config(&self) -> &ConfigArgs {
        match self {
            Self::Create(args) => &args.config,
            Self::List(config) => config,
            Self::Revoke(args) => &args.config,
        }
    }
}

/// Does it, and says what it did.
pub(super) async fn run(command: &TokenCommand, accounts: &Accounts) -> Result<(), Failure> {
    match command {
        TokenCommand::Create(args) => {
            let now_ms = SystemClock::new().now_ms();
            let expires_ms = args
                .expires_in
                .map(|hours| now_ms.saturating_add(hours * HOUR_MS));
            let token = args.token.clone();
            let made =
                admin::create_registration_token(accounts, token, args.uses, expires_ms).await??;
            say(made.ok_or("there is such a token already")?.token)
        }
        TokenCommand::List(_) => {
            for token in admin::list_registration_tokens(accounts).await? {
                say(line(&token))?;
            }
            Ok(())
        }
        TokenCommand::Revoke(args) => {
            if !admin::revoke_registration_token(accounts, &args.token).await? {
                return Err("there is no such token".into());
            }
            say("revoked")
        }
    }
}

/// A token as it is listed.
fn line(token: &RegistrationToken) -> String {
    let or = |number: Option<i64>, none: &str| {
        number.map_or_else(|| none.to_owned(), |number| number.to_string())
    };
    let (uses_max, expires) = (
        or(token.uses_max, "unlimited"),
        or(token.expires_ms, "never"),
    );
    format!("{} {} {uses_max} {expires}", token.token, token.uses)
}
