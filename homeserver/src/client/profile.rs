//! Profiles.
//!
//! Invariant: a change reaches the rooms that the user is in as well; profiles of others are asked
//! of their servers.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#profiles>

use std::collections::BTreeMap;

use http::StatusCode;
use ruma::{
    MxcUri, UserId,
    api::{error::ErrorKind, federation::query::get_profile_information},
    profile::ProfileFieldName,
};
use serde_json::Value;

use crate::{
    app::App,
    http::{error::ApiError, requester::Requester},
    outbound::Bounds,
    store::SetProfileField,
};

pub(crate) mod delete_profile_field;
pub(crate) mod get_profile;
pub(crate) mod get_profile_field;
pub(crate) mod set_profile_field;

/// The longest display name, in bytes.
const DISPLAY_NAME_BYTES_MAX: usize = 256;
/// The longest URI of an avatar, in bytes.
const AVATAR_URL_BYTES_MAX: usize = 1024;
/// How often rooms are told again because the profile changed meanwhile.
const TELLINGS_MAX: usize = 4;
/// The longest name of a field, in bytes.
const FIELD_BYTES_MAX: usize = passeur_protocol::limits::ID_BYTES_MAX;

/// Whether profiles are shown to whoever asks.
///
/// # Errors
/// `M_FORBIDDEN` for strangers, if they are not.
fn may_look(app: &App, requester: Option<&Requester>) -> Result<(), ApiError> {
    if requester.is_some() || app.config.profiles.public {
        Ok(())
    } else {
        Err(ApiError::forbidden(
            "Profiles are shown to those who are logged in",
        ))
    }
}

/// The profile of a user, local or remote; one field of it if `field` is given.
async fn profile_of(
    app: &App,
    user: &UserId,
    field: Option<&ProfileFieldName>,
) -> Result<BTreeMap<String, Value>, ApiError> {
    if app.accounts.is_local(user) {
        if !app.accounts.is_known(user).await? {
            return Err(no_profile());
        }
        return Ok(app.store.profile(user).await?);
    }
    let mut request = get_profile_information::v1::Request::new(user.to_owned());
    request.field = field.cloned();
    let answer = app
        .remote
        .call(user.server_name(), request, Bounds::INTERACTIVE)
        .await;
    match answer {
        Ok(profile) => Ok(profile.data.into_iter().collect()),
        Err(error) if error.status() == Some(StatusCode::NOT_FOUND) => Err(no_profile()),
        Err(error) if error.status() == Some(StatusCode::FORBIDDEN) => Err(ApiError::forbidden(
            "The user's server does not show their profile",
        )),
        Err(_) => Err(ApiError::new(
            StatusCode::BAD_GATEWAY,
            ErrorKind::ConnectionFailed,
            "The user's server did not answer",
        )),
    }
}

fn no_profile() -> ApiError {
    ApiError::not_found("There is no such profile, or no such field in it")
}

/// Sets or removes a field of the requester's profile, and tells the rooms.
async fn set(
    app: &App,
    requester: &Requester,
    field: String,
    value: Option<Value>,
) -> Result<(), ApiError> {
    if field.len() > FIELD_BYTES_MAX || field.is_empty() {
        return Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            ErrorKind::KeyTooLarge,
            "The name of the field is too long",
        ));
    }
    if !is_field_name(&field) {
        return Err(ApiError::invalid_param("Invalid profile key"));
    }
    let appears_in_rooms = ["displayname", "avatar_url"].contains(&field.as_str());
    // Clients from before fields could be deleted send an empty one.
    let value = value.filter(|value| !appears_in_rooms || *value != "");
    check(&field, value.as_ref())?;
    let change = SetProfileField {
        user_id: requester.user_id.clone(),
        field,
        value,
    };
    if !app.store.commit(change).await?.output {
        return Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            ErrorKind::ProfileTooLarge,
            "The profile would be too long",
        ));
    }
    if appears_in_rooms {
        tell_rooms(app, &requester.user_id).await?;
    }
    Ok(())
}

/// Whether this may name a field: the Common Namespaced Identifier Grammar.
///
/// Spec: <https://spec.matrix.org/v1.19/appendices/#common-namespaced-identifier-grammar>
fn is_field_name(field: &str) -> bool {
    field.starts_with(|first: char| first.is_ascii_lowercase())
        && field.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte)
        })
}

fn check(field: &str, value: Option<&Value>) -> Result<(), ApiError> {
    let Some(value) = value else { return Ok(()) };
    let length = value.as_str().map(str::len);
    match field {
        "displayname" if length.is_none_or(|length| length > DISPLAY_NAME_BYTES_MAX) => {
            Err(ApiError::invalid_param("The display name is too long"))
        }
        "avatar_url" if length.is_none_or(|length| length > AVATAR_URL_BYTES_MAX) => {
            Err(ApiError::invalid_param("The URI of the avatar is too long"))
        }
        "avatar_url"
            if value
                .as_str()
                .is_none_or(|uri| !<&MxcUri>::from(uri).is_valid()) =>
        {
            Err(ApiError::invalid_param("The avatar is no mxc:// URI"))
        }
        _ => Ok(()),
    }
}

/// Puts the new name or avatar into the rooms that the user is in.
async fn tell_rooms(app: &App, user: &UserId) -> Result<(), ApiError> {
    let mut told = None;
    // Of two changes at once, the one that ends last may have begun with what the other replaced:
    // whoever ends looks once more.
    for _ in 0..TELLINGS_MAX {
        let profile = app.rooms.profile_of(user).await?;
        if told.as_ref() == Some(&profile) {
            break;
        }
        if let Err(error) = app.rooms.update_profile(user, &profile).await {
            tracing::error!(%error, "the rooms of a user could not be told of a new profile");
            return Err(ApiError::internal());
        }
        told = Some(profile);
    }
    Ok(())
}
