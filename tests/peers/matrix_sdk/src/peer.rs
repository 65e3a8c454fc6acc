//! The client itself: logging in, syncing, rooms.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use matrix_sdk::{
    Client, Room, RoomMemberships,
    config::SyncSettings,
    encryption::verification::{QrVerification, SasVerification, VerificationRequest},
    reqwest::Certificate,
    ruma::{
        OwnedUserId, RoomId,
        api::client::filter::FilterDefinition,
        events::{
            key::verification::request::ToDeviceKeyVerificationRequestEvent,
            room::message::{MessageType, OriginalSyncRoomMessageEvent},
        },
        uint,
    },
};
use matrix_sdk_base::crypto::CollectStrategy;
use serde_json::{Value, json};

use crate::{Answer, room_id, text};

/// How long one sync waits for news.
const SYNC_TIMEOUT: Duration = Duration::from_secs(1);

/// How many syncs let the library answer what others have asked of it.
const IDLE_TURNS: usize = 4;

/// Verifications that others have asked for: by whom, and their names.
pub(crate) type Asked = Arc<Mutex<Vec<(OwnedUserId, String)>>>;

/// A client of the library.
pub(crate) struct Peer {
    pub(crate) client: Client,
    pub(crate) asked: Asked,
    pub(crate) request: Option<VerificationRequest>,
    pub(crate) sas: Option<SasVerification>,
    pub(crate) code: Option<QrVerification>,
}

impl Peer {
    pub(crate) async fn login(request: &Value) -> Result<Self, Box<dyn std::error::Error>> {
        let strategy = if request["strict"] == true {
            CollectStrategy::OnlyTrustedDevices
        } else {
            CollectStrategy::AllDevices
        };
        let mut builder = Client::builder()
            .homeserver_url(text(request, "homeserver")?)
            .sqlite_store(Path::new(text(request, "store")?), None)
            .with_room_key_recipient_strategy(strategy);
        if let Some(root) = request["root"].as_str() {
            builder = builder.add_root_certificates(vec![Certificate::from_pem(&fs::read(root)?)?]);
        }
        let client = builder.build().await?;
        let asked = Asked::default();
        listen(&client, &asked);
        let login = client
            .matrix_auth()
            .login_username(text(request, "user")?, text(request, "password")?);
        login
            .initial_device_display_name("matrix-sdk")
            .send()
            .await?;
        // Of what was said before, nothing is looked at until it is asked for: a key that is missing then is asked for once only.
        let mut filter = FilterDefinition::default();
        filter.room.timeline.limit = Some(uint!(0));
        client
            .sync_once(
                SyncSettings::new()
                    .filter(filter.into())
                    .timeout(Duration::ZERO),
            )
            .await?;
        client
            .encryption()
            .wait_for_e2ee_initialization_tasks()
            .await;
        let peer = Self {
            client,
            asked,
            request: None,
            sas: None,
            code: None,
        };
        peer.turn().await?;
        Ok(peer)
    }

    /// The own device and its key.
    pub(crate) async fn devices(&self) -> Answer {
        let fingerprint = self.client.encryption().ed25519_key().await;
        Ok(json!({"device_id": self.client.device_id(), "fingerprint": fingerprint}))
    }

    /// One sync, and everything that the library does because of it.
    pub(crate) async fn turn(&self) -> Result<(), matrix_sdk::Error> {
        self.client
            .sync_once(SyncSettings::new().timeout(SYNC_TIMEOUT))
            .await?;
        Ok(())
    }

    pub(crate) async fn idle(&self) -> Answer {
        for _ in 0..IDLE_TURNS {
            self.turn().await?;
        }
        Ok(json!({}))
    }

    pub(crate) fn room(&self, room: &RoomId) -> Result<Room, &'static str> {
        self.client.get_room(room).ok_or("no such room")
    }

    pub(crate) async fn join(&self, request: &Value) -> Answer {
        let room = self.client.join_room_by_id(room_id(request)?).await?;
        while !room.encryption_state().is_encrypted() {
            self.turn().await?;
        }
        Ok(json!({}))
    }

    pub(crate) async fn meet(&self, request: &Value) -> Answer {
        let users: Vec<&str> = request["users"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        loop {
            if let Some(room) = self.client.get_room(room_id(request)?) {
                let members = room.members(RoomMemberships::JOIN).await?;
                let joined = |user: &&str| members.iter().any(|member| member.user_id() == *user);
                if room.latest_encryption_state().await?.is_encrypted() && users.iter().all(joined)
                {
                    return Ok(json!({}));
                }
            }
            self.turn().await?;
        }
    }
}

/// Remembers who asks for a verification, in rooms and outside of them.
fn listen(client: &Client, asked: &Asked) {
    let heard = Arc::clone(asked);
    client.add_event_handler(async move |event: ToDeviceKeyVerificationRequestEvent| {
        remember(
            &heard,
            event.sender,
            event.content.transaction_id.to_string(),
        );
    });
    let heard = Arc::clone(asked);
    client.add_event_handler(async move |event: OriginalSyncRoomMessageEvent| {
        if let MessageType::VerificationRequest(_) = event.content.msgtype {
            remember(&heard, event.sender, event.event_id.to_string());
        }
    });
}

fn remember(asked: &Asked, user: OwnedUserId, flow: String) {
    if let Ok(mut asked) = asked.lock() {
        asked.push((user, flow));
    }
}
