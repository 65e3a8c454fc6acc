//! Sealing and destroying, without a database.

use std::sync::atomic::Ordering;

use super::*;
use crate::{clock::SeededRng, store::testing::keys::Memory};

async fn shredder(store: &Arc<Memory>, recorded: Option<&str>) -> Result<Shredder, KeyStoreError> {
    let options = ShredKeys::Held {
        store: Arc::clone(store) as Arc<dyn KeyStore>,
        rng: Arc::new(SeededRng::new(3)),
    };
    Shredder::open(&options, recorded).await
}

const DAY_MS: i64 = 24 * 3_600_000;

fn sealed(shredder: &Shredder, slot: Slot, item: &str) -> Vec<u8> {
    match shredder.seal(slot, "!room", item, b"{\"a\":1}").unwrap() {
        Seal::Sealed { bytes, .. } => bytes,
        other => panic!("{other:?}"),
    }
}

fn opened(shredder: &Shredder, item: &str, bytes: &[u8]) -> Option<Vec<u8>> {
    shredder.open_stored("!room", item, bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn sealed_content_opens_until_its_key_or_its_bucket_is_destroyed() {
    let store = Arc::new(Memory::default());
    let one = shredder(&store, None).await.unwrap();
    let early = slot(DAY_MS, 5 * DAY_MS + 1);
    let late = slot(DAY_MS, 6 * DAY_MS);
    assert_eq!(early.ends_at_ms, (5 * DAY_MS + 3_600_000) as u64);
    let (a, b, c) = (
        sealed(&one, early, "$a"),
        sealed(&one, late, "$b"),
        sealed(&one, late, "$c"),
    );
    assert!(!a.windows(3).any(|window| window == b"\"a\""));
    assert_eq!(opened(&one, "$a", &a).unwrap(), b"{\"a\":1}");
    assert_ne!(b, c);
    // What was stored before there were keys is read as it is.
    assert_eq!(opened(&one, "$x", b"{}").unwrap(), b"{}");
    one.save(&[]).await.unwrap();
    let kill = Shredder::kill("!room", "$b", &b).unwrap();
    let before = shredder(&store, one.name().as_deref()).await.unwrap();
    one.save(&[kill]).await.unwrap();
    assert_eq!(opened(&one, "$b", &b), None);
    assert_eq!(opened(&one, "$c", &c).unwrap(), b"{\"a\":1}");
    // It is never sealed again either, in the clear or otherwise.
    assert_eq!(
        one.seal(late, "!room", "$b", b"{}").unwrap(),
        Seal::Destroyed
    );
    one.save(&[Kill::Through(early.ends_at_ms)]).await.unwrap();
    assert_eq!((opened(&one, "$a", &a), one.buckets()), (None, Some(1)));
    // Neither does whoever loads what is saved now; who had loaded it before does.
    let after = shredder(&store, one.name().as_deref()).await.unwrap();
    assert_eq!(
        (opened(&after, "$a", &a), opened(&after, "$b", &b)),
        (None, None)
    );
    assert!(opened(&after, "$c", &c).is_some());
    assert_eq!(after.destroyed_ms(), early.ends_at_ms);
    assert!(opened(&before, "$a", &a).is_some() && opened(&before, "$b", &b).is_some());
}

#[tokio::test]
async fn content_in_another_place_or_altered_is_damage_and_not_content() {
    let one = shredder(&Arc::default(), None).await.unwrap();
    let bytes = sealed(&one, slot(DAY_MS, DAY_MS), "$a");
    assert!(one.open_stored("!room", "$b", bytes.clone()).is_err());
    assert!(one.open_stored("!other", "$a", bytes.clone()).is_err());
    for at in 17..bytes.len() {
        let mut altered = bytes.clone();
        altered[at] ^= 1;
        assert!(one.open_stored("!room", "$a", altered).is_err(), "{at}");
    }
    for len in 1..17 {
        assert!(
            one.open_stored("!room", "$a", bytes[..len].to_vec())
                .is_err()
        );
    }
}

#[tokio::test]
async fn a_bucket_costs_one_save_and_a_failed_save_is_made_up_for() {
    let store = Arc::new(Memory::default());
    let one = shredder(&store, None).await.unwrap();
    let saves = || store.saves.load(Ordering::SeqCst);
    let before = saves();
    for number in 0..100 {
        sealed(&one, slot(DAY_MS, DAY_MS), &format!("${number}"));
        one.save(&[]).await.unwrap();
    }
    assert_eq!(saves() - before, 1);
    let kept = sealed(&one, slot(DAY_MS, 2 * DAY_MS), "$a");
    store.fails.store(true, Ordering::SeqCst);
    assert!(one.save(&[]).await.is_err());
    store.fails.store(false, Ordering::SeqCst);
    one.save(&[]).await.unwrap();
    let again = shredder(&store, one.name().as_deref()).await.unwrap();
    assert!(opened(&again, "$a", &kept).is_some());
}

#[tokio::test]
async fn keys_that_are_missing_or_of_another_database_are_an_error() {
    let store = Arc::new(Memory::default());
    let one = shredder(&store, None).await.unwrap();
    let name = one.name().unwrap();
    // Killed between making the keys and noting their name.
    assert!(shredder(&store, None).await.is_ok());
    sealed(&one, slot(DAY_MS, DAY_MS), "$a");
    one.save(&[]).await.unwrap();
    assert!(shredder(&store, Some(&name)).await.is_ok());
    let of = |store, name| async move { shredder(&store, name).await.err().unwrap() };
    let error = of(Arc::clone(&store), None).await;
    assert!(matches!(error, KeyStoreError::Foreign(_)), "{error}");
    let error = of(Arc::clone(&store), Some("00")).await;
    assert!(matches!(error, KeyStoreError::Foreign(_)), "{error}");
    let error = of(Arc::default(), Some(&name)).await;
    assert!(matches!(error, KeyStoreError::Missing(_)), "{error}");
    let error = Shredder::open(&ShredKeys::Absent, Some(&name)).await;
    assert!(matches!(error.err(), Some(KeyStoreError::NotConfigured)));
}
