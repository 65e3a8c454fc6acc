//! Files that another version wrote, that are damaged, or that another process has open: each is told by name, and none is lost.

use std::{
    env, fs,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Command, Stdio},
};

use sea_orm::ConnectionTrait;

use super::{KEY, open, open_with};
use crate::store::{Batch, DatabaseStore, Store, StoreError, StoreKey};

/// Names the store that a child process is to hold open.
const HELD: &str = "PASSEUR_HELD_STORE";

/// Bytes of SQLite's pages.
const PAGE_BYTES: usize = 4096;

async fn run(store: &DatabaseStore, sql: &str) {
    let opened = store.opened().await.unwrap();
    opened.connection.execute_unprepared(sql).await.unwrap();
}

fn refusal(opened: Result<DatabaseStore, StoreError>) -> StoreError {
    opened.expect_err("it should not have been opened")
}

#[tokio::test]
async fn a_store_of_a_newer_version_is_left_alone_and_opens_with_that_version() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = open(&path).await;
    store.commit(Batch::default().set("a", "1")).await.unwrap();
    let newer = "INSERT INTO seaql_migrations (version, applied_at) VALUES ('m9999_future', 0)";
    run(&store, newer).await;
    store.close().await.unwrap();
    let before = fs::read(&path).unwrap();
    let refused = refusal(open_with(&path, StoreKey::raw(KEY)).await);
    assert!(matches!(refused, StoreError::NewerSchema));
    assert!(refused.to_string().contains("use that version"));
    assert_eq!(fs::read(&path).unwrap(), before, "nothing was changed");
    // As that version finds it: whole.
    let connection = sea_orm::Database::connect(format!("sqlite://{}", path.display()));
    let connection = connection.await.unwrap();
    let older = "DELETE FROM seaql_migrations WHERE version = 'm9999_future'";
    connection.execute_unprepared(older).await.unwrap();
    connection.close().await.unwrap();
    let value = open(&path).await.value("a").await.unwrap();
    assert_eq!(value.unwrap().expose(), b"1");
}

#[tokio::test]
async fn a_store_of_an_older_version_is_brought_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = open(&path).await;
    // As before the first of our tables was defined.
    run(&store, "DROP TABLE entry").await;
    run(&store, "DROP TABLE queue_item").await;
    run(&store, "DELETE FROM seaql_migrations").await;
    store.close().await.unwrap();
    let store = open(&path).await;
    store.commit(Batch::default().set("a", "1")).await.unwrap();
    assert_eq!(store.value("a").await.unwrap().unwrap().expose(), b"1");
}

/// A store of some pages, closed; gives the bytes of its database.
async fn filled(path: &Path) -> Vec<u8> {
    let store = open(path).await;
    let mut batch = Batch::default();
    for number in 0..20_u8 {
        batch = batch.set(&format!("value {number}"), vec![number; 1000]);
    }
    store.commit(batch).await.unwrap();
    store.close().await.unwrap();
    fs::read(path).unwrap()
}

/// Everything that the store holds, or why not.
async fn read_all(path: &Path) -> Result<(), StoreError> {
    let store = open_with(path, StoreKey::raw(KEY)).await?;
    let mut outcome = Ok(());
    for number in 0..20_u8 {
        match store.value(&format!("value {number}")).await {
            Ok(value) => assert_eq!(value.unwrap().expose(), [number; 1000], "never another"),
            Err(error) => outcome = Err(error),
        }
    }
    store.close().await.unwrap();
    outcome
}

#[tokio::test]
async fn damage_to_any_page_is_told_as_damage_and_never_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let whole = filled(&path).await;
    read_all(&path).await.unwrap();
    let pages = whole.len() / PAGE_BYTES;
    assert!(pages > 5, "{pages}");
    let mut told = 0;
    for page in 0..pages {
        let mut damaged = whole.clone();
        damaged[page * PAGE_BYTES..][..PAGE_BYTES].fill(0x55);
        fs::write(&path, damaged).unwrap();
        match read_all(&path).await {
            Err(StoreError::Damaged { .. }) => told += 1,
            // What nothing here reads, such as the index that keeps names apart.
            Ok(()) => {}
            Err(other) => panic!("page {page}: {other}"),
        }
    }
    assert!(told > pages / 2, "{told} of {pages}");
}

#[tokio::test]
async fn a_file_that_was_cut_off_is_told_as_damage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let whole = filled(&path).await;
    for bytes in [PAGE_BYTES, whole.len() / 2, whole.len() - PAGE_BYTES] {
        fs::write(&path, &whole[..bytes]).unwrap();
        let refused = read_all(&path).await.unwrap_err();
        assert!(matches!(refused, StoreError::Damaged { .. }), "{refused}");
        assert!(refused.to_string().contains("restore a copy"));
    }
    fs::write(&path, &whole).unwrap();
    read_all(&path).await.unwrap();
}

#[tokio::test]
async fn another_process_that_has_it_open_keeps_us_out_until_it_ends() {
    if let Ok(path) = env::var(HELD) {
        let _store = open(Path::new(&path)).await;
        println!("it is open");
        // Until the other side closes the pipe.
        let _ = std::io::stdin().read(&mut [0]);
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let name = "store::database::tests::files::another_process_that_has_it_open_keeps_us_out_until_it_ends";
    let mut child = Command::new(env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(HELD, &path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("it is open")));
    let refused = refusal(open_with(&path, StoreKey::raw(KEY)).await);
    assert!(matches!(refused, StoreError::Locked));
    assert!(refused.to_string().contains("end it first"));
    // However it ends: nothing is left locked behind a process that was killed.
    child.kill().unwrap();
    child.wait().unwrap();
    open(&path).await;
}
