//! What every store must do, run on each of them.
//!
//! Invariant: the tests know nothing of the store but its trait; `reopen` gives the store as after a restart, where it survives one.

use std::sync::Arc;

use ruma::{owned_device_id, owned_room_id, owned_server_name, owned_user_id};

use super::{
    AccountBinding, Batch, InboxItem, MemoryStore, RoomEntry, SendQueueItem, SendState, Store,
    StoreError,
};
use crate::crypto::{Changes, SecretBytes, Table};

/// A kind of store.
pub(super) trait Subject {
    /// The store; the same data at each call.
    fn open(&mut self) -> impl Future<Output = Arc<dyn Store>>;
}

/// One memory store, which cannot be closed.
pub(super) struct Memory(Arc<MemoryStore>);

impl Memory {
    pub(super) fn new() -> Self {
        Self(Arc::new(MemoryStore::new()))
    }
}

impl Subject for Memory {
    async fn open(&mut self) -> Arc<dyn Store> {
        Arc::<MemoryStore>::clone(&self.0)
    }
}

pub(super) fn alice() -> AccountBinding {
    AccountBinding {
        server_name: owned_server_name!("a.example"),
        user_id: owned_user_id!("@alice:a.example"),
        device_id: owned_device_id!("ALICE1"),
    }
}

fn secret(text: &str) -> SecretBytes {
    SecretBytes::new(text.as_bytes().to_vec())
}

fn queued(id: i64, body: &str) -> SendQueueItem {
    SendQueueItem {
        id,
        room_id: owned_room_id!("!r:a.example"),
        txn_id: format!("txn{id}").into(),
        state: SendState::Queued,
        body: secret(body),
    }
}

pub(super) async fn it_belongs_to_one_account(subject: &mut impl Subject) {
    let store = subject.open().await;
    assert_eq!(store.account().await.unwrap(), None);
    store.bind(&alice()).await.unwrap();
    store.bind(&alice()).await.unwrap();
    drop(store);
    let store = subject.open().await;
    assert_eq!(store.account().await.unwrap(), Some(alice()));
    for other in [
        AccountBinding {
            device_id: owned_device_id!("OTHER"),
            ..alice()
        },
        AccountBinding {
            user_id: owned_user_id!("@bob:a.example"),
            ..alice()
        },
        AccountBinding {
            server_name: owned_server_name!("b.example"),
            ..alice()
        },
    ] {
        assert!(matches!(
            store.bind(&other).await,
            Err(StoreError::WrongAccount)
        ));
    }
}

/// Writes something of everything, then changes and deletes part of it.
async fn write_two_batches(store: &dyn Store) {
    let mut crypto = Changes::new();
    crypto.put(Table::User, "@bob:a.example", &"one").unwrap();
    crypto.put(Table::Floor, "@bob:a.example", &"two").unwrap();
    crypto.put(Table::Meta, "gone", &"three").unwrap();
    let mut batch = Batch::from(crypto).set("token", "abc").set("gone", "x");
    batch.send_queue_put = vec![queued(10, "ten"), queued(9, "nine"), queued(-1, "first")];
    batch.inbox_put = vec![
        InboxItem {
            id: 2,
            body: secret("b"),
        },
        InboxItem {
            id: 1,
            body: secret("a"),
        },
    ];
    batch.rooms = vec![RoomEntry {
        room_id: owned_room_id!("!r:a.example"),
        encrypted: true,
        body: secret("room"),
    }];
    store.commit(batch).await.unwrap();
    let mut crypto = Changes::new();
    crypto.put(Table::User, "@bob:a.example", &"four").unwrap();
    crypto.delete(Table::Meta, "gone");
    let mut batch = Batch::from(crypto).unset("gone");
    batch.send_queue_delete = vec![9, 99];
    batch.send_queue_put = vec![SendQueueItem {
        state: SendState::Encrypted,
        ..queued(10, "sealed")
    }];
    batch.inbox_delete = vec![1];
    store.commit(batch).await.unwrap();
}

pub(super) async fn a_batch_is_written_and_read_back(subject: &mut impl Subject) {
    let store = subject.open().await;
    write_two_batches(store.as_ref()).await;
    drop(store);

    let store = subject.open().await;
    let mut records: Vec<_> = store.records().await.unwrap();
    records.sort_by_key(|record| record.table);
    let records: Vec<_> = records
        .iter()
        .map(|record| (record.table, record.key.as_str(), record.value.expose()))
        .collect();
    let bob = "@bob:a.example";
    assert_eq!(
        records,
        [
            (Table::User, bob, &b"\"four\""[..]),
            (Table::Floor, bob, &b"\"two\""[..])
        ]
    );
    assert_eq!(store.value("token").await.unwrap(), Some(secret("abc")));
    assert_eq!(store.value("gone").await.unwrap(), None);
    let queue: Vec<_> = store.send_queue().await.unwrap();
    assert_eq!(
        queue,
        [
            queued(-1, "first"),
            SendQueueItem {
                state: SendState::Encrypted,
                ..queued(10, "sealed")
            }
        ]
    );
    assert_eq!(
        store.inbox().await.unwrap(),
        [InboxItem {
            id: 2,
            body: secret("b")
        }]
    );
    assert_eq!(store.rooms().await.unwrap().len(), 1);
}

pub(super) async fn a_room_stays_encrypted(subject: &mut impl Subject) {
    let store = subject.open().await;
    for (encrypted, expected) in [(false, false), (true, true), (false, true)] {
        let room = RoomEntry {
            room_id: owned_room_id!("!r:a.example"),
            encrypted,
            body: secret("room"),
        };
        let batch = Batch {
            rooms: vec![room],
            ..Batch::default()
        };
        store.commit(batch).await.unwrap();
        assert_eq!(store.rooms().await.unwrap()[0].encrypted, expected);
    }
}

pub(super) async fn after_a_wipe_there_is_nothing(subject: &mut impl Subject) {
    let store = subject.open().await;
    store
        .commit(Batch::default().set("token", "abc"))
        .await
        .unwrap();
    store.scrub().await.unwrap();
    store.wipe().await.unwrap();
    store.wipe().await.unwrap();
    assert!(matches!(store.value("token").await, Err(StoreError::Wiped)));
    assert!(matches!(
        store.commit(Batch::default()).await,
        Err(StoreError::Wiped)
    ));
    assert!(matches!(store.records().await, Err(StoreError::Wiped)));
}

/// Makes a test of each of the above for one kind of store.
macro_rules! conformance {
    ($make:expr) => {
        #[tokio::test]
        async fn it_belongs_to_one_account() {
            $crate::store::conformance::it_belongs_to_one_account(&mut $make).await;
        }

        #[tokio::test]
        async fn a_batch_is_written_and_read_back() {
            $crate::store::conformance::a_batch_is_written_and_read_back(&mut $make).await;
        }

        #[tokio::test]
        async fn a_room_stays_encrypted() {
            $crate::store::conformance::a_room_stays_encrypted(&mut $make).await;
        }

        #[tokio::test]
        async fn after_a_wipe_there_is_nothing() {
            $crate::store::conformance::after_a_wipe_there_is_nothing(&mut $make).await;
        }
    };
}

pub(super) use conformance;

mod memory {
    super::conformance!(super::Memory::new());
}
