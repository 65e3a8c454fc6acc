//! `cargo xtask test`: format, lints, documentation, licences, every test, and the search of the tests' captured log.
//!
//! Every step runs even after one has failed; the command fails if any did. Tests learn what runs for them by environment
//! variables: `PASSEUR_TEST_POSTGRES`, the URL of a private cluster; `PASSEUR_TEST_ENGINE`, the engine under the homeserver's
//! own tests, which run once on each; `PASSEUR_TEST_PEERS_PYTHON`, a Python that has
//! Synapse, matrix-nio and mautrix; `PASSEUR_TEST_PEERS_JS`, a folder with matrix-js-sdk and a Node; `PASSEUR_TEST_PEERS_MATRIX_SDK`,
//! the driver of matrix-sdk; `PASSEUR_TEST_LOGS`, the folder in which test servers write their logs. Two more are for who asks:
//! `PASSEUR_TEST_ROOM_VERSIONS=all` tells each story with Synapse in every room version, `PASSEUR_TEST_STORY` only those
//! stories with peers whose name contains it.

use std::{fs, path::Path, process::Command};

use clap::{Args, ValueEnum};

use crate::{
    debian, log_scan, matrix_sdk, node, postgres::Cluster, process, python, summary::Summary,
};

/// Which checks to run.
#[derive(Args)]
pub(crate) struct Options {
    /// Run these checks only, separated by commas.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Check>,
}

/// A check that can be asked for alone.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Check {
    /// Formatting.
    Fmt,
    /// Lints of all targets.
    Clippy,
    /// Warnings of the documentation.
    Doc,
    /// Licences, advisories and banned crates; run only where cargo-deny is installed.
    Deny,
    /// Tests inside each crate, on SQLite.
    Unit,
    /// The homeserver's own tests on PostgreSQL.
    Postgres,
    /// Stories across crates, without foreign peers.
    Stories,
    /// Stories with Synapse and with clients of others.
    Peers,
}

/// Runs what was asked for and prints the summary.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let wants = |check: Check| options.only.is_empty() || options.only.contains(&check);
    let mut summary = Summary::default();
    if wants(Check::Fmt) {
        summary.step("fmt", || {
            process::run(cargo().args(["fmt", "--all", "--check"]))
        });
    }
    if wants(Check::Clippy) {
        summary.step("clippy", || {
            process::run(cargo().args([
                "clippy",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ]))
        });
    }
    if wants(Check::Doc) {
        summary.step("doc", || {
            process::run(
                cargo()
                    .args([
                        "doc",
                        "--workspace",
                        "--no-deps",
                        "--document-private-items",
                    ])
                    .env(
                        "RUSTDOCFLAGS",
                        "-D warnings -A rustdoc::private-intra-doc-links",
                    ),
            )
        });
    }
    // The bans that matter most are enforced by the tidiness tests too, which run everywhere.
    if wants(Check::Deny)
        && (options.only.contains(&Check::Deny)
            || process::succeeds("cargo", &["deny", "--version"]))
    {
        summary.step("deny", || {
            process::run(cargo().args(["deny", "--all-features", "check"]))
        });
    }
    tests(options, &mut summary);
    println!("{summary}");
    summary.verdict()
}

/// How the story of the killed servers runs.
#[derive(Args)]
pub(crate) struct CrashOptions {
    /// How often a server is killed.
    #[arg(long, default_value_t = 50)]
    rounds: u32,
    /// Where the servers store.
    #[arg(long, value_enum, default_value_t = Engine::Sqlite)]
    engine: Engine,
}

/// A database engine.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Engine {
    /// A file of each server.
    Sqlite,
    /// A private cluster, which is not killed.
    Postgres,
}

/// Runs the story of the killed servers with many rounds.
pub(crate) fn crash(options: &CrashOptions) -> Result<(), String> {
    let (story, cluster) = match options.engine {
        Engine::Sqlite => ("crash::sqlite", None),
        Engine::Postgres => {
            debian::ensure_postgres()?;
            ("crash::postgres", Some(Cluster::start()?))
        }
    };
    let mut command = cargo();
    command.args([
        "test",
        "--package",
        "passeur-tests",
        "--test",
        "it",
        "--",
        story,
    ]);
    if let Some(cluster) = &cluster {
        command.env("PASSEUR_TEST_POSTGRES", cluster.url());
    }
    process::run(command.env("PASSEUR_TEST_KILL_ROUNDS", options.rounds.to_string()))
}

/// One run of `cargo test`.
struct Run {
    /// Its name in the summary.
    step: &'static str,
    /// What is run, as arguments.
    arguments: &'static [&'static str],
    /// On which database engine the homeserver's own tests run.
    engine: &'static str,
}

/// The runs that were asked for: one for everything on SQLite, so that nothing is left out, and one for the homeserver's own
/// tests, with all that they store, on PostgreSQL.
fn test_runs(only: &[Check]) -> Vec<Run> {
    let run = |step, arguments| Run {
        step,
        arguments,
        engine: "sqlite",
    };
    // All packages, although only the homeserver's tests ask for the engine: for one package alone, cargo would build its
    // dependencies anew with that package's features.
    let on_postgres = Run {
        engine: "postgres",
        ..run("postgres", &["--workspace", "--lib"])
    };
    if only.is_empty() {
        return vec![run("tests", &["--workspace"]), on_postgres];
    }
    let unit = run("unit", &["--workspace", "--exclude", "passeur-tests"]);
    let stories = run(
        "stories",
        &["--package", "passeur-tests", "--", "--skip", "peers::"],
    );
    let peers = run("peers", &["--package", "passeur-tests", "--", "peers::"]);
    let each = [
        (Check::Unit, unit),
        (Check::Postgres, on_postgres),
        (Check::Stories, stories),
        (Check::Peers, peers),
    ];
    each.into_iter()
        .filter(|(check, _)| only.contains(check))
        .map(|(_, run)| run)
        .collect()
}

/// Starts what the tests need, runs them, and searches the log that they left.
fn tests(options: &Options, summary: &mut Summary) {
    let runs = test_runs(&options.only);
    if runs.is_empty() {
        return;
    }
    let workspace = process::workspace();
    let logs = workspace.join("target/test-logs");
    let needs = summary.step("install", || {
        debian::ensure_postgres()?;
        let peers = [
            (
                "PASSEUR_TEST_PEERS_PYTHON",
                python::ensure_peers(&workspace)?,
            ),
            ("PASSEUR_TEST_PEERS_JS", node::ensure_packages(&workspace)?),
            (
                "PASSEUR_TEST_PEERS_MATRIX_SDK",
                matrix_sdk::ensure_driver(&workspace)?,
            ),
        ];
        empty(&logs)?;
        Ok((peers, Cluster::start()?))
    });
    let Some((peers, cluster)) = needs else {
        return;
    };
    for run in runs {
        summary.step(run.step, || {
            let mut command = cargo();
            command.args(["test", "--no-fail-fast"]).args(run.arguments);
            command
                .env("PASSEUR_TEST_ENGINE", run.engine)
                .env("PASSEUR_TEST_POSTGRES", cluster.url())
                .envs(peers.iter().map(|(name, path)| (*name, path)))
                .env("PASSEUR_TEST_LOGS", &logs);
            process::run(&mut command)
        });
    }
    summary.step("log scan", || log_scan::run(&logs));
}

/// Leaves `folder` there and empty.
fn empty(folder: &Path) -> Result<(), String> {
    if folder.exists() {
        fs::remove_dir_all(folder)
            .map_err(|error| format!("cannot empty {}: {error}", folder.display()))?;
    }
    fs::create_dir_all(folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))
}

/// The cargo that runs this very command, in the workspace's root.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(process::workspace());
    command
}
