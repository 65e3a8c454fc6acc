//! `passeur report`: what users reported, from the command line.
//!
//! Invariant: a report is shown to the operator only, on standard output.
//! Specification: client-server API, "Reporting Content".

use clap::{Args, Subcommand};

use super::{ConfigArgs, Failure, say};
use crate::{
    accounts::{Accounts, admin},
    store::Report,
};

/// What to do with reports.
#[derive(Debug, Subcommand)]
pub(super) enum ReportCommand {
    /// List all reports, one a line: id, time in milliseconds since 1970, reporter, what is reported, reason
    List(ConfigArgs),
    /// Remove a report that was dealt with
    Remove(RemoveArgs),
}

/// Which report goes.
#[derive(Debug, Args)]
pub(super) struct RemoveArgs {
    /// The report's id
    #[arg(value_name = "ID")]
    id: String,
    /// Where the configuration is.
    #[command(flatten)]
    config: ConfigArgs,
}

impl ReportCommand {
    pub(super) fn config(&self) -> &ConfigArgs {
        match self {
            Self::List(config) => config,
            Self::Remove(args) => &args.config,
        }
    }
}

/// Does it, and says what it did.
pub(super) async fn run(command: &ReportCommand, accounts: &Accounts) -> Result<(), Failure> {
    match command {
        ReportCommand::List(_) => {
            for report in admin::list_reports(accounts).await? {
                say(line(&report))?;
            }
            Ok(())
        }
        ReportCommand::Remove(args) => {
            if !admin::remove_report(accounts, &args.id).await? {
                return Err("there is no such report".into());
            }
            say("removed")
        }
    }
}

/// A report as it is listed.
fn line(report: &Report) -> String {
    let ids = [
        report.room_id.as_ref().map(ToString::to_string),
        report.event_id.as_ref().map(ToString::to_string),
        report.user_id.as_ref().map(ToString::to_string),
    ];
    let reported: Vec<String> = ids.into_iter().flatten().collect();
    let Report {
        id,
        created_ms,
        reporter,
        ..
    } = report;
    // A reason is the reporter's text: what would move the cursor is escaped.
    let reason = report.reason.escape_debug();
    format!(
        "{id} {created_ms} {reporter} {} \"{reason}\"",
        reported.join(" ")
    )
}
