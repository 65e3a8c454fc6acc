//! A database that is lost: what may have been committed is not done again, and nobody waits for one limit after another.

use sea_orm::Statement;

use super::*;

/// Counts how often it is applied.
#[derive(Clone, Default)]
struct Counted(Arc<AtomicUsize>);

impl Change for Counted {
    type Output = ();

    async fn apply(&self, _: &mut Tx) -> Result<(), StoreError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// Has the commit that follows fail, in a way that says nothing of what was done.
struct BreakCommit(Arc<Store>);

impl Change for BreakCommit {
    type Output = ();

    async fn apply(&self, tx: &mut Tx) -> Result<(), StoreError> {
        let connection = tx.connection();
        if self.0.engine() == Engine::Sqlite {
            // There is no transaction to be committed any more.
            connection.execute_unprepared("ROLLBACK").await?;
            return Ok(());
        }
        let backend = connection.get_database_backend();
        let pid = Statement::from_string(backend, "SELECT pg_backend_pid()".to_owned());
        let pid = connection.query_one_raw(pid).await?.unwrap();
        let pid: i32 = pid.try_get_by_index(0)?;
        // Waits until it has gone.
        let end = "SELECT pg_terminate_backend($1, 10000)";
        let end = Statement::from_sql_and_values(backend, end, [pid.into()]);
        self.0.reader().query_one_raw(end).await?;
        Ok(())
    }
}

#[tokio::test]
async fn what_may_have_been_committed_is_not_done_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::open_in(folder.path()).await;
    store.commit(Append::default()).await.unwrap();
    let counted = Counted::default();
    let (beside, broken) = tokio::join!(
        store.commit(counted.clone()),
        store.commit(BreakCommit(Arc::clone(&store)))
    );
    assert!(
        matches!(beside, Err(StoreError::Unconfirmed(_))),
        "{beside:?}"
    );
    assert!(
        matches!(broken, Err(StoreError::Unconfirmed(_))),
        "{broken:?}"
    );
    assert_eq!(counted.0.load(Ordering::Relaxed), 1);
    // The writer has a connection again.
    assert_eq!(store.commit(Append::default()).await.unwrap().output, 2);
    assert_eq!(positions(&store).await, [1, 2]);
}

#[tokio::test]
async fn what_failed_for_itself_is_tried_alone() {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::open_in(folder.path()).await;
    let counted = Counted::default();
    let bad = Append {
        fails: true,
        ..Append::default()
    };
    let (beside, failed) = tokio::join!(store.commit(counted.clone()), store.commit(bad));
    assert!(beside.is_ok() && failed.is_err());
    assert_eq!(counted.0.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn one_process_at_a_time_serves_a_database() {
    if testing::engine() != Engine::Postgres {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let options = testing::options_in(folder.path());
    let soon = std::time::Duration::from_millis(1);
    let first = Claim::take(&options, soon).await.unwrap().unwrap();
    assert!(Claim::take(&options, soon).await.unwrap().is_none());
    assert!(first.holds().await.unwrap());
    // The command line works beside it.
    testing::open_in(folder.path()).await.close().await;
    first.release().await;
    let second = Claim::take(&options, soon).await.unwrap().unwrap();
    assert!(second.holds().await.unwrap());
}
