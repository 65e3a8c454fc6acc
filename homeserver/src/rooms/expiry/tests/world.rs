//! A server of one room on real files, whose process ends and begins again.

use std::{path::Path, time::Duration};

use ruma::{OwnedRoomId, OwnedUserId, RoomVersionId};
use serde_json::{Value, json, value::to_raw_value};
use tempfile::TempDir;

use super::super::*;
use crate::{
    app::{App, Foundation},
    clock::{MockClock, SeededRng},
    config::Config,
    key_files,
    outbound::testing::{Network, key_pair},
    rooms::{Draft, NewRoom, Preset, Profile, projection},
    store::{Engine, ShredKeys, Store, testing, testing::keys::Memory},
};

pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(super) const MARKER: &str = "the marker that must vanish";

/// A server whose process can be ended and begun again on the same files.
pub(super) struct World {
    pub(super) folder: TempDir,
    pub(super) clock: MockClock,
    pub(super) rooms: Arc<Rooms>,
    pub(super) purge: Purge,
    keys: Option<Arc<Memory>>,
}

/// A server whose process begins, with the keys of what expires if it has any.
pub(super) async fn start(folder: TempDir, clock: MockClock, keys: Option<Arc<Memory>>) -> World {
    let shred = keys
        .clone()
        .map_or(ShredKeys::Absent, |store| ShredKeys::Held {
            store,
            rng: Arc::new(SeededRng::new(9)),
        });
    let store = testing::open_with_keys(folder.path(), shred).await;
    let config = Config::for_test("one.example".try_into().unwrap(), folder.path().into());
    if !config.token_key_path().exists() {
        key_files::create(&config.token_key_path(), &SeededRng::new(8)).unwrap();
    }
    let drain = Drain::new();
    let app = App::new(Foundation {
        clock: Arc::new(clock.clone()),
        rng: Arc::new(SeededRng::new(7)),
        config: Arc::new(config.clone()),
        store,
        token_key: key_files::load_token_key(&config.token_key_path()).unwrap(),
        signing_key: key_pair("1"),
        retired_keys: Vec::new(),
        transport: Arc::new(Network::default()),
        drain: drain.clone(),
    });
    let rooms = Arc::clone(&app.rooms);
    let purge = Purge::new(Arc::clone(&rooms), drain, Duration::from_secs(10));
    World {
        folder,
        clock,
        rooms,
        purge,
        keys,
    }
}

/// A server without a key store.
pub(super) async fn world() -> World {
    start(TempDir::new().unwrap(), MockClock::default(), None).await
}

/// A server with one.
pub(super) async fn sealed_world() -> World {
    let keys = Some(Arc::default());
    start(TempDir::new().unwrap(), MockClock::default(), keys).await
}

fn alice() -> OwnedUserId {
    "@alice:one.example".try_into().unwrap()
}

impl World {
    pub(super) fn store(&self) -> &Store {
        &self.rooms.context.store
    }

    pub(super) async fn room(&self) -> OwnedRoomId {
        let new = NewRoom {
            creator: alice(),
            profile: Profile::default(),
            version: RoomVersionId::V12,
            preset: Preset::PrivateChat,
            creation_content: Default::default(),
            power_levels: Default::default(),
            initial_state: Vec::new(),
            name: None,
            topic: None,
            alias: None,
            invite: Vec::new(),
            invite_remote: Vec::new(),
            is_direct: false,
        };
        self.rooms.create(&new).await.unwrap()
    }

    pub(super) async fn send(&self, draft: Draft) -> OwnedEventId {
        self.rooms.send(draft).await.unwrap()
    }

    pub(super) async fn policy(&self, room: &OwnedRoomId, ttl_ms: u64) {
        let content = json!({ "default_ms": ttl_ms, "max_ms": ttl_ms });
        let draft = Draft {
            state_key: Some(String::new()),
            ..draft(room, "org.passeur.room.expiry", content)
        };
        self.send(draft).await;
    }

    pub(super) async fn has_body(&self, id: &OwnedEventId) -> bool {
        self.store().forget_events([&**id]);
        self.event(id).await.has_body()
    }

    pub(super) async fn event(&self, id: &OwnedEventId) -> Arc<Event> {
        self.store().event(id).await.unwrap().unwrap()
    }

    pub(super) async fn is_shown(&self, id: &OwnedEventId) -> bool {
        projection::is_shown(&*self.event(id).await, self.rooms.showing_ms())
    }

    pub(super) async fn pass(&mut self) {
        assert!(self.purge.pass().await.unwrap().is_done);
    }

    /// A process that was killed: nothing is closed in good order.
    pub(super) async fn kill(self) -> Self {
        let keys = self.keys.clone();
        self.kill_and_start_with(keys).await
    }

    /// As [`World::kill`], on other keys.
    pub(super) async fn kill_and_start_with(self, keys: Option<Arc<Memory>>) -> Self {
        let Self { folder, clock, .. } = self;
        start(folder, clock, keys).await
    }

    pub(super) fn keys(&self) -> &Arc<Memory> {
        self.keys.as_ref().unwrap()
    }
}

pub(super) fn draft(room: &OwnedRoomId, kind: &str, content: Value) -> Draft {
    Draft {
        room_id: room.clone(),
        sender: alice(),
        kind: kind.into(),
        state_key: None,
        content: to_raw_value(&content).unwrap(),
        redacts: None,
        transaction: None,
        timestamp_ms: None,
    }
}

/// A message that lives for half a minute.
pub(super) fn short(room: &OwnedRoomId) -> Draft {
    let content = json!({ "body": MARKER, "org.passeur.expiry": { "ttl_ms": 30_000 } });
    draft(room, "m.room.encrypted", content)
}

/// The files that hold some bytes.
pub(super) fn files_with(folder: &Path, needle: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap_or_default();
        if bytes
            .windows(needle.len())
            .any(|window| window == needle.as_bytes())
        {
            found.push(path.file_name().unwrap().to_string_lossy().into_owned());
        }
    }
    found
}

/// Checks whether the database's files hold some bytes. Those of PostgreSQL are the cluster's: it is told to delete, and what
/// it keeps on disk is not ours to promise.
pub(super) fn expect_in_files(folder: &Path, needle: &str, held: bool) {
    if testing::engine() == Engine::Sqlite {
        let found = files_with(folder, needle);
        assert_eq!(!found.is_empty(), held, "{found:?}");
    }
}
