//! Databases in the private PostgreSQL cluster that the test command starts.

use std::{
    env,
    path::Path,
    process::{self, Command},
    sync::atomic::{AtomicU32, Ordering},
};

/// Makes an empty database and gives its URL. It goes with the cluster.
pub(crate) fn new_database() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let cluster = env::var("PASSEUR_TEST_POSTGRES").unwrap_or_else(|_| {
        panic!(
            "PASSEUR_TEST_POSTGRES is not set: run `cargo xtask test`, which starts a private PostgreSQL cluster and \
             sets it"
        )
    });
    let (server, parameters) = cluster
        .split_once("/postgres?")
        .expect("the URL of the database `postgres`");
    let folder = parameters
        .strip_prefix("host=")
        .expect("the folder of a unix socket");
    let name = format!(
        "story_{}_{}",
        process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    );
    // The client's own program: a library would only be needed here.
    let psql = Path::new("/usr/lib/postgresql/15/bin/psql");
    let sql = format!(
        "CREATE DATABASE {name} ENCODING UTF8 LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    );
    let made = Command::new(psql)
        .args([
            "-q", "-h", folder, "-U", "postgres", "-d", "postgres", "-c", &sql,
        ])
        .output();
    let made = made.expect("psql can be started");
    assert!(
        made.status.success(),
        "CREATE DATABASE: {}",
        String::from_utf8_lossy(&made.stderr)
    );
    format!("{server}/{name}?{parameters}")
}
