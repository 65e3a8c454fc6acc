//! An open WebSocket of a client, `GET /_matrix/client/unstable/org.passeur.ws/sync`: frames in, frames out.
//!
//! Invariant: frames are answered in any order, sync responses in theirs; a client that says
//! nothing, acknowledges nothing or sends what is no frame is let go of.

use std::{collections::VecDeque, time::Duration};

use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use ruma::{OwnedRoomId, OwnedTransactionId, api::error::ErrorKind};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    app::App,
    clock::within,
    http::{error::ApiError, rate_limit::Admission, requester::Requester},
    rooms::{Draft, Transaction},
    sync::SyncRequest,
};

/// Sync responses that may be under way without an acknowledgement.
pub(super) const UNACKNOWLEDGED_MAX: usize = 8;
/// Sends of one socket that may be under way; more frames wait unread.
const SENDS_MAX: usize = 32;
/// How often the client is pinged.
const PING_EVERY: Duration = Duration::from_secs(30);
/// How often in a row it may leave that unanswered.
const SILENT_PINGS_MAX: u32 = 2;
/// How long a frame may take to be written.
const WRITE_LIMIT: Duration = Duration::from_secs(30);
/// How long the other side may take to say goodbye once it was told the end.
const GOODBYE_LIMIT: Duration = Duration::from_secs(2);

/// A frame of the client.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Frame {
    /// The token of a response that the client has.
    Ack(String),
    /// An event to be sent.
    Send(SendFrame),
    /// A new access token.
    Refresh(RefreshFrame),
}

#[derive(Deserialize)]
struct SendFrame {
    room_id: OwnedRoomId,
    #[serde(rename = "type")]
    event_type: String,
    txn_id: OwnedTransactionId,
    content: Box<RawValue>,
}

#[derive(Deserialize)]
struct RefreshFrame {
    access_token: String,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Reply {
    Sent {
        txn_id: OwnedTransactionId,
        event_id: ruma::OwnedEventId,
    },
    Failed {
        txn_id: OwnedTransactionId,
        errcode: String,
        error: String,
    },
}

/// Why a socket is closed, as the other side learns it; none if it closed by itself.
type Closed = Option<(u16, &'static str)>;

/// One socket.
pub(super) struct Socket {
    app: App,
    requester: Requester,
    request: SyncRequest,
    /// What counts the events that are sent here; none without a listener.
    admission: Option<Admission>,
    /// The tokens of responses that are not acknowledged, oldest first.
    unacknowledged: VecDeque<String>,
    /// Pings since the client was last heard of.
    silent_pings: u32,
    sends: FuturesUnordered<BoxFuture<'static, Reply>>,
}

/// What happened next.
enum Next {
    Frame(Option<Result<Message, axum::Error>>),
    Reply(Reply),
    Answer(Result<crate::sync::Answer, crate::sync::SyncError>),
    Ping,
    Over(u16, &'static str),
}

impl Socket {
    /// A socket whose upgrade is done.
    pub(super) fn new(
        app: App,
        requester: Requester,
        request: SyncRequest,
        admission: Option<Admission>,
    ) -> Self {
        Self {
            app,
            requester,
            request,
            admission,
            unacknowledged: VecDeque::new(),
            silent_pings: 0,
            sends: FuturesUnordered::new(),
        }
    }

    /// Serves until either side ends it.
    pub(super) async fn serve(mut self, mut stream: WebSocket) {
        let closed = loop {
            let step = match self.next(&mut stream).await {
                Next::Frame(frame) => self.take(frame).await,
                Next::Reply(reply) => self.write(&mut stream, json_of(&reply)).await,
                Next::Answer(answer) => self.tell(&mut stream, answer).await,
                Next::Ping => self.ping(&mut stream).await,
                Next::Over(code, reason) => Err(Some((code, reason))),
            };
            if let Err(closed) = step {
                break closed;
            }
        };
        if let Some((code, reason)) = closed {
            let frame = CloseFrame {
                code,
                reason: reason.into(),
            };
            let closing = stream.send(Message::Close(Some(frame)));
            // Nobody is left to tell if this fails.
            let _ = within(&*self.app.clock, WRITE_LIMIT, closing).await;
            // A connection that ends with something unread is reset, and the reason is lost with it.
            let goodbye = async { while let Some(Ok(_)) = stream.recv().await {} };
            let _ = within(&*self.app.clock, GOODBYE_LIMIT, goodbye).await;
        }
    }

    /// Waits for whatever happens first.
    async fn next(&mut self, stream: &mut WebSocket) -> Next {
        let app = &self.app;
        let may_tell = self.unacknowledged.len() < UNACKNOWLEDGED_MAX;
        let may_read = self.sends.len() < SENDS_MAX;
        let expiry = async {
            match self.requester.expires_ms {
                None => std::future::pending().await,
                Some(at) => {
                    let left = u64::try_from(at - app.clock.now_ms()).unwrap_or(0);
                    app.clock.sleep(Duration::from_millis(left)).await;
                }
            }
        };
        tokio::select! {
            () = app.drain.begun() => Next::Over(close_code::AWAY, "the server stops"),
            () = app.accounts.sessions().ended(&self.requester.session_id) => {
                Next::Over(close_code::POLICY, "M_UNKNOWN_TOKEN")
            }
            () = expiry => Next::Over(close_code::POLICY, "the access token has expired"),
            Some(reply) = self.sends.next(), if !self.sends.is_empty() => Next::Reply(reply),
            frame = stream.recv(), if may_read => Next::Frame(frame),
            answer = app.sync.next(&self.request), if may_tell => Next::Answer(answer),
            () = app.clock.sleep(PING_EVERY) => Next::Ping,
        }
    }

    /// Takes a frame of the client.
    async fn take(&mut self, frame: Option<Result<Message, axum::Error>>) -> Result<(), Closed> {
        let Some(Ok(message)) = frame else {
            return Err(None);
        };
        self.silent_pings = 0;
        let text = match message {
            Message::Text(text) => text,
            Message::Ping(_) | Message::Pong(_) => return Ok(()),
            Message::Close(_) => return Err(None),
            Message::Binary(_) => return Err(Some((close_code::UNSUPPORTED, "frames are JSON"))),
        };
        let frame: Frame = serde_json::from_str(text.as_str())
            .map_err(|_| Some((close_code::POLICY, "M_BAD_JSON")))?;
        match frame {
            Frame::Ack(token) => self.acknowledge(&token).await,
            Frame::Send(send) => {
                let user = &self.requester.user_id;
                let admitted = self.admission.as_ref();
                let admitted = admitted.map_or(Ok(()), |limits| limits.charge_message(user));
                self.sends.push(match admitted {
                    Ok(()) => send_event(self.app.clone(), &self.requester, send),
                    Err(refusal) => async move { failed(send.txn_id, refusal) }.boxed(),
                });
                Ok(())
            }
            Frame::Refresh(refresh) => self.refresh(&refresh.access_token).await,
        }
    }

    /// The client has everything up to a token.
    async fn acknowledge(&mut self, token: &str) -> Result<(), Closed> {
        let Some(at) = self.unacknowledged.iter().position(|sent| sent == token) else {
            return Err(Some((close_code::POLICY, "M_INVALID_PARAM")));
        };
        self.unacknowledged.drain(..=at);
        let Ok(token) = token.parse() else {
            return Err(Some((close_code::POLICY, "M_INVALID_PARAM")));
        };
        let request = SyncRequest {
            since: Some(token),
            ..self.request.clone()
        };
        let acknowledged = self.app.sync.acknowledge(&request).await;
        acknowledged.map_err(|_| Some((close_code::ERROR, "M_UNKNOWN")))
    }

    /// The client goes on with a new access token of the same session.
    async fn refresh(&mut self, token: &str) -> Result<(), Closed> {
        let refused = Some((close_code::POLICY, "M_UNKNOWN_TOKEN"));
        let requester = self.app.authenticator.authenticate(token).await;
        let requester = requester.map_err(|_| refused)?;
        if requester.session_id != self.requester.session_id {
            return Err(refused);
        }
        self.requester = requester;
        Ok(())
    }

    /// Sends a sync response; the next one begins where it ends.
    async fn tell(
        &mut self,
        stream: &mut WebSocket,
        answer: Result<crate::sync::Answer, crate::sync::SyncError>,
    ) -> Result<(), Closed> {
        let answer = answer.map_err(|_| Some((close_code::ERROR, "M_UNKNOWN")))?;
        self.request.since = Some(answer.token);
        self.request.full_state = false;
        self.unacknowledged.push_back(answer.token.to_string());
        let text = String::from_utf8(answer.body);
        let text = text.map_err(|_| Some((close_code::ERROR, "M_UNKNOWN")))?;
        self.write(stream, text).await
    }

    async fn ping(&mut self, stream: &mut WebSocket) -> Result<(), Closed> {
        self.silent_pings += 1;
        if self.silent_pings > SILENT_PINGS_MAX {
            return Err(Some((close_code::AWAY, "no answer")));
        }
        self.write_message(stream, Message::Ping(bytes::Bytes::new()))
            .await
    }

    async fn write(&mut self, stream: &mut WebSocket, text: String) -> Result<(), Closed> {
        self.write_message(stream, Message::Text(text.into())).await
    }

    async fn write_message(
        &mut self,
        stream: &mut WebSocket,
        message: Message,
    ) -> Result<(), Closed> {
        let written = within(&*self.app.clock, WRITE_LIMIT, stream.send(message)).await;
        written.map_err(|_| None)?.map_err(|_| None)
    }
}

/// Sends an event as `PUT /send` does, under the same transaction.
fn send_event(app: App, requester: &Requester, send: SendFrame) -> BoxFuture<'static, Reply> {
    let SendFrame {
        room_id,
        event_type,
        txn_id,
        content,
    } = send;
    let what = format!("send {room_id} {event_type} {txn_id}");
    let draft = Draft {
        room_id,
        sender: requester.user_id.clone(),
        kind: event_type.into(),
        state_key: None,
        content,
        redacts: None,
        transaction: Some(Transaction::new(&requester.device_id, &what, &txn_id)),
        timestamp_ms: None,
    };
    async move {
        match app.rooms.send(draft).await {
            Ok(event_id) => Reply::Sent { txn_id, event_id },
            Err(error) => failed(txn_id, error.into()),
        }
    }
    .boxed()
}

fn failed(txn_id: OwnedTransactionId, error: ApiError) -> Reply {
    let (errcode, error) = match error {
        ApiError::Standard { kind, message, .. } => (kind.errcode().to_string(), message),
        ApiError::Uia(_) => (ErrorKind::Unknown.errcode().to_string(), String::new()),
    };
    Reply::Failed {
        txn_id,
        errcode,
        error,
    }
}

fn json_of(reply: &Reply) -> String {
    serde_json::to_string(reply).unwrap_or_default()
}
