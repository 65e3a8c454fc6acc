//! What the server remembers of every request, the account data, and whatever else a test has it answer.

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{Path, Request, State},
    http::{StatusCode, Uri},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::{Handle, Json};

pub(super) async fn note(State(handle): State<Handle>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    let line = format!("{} {}", parts.uri, String::from_utf8_lossy(&body));
    handle.shared.lock().unwrap().traffic.push(line);
    next.run(Request::from_parts(parts, Body::from(body))).await
}

pub(super) async fn account_data(
    State(handle): State<Handle>,
    Path((_, kind)): Path<(String, String)>,
    body: Bytes,
) -> (StatusCode, Json) {
    let known = &mut handle.shared.lock().unwrap();
    let content = serde_json::from_slice(&body).map(|content| (kind.clone(), content));
    known.account_data.extend(content);
    match known.account_data.get(&kind) {
        Some(content) => (StatusCode::OK, Json(content.clone())),
        None => (
            StatusCode::NOT_FOUND,
            Json(json!({"errcode": "M_NOT_FOUND"})),
        ),
    }
}

/// What a test laid out for this path, and else what a server says that does not know it.
pub(super) async fn laid_out(State(handle): State<Handle>, uri: Uri) -> Response {
    let (status, body) = match handle.shared.lock().unwrap().answers.get(uri.path()) {
        Some(answer) => answer.clone(),
        None => (404, json!({"errcode": "M_UNRECOGNIZED", "error": ""})),
    };
    (StatusCode::from_u16(status).unwrap(), Json(body)).into_response()
}
