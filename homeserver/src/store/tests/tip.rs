//! The compare-and-set on a room's tip: of two who append on the same tip one is told that the room has moved, and nothing of what it
//! brought is there.

use ruma::{OwnedUserId, RoomId, RoomVersionId, room_id};

use super::*;
use crate::store::{Membership, Moved, NewMembership, RoomAppend, RoomRow, entity::room_members};

fn room() -> &'static RoomId {
    room_id!("!room:example.org")
}

/// Moves the room to a tip, and brings somebody in.
fn append(expected_tip: Option<i64>, tip: i64, user: &str) -> RoomAppend {
    let row = RoomRow {
        room_id: room().to_owned(),
        version: RoomVersionId::V12,
        tip,
        state_revision: tip,
        state_group: 0,
        extremities: Vec::new(),
        depth: tip,
        order_min: 0,
        order_max: tip,
    };
    let member = NewMembership {
        user_id: OwnedUserId::try_from(user).unwrap(),
        membership: Some(Membership::Join),
        event_id: "$event".try_into().unwrap(),
        is_local: true,
        stripped_state: None,
    };
    RoomAppend {
        room_id: Some(room().to_owned()),
        room: Some(row),
        expected_tip,
        members: vec![member],
        resolved_state: Some("[]".to_owned()),
        ..RoomAppend::default()
    }
}

/// Who was brought in, and how many rows the log has.
async fn stored(store: &Store) -> (Vec<String>, usize) {
    let rows = room_members::Entity::find()
        .filter(room_members::Column::RoomId.eq(room().as_str()))
        .order_by_asc(room_members::Column::UserId)
        .all(store.reader())
        .await
        .unwrap();
    let users = rows.into_iter().map(|row| row.user_id).collect();
    (users, positions(store).await.len())
}

const ANN: &str = "@ann:example.org";
const BEN: &str = "@ben:example.org";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_who_append_on_one_tip_one_must_look_again() {
    let folder = tempfile::tempdir().unwrap();
    let one = testing::open_in(folder.path()).await;
    let other = testing::open_in(folder.path()).await;
    // A room is made once, too.
    let mut expected_tip = None;
    for tip in 1..=20 {
        let (left, right) = tokio::join!(
            one.commit(append(expected_tip, tip, ANN)),
            other.commit(append(expected_tip, tip, BEN))
        );
        let (left, right) = (left.unwrap().output, right.unwrap().output);
        let (winner, loser, again) = match (&left, &right) {
            (Ok(_), Err(Moved)) => (ANN, BEN, &other),
            (Err(Moved), Ok(_)) => (BEN, ANN, &one),
            both => panic!("one of both, not {both:?}"),
        };
        if tip == 1 {
            assert_eq!(stored(&one).await, (vec![winner.to_owned()], 2));
            // What was there is unharmed, and the loser's own comes on the new tip.
            let rebuilt = again.commit(append(Some(1), 2, loser)).await;
            rebuilt.unwrap().output.unwrap();
            assert_eq!(stored(&one).await.0, [ANN, BEN]);
            again
                .commit(append(Some(2), 1, loser))
                .await
                .unwrap()
                .output
                .unwrap();
        }
        expected_tip = Some(tip);
    }
    // Each that moved the room brought two rows, each that did not brought none.
    assert_eq!(stored(&other).await.1, 2 * (20 + 2));
}

#[tokio::test]
async fn an_append_on_an_old_tip_leaves_nothing_and_takes_nobody_along() {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::open_in(folder.path()).await;
    store
        .commit(append(None, 1, ANN))
        .await
        .unwrap()
        .output
        .unwrap();
    store
        .commit(append(Some(1), 2, ANN))
        .await
        .unwrap()
        .output
        .unwrap();
    let (late, beside) = tokio::join!(
        store.commit(append(Some(1), 2, BEN)),
        store.commit(Append::default())
    );
    assert!(matches!(late.unwrap().output, Err(Moved)));
    assert_eq!(beside.unwrap().output, 5, "no gap is left");
    assert_eq!(stored(&store).await, (vec![ANN.to_owned()], 5));
}
