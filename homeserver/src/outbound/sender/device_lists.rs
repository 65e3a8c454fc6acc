//! Changes of our users' devices and cross-signing keys, for the servers that share a room with them.
//!
//! Invariant: the stream id of a change is its position, and its `prev_id` the position of the change before it. So a server
//! that missed one, or was not there yet, sees the gap and asks for the whole list. A server that hears of a user's join hears
//! of the user's devices with it.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#device-management>

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use passeur_protocol::visibility::membership_of;
use ruma::{
    OwnedDeviceId, OwnedEventId, OwnedServerName, OwnedUserId, UInt, UserId,
    api::federation::transactions::edu::{DeviceListUpdateContent, Edu, SigningKeyUpdateContent},
    events::TimelineEventType,
    serde::Raw,
};
use serde_json::value::{RawValue, to_raw_value};

use super::edus::{EduRange, EduSource, OwedEdu, OwedEdus};
use crate::{
    outbound::Pending,
    store::{
        Event, KeyUsage, LogEnd, LogKind, LogRow, Membership, Scope, Store, StoreError, UserKeys,
    },
};

/// Users that one query asks for.
const USERS_PER_QUERY_MAX: usize = 500;

/// Devices of a user that a server is told of as the user joins; of others it hears as it asks for the list.
const INTRODUCED_MAX: usize = 50;

/// Changes of one user that are looked at for them.
const CHANGES_MAX: u64 = 500;

/// Changed devices of our users.
#[derive(Debug, Clone)]
pub struct DeviceLists {
    /// Where they are.
    pub store: Arc<Store>,
    /// Whose users are ours.
    pub server_name: OwnedServerName,
}

/// One change: whose, of which device (none: of the cross-signing keys), and where in the log.
struct Changed {
    user: OwnedUserId,
    device: Option<OwnedDeviceId>,
    position: i64,
}

impl EduSource for DeviceLists {
    fn owed<'a>(&'a self, range: EduRange<'a>) -> Pending<'a, Result<OwedEdus, StoreError>> {
        Box::pin(async move {
            let mut edus = self.introductions(&range).await?;
            let changes = self.changes(&range).await?;
            let is_all = u64::try_from(changes.len()).is_ok_and(|count| count < range.limit);
            let last = changes.last().map(|change| change.position);
            let complete_through = last.filter(|_| !is_all).unwrap_or(range.through);
            edus.extend(self.edus(changes, range.after).await?);
            Ok(OwedEdus {
                edus,
                complete_through,
            })
        })
    }
}

impl DeviceLists {
    async fn changes(&self, range: &EduRange<'_>) -> Result<Vec<Changed>, StoreError> {
        let users = self
            .store
            .users_sharing_with_server(range.destination)
            .await?;
        let mut rows: Vec<LogRow> = Vec::new();
        for some in users.chunks(USERS_PER_QUERY_MAX) {
            let scopes: Vec<Scope<'_>> = some.iter().map(|user| Scope::Keys(user)).collect();
            let found = self
                .store
                .log_of_many(&scopes, range.after, range.through, range.limit)
                .await?;
            rows.extend(found);
        }
        rows.sort_by_key(|row| row.position);
        rows.truncate(usize::try_from(range.limit).unwrap_or(usize::MAX));
        let changes = rows
            .into_iter()
            .filter(|row| row.kind == LogKind::DeviceList);
        let changes = changes.filter_map(|row| {
            Some(Changed {
                user: OwnedUserId::try_from(row.scope.get(1..)?).ok()?,
                device: row.reference.map(OwnedDeviceId::from),
                position: row.position,
            })
        });
        Ok(changes.collect())
    }

    /// The devices of those of our users of whose joining the server is told.
    ///
    /// "when that user joins a room which contains servers which are not already receiving updates for that user's device
    /// list".
    async fn introductions(&self, range: &EduRange<'_>) -> Result<Vec<OwedEdu>, StoreError> {
        let mut edus = Vec::new();
        for (position, user) in self.joins(range).await? {
            let Some(keys) = self.store.keys_of(&[&*user]).await?.remove(&user) else {
                continue;
            };
            let scope = Scope::Keys(&user);
            let rows = self
                .store
                .log_of(scope, 0, range.through, LogEnd::Newest, CHANGES_MAX)
                .await?;
            // Newest first: what of a device follows is older.
            let mut devices: Vec<Changed> = Vec::new();
            for row in rows
                .into_iter()
                .filter(|row| row.kind == LogKind::DeviceList)
            {
                let device = row.reference.map(OwnedDeviceId::from);
                let is_new = devices.iter().all(|known| known.device != device);
                if is_new
                    && device
                        .as_ref()
                        .is_some_and(|id| keys.devices.contains_key(id))
                {
                    devices.push(Changed {
                        user: user.clone(),
                        device,
                        position: row.position,
                    });
                }
            }
            // What has changed since the cursor is told as a change.
            devices.retain(|change| change.position <= range.after);
            devices.truncate(INTRODUCED_MAX);
            let mut before = HashMap::new();
            for change in devices.iter().rev() {
                let Some(device) = &change.device else {
                    continue;
                };
                let json = device_edu(change, device, &keys, true, &mut before);
                edus.extend(json.map(|json| OwedEdu { position, json }));
            }
            if !keys.cross_signing.is_empty() {
                let json = signing_edu(&user, &keys);
                edus.extend(json.map(|json| OwedEdu { position, json }));
            }
        }
        Ok(edus)
    }

    /// Our users who join a room by one of the events in the range, and where in the log.
    async fn joins(&self, range: &EduRange<'_>) -> Result<Vec<(i64, OwnedUserId)>, StoreError> {
        let ids: Vec<OwnedEventId> = range.events.iter().map(|(_, id)| id.clone()).collect();
        let mut joins = self.store.events(&ids).await?;
        joins.retain(|event| {
            event.pdu.sender.server_name() == self.server_name
                && is_join_of(event, &event.pdu.sender)
        });
        let cited: Vec<OwnedEventId> = joins
            .iter()
            .flat_map(|event| event.pdu.auth_events.iter().cloned())
            .collect();
        let cited = match cited.is_empty() {
            true => Vec::new(),
            false => self.store.events(&cited).await?,
        };
        // Whoever was in the room already, under another name, cites the event that said so.
        joins.retain(|event| {
            let user = &event.pdu.sender;
            let is_cited = |before: &&Arc<Event>| {
                let cited = &event.pdu.auth_events;
                cited.iter().any(|id| id == before.id()) && is_join_of(before, user)
            };
            !cited.iter().any(|before| is_cited(&before))
        });
        let position = |event: &Event| {
            let mut owed = range.events.iter();
            owed.find(|(_, id)| id == event.id())
                .map(|(position, _)| *position)
        };
        let joins = joins.iter().filter_map(|event| {
            let position = position(event).filter(|position| *position <= range.through)?;
            Some((position, event.pdu.sender.clone()))
        });
        Ok(joins.collect())
    }

    async fn edus(&self, changes: Vec<Changed>, after: i64) -> Result<Vec<OwedEdu>, StoreError> {
        let users: BTreeSet<&UserId> = changes.iter().map(|change| &*change.user).collect();
        let users: Vec<&UserId> = users.into_iter().collect();
        if users.is_empty() {
            return Ok(Vec::new());
        }
        let keys = self.store.keys_of(&users).await?;
        let there = self.store.device_ids_of(&users).await?;
        let there: BTreeSet<_> = there.into_iter().collect();
        let mut newest = self.store.device_changes_before(&users, after).await?;
        let mut edus = Vec::with_capacity(changes.len());
        for change in changes {
            let Some(keys) = keys.get(&change.user) else {
                continue;
            };
            let json = match &change.device {
                Some(device) => {
                    let is_there = there.contains(&(change.user.clone(), device.clone()));
                    device_edu(&change, device, keys, is_there, &mut newest)
                }
                None => signing_edu(&change.user, keys),
            };
            edus.extend(json.map(|json| OwedEdu {
                position: change.position,
                json,
            }));
        }
        Ok(edus)
    }
}

fn device_edu(
    change: &Changed,
    device: &OwnedDeviceId,
    keys: &UserKeys,
    is_there: bool,
    newest: &mut HashMap<OwnedUserId, i64>,
) -> Option<Box<RawValue>> {
    let stream_id = UInt::try_from(change.position).ok()?;
    let mut content = DeviceListUpdateContent::new(change.user.clone(), device.clone(), stream_id);
    let before = newest.insert(change.user.clone(), change.position);
    content.prev_id = before
        .and_then(|before| UInt::try_from(before).ok())
        .into_iter()
        .collect();
    match keys.devices.get(device) {
        Some(keys) => content.keys = Some(Raw::from_json(keys.clone())),
        // "May be absent if the device does not have any E2E keys associated with it".
        None if is_there => {}
        None => content.deleted = Some(true),
    }
    to_raw_value(&Edu::DeviceListUpdate(content)).ok()
}

/// Whether an event says that somebody is in its room.
fn is_join_of(event: &Event, user: &UserId) -> bool {
    event.pdu.kind == TimelineEventType::RoomMember
        && event.pdu.state_key.as_deref() == Some(user.as_str())
        && membership_of(Some(&event.pdu)) == Membership::Join
}

fn signing_edu(user: &OwnedUserId, keys: &UserKeys) -> Option<Box<RawValue>> {
    let of = |usage| {
        let key = keys.cross_signing.get(&usage)?;
        Some(Raw::from_json(key.content.clone()))
    };
    let mut content = SigningKeyUpdateContent::new(user.clone());
    content.master_key = of(KeyUsage::Master);
    content.self_signing_key = of(KeyUsage::SelfSigning);
    to_raw_value(&Edu::SigningKeyUpdate(content)).ok()
}
