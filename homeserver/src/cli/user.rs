//! `passeur user`: accounts from the command line.
//!
//! Invariant: every change is the same that a request would make; a running server notices within seconds, since it asks the
//! database about a session again and again.

use clap::{Args, Subcommand};
use ruma::OwnedUserId;

use super::{ConfigArgs, Failure, password::PasswordArgs, say};
use crate::{
    accounts::{Accounts, admin},
    store::AccountState,
};

/// What to do with accounts.
#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// Make an account, whatever the registration mode
    Create(WithPassword),
    /// Replace the password of an account and log out all its devices
    SetPassword(WithPassword),
    /// End an account for ever: it is logged out everywhere, and its name is never given again
    Deactivate(WithoutPassword),
    /// List all accounts, one a line: user ID, state
    List(ConfigArgs),
}

/// An account, and its password.
#[derive(Debug, Args)]
pub(super) struct WithPassword {
    /// The account: alice, or @alice:example.org
    #[arg(value_name = "USER")]
    user: String,
    /// Where the password is.
    #[command(flatten)]
    password: PasswordArgs,
    /// Where the configuration is.
    #[command(flatten)]
    config: ConfigArgs,
}

/// An account.
#[derive(Debug, Args)]
pub(super) struct WithoutPassword {
    /// The account: alice, or @alice:example.org
    #[arg(value_name = "USER")]
    user: String,
    /// Where the configuration is.
    #[command(flatten)]
    config: ConfigArgs,
}

impl UserCommand {
    pub(super) fn config(&self) -> &ConfigArgs {
        match self {
            Self::Create(args) | Self::SetPassword(args) => &args.config,
            Self::Deactivate(args) => &args.config,
            Self::List(config) => config,
        }
    }
}

/// Does it, and says what it did.
pub(super) async fn run(command: &UserCommand, accounts: &Accounts) -> Result<(), Failure> {
    match command {
        UserCommand::Create(args) => {
            let user = local(accounts, &args.user)?;
            let password = args.password.read()?.to_string();
            let made = admin::create_user(accounts, user.localpart(), Some(password)).await?;
            say(format_args!("made {made}"))
        }
        UserCommand::SetPassword(args) => {
            let user = local(accounts, &args.user)?;
            let password = args.password.read()?;
            found(admin::set_password(accounts, &user, &password).await?)?;
            say(format_args!(
                "replaced the password of {user} and logged out its devices"
            ))
        }
        UserCommand::Deactivate(args) => {
            let user = local(accounts, &args.user)?;
            found(admin::deactivate(accounts, &user).await?)?;
            say(format_args!("deactivated {user}"))
        }
        UserCommand::List(_) => list(accounts).await,
    }
}

/// Lists all accounts.
async fn list(accounts: &Accounts) -> Result<(), Failure> {
    for account in admin::list(accounts).await? {
        let state = match account.state {
            AccountState::Active => "active",
            AccountState::Deactivated => "deactivated",
            AccountState::Locked => "locked",
        };
        say(format_args!("{} {state}", account.user_id))?;
    }
    Ok(())
}

/// The account that is meant.
fn local(accounts: &Accounts, user: &str) -> Result<OwnedUserId, Failure> {
    accounts.local_user_named(user).ok_or_else(|| {
        let server = accounts.server_name();
        format!("{user} is no user of {server}: write alice or @alice:{server}").into()
    })
}

/// Complains if there is no such account.
fn found(found: bool) -> Result<(), Failure> {
    if found {
        Ok(())
    } else {
        Err("there is no active account of that name".into())
    }
}
