//! A database server that falls silent, as behind a network that is gone: whoever asks is told so in time, and all is well once it
//! speaks again.

use std::{path::Path, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::watch,
};

use super::*;

/// PostgreSQL's socket in its folder.
const SOCKET: &str = ".s.PGSQL.5432";
/// How long an answer is waited for here.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// When a test gives up: what hangs would do so for ever.
const LIMIT: Duration = Duration::from_secs(60);

/// Stands between a store and PostgreSQL, and passes nothing on while it is held.
#[derive(Clone)]
struct Line(watch::Sender<bool>);

impl Line {
    fn lay(folder: &Path, to: &Path) -> Self {
        let listener = UnixListener::bind(folder.join(SOCKET)).unwrap();
        let (to, is_held) = (to.join(SOCKET), watch::Sender::new(false));
        let line = Self(is_held.clone());
        tokio::spawn(async move {
            while let Ok((here, _)) = listener.accept().await {
                let there = UnixStream::connect(&to).await.unwrap();
                let (here, there) = (here.into_split(), there.into_split());
                tokio::spawn(pass(here.0, there.1, is_held.subscribe()));
                tokio::spawn(pass(there.0, here.1, is_held.subscribe()));
            }
        });
        line
    }

    fn hold(&self, is_held: bool) {
        self.0.send_replace(is_held);
    }
}

async fn pass(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut is_held: watch::Receiver<bool>,
) {
    let mut bytes = [0; 8192];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        if is_held.wait_for(|is_held| !is_held).await.is_err()
            || to.write_all(&bytes[..count]).await.is_err()
        {
            return;
        }
    }
}

/// A store that reaches PostgreSQL through a line.
async fn open_by_line(folder: &Path) -> (Arc<Store>, Line) {
    let mut options = testing::options_in(folder);
    let (database, host) = options.url.split_once("?host=").unwrap();
    let line = Line::lay(folder, Path::new(host));
    options.url = format!("{database}?host={}", folder.display());
    options.answer_max = ANSWER_MAX;
    (Store::open(&options).await.unwrap(), line)
}

#[track_caller]
fn expect_lost<T: std::fmt::Debug>(answer: Result<T, StoreError>) {
    let error = answer.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable(_)), "{error}");
    let said = error.to_string();
    assert!(said.starts_with("the database cannot be reached"), "{said}");
}

/// Commits as soon as that is possible again; its position.
async fn commit_again(store: &Store) -> i64 {
    loop {
        if let Ok(committed) = store.commit(Append::default()).await {
            return committed.output;
        }
    }
}

#[tokio::test]
async fn nobody_waits_for_ever_for_a_database_that_is_silent() {
    if testing::engine() != Engine::Postgres {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (store, line) = open_by_line(folder.path()).await;
    store.commit(Append::default()).await.unwrap();
    line.hold(true);
    let asked = async {
        let read = log::Entity::find().one(store.reader());
        tokio::join!(
            read,
            store.commit(Append::default()),
            store.commit(Append::default())
        )
    };
    let (read, one, other) = tokio::time::timeout(LIMIT, asked).await.unwrap();
    expect_lost(read.map_err(StoreError::from));
    expect_lost(one);
    expect_lost(other);
    line.hold(false);
    let next = tokio::time::timeout(LIMIT, commit_again(&store)).await;
    // Nothing had begun, so nothing of it is there.
    assert_eq!(next.unwrap(), 2);
    assert_eq!(positions(&store).await, [1, 2]);
}

/// After its own append, the database falls silent.
struct Silence(Line);

impl Change for Silence {
    type Output = ();

    async fn apply(&self, tx: &mut Tx) -> Result<(), StoreError> {
        self.0.hold(true);
        tx.connection().execute_unprepared("SELECT 1").await?;
        Ok(())
    }
}

#[tokio::test]
async fn a_silence_within_a_transaction_undoes_it_for_all() {
    if testing::engine() != Engine::Postgres {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (store, line) = open_by_line(folder.path()).await;
    store.commit(Append::default()).await.unwrap();
    let asked = async {
        tokio::join!(
            store.commit(Append::default()),
            store.commit(Silence(line.clone())),
            store.commit(Append::default())
        )
    };
    let (before, silent, after) = tokio::time::timeout(LIMIT, asked).await.unwrap();
    expect_lost(before);
    expect_lost(silent);
    expect_lost(after);
    line.hold(false);
    let next = tokio::time::timeout(LIMIT, commit_again(&store)).await;
    assert_eq!(next.unwrap(), 2);
    assert_eq!(positions(&store).await, [1, 2]);
}
