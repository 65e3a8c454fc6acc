//! Leaving what is far away: servers that never answer, clients that do not wait, bans that end.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use super::*;

/// A pair of which the first can be made to answer no more.
struct Far {
    one: Server,
    two: Server,
    wires: Wires,
    clock: MockClock,
}

impl Far {
    async fn start() -> Self {
        let (wires, clock) = (Wires::default(), MockClock::new(MockClock::START_MS));
        Self {
            one: server("one.example", &wires, &clock, 1).await,
            two: server("two.example", &wires, &clock, 2).await,
            wires,
            clock,
        }
    }

    /// From now on the first server takes requests and never answers: how many it took.
    fn fall_silent(&self) -> Arc<AtomicUsize> {
        let taken: Arc<AtomicUsize> = Arc::default();
        let name = self.one.app.config.server_name.clone();
        self.wires
            .0
            .lock()
            .unwrap()
            .insert(name, silent(Arc::clone(&taken)));
        taken
    }

    fn change(&self, room: &OwnedRoomId, membership: &str) -> MembershipChange {
        MembershipChange {
            room_id: room.clone(),
            sender: alice(),
            user: bob(),
            content: json!({ "membership": membership }),
        }
    }

    /// Lets time pass, at most `limit` of it, until something is so.
    async fn until(&self, limit: Duration, is_so: impl AsyncFn() -> bool) {
        let step = Duration::from_millis(100);
        let mut passed = Duration::ZERO;
        eventually(async || {
            if passed < limit {
                self.clock.advance(step);
                passed += step;
            }
            is_so().await
        })
        .await;
    }
}

/// A server that takes requests and never answers.
fn silent(taken: Arc<AtomicUsize>) -> Router {
    Router::new().fallback(async move || {
        taken.fetch_add(1, Ordering::Relaxed);
        std::future::pending::<String>().await
    })
}

/// Waits until something is so, while others work.
async fn eventually(mut is_so: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !is_so().await {
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
        }
    };
    let limit = Duration::from_secs(60);
    tokio::time::timeout(limit, waiting).await.unwrap();
}

#[tokio::test]
async fn an_invite_is_refused_in_time_though_its_server_is_silent_and_the_client_gone() {
    for client_waits in [true, false] {
        let far = Far::start().await;
        let room = far
            .one
            .create(Preset::PrivateChat, RoomVersionId::V12)
            .await;
        let invite = far.change(&room, "invite");
        far.one.app.rooms.invite(invite).await.unwrap();
        let taken = far.fall_silent();
        let (rooms, there) = (Arc::clone(&far.two.app.rooms), room.clone());
        let leaving = tokio::spawn(async move { rooms.leave(&there, &bob(), None).await });
        eventually(async || taken.load(Ordering::Relaxed) > 0).await;
        if !client_waits {
            leaving.abort();
        }
        far.until(Duration::from_secs(30), async || {
            far.two.membership(&room, &bob()).await == Membership::Leave
        })
        .await;
        if client_waits {
            leaving.await.unwrap().unwrap();
        }
    }
}

#[tokio::test]
async fn a_knock_at_silent_servers_comes_to_an_end() {
    let far = Far::start().await;
    let room = far
        .one
        .create(Preset::PrivateChat, RoomVersionId::V12)
        .await;
    let names: Vec<OwnedServerName> = (0..8)
        .map(|n| format!("silent{n}.example").try_into().unwrap())
        .collect();
    for name in &names {
        let silent = silent(Arc::default());
        far.wires.0.lock().unwrap().insert(name.clone(), silent);
    }
    let (rooms, there) = (Arc::clone(&far.two.app.rooms), room.clone());
    let knocking =
        tokio::spawn(async move { rooms.knock(&there, &bob(), Some("hello"), names).await });
    far.until(Duration::from_secs(70), async || knocking.is_finished())
        .await;
    let outcome = knocking.await.unwrap();
    assert!(
        matches!(
            outcome,
            Err(JoinError::NoServer(Some(RemoteError::Timeout)))
        ),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn whoever_was_told_of_a_ban_is_told_of_its_end() {
    for was_invited in [true, false] {
        let far = Far::start().await;
        let room = far
            .one
            .create(Preset::PrivateChat, RoomVersionId::V12)
            .await;
        let rooms = &far.one.app.rooms;
        if was_invited {
            let invite = far.change(&room, "invite");
            rooms.invite(invite).await.unwrap();
        }
        let mut ended = Vec::new();
        for membership in ["ban", "leave"] {
            let change = far.change(&room, membership);
            ended.push(rooms.set_membership(change).await.unwrap());
        }
        let two: OwnedServerName = "two.example".try_into().unwrap();
        let owed = far
            .one
            .app
            .store
            .events_owed_alone(&two, 0, i64::MAX, 10)
            .await
            .unwrap();
        let owed: Vec<_> = owed.0.into_iter().map(|(_, id)| id).collect();
        // A server that nobody was invited from learns neither of the ban nor of its end.
        let expected = if was_invited { ended } else { Vec::new() };
        assert_eq!(owed, expected);
    }
}
