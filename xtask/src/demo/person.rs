//! Somebody with an account and a client.

use passeur_sdk::{
    Client, Event, Protection, Room, SyncHandle, Timeline,
    clock::{Rng, SystemRng},
};
use ruma::{EventId, OwnedUserId, RoomId, api::client::room::get_room_event};
use serde_json::Value;

use super::{PATIENCE, org::Org};

/// An account that was registered, and its password.
pub(crate) struct Account {
    /// Whose it is.
    pub(crate) user_id: OwnedUserId,
    /// A random one.
    pub(crate) password: String,
}

/// A person whose client syncs.
pub(crate) struct Person {
    /// The account.
    pub(crate) account: Account,
    /// The client.
    pub(crate) client: Client,
    sync: SyncHandle,
}

/// Registers an account; the client is logged in then.
async fn register(org: &Org, name: &str, device: &str) -> Result<(Client, Account), String> {
    let failed = |error| format!("{name} could not be registered: {error}");
    let client = org.client(device).await.map_err(failed)?;
    let password = SystemRng.name();
    client
        .register(name, &password, None)
        .await
        .map_err(failed)?;
    let user_id = client.user_id().ok_or("no session after registering")?;
    Ok((client, Account { user_id, password }))
}

/// Registers an account for a program that will log in by itself.
pub(crate) async fn register_only(org: &Org, name: &str) -> Result<Account, String> {
    let (client, account) = register(org, name, "Passeur's demo").await?;
    client
        .logout()
        .await
        .map_err(|error| format!("{name} could not be logged out: {error}"))?;
    Ok(account)
}

impl Person {
    /// Registers somebody and starts to sync.
    pub(crate) async fn register(org: &Org, name: &str) -> Result<Self, String> {
        let (client, account) = register(org, name, "Passeur's demo").await?;
        let sync = client.start_sync().map_err(|error| error.to_string())?;
        Ok(Self {
            account,
            client,
            sync,
        })
    }

    /// What a person calls this one.
    pub(crate) fn name(&self) -> &str {
        self.account.user_id.localpart()
    }

    /// Waits until this person's client knows the room as encrypted and expiring, with these members.
    pub(crate) async fn wait_for_members(
        &self,
        room: &RoomId,
        members: &[&OwnedUserId],
    ) -> Result<Room, String> {
        let known = self.client.wait_for_room(room, PATIENCE, |state| {
            state.is_encrypted()
                && state.expiry.is_some()
                && members
                    .iter()
                    .all(|member| state.joined().any(|joined| joined == *member))
        });
        if known.await {
            Ok(self.client.room(room))
        } else {
            Err(format!("{} does not hear who is in the room", self.name()))
        }
    }

    /// The JSON with which this person's server answers `GET /rooms/{roomId}/event/{eventId}`.
    pub(crate) async fn event(&self, room: &RoomId, event: &EventId) -> Result<Value, String> {
        let request = get_room_event::v3::Request::new(room.to_owned(), event.to_owned());
        let answer = self.client.request(request).await.map_err(|error| {
            format!("{}'s server does not give the event: {error}", self.name())
        })?;
        answer
            .event
            .deserialize_as_unchecked()
            .map_err(|error| error.to_string())
    }

    /// Stops to sync.
    pub(crate) async fn rest(self) -> Account {
        self.sync.stop().await;
        self.account
    }
}

/// The text of an event that came encrypted, from a device that may be taken for `sender`'s.
pub(crate) fn secret_text<'a>(event: &'a Event, sender: &OwnedUserId) -> Option<&'a str> {
    let encrypted = matches!(event.protection, Protection::Encrypted(_)) && event.is_authentic();
    (encrypted && event.sender == *sender)
        .then(|| event.body())
        .flatten()
}

/// Waits until a text that `sender` sent encrypted satisfies `wanted`. The error says what came of theirs instead.
pub(crate) async fn wait_for_text(
    timeline: &mut Timeline,
    sender: &OwnedUserId,
    wanted: impl Fn(&str) -> bool + Send + Sync,
) -> Result<String, String> {
    let mut seen = Vec::new();
    let found = timeline.wait_for(PATIENCE, |event| {
        if event.sender == *sender {
            seen.push(format!("{}: {:?}", event.event_type, event.protection));
        }
        secret_text(event, sender)
            .filter(|text| wanted(text))
            .map(str::to_owned)
    });
    match found.await {
        Some(text) => Ok(text),
        None => Err(format!(
            "what {sender} says does not arrive as it should; what came was: {seen:?}"
        )),
    }
}
