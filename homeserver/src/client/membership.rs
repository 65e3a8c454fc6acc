//! Memberships: joining, leaving, inviting, removing, and who is there.

use http::StatusCode;
use ruma::{
    OwnedRoomId, OwnedRoomOrAliasId, OwnedServerName, OwnedUserId, RoomId,
    api::{client::membership::ThirdPartySigned, error::ErrorKind},
};
use serde_json::json;

use crate::{
    app::App,
    http::{error::ApiError, requester::Requester},
    rooms::{Members, MembershipChange, ThirdPartyInvite},
    store::Membership,
};

pub(crate) mod ban_user;
pub(crate) mod forget_room;
pub(crate) mod get_member_events;
pub(crate) mod get_mutual_rooms;
pub(crate) mod invite_user;
pub(crate) mod join_room_by_id;
pub(crate) mod join_room_by_id_or_alias;
pub(crate) mod joined_members;
pub(crate) mod joined_rooms;
pub(crate) mod kick_user;
pub(crate) mod leave_room;
pub(crate) mod unban_user;

/// The room that a request names, and the servers to come to it through.
///
/// # Errors
/// `M_NOT_FOUND` for an alias that leads nowhere.
pub(crate) async fn find_room(
    app: &App,
    named: OwnedRoomOrAliasId,
    mut via: Vec<OwnedServerName>,
) -> Result<(OwnedRoomId, Vec<OwnedServerName>), ApiError> {
    let alias = match OwnedRoomId::try_from(named) {
        Ok(room) => return Ok((room, via)),
        Err(alias) => alias,
    };
    let found = app.rooms.resolve_alias(&alias).await?;
    let (room, servers) = found.ok_or_else(|| ApiError::not_found("There is no such alias"))?;
    via.extend(servers);
    Ok((room, via))
}

/// Turns an invite that an identifier of the requester's was sent into one of the requester, before a join.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3joinroomidoralias> (`third_party_signed`)
///
/// # Errors
/// `M_INVALID_PARAM` if it is for somebody else; what the room says to it.
pub(crate) async fn take_third_party_invite(
    app: &App,
    room: &RoomId,
    user: &OwnedUserId,
    signed: Option<ThirdPartySigned>,
) -> Result<(), ApiError> {
    let Some(signed) = signed else { return Ok(()) };
    if signed.mxid != *user {
        return Err(ApiError::invalid_param("The invite is for somebody else"));
    }
    let invite = ThirdPartyInvite {
        room_id: room.to_owned(),
        sender: signed.sender,
        user: signed.mxid.clone(),
        signed: json!({
            "mxid": signed.mxid, "token": signed.token, "signatures": signed.signatures,
        }),
    };
    Ok(app.rooms.bind(invite).await?)
}

/// A change of somebody else's membership that a moderator asks for.
struct Moderation {
    /// Who asks.
    requester: Requester,
    /// The room.
    room_id: OwnedRoomId,
    /// Whose membership it is.
    user_id: OwnedUserId,
    /// What it becomes.
    membership: Membership,
    /// Why, for all to read.
    reason: Option<String>,
}

impl Moderation {
    /// Carries it out, if the membership so far is among `from`; all are, if there are none.
    ///
    /// # Errors
    /// `M_FORBIDDEN` if it is not, or the room's rules do not allow it; `M_BAD_STATE` for nobody who is banned.
    async fn carry_out(self, app: &App, from: &[Membership]) -> Result<(), ApiError> {
        if !from.is_empty() {
            let snapshot = app.rooms.snapshot(&self.room_id).await?;
            let members = snapshot.as_ref().map(|snapshot| &snapshot.members);
            let held = members.map(|members| members.membership(&self.user_id));
            if !held.is_some_and(|held| from.contains(&held)) {
                let is_there = |members: &Members| members.is_joined(&self.requester.user_id);
                // "… such as attempting to unban a user who is not banned."
                if from == [Membership::Ban] && members.is_some_and(is_there) {
                    let message = "The user is not banned";
                    let kind = ErrorKind::BadState;
                    return Err(ApiError::new(StatusCode::FORBIDDEN, kind, message));
                }
                let message = "The user does not stand so to a room that you are in";
                return Err(ApiError::forbidden(message));
            }
        }
        let mut content = json!({ "membership": self.membership });
        if let Some(reason) = self.reason {
            content["reason"] = reason.into();
        }
        let change = MembershipChange {
            room_id: self.room_id,
            sender: self.requester.user_id,
            user: self.user_id,
            content,
        };
        app.rooms.set_membership(change).await?;
        Ok(())
    }
}
