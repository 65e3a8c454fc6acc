//! EDUs of other servers: typing, receipts, messages to devices, changed devices.
//!
//! Invariant: an EDU speaks only for users of the server that sent it; typing and receipts only for rooms in which the user
//! is joined and the server may take part. What is malformed, unknown or not theirs is passed over: one EDU stops no other.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#edus>

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use passeur_protocol::json::check_client_json;
use ruma::{
    OwnedUserId, RoomId, ServerName, UserId,
    api::federation::transactions::edu::{
        DirectDeviceContent, Edu, PresenceContent, ReceiptContent, ReceiptData, TypingContent,
    },
    events::receipt::ReceiptThread,
};
use serde_json::value::RawValue;

use super::{
    Rooms, Snapshot,
    presence::{Presence, Shown},
    typing::Typing,
};
use crate::{
    accounts::{Accounts, RemoteDevices},
    store::{ReceiveToDevice, RecordReceipt, Store, StoreError},
};

/// How long a remote user is taken to type without saying so again.
const TYPING_MAX: Duration = Duration::from_secs(60);

/// Most receipts of one EDU that are looked at.
const RECEIPTS_MAX: usize = 1_000;

/// Most users of one EDU that it tells the presence of.
const PRESENCES_MAX: usize = 200;

/// Longest identifier of a message, in bytes.
const MESSAGE_ID_BYTES_MAX: usize = passeur_protocol::limits::ID_BYTES_MAX;

/// What EDUs act upon.
#[derive(Debug, Clone)]
pub struct Ephemeral {
    /// The database.
    pub store: Arc<Store>,
    /// The rooms.
    pub rooms: Arc<Rooms>,
    /// Who types.
    pub typing: Arc<Typing>,
    /// Who is online.
    pub presence: Arc<Presence>,
    /// Our users, and messages to their devices.
    pub accounts: Arc<Accounts>,
    /// Their users' devices.
    pub devices: RemoteDevices,
}

impl Ephemeral {
    /// Takes one EDU of `origin`.
    ///
    /// # Errors
    /// What the database says; nothing that the peer wrote is an error.
    pub async fn receive(
        &self,
        origin: &ServerName,
        edu: &RawValue,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        // Its size is bounded by that of its transaction: messages for any number of devices may come in one.
        let Ok(read) = serde_json::from_str::<Edu>(edu.get()) else {
            return Ok(());
        };
        // Of messages to devices each is looked at alone. What else is kept must be such as clients can read.
        let is_readable = matches!(read, Edu::DirectToDevice(_))
            || check_client_json(edu.get().as_bytes(), usize::MAX).is_ok();
        if !is_readable {
            return Ok(());
        }
        match read {
            Edu::Typing(content) => self.typing(origin, &content).await,
            Edu::Presence(content) => self.presence(origin, content, now_ms).await,
            Edu::Receipt(content) => self.receipts(origin, content).await,
            Edu::DirectToDevice(content) => self.to_device(origin, &content, now_ms).await,
            Edu::DeviceListUpdate(content) if content.user_id.server_name() == origin => {
                self.devices.device_changed(content).await
            }
            Edu::SigningKeyUpdate(content) if content.user_id.server_name() == origin => {
                self.devices.keys_changed(content).await
            }
            _ => Ok(()),
        }
    }

    /// The room, if `origin` may take part in it and one of ours is in it.
    async fn room_of(
        &self,
        origin: &ServerName,
        room: &RoomId,
    ) -> Result<Option<Arc<Snapshot>>, StoreError> {
        let Some(snapshot) = self.rooms.snapshot(room).await? else {
            return Ok(None);
        };
        let is_known = !snapshot.members.local_joined.is_empty()
            && snapshot.members.has_server(origin)
            && self.rooms.may_take_part(&snapshot, origin).await?;
        Ok(is_known.then_some(snapshot))
    }

    async fn typing(&self, origin: &ServerName, content: &TypingContent) -> Result<(), StoreError> {
        let (room, user) = (&content.room_id, &content.user_id);
        if user.server_name() != origin {
            return Ok(());
        }
        let Some(snapshot) = self.room_of(origin, room).await? else {
            return Ok(());
        };
        if !content.typing {
            self.typing.stop(room, user);
        } else if snapshot.members.is_joined(user) {
            self.typing.start(room, user, TYPING_MAX);
        }
        Ok(())
    }

    /// What another server says of its users, of those with whom one of ours shares a room.
    async fn presence(
        &self,
        origin: &ServerName,
        content: PresenceContent,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        if !self.presence.is_enabled() {
            return Ok(());
        }
        let told = content.push.into_iter().take(PRESENCES_MAX);
        let told = told.filter(|update| update.user_id.server_name() == origin);
        let told: Vec<_> = told.collect();
        let users: Vec<&UserId> = told.iter().map(|update| &*update.user_id).collect();
        let known = self.store.users_we_share_with(&users).await?;
        for update in told {
            if !known.contains(&update.user_id) {
                continue;
            }
            let ago = i64::from(update.last_active_ago);
            let shown = Shown {
                presence: update.presence,
                status_msg: update.status_msg,
                last_active_ms: now_ms.saturating_sub(ago),
                currently_active: update.currently_active,
            };
            self.presence.told(&update.user_id, shown);
        }
        Ok(())
    }

    async fn receipts(
        &self,
        origin: &ServerName,
        content: ReceiptContent,
    ) -> Result<(), StoreError> {
        let mut left = RECEIPTS_MAX;
        for (room, receipts) in content.receipts {
            let Some(snapshot) = self.room_of(origin, &room).await? else {
                continue;
            };
            for (user, data) in receipts.read {
                let Some(next) = left.checked_sub(1) else {
                    return Ok(());
                };
                left = next;
                if user.server_name() == origin && snapshot.members.is_joined(&user) {
                    self.receipt(&snapshot, user, data).await?;
                }
            }
        }
        Ok(())
    }

    async fn receipt(
        &self,
        snapshot: &Snapshot,
        user_id: OwnedUserId,
        data: ReceiptData,
    ) -> Result<(), StoreError> {
        let Some(event_id) = data.event_ids.into_iter().next_back() else {
            return Ok(());
        };
        let Some(event) = self.store.event(&event_id).await? else {
            return Ok(());
        };
        let Some(room_order) = event.room_order else {
            return Ok(());
        };
        if event.pdu.room_id != snapshot.room_id {
            return Ok(());
        }
        let thread = match data.data.thread {
            ReceiptThread::Main => "main".to_owned(),
            ReceiptThread::Thread(root) => root.to_string(),
            _ => String::new(),
        };
        let change = RecordReceipt {
            room_id: snapshot.room_id.clone(),
            user_id,
            private: false,
            thread,
            event_id,
            room_order,
            ts: data.data.ts.map_or(0, |ts| ts.get().into()),
        };
        self.store.commit(change).await?;
        Ok(())
    }

    async fn to_device(
        &self,
        origin: &ServerName,
        content: &DirectDeviceContent,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let sender: &UserId = &content.sender;
        let message_id = content.message_id.as_str();
        if sender.server_name() != origin || message_id.len() > MESSAGE_ID_BYTES_MAX {
            return Ok(());
        }
        let messages = content.messages.iter().map(|(user, devices)| {
            let devices: BTreeMap<_, &RawValue> = devices
                .iter()
                .map(|(device, content)| (device.clone(), content.json()))
                .collect();
            (user.clone(), devices)
        });
        let event_type = content.ev_type.to_string();
        let messages = self
            .accounts
            .inbound_messages(sender, &event_type, messages.collect());
        let Ok(messages) = messages else {
            return Ok(());
        };
        let change = ReceiveToDevice {
            sender: sender.to_owned(),
            message_id: message_id.to_owned(),
            now_ms,
            messages,
        };
        self.store.commit(change).await?;
        Ok(())
    }
}
