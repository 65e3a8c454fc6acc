//! Memberships of people, as long as this server is in the room and may decide alone.
//!
//! Invariant: what is not allowed is refused by the room's rules in its queue, not here; this
//! module only knows what a membership event looks like.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#room-membership>

use std::sync::Arc;

use ruma::{OwnedEventId, OwnedUserId, RoomId, UserId, events::TimelineEventType};
use serde_json::{Value, json};

use super::{Draft, Rooms, SendError, create::raw};
use crate::store::Membership;

/// How a user appears in a room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// The name.
    pub displayname: Option<String>,
    /// The picture.
    pub avatar_url: Option<String>,
}

impl Profile {
    /// The content of a member event.
    pub fn member(&self, membership: &str, is_direct: bool) -> Value {
        let mut content = json!({ "membership": membership });
        if let Some(name) = &self.displayname {
            content["displayname"] = json!(name);
        }
        if let Some(url) = &self.avatar_url {
            content["avatar_url"] = json!(url);
        }
        if is_direct {
            content["is_direct"] = json!(true);
        }
        content
    }
}

/// A change of membership that a local user asks for.
#[derive(Clone, Debug)]
pub struct MembershipChange {
    /// The room.
    pub room_id: ruma::OwnedRoomId,
    /// Who asks: one of ours.
    pub sender: OwnedUserId,
    /// Whose membership it is.
    pub user: OwnedUserId,
    /// The content of the member event.
    pub content: Value,
}

impl MembershipChange {
    /// The member event that says so.
    pub(super) fn into_draft(self) -> Draft {
        Draft {
            room_id: self.room_id,
            sender: self.sender,
            kind: TimelineEventType::RoomMember,
            state_key: Some(self.user.to_string()),
            content: raw(&self.content),
            redacts: None,
            transaction: None,
            timestamp_ms: None,
        }
    }
}

impl Rooms {
    /// How a local user appears.
    ///
    /// # Errors
    /// What the database says.
    pub async fn profile_of(&self, user: &UserId) -> Result<Profile, SendError> {
        let (displayname, avatar_url) = self.context.store.appearance_of(user).await?;
        Ok(Profile {
            displayname,
            avatar_url,
        })
    }

    /// Sends a member event.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn set_membership(
        self: &Arc<Self>,
        change: MembershipChange,
    ) -> Result<OwnedEventId, SendError> {
        self.flush_redactions(&change).await;
        self.send(change.into_draft()).await
    }

    /// Sends a member event whose content was taken over from an earlier one, by us or by a client.
    /// Whoever vouched for the user's restricted join then does not sign this one, and without
    /// their signature nobody would take it.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn set_membership_again(
        self: &Arc<Self>,
        mut change: MembershipChange,
    ) -> Result<OwnedEventId, SendError> {
        if let Some(content) = change.content.as_object_mut() {
            content.remove("join_authorised_via_users_server");
        }
        self.set_membership(change).await
    }

    /// The content of a user's current member event in a room; none if there is none.
    ///
    /// # Errors
    /// What the database says.
    pub async fn member_content(
        &self,
        room: &RoomId,
        user: &UserId,
    ) -> Result<Option<Value>, SendError> {
        let Some(snapshot) = self.snapshot(room).await? else {
            return Ok(None);
        };
        let kind = ruma::events::StateEventType::RoomMember;
        let event = self.state_event(&snapshot, &kind, user.as_str()).await?;
        Ok(event.and_then(|event| serde_json::from_str(event.pdu.content.get()).ok()))
    }

    /// Puts a user's new profile into all rooms that the user is joined to. One room that refuses
    /// does not stop another.
    ///
    /// # Errors
    /// What the database says.
    pub async fn update_profile(
        self: &Arc<Self>,
        user: &UserId,
        profile: &Profile,
    ) -> Result<(), SendError> {
        let rooms = self.memberships(user).await?;
        let joined = rooms
            .values()
            .filter(|row| row.membership == Membership::Join);
        for row in joined {
            let Some(before) = self.member_content(&row.room_id, user).await? else {
                continue;
            };
            let mut content = before.clone();
            set_or_remove(&mut content, "displayname", profile.displayname.as_deref());
            set_or_remove(&mut content, "avatar_url", profile.avatar_url.as_deref());
            if content == before {
                continue;
            }
            let change = MembershipChange {
                room_id: row.room_id.clone(),
                sender: user.to_owned(),
                user: user.to_owned(),
                content,
            };
            if let Err(error) = self.set_membership_again(change).await {
                tracing::debug!(%error, "a room did not take a new profile");
            }
        }
        Ok(())
    }
}

fn set_or_remove(content: &mut Value, key: &str, value: Option<&str>) {
    match (value, content.as_object_mut()) {
        (Some(value), Some(content)) => {
            content.insert(key.to_owned(), json!(value));
        }
        (None, Some(content)) => {
            content.remove(key);
        }
        _ => {}
    }
}
