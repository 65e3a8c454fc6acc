//! The databases of tests, on the engine that `PASSEUR_TEST_ENGINE` names: `sqlite` (the default) or `postgres`.
//!
//! Invariant: no test chooses its engine, so the whole suite runs on either; `cargo xtask test` runs it on both. A test owns a
//! folder, and the database belongs to the folder: opening it again is a restart. On PostgreSQL the database lies in the cluster
//! of `PASSEUR_TEST_POSTGRES`, without which the test fails.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
    process::{self, Command},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    thread,
};

use sea_orm::{ConnectionTrait, Database, DatabaseConnection, DbBackend, Statement};

use crate::http::log;

use super::{Change, Engine, ShredKeys, Store, StoreError, StoreOptions, Tx};

pub(crate) mod keys;

/// Where Debian keeps the programs of PostgreSQL 15.
const POSTGRES_BIN: &str = "/usr/lib/postgresql/15/bin";
/// The file that remembers a folder's database in PostgreSQL.
const URL_FILE: &str = "database.url";
/// Connections for reading: a cluster serves many tests at once.
const READERS: u32 = 2;
/// Tables that may be read from end to end: they hold a few rows, or are read so only when the server starts or an administrator
/// asks.
const MAY_BE_SCANNED: [&str; 16] = [
    "destination_rooms",
    "destinations",
    "expiry_clock",
    "expiry_key_store",
    "expiry_policy_changes",
    // What was destroyed a moment ago.
    "expiry_redactions",
    "login_tokens",
    "openid_tokens",
    // The directory tells all of it.
    "published_rooms",
    "pushers",
    "registration_tokens",
    "reports",
    "seaql_migrations",
    "sqlite_master",
    // What a count or a limit stands around; what is inside is told apart.
    "sub_query",
    // What a statement brings along as a list of values.
    "wanted",
];
/// How statements end that read no further than they return, in the order of the table itself.
const STOPS_AT_ONCE: [&str; 3] = [
    r#"FROM "log" ORDER BY "log"."position" DESC LIMIT ?"#,
    r#"FROM "rooms" LIMIT ?"#,
    r#"FROM "one_time_keys" ORDER BY "one_time_keys"."id" DESC LIMIT ?"#,
];

/// The engine that tests run on.
pub(crate) fn engine() -> Engine {
    match env::var("PASSEUR_TEST_ENGINE").as_deref() {
        Err(_) | Ok("sqlite") => Engine::Sqlite,
        Ok("postgres") => Engine::Postgres,
        Ok(other) => panic!("PASSEUR_TEST_ENGINE is {other}: sqlite and postgres are known"),
    }
}

/// Opens the database of a folder; the first time, an empty one.
pub(crate) async fn open_in(folder: &Path) -> Arc<Store> {
    log::captured::keep_all();
    Store::open(&options_in(folder)).await.unwrap()
}

/// As [`open_in`], with keys for what expires.
pub(crate) async fn open_with_keys(folder: &Path, keys: ShredKeys) -> Arc<Store> {
    log::captured::keep_all();
    let options = StoreOptions {
        keys,
        ..options_in(folder)
    };
    Store::open(&options).await.unwrap()
}

/// Where the database of a folder is.
pub(crate) fn options_in(folder: &Path) -> StoreOptions {
    let mut options = StoreOptions::new(match engine() {
        Engine::Sqlite => format!("sqlite:{}", folder.join("passeur.db").display()),
        Engine::Postgres => postgres_url(folder),
    });
    options.readers_max = READERS;
    options
}

fn postgres_url(folder: &Path) -> String {
    let file = folder.join(URL_FILE);
    fs::read_to_string(&file).unwrap_or_else(|_| {
        let url = new_database(folder);
        fs::write(&file, &url).unwrap();
        url
    })
}

/// Makes an empty database, and drops those whose folders have gone: they would fill the disk.
fn new_database(folder: &Path) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    static MADE: Mutex<Vec<(PathBuf, String)>> = Mutex::new(Vec::new());
    let cluster = env::var("PASSEUR_TEST_POSTGRES").expect(
        "PASSEUR_TEST_POSTGRES: run `cargo xtask test`, which starts a cluster and sets it",
    );
    let (server, parameters) = cluster
        .split_once("/postgres?")
        .expect("the URL of the database `postgres`");
    let socket = parameters
        .strip_prefix("host=")
        .expect("the folder of a unix socket");
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("unit_{}_{number}", process::id());
    let settings = ["-T", "template0", "-E", "UTF8", "--locale=C"];
    run("createdb", socket, &[&settings[..], &[&name]].concat());
    let gone: Vec<_> = {
        let mut made = MADE.lock().unwrap();
        made.push((folder.to_owned(), name.clone()));
        made.extract_if(.., |(folder, _)| !folder.exists())
            .collect()
    };
    for (_, name) in gone {
        run("dropdb", socket, &["--force", &name]);
    }
    format!("{server}/{name}?{parameters}")
}

fn run(program: &str, socket: &str, arguments: &[&str]) {
    let mut command = Command::new(Path::new(POSTGRES_BIN).join(program));
    let done = command
        .args(["-h", socket, "-U", "postgres"])
        .args(arguments)
        .output()
        .expect("PostgreSQL's programs can be started");
    let complaint = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{program}: {complaint}");
}

/// How large SQLite databases may grow, in pages, by their URL: a disk that is full, for tests.
static PAGES_MAX: Mutex<BTreeMap<String, u32>> = Mutex::new(BTreeMap::new());

/// Fills the disk of a folder's SQLite database, but for a few pages, or empties it; the writer must be told.
pub(crate) async fn fill_disk(folder: &Path, store: &Store, is_full: bool) {
    let url = format!("sqlite:{}", folder.join("passeur.db").display());
    let statement = Statement::from_string(DbBackend::Sqlite, "PRAGMA page_count".to_owned());
    let row = store
        .reader()
        .query_one_raw(statement)
        .await
        .unwrap()
        .unwrap();
    let pages: u32 = row.try_get_by_index(0).unwrap();
    let pages_max = if is_full { pages } else { u32::MAX - 1 };
    PAGES_MAX.lock().unwrap().insert(url.clone(), pages_max);
    store.commit(LimitPages(url)).await.unwrap();
}

/// Lets the writer's connection know how far it may grow.
struct LimitPages(String);

impl Change for LimitPages {
    type Output = ();

    async fn apply(&self, tx: &mut Tx) -> Result<(), StoreError> {
        limit_pages(tx.connection(), &self.0).await;
        Ok(())
    }
}

/// Applies the limit to a connection.
pub(super) async fn limit_pages(connection: &impl ConnectionTrait, url: &str) {
    let pages_max = PAGES_MAX.lock().unwrap().get(url).copied();
    if let Some(pages_max) = pages_max {
        let statement = format!("PRAGMA max_page_count = {pages_max}");
        let statement = Statement::from_string(DbBackend::Sqlite, statement);
        connection.query_one_raw(statement).await.unwrap();
    }
}

/// Has every statement explained by SQLite the first time that it runs: one that reads a whole table fails its test.
pub(super) fn watched(
    mut connection: DatabaseConnection,
    engine: Engine,
    url: &str,
) -> DatabaseConnection {
    if engine == Engine::Sqlite {
        let url = url.to_owned();
        connection.set_metric_callback(move |info| expect_no_scan(&url, &info.statement.sql));
    }
    connection
}

fn expect_no_scan(url: &str, sql: &str) {
    static SEEN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let is_query = ["SELECT", "UPDATE", "DELETE"]
        .iter()
        .any(|verb| sql.starts_with(verb));
    if !is_query || !SEEN.lock().unwrap().insert(sql.to_owned()) {
        return;
    }
    // The callback cannot wait, so another thread does.
    let explained = thread::scope(|scope| scope.spawn(|| explain(url, sql)).join().unwrap());
    let scans = explained
        .iter()
        .filter_map(|step| step.strip_prefix("SCAN "))
        // A list of values in the statement itself.
        .filter(|rest| *rest != "CONSTANT ROW" && !rest.ends_with("-ROW VALUES CLAUSE"));
    let scanned = scans.filter_map(|rest| rest.split(' ').next());
    let scanned: Vec<_> = scanned
        .filter(|table| !MAY_BE_SCANNED.contains(table))
        .collect();
    assert!(
        scanned.is_empty() || STOPS_AT_ONCE.iter().any(|end| sql.ends_with(end)),
        "all of {scanned:?} is read by {sql}"
    );
}

/// What SQLite would do for a statement, step by step.
fn explain(url: &str, sql: &str) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let connection = Database::connect(url).await.unwrap();
        let statement =
            Statement::from_string(DbBackend::Sqlite, format!("EXPLAIN QUERY PLAN {sql}"));
        let steps = connection.query_all_raw(statement).await.unwrap();
        steps
            .iter()
            .map(|step| step.try_get_by_index(3).unwrap())
            .collect()
    })
}
