//! The HTTP side: who may post, how much, and when a post counts as taken.
//!
//! Invariant: a 2xx answer means that the message is on disk in the send queue. Anything else leaves the notification with its
//! sender, which tries again. The token is compared in constant time, and a body is read only after the token was right.
//!
//! Requests: `POST /alertmanager`, `POST /grafana`, `POST /message`, each with `Authorization: Bearer …`; `GET /health` tells
//! whether posts are taken at present.

use std::{future::Future, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::payload::{self, Notification, PayloadError};

/// How long a sender may take to deliver its body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// What a refused sender is told to wait, in seconds.
const RETRY_AFTER_SECONDS: &str = "10";

/// Where notifications go.
pub trait Sink: Send + Sync + 'static {
    /// Takes a notification; returns once it is durable.
    fn accept(
        &self,
        notification: Notification,
    ) -> impl Future<Output = Result<(), NotTaken>> + Send;

    /// Whether notifications are taken at present.
    fn is_ready(&self) -> impl Future<Output = bool> + Send;
}

/// Why a notification is not taken now. The sender should try again in every case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// The room is not there yet, or not encrypted: nothing is ever sent in the clear.
    #[error("the room is not ready or not encrypted")]
    RoomNotReady,
    /// The queue is full.
    #[error("the queue is full")]
    Full,
    /// The store could not be written.
    #[error("the store could not be written")]
    Store,
    /// The bot is being stopped.
    #[error("the bot is stopping")]
    Stopping,
}

/// What posts are held against.
#[derive(Debug)]
pub struct Gate {
    /// SHA-256 of the token, so that lengths do not show in the comparison.
    token_digest: [u8; 32],
    /// The largest body, in bytes.
    body_bytes_max: usize,
}

impl Gate {
    /// A gate that opens for `token`.
    #[must_use]
    pub fn new(token: &str, body_bytes_max: usize) -> Self {
        Self {
            token_digest: Sha256::digest(token.as_bytes()).into(),
            body_bytes_max,
        }
    }

    fn admits(&self, headers: &HeaderMap) -> bool {
        let given = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map_or("", |(_, token)| token.trim());
        let digest: [u8; 32] = Sha256::digest(given.as_bytes()).into();
        digest.ct_eq(&self.token_digest).into()
    }
}

/// What handlers share.
struct Shared<S> {
    gate: Gate,
    sink: S,
}

/// How a body of one endpoint is read.
type Reader = fn(&[u8]) -> Result<Notification, PayloadError>;

/// The URL table.
pub fn router<S: Sink>(gate: Gate, sink: S) -> Router {
    let shared = Arc::new(Shared { gate, sink });
    let taking = |reader: Reader| {
        post(
            move |State(shared): State<Arc<Shared<S>>>, request: Request| async move {
                take(&shared, request, reader).await
            },
        )
    };
    Router::new()
        .route("/alertmanager", taking(payload::from_alertmanager))
        .route("/grafana", taking(payload::from_grafana))
        .route("/message", taking(payload::from_plain))
        .route("/health", get(health::<S>))
        .with_state(shared)
}

async fn health<S: Sink>(State(shared): State<Arc<Shared<S>>>) -> Response {
    if shared.sink.is_ready().await {
        StatusCode::OK.into_response()
    } else {
        unavailable()
    }
}

async fn take<S: Sink>(shared: &Shared<S>, request: Request, reader: Reader) -> Response {
    let (parts, body) = request.into_parts();
    if !shared.gate.admits(&parts.headers) {
        return (
            StatusCode::UNAUTHORIZED,
            [(header::WWW_AUTHENTICATE, "Bearer")],
        )
            .into_response();
    }
    let body = match read(body, shared.gate.body_bytes_max).await {
        Ok(body) => body,
        Err(status) => return status.into_response(),
    };
    let notification = match reader(&body) {
        Ok(notification) => notification,
        Err(error) => return (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    };
    match shared.sink.accept(notification).await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(reason) => {
            tracing::warn!(%reason, "a notification was not taken; its sender should try again");
            unavailable()
        }
    }
}

async fn read(body: Body, bytes_max: usize) -> Result<axum::body::Bytes, StatusCode> {
    match tokio::time::timeout(BODY_TIMEOUT, axum::body::to_bytes(body, bytes_max)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => Err(StatusCode::PAYLOAD_TOO_LARGE),
        Err(_) => Err(StatusCode::REQUEST_TIMEOUT),
    }
}

fn unavailable() -> Response {
    (
        StatusCode::SERVICE_UNAVAILABLE,
        [(header::RETRY_AFTER, RETRY_AFTER_SECONDS)],
    )
        .into_response()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tower::ServiceExt;

    use super::*;
    use crate::alert::payload::tests::ALERTMANAGER;

    /// Keeps what it was given, or refuses everything.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<Notification>>>, Option<NotTaken>);

    impl Sink for Kept {
        async fn accept(&self, notification: Notification) -> Result<(), NotTaken> {
            if let Some(reason) = self.1 {
                return Err(reason);
            }
            self.0.lock().unwrap().push(notification);
            Ok(())
        }

        async fn is_ready(&self) -> bool {
            self.1.is_none()
        }
    }

    async fn post_as(sink: &Kept, path: &str, auth: Option<&str>, body: &str) -> StatusCode {
        let mut request = Request::post(path);
        if let Some(auth) = auth {
            request = request.header("authorization", auth);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        router(Gate::new("s3cret", 4096), sink.clone())
            .oneshot(request)
            .await
            .unwrap()
            .status()
    }

    #[tokio::test]
    async fn a_right_token_and_body_are_taken() {
        let sink = Kept::default();
        let auth = Some("Bearer s3cret");
        assert_eq!(
            post_as(&sink, "/alertmanager", auth, ALERTMANAGER).await,
            200
        );
        assert_eq!(post_as(&sink, "/grafana", auth, ALERTMANAGER).await, 200);
        assert_eq!(
            post_as(&sink, "/message", Some("bearer s3cret"), r#"{"title":"t"}"#).await,
            200
        );
        assert_eq!(sink.0.lock().unwrap().len(), 3);
    }

    #[tokio::test]
    async fn a_wrong_or_missing_token_is_refused_before_the_body_is_read() {
        let sink = Kept::default();
        for auth in [
            None,
            Some("Bearer"),
            Some("Bearer wrong"),
            Some("Basic s3cret"),
            Some("s3cret"),
        ] {
            assert_eq!(
                post_as(&sink, "/message", auth, &"x".repeat(5000)).await,
                401,
                "{auth:?}"
            );
        }
        assert!(sink.0.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn bad_and_large_bodies_are_refused() {
        let sink = Kept::default();
        let auth = Some("Bearer s3cret");
        assert_eq!(post_as(&sink, "/message", auth, "{").await, 400);
        assert_eq!(
            post_as(&sink, "/message", auth, &"x".repeat(5000)).await,
            413
        );
        assert_eq!(post_as(&sink, "/elsewhere", auth, "{}").await, 404);
        assert!(sink.0.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn what_cannot_be_made_durable_is_left_with_the_sender() {
        for reason in [
            NotTaken::RoomNotReady,
            NotTaken::Full,
            NotTaken::Store,
            NotTaken::Stopping,
        ] {
            let sink = Kept(Arc::default(), Some(reason));
            let status =
                post_as(&sink, "/message", Some("Bearer s3cret"), r#"{"title":"t"}"#).await;
            assert_eq!(status, 503);
        }
    }
}
