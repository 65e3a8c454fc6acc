//! What clients keep at the server for a user: account data, filters, pushers.
//!
//! Invariant: what a user may keep is bounded in number; the size of an item is checked by the
//! caller.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#client-config>

use ruma::{OwnedDeviceId, OwnedRoomId, OwnedUserId, RoomId, UserId};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder,
    QuerySelect, sea_query::OnConflict,
};

use super::{
    Change, LogKind, Scope, Store, StoreError, Tx,
    entity::{account_data, filters, pushers},
};

/// How many items of account data a user may keep, those of rooms included.
const ITEMS_MAX: u64 = 20_000;
/// How many filters a user may keep.
const FILTERS_MAX: u64 = 1000;
/// How many pushers a user may keep.
const PUSHERS_MAX: u64 = 100;

impl Store {
    /// One item of account data, global or of a room, as JSON.
    ///
    /// # Errors
    /// What the database says.
    pub async fn account_datum(
        &self,
        user: &UserId,
        room: Option<&RoomId>,
        event_type: &str,
    ) -> Result<Option<String>, StoreError> {
        Ok(
            account_data::Entity::find_by_id(key(user, room, event_type))
                .select_only()
                .column(account_data::Column::Content)
                .into_tuple()
                .one(self.reader())
                .await?,
        )
    }

    /// A filter that the user has stored, as JSON.
    ///
    /// # Errors
    /// What the database says.
    pub async fn filter(&self, user: &UserId, id: &str) -> Result<Option<String>, StoreError> {
        Ok(
            filters::Entity::find_by_id((user.to_string(), id.to_owned()))
                .select_only()
                .column(filters::Column::Definition)
                .into_tuple()
                .one(self.reader())
                .await?,
        )
    }

    /// The pushers of a user, as JSON.
    ///
    /// # Errors
    /// What the database says.
    pub async fn pushers(&self, user: &UserId) -> Result<Vec<String>, StoreError> {
        Ok(pushers::Entity::find()
            .select_only()
            .column(pushers::Column::Content)
            .filter(pushers::Column::UserId.eq(user.as_str()))
            .order_by_asc(pushers::Column::AppId)
            .order_by_asc(pushers::Column::Pushkey)
            .into_tuple()
            .all(self.reader())
            .await?)
    }
}

pub(super) fn key(
    user: &UserId,
    room: Option<&RoomId>,
    event_type: &str,
) -> (String, String, String) {
    let room = room.map(ToString::to_string).unwrap_or_default();
    (user.to_string(), room, event_type.to_owned())
}

/// Writes an item and tells the user's devices. The same content again is nothing new.
pub(super) async fn write(
    tx: &mut Tx,
    user: &UserId,
    room: Option<&RoomId>,
    event_type: &str,
    content: &str,
) -> Result<bool, StoreError> {
    use account_data::Column;
    let (user_id, room_id, kind) = key(user, room, event_type);
    let known: Option<String> =
        account_data::Entity::find_by_id((user_id.clone(), room_id.clone(), kind.clone()))
            .select_only()
            .column(Column::Content)
            .into_tuple()
            .one(tx.connection())
            .await?;
    match known {
        Some(known) if known == content => return Ok(true),
        Some(_) => {}
        None => {
            let kept = account_data::Entity::find()
                .filter(Column::UserId.eq(user.as_str()))
                .count(tx.connection())
                .await?;
            if kept >= ITEMS_MAX {
                return Ok(false);
            }
        }
    }
    let row = account_data::ActiveModel {
        user_id: Set(user_id),
        room_id: Set(room_id),
        event_type: Set(kind),
        content: Set(content.to_owned()),
    };
    account_data::Entity::insert(row)
        .on_conflict(
            OnConflict::columns([Column::UserId, Column::RoomId, Column::EventType])
                .update_column(Column::Content)
                .to_owned(),
        )
        .exec_without_returning(tx.connection())
        .await?;
    let (kind, reference) = match room {
        None => (LogKind::AccountData, event_type.to_owned()),
        Some(room) => (LogKind::RoomAccountData, format!("{room} {event_type}")),
    };
    tx.append(Scope::User(user), kind, Some(reference));
    Ok(true)
}

/// Stores an item of account data.
#[derive(Clone, Debug)]
pub struct SetAccountData {
    /// Whose.
    pub user_id: OwnedUserId,
    /// Of which room; global if none.
    pub room_id: Option<OwnedRoomId>,
    /// Its type.
    pub event_type: String,
    /// Its content: a JSON object.
    pub content: String,
}

impl Change for SetAccountData {
    /// Whether it was stored: not if the user keeps too many.
    type Output = bool;

    async fn apply(&self, tx: &mut Tx) -> Result<bool, StoreError> {
        let room = self.room_id.as_deref();
        write(tx, &self.user_id, room, &self.event_type, &self.content).await
    }
}

/// Sets or removes one tag of a room, in the room's `m.tag`.
#[derive(Clone, Debug)]
pub struct SetTag {
    /// Whose.
    pub user_id: OwnedUserId,
    /// Of which room.
    pub room_id: OwnedRoomId,
    /// The tag's name.
    pub tag: String,
    /// What goes with it; none removes it.
    pub info: Option<serde_json::Value>,
    /// The longest `m.tag` that may result, in bytes.
    pub bytes_max: usize,
}

impl Change for SetTag {
    /// Whether it was stored: not if there would be too many.
    type Output = bool;

    async fn apply(&self, tx: &mut Tx) -> Result<bool, StoreError> {
        let room = Some(&*self.room_id);
        let known: Option<String> =
            account_data::Entity::find_by_id(key(&self.user_id, room, "m.tag"))
                .select_only()
                .column(account_data::Column::Content)
                .into_tuple()
                .one(tx.connection())
                .await?;
        let mut content: serde_json::Value = known
            .and_then(|known| serde_json::from_str(&known).ok())
            .filter(|content: &serde_json::Value| content["tags"].is_object())
            .unwrap_or_else(|| serde_json::json!({"tags": {}}));
        if let Some(tags) = content["tags"].as_object_mut() {
            match &self.info {
                Some(info) => tags.insert(self.tag.clone(), info.clone()),
                None => tags.remove(&self.tag),
            };
        }
        let content = content.to_string();
        if content.len() > self.bytes_max {
            return Ok(false);
        }
        write(tx, &self.user_id, room, "m.tag", &content).await
    }
}

/// Stores a filter.
#[derive(Clone, Debug)]
pub struct CreateFilter {
    /// Whose.
    pub user_id: OwnedUserId,
    /// Its id, derived from the definition.
    pub filter_id: String,
    /// The definition, as JSON.
    pub definition: String,
}

impl Change for CreateFilter {
    /// Whether it is stored: not if the user keeps too many.
    type Output = bool;

    async fn apply(&self, tx: &mut Tx) -> Result<bool, StoreError> {
        let kept = filters::Entity::find()
            .filter(filters::Column::UserId.eq(self.user_id.as_str()))
            .filter(filters::Column::FilterId.ne(self.filter_id.as_str()))
            .count(tx.connection())
            .await?;
        if kept >= FILTERS_MAX {
            return Ok(false);
        }
        let row = filters::ActiveModel {
            user_id: Set(self.user_id.to_string()),
            filter_id: Set(self.filter_id.clone()),
            definition: Set(self.definition.clone()),
        };
        filters::Entity::insert(row)
            .on_conflict(OnConflict::new().do_nothing().to_owned())
            .exec_without_returning(tx.connection())
            .await?;
        Ok(true)
    }
}

/// Sets a pusher.
#[derive(Clone, Debug)]
pub struct SetPusher {
    /// Whose.
    pub user_id: OwnedUserId,
    /// The device that sets it, and with which it goes.
    pub device_id: OwnedDeviceId,
    /// The application.
    pub app_id: String,
    /// The device, as the application knows it.
    pub pushkey: String,
    /// The pusher, as JSON.
    pub content: String,
    /// Whether other users' pushers of this application and key stay.
    pub append: bool,
}

impl Change for SetPusher {
    /// Whether it was stored: not if the user keeps too many.
    type Output = bool;

    async fn apply(&self, tx: &mut Tx) -> Result<bool, StoreError> {
        use pushers::Column;
        let kept = pushers::Entity::find()
            .filter(Column::UserId.eq(self.user_id.as_str()))
            // One that is replaced makes room for itself.
            .filter(
                Condition::any()
                    .add(Column::AppId.ne(self.app_id.as_str()))
                    .add(Column::Pushkey.ne(self.pushkey.as_str())),
            )
            .count(tx.connection())
            .await?;
        if kept >= PUSHERS_MAX {
            return Ok(false);
        }
        if !self.append {
            pushers::Entity::delete_many()
                .filter(Column::AppId.eq(self.app_id.as_str()))
                .filter(Column::Pushkey.eq(self.pushkey.as_str()))
                .filter(Column::UserId.ne(self.user_id.as_str()))
                .exec(tx.connection())
                .await?;
        }
        let row = pushers::ActiveModel {
            user_id: Set(self.user_id.to_string()),
            app_id: Set(self.app_id.clone()),
            pushkey: Set(self.pushkey.clone()),
            device_id: Set(self.device_id.to_string()),
            content: Set(self.content.clone()),
            position: Set(tx.head()),
        };
        pushers::Entity::insert(row)
            .on_conflict(
                OnConflict::columns([Column::UserId, Column::AppId, Column::Pushkey])
                    .update_columns([Column::DeviceId, Column::Content])
                    .to_owned(),
            )
            .exec_without_returning(tx.connection())
            .await?;
        Ok(true)
    }
}

/// Removes a pusher; one that is not there stays away.
#[derive(Clone, Debug)]
pub struct DeletePusher {
    /// Whose.
    pub user_id: OwnedUserId,
    /// The application.
    pub app_id: String,
    /// The device, as the application knows it.
    pub pushkey: String,
}

impl Change for DeletePusher {
    type Output = ();

    async fn apply(&self, tx: &mut Tx) -> Result<(), StoreError> {
        let key = (
            self.user_id.to_string(),
            self.app_id.clone(),
            self.pushkey.clone(),
        );
        pushers::Entity::delete_by_id(key)
            .exec(tx.connection())
            .await?;
        Ok(())
    }
}
