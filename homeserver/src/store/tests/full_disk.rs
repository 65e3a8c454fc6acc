//! A disk that is full: nothing is half stored, the operator is told in words, and all is well once there is space.

use super::*;

/// Longer than what is free in the pages that are there.
const LONG_BYTES: usize = 20_000;

fn long() -> Append {
    Append {
        bytes: LONG_BYTES,
        fails: false,
    }
}

#[tokio::test]
async fn a_full_disk_is_said_and_is_over_once_there_is_space() {
    // The limit that stands for the disk is SQLite's own.
    if testing::engine() != Engine::Sqlite {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let store = testing::open_in(folder.path()).await;
    store.commit(long()).await.unwrap();
    testing::fill_disk(folder.path(), &store, true).await;
    let mut acknowledged = 1;
    let error = loop {
        match store.commit(long()).await {
            Ok(_) => acknowledged += 1,
            Err(error) => break error,
        }
        assert!(acknowledged < 100, "the disk is not full");
    };
    assert!(matches!(error, StoreError::Full), "{error}");
    assert!(error.to_string().starts_with("the disk is full"), "{error}");
    // SQLite has ended the transaction by itself: that must not be the end of all later ones.
    let (one, other) = tokio::join!(store.commit(long()), store.commit(long()));
    assert!(matches!(one, Err(StoreError::Full)), "{one:?}");
    assert!(matches!(other, Err(StoreError::Full)), "{other:?}");
    store.commit(Look).await.unwrap();
    testing::fill_disk(folder.path(), &store, false).await;
    let next = store.commit(long()).await.unwrap().output;
    assert_eq!(
        next,
        acknowledged + 1,
        "no position is lost to what was not stored"
    );
    let expected: Vec<i64> = (1..=next).collect();
    assert_eq!(positions(&store).await, expected);
}
