//! What a change may do inside the writer's transaction.
//!
//! Invariant: positions are given here and nowhere else, one after another from the head that the
//! transaction itself read under the log's lock. Rows given to [`Tx::insert_later`] are written
//! together at the end, one statement a table; a change that must see them in this transaction
//! writes them directly instead.

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    future::Future,
    pin::Pin,
    sync::Arc,
};

use sea_orm::{ActiveModelTrait, ActiveValue::Set, EntityTrait, Iterable, sea_query::OnConflict};

use super::{
    LogKind, LogRow, Scope, StoreError,
    connection::Transaction,
    entity::log,
    shred::{Kill, Shredder},
};

/// Bound parameters in one insert: what is prepared for a statement stays in memory, some hundred bytes a parameter.
const PARAMETERS_MAX: usize = 1024;
/// Up to so many rows go into one insert whatever their number.
const ROWS_ANY: usize = 8;

type Flushing<'a> = Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send + 'a>>;

/// Rows of one table that wait for the end of the transaction.
trait Waiting: Any + Send + Sync {
    fn flush<'a>(&'a mut self, connection: &'a Transaction) -> Flushing<'a>;
    fn as_any(&mut self) -> &mut dyn Any;
}

struct Rows<A> {
    rows: Vec<A>,
    /// Whether a row that is there already is left as it is.
    keep_existing: bool,
}

impl<A> Waiting for Rows<A>
where
    A: ActiveModelTrait + Send + Sync + 'static,
{
    fn flush<'a>(&'a mut self, connection: &'a Transaction) -> Flushing<'a> {
        Box::pin(async move {
            let columns = <A::Entity as EntityTrait>::Column::iter().count().max(1);
            let mut rows = std::mem::take(&mut self.rows).into_iter();
            while rows.len() > 0 {
                let count = rows_of_insert(rows.len(), columns);
                let chunk: Vec<A> = rows.by_ref().take(count).collect();
                let insert = A::Entity::insert_many(chunk);
                let insert = if self.keep_existing {
                    insert.on_conflict(OnConflict::new().do_nothing().to_owned())
                } else {
                    insert
                };
                insert.exec_without_returning(connection).await?;
            }
            Ok(())
        })
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}

/// How many of the rows that are left the next insert takes. The sizes are few, so that its statement is likely to be there
/// from an earlier time: preparing one costs more than running it.
fn rows_of_insert(left: usize, columns: usize) -> usize {
    if left <= ROWS_ANY {
        return left;
    }
    let most = left.min(PARAMETERS_MAX / columns).max(ROWS_ANY);
    1 << most.ilog2()
}

/// The writer's open transaction, as a change sees it.
pub struct Tx {
    connection: Transaction,
    head: i64,
    appended: Vec<LogRow>,
    waiting: Vec<Box<dyn Waiting>>,
    index: HashMap<(TypeId, bool), usize>,
    shredder: Arc<Shredder>,
    kills: Vec<Kill>,
}

impl std::fmt::Debug for Tx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tx")
            .field("head", &self.head)
            .finish_non_exhaustive()
    }
}

impl Tx {
    pub(super) fn new(connection: Transaction, head: i64, shredder: Arc<Shredder>) -> Self {
        Self {
            shredder,
            kills: Vec::new(),
            connection,
            head,
            appended: Vec::new(),
            waiting: Vec::new(),
            index: HashMap::new(),
        }
    }

    /// The connection, for reads and for writes whose affected rows decide something.
    ///
    /// It does not see rows that wait in [`Tx::insert_later`].
    pub(crate) fn connection(&self) -> &Transaction {
        &self.connection
    }

    /// What seals that which expires.
    pub(super) fn shredder(&self) -> &Shredder {
        &self.shredder
    }

    /// Destroys keys just before this transaction is committed.
    pub(super) fn kill(&mut self, kills: impl IntoIterator<Item = Kill>) {
        self.kills.extend(kills);
    }

    /// The position given last; the head of the log so far.
    pub fn head(&self) -> i64 {
        self.head
    }

    /// Appends to the log and returns the new position.
    pub fn append(&mut self, scope: Scope<'_>, kind: LogKind, reference: Option<String>) -> i64 {
        self.head += 1;
        self.appended.push(LogRow {
            position: self.head,
            scope: scope.to_string(),
            kind,
            reference,
        });
        self.head
    }

    /// The newest position of a scope, of what this transaction appended or else of what was there before; 0 if there is none.
    ///
    /// # Errors
    /// What the database says.
    pub(super) async fn newest_in_log(&self, scope: Scope<'_>) -> Result<i64, StoreError> {
        let scope = scope.to_string();
        let appended = self.appended.iter().rev().find(|row| row.scope == scope);
        if let Some(row) = appended {
            return Ok(row.position);
        }
        let before = super::log::newest_in_log(&self.connection, &scope).await?;
        Ok(before.unwrap_or(0))
    }

    /// Leaves out some positions.
    pub(super) fn skip(&mut self, positions: i64) {
        self.head = self.head.saturating_add(positions);
    }

    /// Inserts a row at the end of the transaction, together with others of its table. The key
    /// must be known not to exist: a conflict fails the change.
    pub fn insert_later<A>(&mut self, row: A)
    where
        A: ActiveModelTrait + Send + Sync + 'static,
    {
        self.wait(row, false);
    }

    /// As [`Tx::insert_later`], but a row whose key exists is left as it is.
    pub fn insert_later_if_new<A>(&mut self, row: A)
    where
        A: ActiveModelTrait + Send + Sync + 'static,
    {
        self.wait(row, true);
    }

    fn wait<A>(&mut self, row: A, keep_existing: bool)
    where
        A: ActiveModelTrait + Send + Sync + 'static,
    {
        let key = (TypeId::of::<A>(), keep_existing);
        let at = *self.index.entry(key).or_insert_with(|| {
            self.waiting.push(Box::new(Rows::<A> {
                rows: Vec::new(),
                keep_existing,
            }));
            self.waiting.len() - 1
        });
        if let Some(rows) = self
            .waiting
            .get_mut(at)
            .and_then(|rows| rows.as_any().downcast_mut::<Rows<A>>())
        {
            rows.rows.push(row);
        }
    }

    /// Writes what waits, so that the statements of this change see it.
    ///
    /// # Errors
    /// What the database says.
    pub async fn flush(&mut self) -> Result<(), StoreError> {
        for rows in &mut self.waiting {
            rows.flush(&self.connection).await?;
        }
        Ok(())
    }

    /// Writes what waits and the log rows, and gives back the open transaction.
    pub(super) async fn finish(mut self) -> Result<Finished, StoreError> {
        self.flush().await?;
        // A message to a device is a row at its position already. The log holds the newest position all the same.
        let is_logged = |row: &&LogRow| row.kind != LogKind::ToDevice || row.position == self.head;
        let logged = self.appended.iter().filter(is_logged);
        let mut log = Rows {
            rows: logged.map(log_row).collect::<Vec<_>>(),
            keep_existing: false,
        };
        log.flush(&self.connection).await?;
        Ok(Finished {
            connection: self.connection,
            head: self.head,
            appended: self.appended,
            kills: self.kills,
        })
    }

    /// Gives up: nothing of the transaction is kept.
    pub(super) async fn rollback(self) -> Result<(), StoreError> {
        Ok(self.connection.rollback().await?)
    }
}

/// A transaction whose rows are all written, ready to be committed.
pub(super) struct Finished {
    pub(super) connection: Transaction,
    pub(super) head: i64,
    pub(super) appended: Vec<LogRow>,
    pub(super) kills: Vec<Kill>,
}

fn log_row(row: &LogRow) -> log::ActiveModel {
    log::ActiveModel {
        position: Set(row.position),
        scope: Set(row.scope.clone()),
        kind: Set(row.kind as i16),
        reference: Set(row.reference.clone()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn inserts_of_any_number_of_rows_have_few_sizes() {
        for columns in [1, 4, 20] {
            let mut sizes = BTreeSet::new();
            for count in 1..2_000 {
                let (mut left, mut statements) = (count, 0);
                while left > 0 {
                    let taken = rows_of_insert(left, columns);
                    assert!(taken * columns <= PARAMETERS_MAX);
                    sizes.insert(taken);
                    statements += 1;
                    left -= taken;
                }
                let full = PARAMETERS_MAX / columns;
                assert!(
                    statements <= count / (full / 2) + 8,
                    "{statements} for {count}"
                );
            }
            assert!(sizes.len() <= ROWS_ANY + 10, "{sizes:?}");
        }
    }
}
