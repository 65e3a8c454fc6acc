//! `PUT /_matrix/client/v3/directory/list/room/{roomId}`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3directorylistroomroomid>

use axum::extract::{Request, State};
use bytes::Bytes;
use ruma::api::client::{directory::set_room_visibility::v3, room::Visibility};
use serde_json::{Map, Value};

use crate::{
    app::App,
    http::{
        decode::{ApiResult, BODY_BYTES_MAX, RumaResponse, decode, path_arguments, read_json},
        error::ApiError,
        requester::Requester,
    },
};

/// Publishes a room or takes it out of the directory: who may set its canonical alias may do it, and administrators.
pub(crate) async fn set_room_visibility_route(
    State(app): State<App>,
    requester: Requester,
    request: Request,
) -> ApiResult<v3::Response> {
    let (mut parts, body) = request.into_parts();
    let arguments = path_arguments(&mut parts, &()).await?;
    let body = with_default(read_json(body, BODY_BYTES_MAX).await?);
    let request: v3::Request = decode(parts, body, &arguments)?;
    must_be_known(&request.visibility)?;
    let snapshot = app.rooms.snapshot(&request.room_id).await?;
    let snapshot = snapshot.ok_or_else(|| ApiError::not_found("There is no such room here"))?;
    let user = &requester.user_id;
    if !app.rooms.may_list(&snapshot, user).await? && !app.config.admin.is_admin(user) {
        return Err(ApiError::forbidden(
            "You may not decide whether this room is published",
        ));
    }
    let is_public = request.visibility == Visibility::Public;
    app.rooms.publish(request.room_id, is_public).await?;
    Ok(RumaResponse(v3::Response::new()))
}

/// Refuses a visibility that is none: what was mistyped must not hide a room, nor show one.
///
/// # Errors
/// `M_BAD_JSON`.
pub(crate) fn must_be_known(visibility: &Visibility) -> Result<(), ApiError> {
    match visibility {
        Visibility::Public | Visibility::Private => Ok(()),
        _ => Err(ApiError::bad_json(
            "`visibility` is neither `public` nor `private`",
        )),
    }
}

/// The body with what it means by leaving it out: "Defaults to `public`".
fn with_default(body: Bytes) -> Bytes {
    match serde_json::from_slice::<Map<String, Value>>(&body) {
        Ok(mut object) if !object.contains_key("visibility") => {
            object.insert("visibility".to_owned(), "public".into());
            Value::Object(object).to_string().into()
        }
        _ => body,
    }
}
