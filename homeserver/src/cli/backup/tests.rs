//! Backups of a server with an expiring message, restored before and after its deadline.

use std::{os::unix::fs::PermissionsExt, sync::Arc};

use ruma::{OwnedEventId, RoomVersionId, server_name};
use serde_json::{json, value::to_raw_value};
use tempfile::TempDir;

use super::*;
use crate::{
    cli::init,
    clock::{MockClock, Rng, SeededRng},
    outbound::testing::Network,
    rooms::{Draft, NewRoom, Preset, Profile},
    server::Server,
};

const MARKER: &str = "the marker in the backup";
const MEDIA_ID: &str = "abcdef";
const CONFIGURATION: &str = r#"
server_name = "one.example"
data_dir = "."
[[listeners]]
address = "127.0.0.1"
port = 0
resources = ["client"]
[federation]
enabled = false
[expiry]
key_store = "../data-keys"
"#;

/// A server's folder, its keys beside it, and what else belongs to a test.
struct World {
    folder: TempDir,
    clock: MockClock,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let world = Self {
            folder,
            clock: MockClock::default(),
        };
        let args = init::InitArgs {
            server_name: server_name!("one.example").to_owned(),
            data: world.path("data"),
            key_store: None,
        };
        init::run(&args, &SeededRng::new(1)).unwrap();
        let file = world.path("data/passeur.toml");
        fs::write(&file, CONFIGURATION).unwrap();
        fs::create_dir_all(world.path("data/media/ab")).unwrap();
        fs::write(world.path("data/media/ab").join(MEDIA_ID), "a picture").unwrap();
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn config(&self, data: &str) -> ConfigArgs {
        ConfigArgs {
            config: self.path(data).join("passeur.toml"),
        }
    }

    async fn serve(&self, data: &str) -> Server {
        let config = self.config(data).load().unwrap();
        let rng: Arc<dyn Rng> = Arc::new(SeededRng::new(5));
        let clock = Arc::new(self.clock.clone());
        Server::start_with(config, clock, rng, Arc::new(Network::default()))
            .await
            .unwrap()
    }

    /// A backup beside a running server, as the command makes it in a process of its own.
    async fn back_up(&self, data: &str, name: &str) {
        let (config, to) = (self.config(data), self.path(name));
        let made = tokio::task::spawn_blocking(move || {
            create(&config, &to).map_err(|error| error.to_string())
        });
        made.await.unwrap().unwrap();
    }

    async fn restore(&self, name: &str, data: &str) -> Result<(), String> {
        let (from, config) = (self.path(name), self.config(data));
        let done = tokio::task::spawn_blocking(move || {
            restore(&from, &config).map_err(|error| error.to_string())
        });
        done.await.unwrap()
    }
}

async fn send(server: &Server) -> OwnedEventId {
    let rooms = &server.app().rooms;
    let sender: ruma::OwnedUserId = "@alice:one.example".try_into().unwrap();
    let room = NewRoom {
        creator: sender.clone(),
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
    let room_id = rooms.create(&room).await.unwrap();
    let content = json!({ "body": MARKER, "org.passeur.expiry": { "ttl_ms": 300_000 } });
    let draft = Draft {
        room_id,
        sender,
        kind: "m.room.message".into(),
        state_key: None,
        content: to_raw_value(&content).unwrap(),
        redacts: None,
        transaction: None,
        timestamp_ms: None,
    };
    rooms.send(draft).await.unwrap()
}

async fn has_body(server: &Server, id: &OwnedEventId) -> bool {
    let event = server.app().store.event(id).await.unwrap().unwrap();
    event.has_body()
}

fn is_in_files(folder: &Path, needle: &[u8]) -> bool {
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let bytes = fs::read(&path).unwrap();
            if bytes.windows(needle.len()).any(|window| window == needle) {
                return true;
            }
        }
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_restored_after_the_deadline_shows_stubs_and_before_it_the_message() {
    let world = World::new();
    let server = world.serve("data").await;
    let message = send(&server).await;
    let head = server.app().store.heads().head();
    world.back_up("data", "backup").await;
    server.stop().await;
    assert!(!is_in_files(&world.path("backup"), MARKER.as_bytes()));
    assert!(!is_in_files(&world.path("backup"), b"passeur-expiry-1"));
    assert!(is_in_files(&world.path("data-keys"), b"passeur-expiry-1"));
    let stolen = world.path("stolen-keys");
    fs::create_dir(&stolen).unwrap();
    for file in names(&world.path("data-keys")).unwrap() {
        fs::copy(world.path("data-keys").join(&file), stolen.join(&file)).unwrap();
    }

    // The disk is lost before the deadline: everything is there again.
    fs::rename(world.path("data"), world.path("lost")).unwrap();
    world.restore("backup", "data").await.unwrap();
    let server = world.serve("data").await;
    assert!(has_body(&server, &message).await);
    assert!(server.app().store.heads().head() > head + 1_000_000);
    let media = fs::read(world.path("data/media/ab").join(MEDIA_ID)).unwrap();
    assert_eq!(media, b"a picture");
    let mode = fs::metadata(world.path("data/signing.key")).unwrap();
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);

    // The deadline passes, and the bucket ends.
    world.clock.advance(std::time::Duration::from_secs(331));
    let mut purge = crate::rooms::expiry::Purge::new(
        Arc::clone(&server.app().rooms),
        crate::drain::Drain::new(),
        std::time::Duration::from_secs(10),
    );
    assert!(purge.pass().await.unwrap().is_done);
    // It holds the rooms, and so the keys.
    drop(purge);
    server.stop().await;
    fs::rename(world.path("data"), world.path("lost again")).unwrap();
    world.restore("backup", "data").await.unwrap();
    // Neither a clock that is set back shows it.
    world.clock.shift_wall(-86_400_000);
    let server = world.serve("data").await;
    assert!(!has_body(&server, &message).await);
    server.stop().await;

    // With the keys as they were when the backup was made it would be readable: they alone make the difference.
    fs::rename(world.path("data"), world.path("lost for good")).unwrap();
    fs::remove_dir_all(world.path("data-keys")).unwrap();
    fs::rename(&stolen, world.path("data-keys")).unwrap();
    world.restore("backup", "data").await.unwrap();
    let server = world.serve("data").await;
    assert!(has_body(&server, &message).await);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_damaged_is_told_and_nothing_is_overwritten() {
    let world = World::new();
    world.serve("data").await.stop().await;
    world.back_up("data", "backup").await;
    let verify = || Reading::open(&world.path("backup")).and_then(|archive| archive.verify());
    assert!(verify().unwrap().0 >= 5);
    let error = world.restore("backup", "data").await.unwrap_err();
    assert!(error.contains("nothing is overwritten"), "{error}");
    let media = world.path("backup/media/ab").join(MEDIA_ID);
    fs::write(&media, "a Picture").unwrap();
    let error = verify().unwrap_err().to_string();
    assert!(error.ends_with("is damaged"), "{error}");
    fs::write(&media, b"passeur-expiry-1").unwrap();
    let error = verify().unwrap_err().to_string();
    assert!(error.contains("must be in no backup"), "{error}");
    fs::remove_file(&media).unwrap();
    assert!(verify().is_err());
    assert!(world.restore("backup", "new").await.is_err());
    assert!(!world.path("new").exists());
    fs::remove_file(world.path("backup/manifest.json")).unwrap();
    let error = verify().unwrap_err().to_string();
    assert!(error.ends_with("this is no whole backup"), "{error}");
}

#[test]
fn a_list_that_leads_out_of_the_backup_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for path in ["../x", "/etc/x", "keys/../../x"] {
        let list = json!({ "format": 1, "server_name": "one.example", "made_ms": 0,
            "files": { path: { "bytes": 0, "sha256": "" } } });
        fs::write(folder.path().join("manifest.json"), list.to_string()).unwrap();
        let error = Reading::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("leads out"), "{error}");
    }
}
