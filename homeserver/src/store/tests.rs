//! What everybody relies on who writes: one transaction for many, each answered by what became of its own change.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use ruma::user_id;
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder};

use super::{
    Change, Claim, Engine, LogKind, Look, Scope, Store, StoreError, Tx, entity::log, testing,
};

mod full_disk;
mod lost;
mod silent;
mod tip;

/// Appends a row of some length to the log, and fails if it is to.
#[derive(Default)]
struct Append {
    bytes: usize,
    fails: bool,
}

impl Change for Append {
    type Output = i64;

    async fn apply(&self, tx: &mut Tx) -> Result<i64, StoreError> {
        let alice = Scope::User(user_id!("@alice:example.org"));
        let position = tx.append(alice, LogKind::AccountData, Some("x".repeat(self.bytes)));
        match self.fails {
            true => Err(StoreError::corrupt("test", "test")),
            false => Ok(position),
        }
    }
}

/// Every position in the log.
async fn positions(store: &Store) -> Vec<i64> {
    let rows = log::Entity::find()
        .filter(log::Column::Position.gt(0))
        .order_by_asc(log::Column::Position)
        .all(store.reader())
        .await
        .unwrap();
    rows.into_iter().map(|row| row.position).collect()
}

#[tokio::test]
async fn one_that_fails_takes_nobody_along() {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::open_in(folder.path()).await;
    let bad = Append {
        fails: true,
        ..Append::default()
    };
    // All three are handed in before the writer's task has its turn.
    let (first, failed, last) = tokio::join!(
        store.commit(Append::default()),
        store.commit(bad),
        store.commit(Append::default())
    );
    assert!(
        matches!(failed, Err(StoreError::Corrupt { .. })),
        "{failed:?}"
    );
    let (first, last) = (first.unwrap().output, last.unwrap().output);
    assert_eq!((first, last), (1, 2), "the one that failed leaves no gap");
    assert_eq!(positions(&store).await, [1, 2]);
}

#[tokio::test]
async fn an_answer_means_that_others_can_read_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::open_in(folder.path()).await;
    let other = testing::open_in(folder.path()).await;
    for number in 1..=5 {
        store.commit(Append::default()).await.unwrap();
        assert_eq!(positions(&other).await.len(), number);
    }
}

#[tokio::test]
async fn what_was_handed_in_is_finished_before_the_end_and_nothing_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::open_in(folder.path()).await;
    let begun = Arc::new(AtomicUsize::new(0));
    let handed_in: Vec<_> = (0..300)
        .map(|_| {
            let (store, begun) = (Arc::clone(&store), Arc::clone(&begun));
            tokio::spawn(async move {
                begun.fetch_add(1, Ordering::Relaxed);
                store.commit(Append::default()).await
            })
        })
        .collect();
    // On one thread a task that has begun has handed its change in.
    while begun.load(Ordering::Relaxed) < 300 {
        tokio::task::yield_now().await;
    }
    store.close().await;
    let mut done = 0;
    for task in handed_in {
        done += usize::from(task.await.unwrap().is_ok());
    }
    assert_eq!(done, 300);
    assert!(matches!(store.commit(Look).await, Err(StoreError::Closed)));
    let again = testing::open_in(folder.path()).await;
    assert_eq!(positions(&again).await.len(), 300);
}

#[tokio::test]
async fn what_another_process_appends_is_told_at_the_next_commit() {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::open_in(folder.path()).await;
    let other = testing::open_in(folder.path()).await;
    let told = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&told);
    store.on_commit(move |published| {
        let positions = published.rows.iter().map(|row| row.position);
        heard.lock().unwrap().push(positions.collect::<Vec<_>>());
    });
    store.commit(Append::default()).await.unwrap();
    other.commit(Append::default()).await.unwrap();
    other.commit(Append::default()).await.unwrap();
    let committed = store.commit(Append::default()).await.unwrap();
    assert_eq!((committed.output, committed.head), (4, 4));
    assert_eq!(*told.lock().unwrap(), [vec![1], vec![2, 3, 4]]);
    assert_eq!(store.heads().head(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_writers_leave_no_gap_and_give_no_position_twice() {
    let folder = tempfile::tempdir().unwrap();
    let stores = [
        testing::open_in(folder.path()).await,
        testing::open_in(folder.path()).await,
    ];
    let mut tasks = Vec::new();
    for number in 0..200 {
        let store = Arc::clone(&stores[number % 2]);
        tasks.push(tokio::spawn(async move {
            store.commit(Append::default()).await.unwrap().output
        }));
    }
    let mut given = Vec::new();
    for task in tasks {
        given.push(task.await.unwrap());
    }
    given.sort_unstable();
    let expected: Vec<i64> = (1..=200).collect();
    assert_eq!(given, expected);
    assert_eq!(positions(&stores[0]).await, expected);
}
