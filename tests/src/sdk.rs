//! A user of our own SDK.

use std::path::Path;

use passeur_sdk::{Client, ClientBuilder, Room, SyncHandle, base::Membership};
use ruma::RoomId;

use crate::{
    Homeserver, net,
    user::{PASSWORD, WAIT_MAX},
};

/// A logged-in client that syncs, with a store in memory.
pub struct SdkUser {
    /// The client.
    pub client: Client,
    _sync: SyncHandle,
}

impl SdkUser {
    /// Logs a registered user in with a new device and starts to sync. `root` is the certificate that the server's is
    /// signed by.
    pub async fn login(server: &impl Homeserver, user_id: &str, root: &Path) -> Self {
        let client = builder(server, root).build().await.expect("a client");
        Self::login_with(client, user_id).await
    }

    /// The same on a client that is configured otherwise.
    pub async fn login_with(client: Client, user_id: &str) -> Self {
        client
            .login_password(user_id, PASSWORD)
            .await
            .expect("the SDK logs in");
        let sync = client.start_sync().expect("a session");
        Self {
            client,
            _sync: sync,
        }
    }

    /// Waits until the room is known to be encrypted and these users are in it.
    pub async fn wait_members(&self, room: &str, users: &[&str]) -> Room {
        let id = RoomId::parse(room).expect("a room id");
        let joined = |room: &Room| {
            let members = room.members();
            let is_in = |user: &&str| {
                members
                    .iter()
                    .any(|(id, member)| id == *user && member.membership == Membership::Join)
            };
            room.is_encrypted() && users.iter().all(is_in)
        };
        let room = self.client.room(&id);
        let known = self
            .client
            .wait_for_room(&id, WAIT_MAX, |_| joined(&room))
            .await;
        assert!(known, "the SDK does not hear of the room's members");
        room
    }
}

/// The configuration of a client for a server whose certificate is signed by `root`.
pub fn builder(server: &impl Homeserver, root: &Path) -> ClientBuilder {
    net::install_tls_provider();
    Client::builder()
        .homeserver(&server.client_url())
        .root_certificates_file(root)
        .expect("a root certificate")
        .only_given_roots()
        .device_name("Passeur's SDK")
}
