//! Changes of our users' devices and cross-signing keys, for the servers that share a room with them.
//!
//! Invariant: the stream id of a change is its position, and its `prev_id` the position of the change before it. So a server
//! that missed one, or was not there yet, sees the gap and asks for the whole list.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#device-management>

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use ruma::{
    OwnedDeviceId, OwnedServerName, OwnedUserId, UInt, UserId,
    api::federation::transactions::edu::{DeviceListUpdateContent, Edu, SigningKeyUpdateContent},
    serde::Raw,
};
use serde_json::value::{RawValue, to_raw_value};

use super::edus::{EduRange, EduSource, OwedEdu, OwedEdus};
use crate::{
    outbound::Pending,
    store::{KeyUsage, LogKind, LogRow, Scope, Store, StoreError, UserKeys},
};

/// Users that one query asks for.
const USERS_PER_QUERY_MAX: usize = 500;

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
            let changes = self.changes(&range).await?;
            let Some(last) = changes.last().map(|change| change.position) else {
                return Ok(OwedEdus::none(&range));
            };
            let is_all = u64::try_from(changes.len()).is_ok_and(|count| count < range.limit);
            Ok(OwedEdus {
                edus: self.edus(changes, range.after).await?,
                complete_through: if is_all { range.through } else { last },
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

    async fn edus(&self, changes: Vec<Changed>, after: i64) -> Result<Vec<OwedEdu>, StoreError> {
        let users: BTreeSet<&UserId> = changes.iter().map(|change| &*change.user).collect();
        let users: Vec<&UserId> = users.into_iter().collect();
        let keys = self.store.keys_of(&users).await?;
        let mut newest = self.store.device_changes_before(&users, after).await?;
        let mut edus = Vec::with_capacity(changes.len());
        for change in changes {
            let Some(keys) = keys.get(&change.user) else {
                continue;
            };
            let json = match &change.device {
                Some(device) => device_edu(&change, device, keys, &mut newest),
                None => signing_edu(&change, keys),
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
        None => content.deleted = Some(true),
    }
    to_raw_value(&Edu::DeviceListUpdate(content)).ok()
}

fn signing_edu(change: &Changed, keys: &UserKeys) -> Option<Box<RawValue>> {
    let of = |usage| {
        let key = keys.cross_signing.get(&usage)?;
        Some(Raw::from_json(key.content.clone()))
    };
    let mut content = SigningKeyUpdateContent::new(change.user.clone());
    content.master_key = of(KeyUsage::Master);
    content.self_signing_key = of(KeyUsage::SelfSigning);
    to_raw_value(&Edu::SigningKeyUpdate(content)).ok()
}
