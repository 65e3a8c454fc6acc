//! Sending messages to devices.
//!
//! Invariant: all messages of a request are stored in one change, or none. A message with a
//! lifetime beside its ciphertext is gone that long after it was received, here and on its way.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#send-to-device-messaging>

use std::collections::BTreeMap;

use passeur_protocol::{expiry::to_device_ttl_of, json::check_client_json};
use ruma::{DeviceId, OwnedServerName, OwnedUserId, UserId, to_device::DeviceIdOrAllDevices};
use serde::Serialize;
use serde_json::value::RawValue;

use super::Accounts;
use crate::store::{NewEdu, NewToDevice, SendToDevice, StoreError, ToDeviceTransaction};

/// The longest content of a message, in bytes.
pub const TO_DEVICE_CONTENT_BYTES_MAX: usize = passeur_protocol::limits::EDU_BYTES_MAX;
/// How many messages one request may bring.
pub const TO_DEVICE_MESSAGES_MAX: usize = 10_000;
/// The longest type or transaction id, in bytes.
const NAME_BYTES_MAX: usize = passeur_protocol::limits::ID_BYTES_MAX;
/// Bytes of contents after which another EDU is begun.
const EDU_CONTENT_BYTES: usize = 48 * 1024;
/// Letters of a message's id: 131 bits.
const MESSAGE_ID_CHARS: usize = 22;

/// Contents by user and device.
pub type Messages<'a> = BTreeMap<OwnedUserId, BTreeMap<DeviceIdOrAllDevices, &'a RawValue>>;

/// Why messages are refused.
#[derive(Debug, thiserror::Error)]
pub enum ToDeviceError {
    /// A content, the type or the transaction id is too long, or there are too many messages.
    #[error("too large")]
    TooLarge,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An event as its device gets it.
#[derive(Serialize)]
struct Event<'a> {
    content: &'a RawValue,
    sender: &'a UserId,
    #[serde(rename = "type")]
    event_type: &'a str,
}

/// Messages on their way to another server; contents stay as they came.
#[derive(Serialize)]
struct Edu<'a> {
    content: EduContent<'a>,
    edu_type: &'static str,
}

#[derive(Serialize)]
struct EduContent<'a> {
    message_id: String,
    messages: &'a Batch<'a>,
    sender: &'a UserId,
    #[serde(rename = "type")]
    event_type: &'a str,
}

/// What one EDU carries: contents by user and device.
type Batch<'a> = BTreeMap<OwnedUserId, BTreeMap<String, &'a RawValue>>;

impl Accounts {
    /// Sends messages to devices; a request that was carried out before does nothing.
    ///
    /// # Errors
    /// [`ToDeviceError`].
    pub async fn send_to_device(
        &self,
        sender: (&UserId, &DeviceId),
        event_type: &str,
        txn_id: &str,
        messages: Messages<'_>,
    ) -> Result<(), ToDeviceError> {
        let (user, device) = sender;
        check_sizes(event_type, txn_id, &messages)?;
        let now_ms = self.clock.now_ms();
        let mut local = Vec::new();
        let mut remote: BTreeMap<OwnedServerName, Vec<_>> = BTreeMap::new();
        for (to, devices) in messages {
            for (target, content) in devices {
                if self.is_local(&to) {
                    local.push(new_message(user, event_type, &to, target, content, now_ms)?);
                } else {
                    let server = to.server_name().to_owned();
                    let message = (to.clone(), target, content);
                    remote.entry(server).or_default().push(message);
                }
            }
        }
        let remote = self.edus(user, event_type, remote, now_ms)?;
        let change = SendToDevice {
            transaction: Some(ToDeviceTransaction {
                user_id: user.to_owned(),
                device_id: device.to_owned(),
                event_type: event_type.to_owned(),
                txn_id: txn_id.to_owned(),
                now_ms,
            }),
            local,
            remote,
        };
        self.store.commit(change).await?;
        Ok(())
    }

    /// Messages that another server has brought, ready to be stored. Messages for others' users are dropped, and so is one
    /// that no client could be given.
    ///
    /// # Errors
    /// [`ToDeviceError`].
    pub fn inbound_messages(
        &self,
        sender: &UserId,
        event_type: &str,
        messages: Messages<'_>,
    ) -> Result<SendToDevice, ToDeviceError> {
        if event_type.len() > NAME_BYTES_MAX {
            return Err(ToDeviceError::TooLarge);
        }
        let now_ms = self.clock.now_ms();
        let ours = messages.into_iter().filter(|(to, _)| self.is_local(to));
        let each = ours.flat_map(|(to, devices)| {
            devices
                .into_iter()
                .map(move |(target, content)| (to.clone(), target, content))
        });
        let readable = each.filter(|(_, _, content)| {
            check_client_json(content.get().as_bytes(), TO_DEVICE_CONTENT_BYTES_MAX).is_ok()
        });
        let local = readable
            .take(TO_DEVICE_MESSAGES_MAX)
            .map(|(to, target, content)| {
                new_message(sender, event_type, &to, target, content, now_ms)
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(SendToDevice {
            transaction: None,
            local,
            remote: Vec::new(),
        })
    }

    /// One EDU or more for each server; messages of different lifetimes go separately.
    fn edus<'a>(
        &self,
        sender: &UserId,
        event_type: &str,
        by_server: BTreeMap<
            OwnedServerName,
            Vec<(OwnedUserId, DeviceIdOrAllDevices, &'a RawValue)>,
        >,
        now_ms: i64,
    ) -> Result<Vec<NewEdu>, StoreError> {
        let mut edus = Vec::new();
        for (server, messages) in by_server {
            let mut open: BTreeMap<Option<i64>, (usize, Batch<'a>)> = BTreeMap::new();
            for (user, target, content) in messages {
                let expires_ms = expiry_of(content, now_ms);
                let (bytes, batch) = open.entry(expires_ms).or_default();
                if *bytes > 0 && *bytes + content.get().len() > EDU_CONTENT_BYTES {
                    let full = std::mem::take(batch);
                    edus.push(self.edu(&server, sender, event_type, &full, expires_ms)?);
                    *bytes = 0;
                }
                *bytes += content.get().len();
                let devices = batch.entry(user).or_default();
                devices.insert(target.to_string(), content);
            }
            for (expires_ms, (_, batch)) in open {
                edus.push(self.edu(&server, sender, event_type, &batch, expires_ms)?);
            }
        }
        Ok(edus)
    }

    fn edu(
        &self,
        server: &OwnedServerName,
        sender: &UserId,
        event_type: &str,
        messages: &Batch<'_>,
        expires_ms: Option<i64>,
    ) -> Result<NewEdu, StoreError> {
        let edu = Edu {
            content: EduContent {
                message_id: self.rng.token(MESSAGE_ID_CHARS),
                messages,
                sender,
                event_type,
            },
            edu_type: "m.direct_to_device",
        };
        let body = serde_json::to_string(&edu)
            .map_err(|_| StoreError::corrupt("outbound_edus", "body"))?;
        Ok(NewEdu {
            destination: server.clone(),
            body,
            expires_ms,
        })
    }
}

fn check_sizes(
    event_type: &str,
    txn_id: &str,
    messages: &Messages<'_>,
) -> Result<(), ToDeviceError> {
    let mut contents = messages.values().flat_map(BTreeMap::values);
    let count: usize = messages.values().map(BTreeMap::len).sum();
    let too_large = event_type.len() > NAME_BYTES_MAX
        || txn_id.len() > NAME_BYTES_MAX
        || count > TO_DEVICE_MESSAGES_MAX
        || contents.any(|content| content.get().len() > TO_DEVICE_CONTENT_BYTES_MAX);
    if too_large {
        Err(ToDeviceError::TooLarge)
    } else {
        Ok(())
    }
}

fn expiry_of(content: &RawValue, now_ms: i64) -> Option<i64> {
    let ttl = to_device_ttl_of(content)?.ttl_ms();
    Some(now_ms.saturating_add(i64::try_from(ttl).unwrap_or(i64::MAX)))
}

fn new_message(
    sender: &UserId,
    event_type: &str,
    to: &UserId,
    target: DeviceIdOrAllDevices,
    content: &RawValue,
    now_ms: i64,
) -> Result<NewToDevice, StoreError> {
    let event = Event {
        content,
        sender,
        event_type,
    };
    let event =
        serde_json::to_string(&event).map_err(|_| StoreError::corrupt("to_device", "content"))?;
    Ok(NewToDevice {
        user_id: to.to_owned(),
        device_id: match target {
            DeviceIdOrAllDevices::DeviceId(device) => Some(device),
            DeviceIdOrAllDevices::AllDevices => None,
        },
        event,
        expires_ms: expiry_of(content, now_ms),
    })
}
