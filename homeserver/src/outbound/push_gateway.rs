//! Notifications to push gateways, which wake phones.
//!
//! Invariant: a gateway is reached over HTTPS, at an address that passed the deny list, and is told which event of which room it is
//! about and how much is unread: never a name, a sender or a content.
//!
//! Spec: <https://spec.matrix.org/v1.19/push-gateway-api/>

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, header};
use reqwest::Url;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Bounds, RemoteError, Transport};

/// What a gateway may answer.
const BOUNDS: Bounds = Bounds {
    bytes_max: 64 * 1024,
    timeout: Duration::from_secs(15),
};
/// Push keys in one answer.
const REJECTED_MAX: usize = 100;

/// What is told of an event.
#[derive(Clone, Debug)]
pub struct PushNotice {
    /// The event.
    pub event_id: String,
    /// Its room.
    pub room_id: String,
    /// Whether a person is to be alerted now.
    pub is_urgent: bool,
    /// How many messages are unread in all.
    pub unread: u64,
    /// The application of the pusher.
    pub app_id: String,
    /// The key of the pusher.
    pub pushkey: String,
    /// What the pusher was set with, beside the URL.
    pub data: Value,
    /// How the push rules want it to be shown.
    pub tweaks: Value,
}

/// The way to gateways.
#[derive(Clone, Debug)]
pub struct PushGateway {
    transport: Arc<dyn Transport>,
}

impl PushGateway {
    /// Gateways over this transport.
    pub fn new(transport: Arc<dyn Transport>) -> Self {
        Self { transport }
    }

    /// Tells a gateway of an event; answers the keys that it rejects: their pushers are to go.
    ///
    /// # Errors
    /// [`RemoteError`] if it was not told; it may be tried again.
    pub async fn notify(&self, url: &str, notice: &PushNotice) -> Result<Vec<String>, RemoteError> {
        let url = Url::parse(url).map_err(|_| RemoteError::Request)?;
        let host = url.host_str().ok_or(RemoteError::Request)?.to_owned();
        let port = url.port_or_known_default().ok_or(RemoteError::Request)?;
        if url.scheme() != "https" {
            return Err(RemoteError::Request);
        }
        let mut authority = host.clone();
        if let Some(port) = url.port() {
            authority = format!("{host}:{port}");
        }
        let request = Request::post(url.path())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::HOST, authority)
            .body(Bytes::from(body(notice).to_string()))
            .map_err(|_| RemoteError::Request)?;
        let answer = self.transport.web(&host, port, request, BOUNDS).await?;
        if !answer.status().is_success() {
            return Err(RemoteError::Broken);
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Answer {
            rejected: Vec<String>,
        }
        let mut answer: Answer = serde_json::from_slice(answer.body()).unwrap_or_default();
        answer.rejected.truncate(REJECTED_MAX);
        Ok(answer.rejected)
    }
}

fn body(notice: &PushNotice) -> Value {
    let mut counts = json!({});
    if notice.unread > 0 {
        counts["unread"] = notice.unread.into();
    }
    json!({"notification": {
        "event_id": notice.event_id,
        "room_id": notice.room_id,
        "prio": if notice.is_urgent { "high" } else { "low" },
        "counts": counts,
        "devices": [{
            "app_id": notice.app_id,
            "pushkey": notice.pushkey,
            "data": notice.data,
            "tweaks": notice.tweaks,
        }],
    }})
}
