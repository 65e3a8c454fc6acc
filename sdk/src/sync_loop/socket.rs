//! Syncing and sending over one WebSocket.
//!
//! Invariant: a frame is acknowledged only after it was committed, so that the server may forget what is acknowledged. A message
//! whose answer did not come before the socket broke is sent again under the same transaction ID.
//!
//! Frames are JSON. From the server: sync responses; `{"sent": {"txn_id", "event_id"}}`; `{"failed": {"txn_id", "errcode",
//! "error"}}`. From the client: `{"ack": next_batch}`; `{"send": {"room_id", "type", "txn_id", "content"}}`; `{"refresh":
//! {"access_token"}}`.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use ruma::{
    OwnedEventId, OwnedRoomId, OwnedTransactionId,
    api::{
        IncomingResponseExt, OutgoingRequestExt, auth_scheme::SendAccessToken,
        client::sync::sync_events::v3,
    },
};
use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_tungstenite::tungstenite::Message;

use super::sync_request;
use crate::{
    client::{Client, ClientError, within},
    http::{HttpError, Socket},
};

/// What a server that offers it advertises among its unstable features.
const FEATURE: &str = "org.passeur.ws";

/// Where it is.
const PATH: &str = "/_matrix/client/unstable/org.passeur.ws/sync";

/// How often the token and the connection are looked at.
const TICK: Duration = Duration::from_secs(5);

/// After so many ticks of silence the server is pinged; after as many more the connection is given up.
const SILENT_TICKS_MAX: u32 = 6;

/// How long a frame may take to be written.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// How many messages wait for the socket.
const SENDS_MAX: usize = 64;

/// A message to be sent.
#[derive(Debug)]
pub(crate) struct SocketSend {
    pub(crate) room_id: OwnedRoomId,
    pub(crate) event_type: String,
    pub(crate) transaction_id: OwnedTransactionId,
    pub(crate) content: Box<RawValue>,
    pub(crate) answer: oneshot::Sender<Result<OwnedEventId, HttpError>>,
}

/// Where senders find the socket, while there is one.
#[derive(Debug, Default)]
pub(crate) struct SocketSlot(Mutex<Option<mpsc::Sender<SocketSend>>>);

impl SocketSlot {
    fn lock(&self) -> MutexGuard<'_, Option<mpsc::Sender<SocketSend>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The way to the socket, if there is one.
    pub(crate) fn get(&self) -> Option<mpsc::Sender<SocketSend>> {
        self.lock().clone()
    }
}

/// Empties the slot when the socket ends, however it ends.
struct Occupied<'a>(&'a SocketSlot);

impl Drop for Occupied<'_> {
    fn drop(&mut self) {
        *self.0.lock() = None;
    }
}

#[derive(Serialize)]
struct SendFrame<'a> {
    send: SendBody<'a>,
}

#[derive(Serialize)]
struct SendBody<'a> {
    room_id: &'a OwnedRoomId,
    #[serde(rename = "type")]
    event_type: &'a str,
    txn_id: &'a OwnedTransactionId,
    content: &'a RawValue,
}

/// Enough of a frame to know what it is.
#[derive(Deserialize)]
struct Frame {
    sent: Option<Sent>,
    failed: Option<Failed>,
    next_batch: Option<String>,
}

#[derive(Deserialize)]
struct Sent {
    txn_id: OwnedTransactionId,
    event_id: OwnedEventId,
}

#[derive(Deserialize)]
struct Failed {
    txn_id: OwnedTransactionId,
    errcode: String,
    #[serde(default)]
    error: String,
    #[serde(default)]
    retry_after_ms: Option<u64>,
}

impl Failed {
    fn into_error(self) -> HttpError {
        let status = match self.errcode.as_str() {
            "M_LIMIT_EXCEEDED" => 429,
            "M_UNKNOWN" => 500,
            "M_FORBIDDEN" => 403,
            "M_TOO_LARGE" => 413,
            _ => 400,
        };
        HttpError::Matrix {
            status,
            errcode: self.errcode,
            message: self.error,
            soft_logout: false,
            retry_after: self.retry_after_ms.map(Duration::from_millis),
        }
    }
}

/// Whether the server, which advertises sockets, does not give us one: long polling is used from then on.
pub(super) fn is_refusal(error: &ClientError) -> bool {
    match error {
        ClientError::Http(error) => !error.is_transient(),
        _ => false,
    }
}

/// One connection.
struct Connection {
    client: Client,
    socket: Socket,
    /// The token that the server knows this socket by.
    token: String,
    /// Who waits for an answer.
    asked: BTreeMap<OwnedTransactionId, oneshot::Sender<Result<OwnedEventId, HttpError>>>,
    /// Ticks since the server was last heard of.
    silent_ticks: u32,
}

impl Client {
    pub(super) fn socket_offered(&self) -> bool {
        let supported = self.inner.http.supported();
        self.inner.config.use_socket
            && supported
                .features
                .iter()
                .any(|feature| feature.as_str() == FEATURE)
    }

    /// Syncs over a WebSocket until it breaks or the loop is stopped.
    pub(super) async fn sync_by_socket(
        &self,
        stopped: &mut watch::Receiver<bool>,
    ) -> Result<(), ClientError> {
        let token = self.token().await?;
        let path = socket_path(self.sync_token().await?)?;
        let (socket, token) = match self.inner.http.open_socket(&path, &token).await {
            Err(error) if error.unknown_token().is_some() => {
                let token = self.another_token(&token, error).await?;
                let again = self.inner.http.open_socket(&path, &token).await;
                (again.map_err(|error| self.ended_by(error))?, token)
            }
            opened => (opened?, token),
        };
        let (sender, mut sends) = mpsc::channel(SENDS_MAX);
        *self.inner.socket.lock() = Some(sender);
        let _occupied = Occupied(&self.inner.socket);
        let asked = BTreeMap::new();
        let mut connection = Connection {
            client: self.clone(),
            socket,
            token,
            asked,
            silent_ticks: 0,
        };
        let mut tick = self.inner.clock.sleep(TICK);
        loop {
            tokio::select! {
                _ = stopped.changed() => {
                    let _ = within(WRITE_TIMEOUT, connection.socket.close(None)).await;
                    return Ok(());
                }
                frame = connection.socket.next() => connection.take(frame).await?,
                Some(send) = sends.recv() => connection.send(send).await?,
                () = &mut tick => {
                    connection.tick().await?;
                    tick = self.inner.clock.sleep(TICK);
                }
            }
        }
    }
}

impl Connection {
    async fn take(
        &mut self,
        frame: Option<Result<Message, tokio_tungstenite::tungstenite::Error>>,
    ) -> Result<(), ClientError> {
        self.silent_ticks = 0;
        match frame {
            Some(Ok(Message::Text(text))) => self.take_text(text.as_str()).await,
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
            Some(Ok(Message::Binary(_) | Message::Frame(_))) => Err(HttpError::BadAnswer.into()),
            Some(Ok(Message::Close(_)) | Err(_)) | None => Err(HttpError::Unreachable.into()),
        }
    }

    async fn take_text(&mut self, text: &str) -> Result<(), ClientError> {
        let frame: Frame = serde_json::from_str(text).map_err(|_| HttpError::BadAnswer)?;
        if let Some(sent) = frame.sent
            && let Some(asked) = self.asked.remove(&sent.txn_id)
        {
            // Whoever asked may have stopped waiting.
            let _ = asked.send(Ok(sent.event_id));
        }
        if let Some(failed) = frame.failed
            && let Some(asked) = self.asked.remove(&failed.txn_id)
        {
            let _ = asked.send(Err(failed.into_error()));
        }
        let Some(next_batch) = frame.next_batch else {
            return Ok(());
        };
        let response = v3::Response::try_from_http_response(http::Response::new(text.as_bytes()))
            .map_err(|_| HttpError::BadAnswer)?;
        self.client.process(response).await?;
        self.write(json!({"ack": next_batch}).to_string()).await
    }

    async fn send(&mut self, send: SocketSend) -> Result<(), ClientError> {
        let frame = SendFrame {
            send: SendBody {
                room_id: &send.room_id,
                event_type: &send.event_type,
                txn_id: &send.transaction_id,
                content: &send.content,
            },
        };
        let frame = serde_json::to_string(&frame).map_err(|_| ClientError::Encode)?;
        self.asked.insert(send.transaction_id, send.answer);
        self.write(frame).await
    }

    /// Keeps the token fresh and notices a dead connection.
    async fn tick(&mut self) -> Result<(), ClientError> {
        let token = self.client.token().await?;
        if token != self.token {
            self.write(json!({"refresh": {"access_token": token}}).to_string())
                .await?;
            self.token = token;
        }
        self.silent_ticks += 1;
        if self.silent_ticks > 2 * SILENT_TICKS_MAX {
            return Err(HttpError::Unreachable.into());
        }
        if self.silent_ticks == SILENT_TICKS_MAX {
            return self.write_message(Message::Ping(Vec::new().into())).await;
        }
        Ok(())
    }

    async fn write(&mut self, text: String) -> Result<(), ClientError> {
        self.write_message(Message::Text(text.into())).await
    }

    async fn write_message(&mut self, message: Message) -> Result<(), ClientError> {
        match within(WRITE_TIMEOUT, self.socket.send(message)).await {
            Some(Ok(())) => Ok(()),
            Some(Err(_)) | None => Err(HttpError::Unreachable.into()),
        }
    }
}

/// Path and query of the socket: the query is that of a sync.
fn socket_path(since: Option<String>) -> Result<String, ClientError> {
    let supported =
        ruma::api::SupportedVersions::from_parts(&["v1.1".to_owned()], &BTreeMap::new());
    let request = sync_request(since)
        .try_into_http_request::<Vec<u8>>(
            "http://localhost",
            SendAccessToken::IfRequired(""),
            std::borrow::Cow::Owned(supported),
        )
        .map_err(|_| HttpError::Request)?;
    Ok(match request.uri().query() {
        Some(query) => format!("{PATH}?{query}"),
        None => PATH.to_owned(),
    })
}
