//! `PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidstateeventtypestatekey>

use axum::extract::State;
use passeur_protocol::expiry::Policy;
use ruma::{
    OwnedRoomAliasId, OwnedUserId, RoomId, api::client::state::send_state_event::v3,
    events::StateEventType,
};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use crate::{
    app::App,
    http::{
        decode::{
            ApiResult, BODY_BYTES_MAX, Ruma, RumaResponse, decode, path_arguments, read_json,
        },
        error::ApiError,
        requester::{Active, Requester},
    },
    rooms::{Draft, JoinError, MembershipChange},
};

/// The room's expiry policy: a wrong one would promise what nobody keeps.
const EXPIRY: &str = "org.passeur.room.expiry";
/// Aliases that one event may add: each may be asked for at another server.
const ALIASES_MAX: usize = 20;

/// Sets a place of the room's state.
pub(crate) async fn send_state_event_route(
    State(app): State<App>,
    Active(requester): Active,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    set(app, requester, request).await
}

/// The same where the path has no state key: then it is empty.
pub(crate) async fn send_without_state_key_route(
    State(app): State<App>,
    Active(requester): Active,
    request: axum::extract::Request,
) -> ApiResult<v3::Response> {
    let (mut parts, body) = request.into_parts();
    let mut arguments = path_arguments(&mut parts, &()).await?;
    arguments.push(String::new());
    let body = read_json(body, BODY_BYTES_MAX).await?;
    set(app, requester, decode(parts, body, &arguments)?).await
}

async fn set(app: App, requester: Requester, request: v3::Request) -> ApiResult<v3::Response> {
    let content = request.body.into_json();
    let kind = request.event_type.to_string();
    check_content(&kind, &content)?;
    if request.event_type == StateEventType::RoomCanonicalAlias && request.state_key.is_empty() {
        check_aliases(&app, &request.room_id, &content).await?;
    }
    if request.event_type == StateEventType::RoomMember {
        let change = MembershipChange {
            room_id: request.room_id.clone(),
            sender: requester.user_id.clone(),
            user: parse(request.state_key.as_str())?,
            content: parse_content(&content)?,
        };
        // An invite of somebody elsewhere needs the signature of their server.
        let event_id = if change.content["membership"] == "invite" {
            app.rooms.invite(change).await?
        } else {
            app.rooms.set_membership_again(change).await?
        };
        return Ok(RumaResponse(v3::Response::new(event_id)));
    }
    let event_id = app
        .rooms
        .send(Draft {
            room_id: request.room_id,
            sender: requester.user_id,
            kind: kind.into(),
            state_key: Some(request.state_key),
            content,
            redacts: None,
            transaction: None,
            timestamp_ms: None,
        })
        .await?;
    Ok(RumaResponse(v3::Response::new(event_id)))
}

/// Refuses content that would promise what nobody keeps.
///
/// # Errors
/// `M_BAD_JSON` for a policy that is none, and for power levels that are no numbers.
pub(crate) fn check_content(kind: &str, content: &RawValue) -> Result<(), ApiError> {
    if kind == EXPIRY {
        Policy::validate(content).map_err(|error| ApiError::bad_json(error.to_string()))?;
    }
    if kind == "m.room.power_levels" {
        let levels = parse_content(content)?;
        if !levels
            .as_object()
            .is_some_and(|levels| are_numbers(levels.iter()))
        {
            return Err(ApiError::bad_json("A power level is an integer"));
        }
    }
    Ok(())
}

/// Whether the levels of a power level event are integers, as they must be from version 10 on: "A homeserver should take
/// reasonable precautions to prevent users from sending new power level events with string values".
pub(crate) fn are_numbers<'a>(levels: impl IntoIterator<Item = (&'a String, &'a Value)>) -> bool {
    const SINGLE: [&str; 7] = [
        "ban",
        "events_default",
        "invite",
        "kick",
        "redact",
        "state_default",
        "users_default",
    ];
    const MANY: [&str; 3] = ["events", "notifications", "users"];
    levels.into_iter().all(|(key, value)| match key.as_str() {
        key if SINGLE.contains(&key) => value.is_i64(),
        key if MANY.contains(&key) => {
            let levels = value.as_object();
            levels.is_some_and(|levels| levels.values().all(Value::is_i64))
        }
        _ => true,
    })
}

/// The aliases that a canonical alias event gives to a room.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Aliases {
    alias: Option<String>,
    alt_aliases: Vec<String>,
}

impl Aliases {
    fn all(&self) -> impl Iterator<Item = &String> {
        let first = self.alias.iter().filter(|alias| !alias.is_empty());
        first.chain(&self.alt_aliases)
    }
}

/// Aliases that are new to the event must lead to the room; those that it had may have gone.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#mroomcanonical_alias>
async fn check_aliases(app: &App, room: &RoomId, content: &RawValue) -> Result<(), ApiError> {
    let new: Aliases = serde_json::from_str(content.get())
        .map_err(|_| ApiError::bad_json("An alias is a string"))?;
    let old = match app.rooms.snapshot(room).await? {
        Some(snapshot) => {
            let kind = StateEventType::RoomCanonicalAlias;
            app.rooms.state_event(&snapshot, &kind, "").await?
        }
        None => None,
    };
    let old: Aliases = old
        .and_then(|event| serde_json::from_str(event.pdu.content.get()).ok())
        .unwrap_or_default();
    let added: Vec<&String> = new
        .all()
        .filter(|alias| !old.all().any(|had| had == *alias))
        .collect();
    if added.len() > ALIASES_MAX {
        return Err(ApiError::invalid_param("Too many aliases at once"));
    }
    for alias in added {
        let alias = OwnedRoomAliasId::try_from(alias.as_str())
            .map_err(|_| ApiError::invalid_param("An alias is malformed"))?;
        let found = match app.rooms.resolve_alias(&alias).await {
            // Where it leads cannot be seen.
            Err(JoinError::NoServer(_)) => None,
            found => found?,
        };
        if found.is_none_or(|(found, _)| found != room) {
            return Err(ApiError::bad_alias());
        }
    }
    Ok(())
}

/// The user that a member event is about.
fn parse(user: &str) -> Result<OwnedUserId, ApiError> {
    OwnedUserId::try_from(user)
        .map_err(|_| ApiError::bad_json("The state key of a membership is a user"))
}

fn parse_content(content: &RawValue) -> Result<Value, ApiError> {
    serde_json::from_str(content.get()).map_err(|_| ApiError::bad_json("An object is expected"))
}
