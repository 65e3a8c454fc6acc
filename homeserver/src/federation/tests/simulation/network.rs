//! The weather between the servers.
//!
//! Invariant: what happens to a request follows from the seed, the two servers and how many requests went before between
//! them, so that the fate of one pair's requests does not depend on how others' interleave. What was asked and what came of
//! it is kept in order, so that two runs of a seed can be compared.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, body::Body};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use ruma::{OwnedServerName, ServerName};
use tower::ServiceExt;

use crate::{
    clock::{Clock, MockClock, Rng, SeededRng},
    outbound::{Bounds, Pending, RemoteError, Transport},
};

/// The longest that a request is held up.
const DELAY_MS_MAX: u64 = 20_000;

/// Two servers, in order.
type Link = (OwnedServerName, OwnedServerName);

/// What happens to a request.
enum Fate {
    Arrives,
    ArrivesTwice,
    IsLate(Duration),
    IsLost,
    AnswerIsLost,
}

#[derive(Default)]
struct State {
    routers: BTreeMap<OwnedServerName, Router>,
    cut: BTreeSet<Link>,
    sent: BTreeMap<Link, u64>,
    is_stormy: bool,
    trace: Vec<String>,
}

/// The network of one world.
#[derive(Clone)]
pub(super) struct Network {
    seed: u64,
    clock: MockClock,
    state: Arc<Mutex<State>>,
}

impl Network {
    pub(super) fn new(seed: u64, clock: MockClock) -> Self {
        Self {
            seed,
            clock,
            state: Arc::default(),
        }
    }

    /// One server's end of it.
    pub(super) fn wire(&self, from: &ServerName) -> Wire {
        Wire {
            from: from.to_owned(),
            network: self.clone(),
        }
    }

    /// Puts a server on the network, or takes it off.
    pub(super) fn attach(&self, server: &ServerName, router: Option<Router>) {
        let mut state = self.state.lock().unwrap();
        match router {
            Some(router) => state.routers.insert(server.to_owned(), router),
            None => state.routers.remove(server),
        };
    }

    /// Lets requests be lost, late and repeated, or no longer.
    pub(super) fn storm(&self, is_stormy: bool) {
        self.state.lock().unwrap().is_stormy = is_stormy;
    }

    /// Cuts the link between two servers, or joins it again.
    pub(super) fn cut(&self, one: &ServerName, other: &ServerName, is_cut: bool) {
        let mut state = self.state.lock().unwrap();
        let link = link(one, other);
        if is_cut {
            state.cut.insert(link);
        } else {
            state.cut.remove(&link);
        }
    }

    /// Cuts every link.
    pub(super) fn cut_all(&self) {
        let names: Vec<_> = self.state.lock().unwrap().routers.keys().cloned().collect();
        for one in &names {
            for other in &names {
                self.cut(one, other, true);
            }
        }
    }

    /// What has gone over the wires so far, and when: one line for each request, and one for each answer.
    pub(super) fn trace(&self) -> Vec<String> {
        self.state.lock().unwrap().trace.clone()
    }

    /// How many lines the trace has.
    pub(super) fn requests(&self) -> usize {
        self.state.lock().unwrap().trace.len()
    }

    /// Adds a line to the trace.
    pub(super) fn note(&self, what: &str) {
        let line = format!("{} {what}", self.clock.now_ms());
        self.state.lock().unwrap().trace.push(line);
    }

    /// Joins every link and ends the storm.
    pub(super) fn clear(&self) {
        let mut state = self.state.lock().unwrap();
        state.cut.clear();
        state.is_stormy = false;
    }

    fn fate(&self, from: &ServerName, to: &ServerName) -> Result<(Router, Fate), RemoteError> {
        let mut state = self.state.lock().unwrap();
        if state.cut.contains(&link(from, to)) {
            return Err(RemoteError::Connect);
        }
        let count = state
            .sent
            .entry((from.to_owned(), to.to_owned()))
            .or_default();
        *count += 1;
        let mut mixed = self.seed ^ count.rotate_left(32);
        for byte in from.as_bytes().iter().chain(to.as_bytes()) {
            mixed = mixed.wrapping_mul(31).wrapping_add(u64::from(*byte));
        }
        let is_stormy = state.is_stormy;
        let router = state.routers.get(to).cloned();
        drop(state);
        let drawn = SeededRng::new(mixed).next_u64();
        let fate = match drawn % 100 {
            _ if !is_stormy => Fate::Arrives,
            0..60 => Fate::Arrives,
            60..68 => Fate::ArrivesTwice,
            68..84 => Fate::IsLate(Duration::from_millis(drawn / 100 % DELAY_MS_MAX)),
            84..92 => Fate::IsLost,
            _ => Fate::AnswerIsLost,
        };
        Ok((router.ok_or(RemoteError::Connect)?, fate))
    }
}

fn link(one: &ServerName, other: &ServerName) -> Link {
    let (one, other) = (one.to_owned(), other.to_owned());
    if one <= other {
        (one, other)
    } else {
        (other, one)
    }
}

/// One server's end of the network.
#[derive(Clone)]
pub(super) struct Wire {
    from: OwnedServerName,
    network: Network,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wire")
    }
}

impl Transport for Wire {
    fn request<'a>(
        &'a self,
        destination: &'a ServerName,
        request: Request<Bytes>,
        _: Bounds,
    ) -> Pending<'a, Result<Response<Bytes>, RemoteError>> {
        Box::pin(async move {
            let told = self.describe(destination, &request);
            let sent = self.network.fate(&self.from, destination);
            let what = sent
                .as_ref()
                .map_or("finds nobody", |(_, fate)| fate.words());
            self.network.note(&format!("{told}: {what}"));
            let (router, fate) = sent?;
            match fate {
                Fate::Arrives => {}
                Fate::ArrivesTwice => {
                    deliver(router.clone(), request.clone()).await?;
                }
                Fate::IsLate(delay) => self.network.clock.sleep(delay).await,
                Fate::IsLost => return Err(RemoteError::Timeout),
                Fate::AnswerIsLost => {
                    deliver(router, request).await?;
                    return Err(RemoteError::Broken);
                }
            }
            let answer = deliver(router, request).await?;
            let (status, length) = (answer.status(), answer.body().len());
            self.network
                .note(&format!("{told}: {status}, {length} bytes"));
            Ok(answer)
        })
    }
}

impl Wire {
    /// A request in a line: from whom to whom, for what, and its body as a number.
    fn describe(&self, to: &ServerName, request: &Request<Bytes>) -> String {
        let mut body = 0_u64;
        for byte in request.body() {
            body = body.wrapping_mul(31).wrapping_add(u64::from(*byte));
        }
        let (method, path) = (request.method(), request.uri().path());
        format!("{} to {to}: {method} {path} {body:x}", self.from)
    }
}

impl Fate {
    fn words(&self) -> &'static str {
        match self {
            Self::Arrives => "arrives",
            Self::ArrivesTwice => "arrives twice",
            Self::IsLate(_) => "is late",
            Self::IsLost => "is lost",
            Self::AnswerIsLost => "its answer is lost",
        }
    }
}

async fn deliver(router: Router, request: Request<Bytes>) -> Result<Response<Bytes>, RemoteError> {
    let response = router.oneshot(request.map(Body::from)).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.map_err(|_| RemoteError::Broken)?;
    Ok(Response::from_parts(parts, bytes.to_bytes()))
}
