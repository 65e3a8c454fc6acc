//! `POST /_matrix/client/v3/createRoom`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3createroom>

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::State;
use futures_util::{StreamExt, stream};
use http::StatusCode;
use ruma::{
    OwnedRoomAliasId, RoomVersionId,
    api::client::room::{
        Visibility,
        create_room::v3::{self, RoomPreset},
    },
    api::error::ErrorKind,
    serde::Raw,
};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use crate::{
    app::App,
    client::{
        directory::set_room_visibility::must_be_known,
        state::send_state_event::{are_numbers, check_content},
    },
    http::{
        decode::{ApiResult, BODY_BYTES_MAX, RumaResponse, decode, read_json},
        error::ApiError,
        requester::{Active, Requester},
    },
    rooms::{CreateError, InitialState, JoinError, MembershipChange, NewRoom, Preset, Profile},
};

/// State events that a client may put into a new room.
const INITIAL_STATE_MAX: usize = 200;
/// People that a client may invite at once.
const INVITES_MAX: usize = 500;
/// Other servers that are asked at once.
const INVITES_AT_ONCE_MAX: usize = 8;

/// Creates a room with its alias, and invites people.
///
/// What can be known to fail is refused before anything exists. If another server then refuses an
/// invite, that is the answer, and the room stays: the client finds it in its sync. A server that is not reached hinders nothing.
pub(crate) async fn create_room_route(
    State(app): State<App>,
    Active(requester): Active,
    request: axum::extract::Request,
) -> ApiResult<v3::Response> {
    let request = read(request).await?;
    if request.initial_state.len() > INITIAL_STATE_MAX || request.invite.len() > INVITES_MAX {
        return Err(ApiError::invalid_param(
            "Too much state, or too many invites",
        ));
    }
    must_be_known(&request.visibility)?;
    let known = [
        RoomPreset::PrivateChat,
        RoomPreset::PublicChat,
        RoomPreset::TrustedPrivateChat,
    ];
    if request
        .preset
        .as_ref()
        .is_some_and(|preset| !known.contains(preset))
    {
        return Err(ApiError::bad_json("There is no such preset"));
    }
    if !request.invite_3pid.is_empty() {
        return Err(ApiError::no_identity_server());
    }
    let new = new_room(&app, &requester, &request).await?;
    let room_id = app.rooms.create(&new).await?;
    if request.visibility == Visibility::Public {
        app.rooms.publish(room_id.clone(), true).await?;
    }
    let invites = stream::iter(new.invite_remote).map(|user| {
        let (app, room_id, sender) = (&app, room_id.clone(), requester.user_id.clone());
        async move {
            let change = MembershipChange {
                room_id,
                sender,
                content: Profile::default().member("invite", request.is_direct),
                user,
            };
            app.rooms.invite(change).await
        }
    });
    // All are asked, whatever one of them answers.
    let outcomes: Vec<_> = invites
        .buffer_unordered(INVITES_AT_ONCE_MAX)
        .collect()
        .await;
    for outcome in outcomes {
        match outcome {
            Err(error) if is_unreached(&error) => {
                tracing::info!("an invite to a new room did not reach its server");
            }
            outcome => {
                outcome?;
            }
        }
    }
    Ok(RumaResponse(v3::Response::new(room_id)))
}

/// Whether nobody said no: the room exists, and a client that is told of an error would make another.
fn is_unreached(error: &JoinError) -> bool {
    match error {
        JoinError::NoServer(None) | JoinError::BadAnswer => true,
        JoinError::NoServer(Some(error)) => {
            let status = error.status();
            status.is_none_or(|status| status.is_server_error())
        }
        _ => false,
    }
}

/// Decodes the request. What can be no room's version is one that is not supported.
async fn read(request: axum::extract::Request) -> Result<v3::Request, ApiError> {
    #[derive(Deserialize)]
    struct Asked {
        room_version: String,
    }
    let (parts, body) = request.into_parts();
    let body = read_json(body, BODY_BYTES_MAX).await?;
    if let Ok(asked) = serde_json::from_slice::<Asked>(&body)
        && RoomVersionId::try_from(asked.room_version).is_err()
    {
        return Err(CreateError::UnsupportedVersion.into());
    }
    decode(parts, body, &[])
}

async fn new_room(
    app: &App,
    requester: &Requester,
    request: &v3::Request,
) -> Result<NewRoom, ApiError> {
    let alias = alias(app, request.room_alias_name.as_deref()).await?;
    let mut invite = Vec::new();
    let mut invite_remote = Vec::new();
    let invited: BTreeSet<_> = request.invite.iter().collect();
    for user in invited {
        if *user == requester.user_id {
            continue;
        }
        if app.rooms.is_local(user) {
            if app.rooms.blocks_invites(user).await? {
                return Err(JoinError::InviteBlocked.into());
            }
            invite.push((user.clone(), app.rooms.profile_of(user).await?));
        } else {
            invite_remote.push(user.clone());
        }
    }
    let version: RoomVersionId = request
        .room_version
        .clone()
        .unwrap_or_else(|| app.config.rooms.default_version.clone());
    Ok(NewRoom {
        creator: requester.user_id.clone(),
        profile: app.rooms.profile_of(&requester.user_id).await?,
        version,
        preset: preset(request),
        creation_content: object(request.creation_content.as_ref())?,
        power_levels: power_levels(request)?,
        initial_state: initial_state(request)?,
        name: request.name.clone(),
        topic: request.topic.clone(),
        alias,
        invite,
        invite_remote,
        is_direct: request.is_direct,
    })
}

/// The alias that a client asks for, if it is free.
async fn alias(app: &App, name: Option<&str>) -> Result<Option<OwnedRoomAliasId>, ApiError> {
    let Some(name) = name else { return Ok(None) };
    let invalid = || ApiError::invalid_param("The alias is not valid");
    let has_stranger = |c: char| c == ':' || c == '\0' || c.is_whitespace();
    if name.is_empty() || name.contains(has_stranger) {
        return Err(invalid());
    }
    let alias = format!("#{name}:{}", app.config.server_name);
    let alias = OwnedRoomAliasId::try_from(alias).map_err(|_| invalid())?;
    match app.store.room_of_alias(&alias).await? {
        Some(_) => Err(CreateError::AliasTaken.into()),
        None => Ok(Some(alias)),
    }
}

fn preset(request: &v3::Request) -> Preset {
    match (&request.preset, &request.visibility) {
        (Some(RoomPreset::PublicChat), _) | (None, Visibility::Public) => Preset::PublicChat,
        (Some(RoomPreset::TrustedPrivateChat), _) => Preset::TrustedPrivateChat,
        _ => Preset::PrivateChat,
    }
}

/// A JSON object of the request as a map.
fn object<T>(raw: Option<&Raw<T>>) -> Result<BTreeMap<String, Value>, ApiError> {
    let Some(raw) = raw else {
        return Ok(BTreeMap::new());
    };
    serde_json::from_str(raw.json().get()).map_err(|_| ApiError::bad_json("An object is expected"))
}

/// The power levels that the creator wants, in numbers.
fn power_levels(request: &v3::Request) -> Result<BTreeMap<String, Value>, ApiError> {
    let levels = object(request.power_level_content_override.as_ref())?;
    if are_numbers(&levels) {
        return Ok(levels);
    }
    Err(ApiError::new(
        StatusCode::BAD_REQUEST,
        ErrorKind::InvalidRoomState,
        "A power level is an integer",
    ))
}

fn initial_state(request: &v3::Request) -> Result<Vec<InitialState>, ApiError> {
    #[derive(Deserialize)]
    struct Wire {
        #[serde(rename = "type")]
        kind: String,
        #[serde(default)]
        state_key: String,
        content: Box<RawValue>,
    }
    #[derive(Deserialize)]
    struct Member {
        membership: String,
    }
    // An invite goes past nobody's server, and past nobody's wishes.
    let is_invite = |kind: &str, content: &RawValue| {
        kind == "m.room.member"
            && serde_json::from_str::<Member>(content.get())
                .is_ok_and(|member| member.membership == "invite")
    };
    let parse = |raw: &Raw<_>| {
        let Wire {
            kind,
            state_key,
            content,
        } = serde_json::from_str(raw.json().get())
            .map_err(|_| ApiError::bad_json("An event of initial_state is malformed"))?;
        check_content(&kind, &content)?;
        if is_invite(&kind, &content) {
            let message = "Who is to be invited stands in `invite`";
            return Err(ApiError::invalid_param(message));
        }
        Ok(InitialState {
            kind,
            state_key,
            content,
        })
    };
    request.initial_state.iter().map(parse).collect()
}
