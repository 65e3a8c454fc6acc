//! What the database store promises beyond the trait: secrecy of its files, distinct refusals, one process at a time.

use std::{path::Path, sync::Arc};

use sea_orm::{ConnectionTrait, EntityTrait};
use tempfile::TempDir;

use super::{DatabaseStore, StoreKey, entry, with_suffix};
mod files;

use crate::{
    clock::SystemRng,
    store::{
        Batch, InboxItem, Store, StoreError,
        conformance::{Subject, alice, conformance},
    },
};

const KEY: [u8; 32] = [7; 32];

async fn open_with(path: &Path, key: StoreKey) -> Result<DatabaseStore, StoreError> {
    DatabaseStore::open(path, key, Arc::new(SystemRng)).await
}

async fn open(path: &Path) -> DatabaseStore {
    open_with(path, StoreKey::raw(KEY)).await.unwrap()
}

struct OnDisk(TempDir);

impl Subject for OnDisk {
    async fn open(&mut self) -> Arc<dyn Store> {
        Arc::new(open(&self.0.path().join("store")).await)
    }
}

conformance!(OnDisk(tempfile::tempdir().unwrap()));

#[tokio::test]
async fn a_passphrase_opens_it_and_another_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = open_with(&path, StoreKey::passphrase("correct horse"))
        .await
        .unwrap();
    store
        .commit(Batch::default().set("token", "abc"))
        .await
        .unwrap();
    drop(store);
    for wrong in [StoreKey::passphrase("battery staple"), StoreKey::raw(KEY)] {
        assert!(matches!(
            open_with(&path, wrong).await,
            Err(StoreError::WrongPassphrase)
        ));
    }
    let store = open_with(&path, StoreKey::passphrase("correct horse"))
        .await
        .unwrap();
    assert_eq!(
        store.value("token").await.unwrap().unwrap().expose(),
        b"abc"
    );
}

#[tokio::test]
async fn another_raw_key_or_one_of_another_length_does_not_open_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    drop(open(&path).await);
    let short = StoreKey::Raw(vec![7; 31].into());
    for wrong in [StoreKey::raw([8; 32]), short, StoreKey::passphrase("x")] {
        assert!(matches!(
            open_with(&path, wrong).await,
            Err(StoreError::WrongPassphrase)
        ));
    }
}

#[tokio::test]
async fn a_second_process_is_kept_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let first = open(&path).await;
    assert!(matches!(
        open_with(&path, StoreKey::raw(KEY)).await,
        Err(StoreError::Locked)
    ));
    drop(first);
    open(&path).await;
}

#[tokio::test]
async fn a_closed_store_can_be_opened_at_once_and_is_closed_for_good() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let first = open(&path).await;
    first
        .commit(Batch::default().set("token", "abc"))
        .await
        .unwrap();
    first.close().await.unwrap();
    // All that was in the journal is in the database.
    assert!(!folder.path().join("store-wal").exists());
    assert!(matches!(
        first.value("token").await,
        Err(StoreError::Closed)
    ));
    first.close().await.unwrap();
    let second = open(&path).await;
    assert_eq!(
        second.value("token").await.unwrap().unwrap().expose(),
        b"abc"
    );
}

#[tokio::test]
async fn damage_is_told_from_a_wrong_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    // Closed, not dropped: a database that closes behind our back would write its journal over the damage done below.
    open(&path).await.close().await.unwrap();
    let key_path = with_suffix(&path, "key");
    let key_file = std::fs::read(&key_path).unwrap();
    let mut flipped = key_file.clone();
    let place = flipped.len() / 2;
    flipped[place] = if flipped[place] == b'A' { b'B' } else { b'A' };
    for damaged in [&flipped[..], &key_file[..20], b""] {
        std::fs::write(&key_path, damaged).unwrap();
        assert!(matches!(
            open_with(&path, StoreKey::raw(KEY)).await,
            Err(StoreError::Damaged { .. })
        ));
    }
    std::fs::remove_file(&key_path).unwrap();
    assert!(matches!(
        open_with(&path, StoreKey::raw(KEY)).await,
        Err(StoreError::KeyMissing)
    ));
    std::fs::write(&key_path, &key_file).unwrap();
    std::fs::write(
        &path,
        b"this is not a database, and long enough to be looked at as if it were one",
    )
    .unwrap();
    assert!(matches!(
        open_with(&path, StoreKey::raw(KEY)).await,
        Err(StoreError::Damaged { .. })
    ));
}

#[tokio::test]
async fn a_value_moved_to_another_row_is_damage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = open(&path).await;
    store
        .commit(Batch::default().set("a", "1").set("b", "2"))
        .await
        .unwrap();
    {
        let opened = store.opened().await.unwrap();
        let swap = "UPDATE entry SET value = (SELECT value FROM entry AS other WHERE other.name <> entry.name AND other.kind = 'value')";
        opened.connection.execute_unprepared(swap).await.unwrap();
        assert_eq!(
            entry::Entity::find()
                .all(&opened.connection)
                .await
                .unwrap()
                .len(),
            2
        );
    }
    assert!(matches!(
        store.value("a").await,
        Err(StoreError::Damaged { .. })
    ));
}

#[tokio::test]
async fn a_batch_that_fails_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("store")).await;
    {
        let opened = store.opened().await.unwrap();
        let fail =
            "CREATE TRIGGER fail BEFORE INSERT ON queue_item BEGIN SELECT RAISE(ABORT, 'no'); END";
        opened.connection.execute_unprepared(fail).await.unwrap();
    }
    let mut batch = Batch::default().set("token", "abc");
    batch.inbox_put = vec![InboxItem {
        id: 1,
        body: Vec::new().into(),
    }];
    assert!(matches!(
        store.commit(batch).await,
        Err(StoreError::Database)
    ));
    assert_eq!(store.value("token").await.unwrap(), None);
}

/// Every byte of every file of the store.
fn bytes_on_disk(folder: &Path) -> Vec<u8> {
    let files = std::fs::read_dir(folder).unwrap();
    files
        .flat_map(|file| std::fs::read(file.unwrap().path()).unwrap())
        .collect()
}

fn holds(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}

#[tokio::test]
async fn the_files_show_neither_values_nor_names() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("store")).await;
    store.bind(&alice()).await.unwrap();
    store
        .commit(Batch::default().set("name-marker", "value-marker"))
        .await
        .unwrap();
    for _ in 0..2 {
        let bytes = bytes_on_disk(folder.path());
        for marker in [
            "name-marker",
            "value-marker",
            "alice",
            "ALICE1",
            "a.example",
        ] {
            assert!(!holds(&bytes, marker.as_bytes()), "{marker}");
        }
        // The negative control: what is written in the clear is found.
        assert!(holds(&bytes, b"seaql_migrations"));
        store.scrub().await.unwrap();
    }
}

#[tokio::test]
async fn a_deleted_row_is_gone_from_the_files_after_scrubbing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = open(&path).await;
    store
        .commit(Batch::default().set("token", vec![9; 5000]))
        .await
        .unwrap();
    let ciphertext = {
        let opened = store.opened().await.unwrap();
        entry::Entity::find()
            .one(&opened.connection)
            .await
            .unwrap()
            .unwrap()
            .value[..64]
            .to_vec()
    };
    store.scrub().await.unwrap();
    store.commit(Batch::default().unset("token")).await.unwrap();
    assert!(holds(&bytes_on_disk(folder.path()), &ciphertext));
    store.scrub().await.unwrap();
    assert!(!holds(&bytes_on_disk(folder.path()), &ciphertext));
}

#[tokio::test]
async fn a_wipe_removes_the_key_and_the_database_and_a_new_store_can_be_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = open(&path).await;
    store
        .commit(Batch::default().set("token", "abc"))
        .await
        .unwrap();
    let copy = std::fs::read(&path).unwrap();
    // As a change of the passphrase leaves it that is interrupted.
    let unfinished = with_suffix(&path, "key.new");
    std::fs::copy(with_suffix(&path, "key"), &unfinished).unwrap();
    store.wipe().await.unwrap();
    assert!(!path.exists() && !with_suffix(&path, "key").exists());
    assert!(!unfinished.exists());
    drop(store);
    // A copy of the database alone is of no use.
    std::fs::write(&path, copy).unwrap();
    assert!(matches!(
        open_with(&path, StoreKey::raw(KEY)).await,
        Err(StoreError::KeyMissing)
    ));
    std::fs::remove_file(&path).unwrap();
    assert_eq!(open(&path).await.value("token").await.unwrap(), None);
}

#[tokio::test]
async fn a_changed_passphrase_replaces_the_old_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = open(&path).await;
    store
        .commit(Batch::default().set("token", "abc"))
        .await
        .unwrap();
    store.change_key(StoreKey::raw([8; 32])).await.unwrap();
    assert_eq!(
        store.value("token").await.unwrap().unwrap().expose(),
        b"abc"
    );
    drop(store);
    assert!(matches!(
        open_with(&path, StoreKey::raw(KEY)).await,
        Err(StoreError::WrongPassphrase)
    ));
    let store = open_with(&path, StoreKey::raw([8; 32])).await.unwrap();
    assert_eq!(
        store.value("token").await.unwrap().unwrap().expose(),
        b"abc"
    );
}
