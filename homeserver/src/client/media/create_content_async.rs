//! `PUT /_matrix/media/v3/upload/{serverName}/{mediaId}`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixmediav3uploadservernamemediaid>

use axum::{
    extract::{Request, State},
    response::Response,
};
use ruma::ServerName;

use super::create_content::{check_length, description};
use crate::{
    app::App,
    http::{
        decode::{path_arguments, raw_json},
        error::ApiError,
        requester::Requester,
    },
};

/// Keeps an upload under an id that was reserved for it.
pub(crate) async fn create_content_async_route(
    State(app): State<App>,
    requester: Requester,
    request: Request,
) -> Result<Response, ApiError> {
    let (mut parts, body) = request.into_parts();
    let mut arguments = path_arguments(&mut parts, &()).await?.into_iter();
    let (server, id) = (arguments.next(), arguments.next());
    let (server, id) = (server.unwrap_or_default(), id.unwrap_or_default());
    let server = ServerName::parse(server)
        .map_err(|_| ApiError::invalid_param("The server name is not valid"))?;
    if !app.media.is_local(&server) {
        return Err(ApiError::not_found(
            "Media of other servers are not kept here",
        ));
    }
    check_length(&app, &parts.headers)?;
    let upload = description(Some(id), &parts.uri, &parts.headers)?;
    let pieces = body.into_data_stream();
    app.media.keep(&requester.user_id, upload, pieces).await?;
    Ok(raw_json("{}"))
}
