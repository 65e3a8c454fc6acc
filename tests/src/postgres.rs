//! Databases in the private PostgreSQL cluster that the test command starts.

use std::{
    env,
    path::{Path, PathBuf},
    process::{self, Command},
    sync::atomic::{AtomicU32, Ordering},
};

/// The name of PostgreSQL's socket in its folder, on the port that it has unless told otherwise.
pub const SOCKET: &str = ".s.PGSQL.5432";

/// The folder of the cluster's socket.
pub fn socket_folder() -> PathBuf {
    let (_, folder) = cluster();
    folder.into()
}

/// The URL with another folder for its socket.
pub(crate) fn through(url: &str, folder: &Path) -> String {
    let (database, _) = url
        .split_once("?host=")
        .expect("the folder of a unix socket");
    format!("{database}?host={}", folder.display())
}

/// The cluster's URL up to a database's name, and the folder of its socket.
fn cluster() -> (String, String) {
    let cluster = env::var("PASSEUR_TEST_POSTGRES").unwrap_or_else(|_| {
        panic!(
            "PASSEUR_TEST_POSTGRES is not set: run `cargo xtask test`, which starts a private PostgreSQL cluster and \
             sets it"
        )
    });
    let (server, folder) = cluster
        .split_once("/postgres?host=")
        .expect("the URL of the database `postgres`, on a unix socket");
    (server.to_owned(), folder.to_owned())
}

/// Makes an empty database and gives its URL. It goes with the cluster.
pub(crate) fn new_database() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let (server, folder) = cluster();
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
            "-q", "-h", &folder, "-U", "postgres", "-d", "postgres", "-c", &sql,
        ])
        .output();
    let made = made.expect("psql can be started");
    assert!(
        made.status.success(),
        "CREATE DATABASE: {}",
        String::from_utf8_lossy(&made.stderr)
    );
    format!("{server}/{name}?host={folder}")
}
