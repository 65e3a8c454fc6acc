//! What a story has before it begins: servers, a library, and two people in an encrypted room.

use std::{
    fmt::{Display, Formatter, Result as FmtResult},
    path::PathBuf,
    rc::Rc,
};

use passeur_sdk::{
    Client, Event, Protection, Room, Timeline,
    crypto::{DeviceInfo, QrAbilities, Trust},
};
use passeur_tests::{
    Homeserver,
    ca::TestCa,
    foreign::{ForeignClient, Library},
    sdk::{SdkUser, builder},
    server::TestServer,
    synapse::Synapse,
    user::{PASSWORD, User, WAIT_MAX, escape},
};
use ruma::UserId;
use serde_json::json;

use crate::peers::stories::stage::{Site, Software};

/// Where Synapse's federation listener is.
const SYNAPSE_ADDRESS: &str = "127.0.0.10";

/// Where the two people are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Places {
    OnePasseur,
    TwoPasseurs,
    Synapse,
    SynapseAndPasseur,
}

impl Display for Places {
    fn fmt(&self, f: &mut Formatter<'_>) -> FmtResult {
        f.write_str(match self {
            Self::OnePasseur => "one server",
            Self::TwoPasseurs => "two servers",
            Self::Synapse => "Synapse",
            Self::SynapseAndPasseur => "Synapse and Passeur",
        })
    }
}

/// The servers of all stories.
pub(super) struct Servers {
    authority: Rc<TestCa>,
    first: Site,
    second: Site,
    synapse: Site,
    _machines: (TestServer, TestServer, Synapse),
}

impl Servers {
    pub(super) fn start() -> Self {
        let authority = Rc::new(TestCa::new());
        let (first, second) = (TestServer::start(&authority), TestServer::start(&authority));
        let synapse = Synapse::start(&authority, SYNAPSE_ADDRESS);
        Self {
            first: Site::of(Software::Passeur, &first),
            second: Site::of(Software::Passeur, &second),
            synapse: Site::of(Software::Synapse, &synapse),
            authority,
            _machines: (first, second, synapse),
        }
    }

    /// A stage with people of its own.
    pub(super) fn stage(&self, library: Library, places: Places) -> Stage {
        let (theirs, ours) = match places {
            Places::OnePasseur => (&self.first, &self.first),
            Places::TwoPasseurs => (&self.first, &self.second),
            Places::Synapse => (&self.synapse, &self.synapse),
            Places::SynapseAndPasseur => (&self.synapse, &self.first),
        };
        Stage {
            kind: library,
            theirs: theirs.clone(),
            ours: ours.clone(),
            root: self.authority.file(),
            _authority: Rc::clone(&self.authority),
        }
    }
}

/// Where one story happens.
pub(super) struct Stage {
    /// Which library it is told with.
    pub(super) kind: Library,
    /// Where the foreign client's user is.
    pub(super) theirs: Site,
    /// Where our SDK's user is.
    pub(super) ours: Site,
    root: PathBuf,
    _authority: Rc<TestCa>,
}

impl Stage {
    /// Another device of a user with the foreign client.
    pub(super) async fn foreign(&self, user: &str) -> ForeignClient {
        self.foreign_as(user, false).await
    }

    /// The same; a strict one gives keys to verified devices alone.
    pub(super) async fn foreign_as(&self, user: &str, strict: bool) -> ForeignClient {
        // Synapse serves its clients without TLS.
        let root = (self.theirs.software == Software::Passeur).then_some(self.root.as_path());
        ForeignClient::login_as(self.kind, &self.theirs, user, root, strict).await
    }

    /// Another device of a user with our SDK, on the server where ours are.
    pub(super) async fn sdk(&self, user: &str) -> SdkUser {
        SdkUser::login_with(self.nobody().await, user).await
    }

    /// Our client, before anybody has logged in.
    pub(super) async fn nobody(&self) -> Client {
        let codes = QrAbilities {
            show: true,
            scan: true,
        };
        let client = builder(&self.ours, &self.root).qr_codes(codes);
        client.build().await.expect("a client")
    }

    /// Alice with the foreign client and Bob with ours, in an encrypted room of hers.
    pub(super) async fn meeting(&self) -> Meeting {
        self.meeting_with(false).await
    }

    /// The same; a strict foreign client gives keys to verified devices alone.
    pub(super) async fn meeting_with(&self, strict: bool) -> Meeting {
        let alice = self.theirs.person("alice").await;
        let bob = self.ours.person("bob").await;
        let room_id = encrypted_room(&alice).await;
        bob.join(&room_id, self.theirs.server_name()).await;
        let mut other = self.foreign_as(&alice.id, strict).await;
        let sdk = self.sdk(&bob.id).await;
        let members = [alice.id.as_str(), bob.id.as_str()];
        let room = sdk.wait_members(&room_id, &members).await;
        other.meet(&room_id, &members).await;
        acquainted(&sdk, &mut other).await;
        Meeting {
            room_id,
            alice,
            bob,
            other,
            sdk,
            room,
        }
    }
}

/// Two people in a room.
pub(super) struct Meeting {
    pub(super) room_id: String,
    /// Who has the foreign client, as the plainest of clients.
    pub(super) alice: User,
    /// Who has ours, the same.
    pub(super) bob: User,
    /// Alice's client.
    pub(super) other: ForeignClient,
    /// Bob's client.
    pub(super) sdk: SdkUser,
    /// The room as Bob's client sees it.
    pub(super) room: Room,
}

impl Meeting {
    /// Gives Bob an identity that his client has signed its device with.
    pub(super) async fn make_our_identity(&self) {
        let made = self.sdk.client.bootstrap_cross_signing(PASSWORD).await;
        made.expect("an identity");
    }

    /// The foreign client says something and ours reads it.
    pub(super) async fn they_say(&mut self, text: &str) -> Event {
        let mut timeline = self.room.timeline();
        let event_id = self.other.send_text(&self.room_id, text).await;
        let event = hear(&mut timeline, &event_id).await;
        assert_eq!(event.body(), Some(text));
        assert_eq!(event.sender, self.alice.id.as_str());
        event
    }

    /// Ours says something and the foreign client reads it; the event's id.
    pub(super) async fn we_say(&mut self, text: &str) -> String {
        let event_id = say(&self.room, text).await;
        let read = self.other.read(&self.room_id, &event_id).await;
        assert_eq!(read.content["body"], text);
        assert_eq!(read.sender, self.bob.id);
        event_id
    }

    /// The session with which an event was encrypted.
    pub(super) async fn session(&self, event_id: &str) -> String {
        let path = format!(
            "/v3/rooms/{}/event/{}",
            escape(&self.room_id),
            escape(event_id)
        );
        let event = self.bob.get(&path).await;
        let session = event["content"]["session_id"].as_str();
        session.expect("an encrypted event").to_owned()
    }
}

/// Waits until each client knows the other's device: what is said before that is for nobody.
pub(super) async fn acquainted(sdk: &SdkUser, other: &mut ForeignClient) {
    let user = sdk.client.user_id().expect("a session");
    let device = sdk.client.device_id().expect("a session");
    other.know_device(user.as_str(), device.as_str()).await;
    until_known(&sdk.client, &other.user_id, &other.device_id).await;
}

/// Makes an encrypted room that anyone may join.
pub(super) async fn encrypted_room(user: &User) -> String {
    let encryption = json!({
        "type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"},
    });
    user.create_room(json!({"preset": "public_chat", "initial_state": [encryption]}))
        .await
}

/// Says something with our client; the event's id.
pub(super) async fn say(room: &Room, text: &str) -> String {
    let sending = room.send_text(text).await.expect("a place in the queue");
    let event_id = sending.event_id(WAIT_MAX).await;
    event_id.expect("the server's answer").to_string()
}

/// Waits until our client has read an event that was encrypted.
pub(super) async fn hear(timeline: &mut Timeline, event_id: &str) -> Event {
    let event = timeline.wait_for(WAIT_MAX, |event| {
        let read = matches!(event.protection, Protection::Encrypted(_));
        (event.event_id == event_id && read).then(|| event.clone())
    });
    event.await.expect("our client reads the event")
}

/// How far the sender of an event is trusted.
pub(super) fn trust(event: &Event) -> Trust {
    match &event.protection {
        Protection::Encrypted(encrypted) => encrypted.trust,
        other => panic!("not encrypted: {other:?}"),
    }
}

/// Waits until our client knows that devices of a user are signed by their owner, so many, and no others. Its own is none of them.
pub(super) async fn wait_signed(client: &Client, user: &str, count: usize) {
    wait_devices(client, user, |devices| {
        let signed = |trust| matches!(trust, Trust::CrossSigned | Trust::Verified);
        devices.len() == count && devices.iter().all(|device| signed(device.trust))
    })
    .await;
}

/// Waits until our client has a device in a user's list.
pub(super) async fn until_known(client: &Client, user: &str, device: &str) {
    wait_devices(client, user, |devices| {
        devices.iter().any(|one| one.device_id == device)
    })
    .await;
}

async fn wait_devices(client: &Client, user: &str, wanted: impl Fn(&[DeviceInfo]) -> bool) {
    let user = <&UserId>::try_from(user).expect("a user id");
    let mut notifications = client.notifications();
    let search = async {
        while !wanted(&client.devices(user).await.expect("a session")) {
            notifications.next().await.expect("the client");
        }
    };
    let found = tokio::time::timeout(WAIT_MAX, search).await;
    assert!(found.is_ok(), "{:?}", client.devices(user).await);
}
