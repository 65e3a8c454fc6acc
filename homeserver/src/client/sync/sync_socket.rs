//! `GET /_matrix/client/unstable/org.passeur.ws/sync`: sync and sending over one WebSocket.
//!
//! The query is that of `/sync`. The server sends sync responses as they happen; the client
//! acknowledges each with its `next_batch`, which counts as presenting that token, and may send
//! events and refreshed access tokens meanwhile.
//!
//! Invariant: what travels here travels by TLS; the token is in a header, never in the URL; at
//! most `UNACKNOWLEDGED_MAX` frames are under way, and the socket ends with its session or its
//! token.

use std::sync::Arc;

use axum::{
    extract::{
        FromRequestParts, Request, State,
        ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    },
    response::Response,
};
use http::{HeaderMap, header};
use ruma::api::client::sync::sync_events::v3;

use super::{socket::Socket, sync_events::sync_request};
use crate::{
    app::App,
    http::{
        decode::decode,
        error::ApiError,
        peer::Peer,
        rate_limit::Admission,
        requester::{TokenError, admit},
    },
};

/// The subprotocol that browsers ask for, and are answered with.
const PROTOCOL: &str = "org.passeur.ws";
/// How a subprotocol begins that carries the token: browsers can set no header.
const TOKEN_PROTOCOL: &str = "org.passeur.ws.token.";
/// The longest frame that a client may send, in bytes: an event and what surrounds it.
const FRAME_BYTES_MAX: usize = 96 * 1024;
/// How much is buffered for a client that reads slowly, in bytes; beyond it the socket is closed.
const WRITE_BUFFER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Where the socket is.
pub(crate) const PATH: &str = "/_matrix/client/unstable/org.passeur.ws/sync";

/// Opens the socket.
pub(crate) async fn sync_socket_route(
    State(app): State<App>,
    request: Request,
) -> Result<Response, ApiError> {
    let (mut parts, _) = request.into_parts();
    let peer = parts.extensions.get::<Peer>();
    if !peer.is_some_and(|peer| peer.secure) {
        return Err(ApiError::forbidden("A WebSocket needs TLS"));
    }
    let token = token_of(&parts.headers).ok_or(TokenError::Missing)?;
    let requester = admit(&parts, &token, &app.authenticator).await?;
    let admission = parts.extensions.get::<Admission>().cloned();
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &app).await;
    let upgrade = upgrade.map_err(|rejection| not_a_socket(&rejection))?;
    let query: v3::Request = decode(parts, bytes::Bytes::new(), &[])?;
    let request = sync_request(&app, requester.clone(), query).await?;
    let upgrade = upgrade
        .protocols([PROTOCOL])
        .max_message_size(FRAME_BYTES_MAX)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX);
    Ok(upgrade.on_upgrade(move |stream| async move {
        let held = app.drain.hold();
        Socket::new(app, requester, request, admission)
            .serve(stream)
            .await;
        drop(held);
    }))
}

fn not_a_socket(_: &WebSocketUpgradeRejection) -> ApiError {
    ApiError::invalid_param("This endpoint speaks WebSocket only")
}

/// The access token: from the header, or else from a subprotocol.
fn token_of(headers: &HeaderMap) -> Option<Arc<str>> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        return scheme
            .eq_ignore_ascii_case("bearer")
            .then(|| token.trim().into());
    }
    let offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).into_iter();
    let offered = offered.filter_map(|value| value.to_str().ok());
    let mut offered = offered.flat_map(|value| value.split(',')).map(str::trim);
    offered
        .find_map(|protocol| protocol.strip_prefix(TOKEN_PROTOCOL))
        .map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_found_in_either_header() {
        let headers = |name, value: &'static str| {
            HeaderMap::from_iter([(name, http::HeaderValue::from_static(value))])
        };
        let bearer = headers(header::AUTHORIZATION, "bearer a.b-c");
        assert_eq!(token_of(&bearer).as_deref(), Some("a.b-c"));
        let name = header::SEC_WEBSOCKET_PROTOCOL;
        let protocol = headers(name.clone(), "org.passeur.ws, org.passeur.ws.token.a.b-c");
        assert_eq!(token_of(&protocol).as_deref(), Some("a.b-c"));
        assert_eq!(token_of(&headers(name, "org.passeur.ws")), None);
    }
}
