//! Sockets: TCP, TLS and HTTP/1.1, with limits on everything that a stranger can make us hold.
//!
//! Invariant: all sockets are bound before any serves; a connection holds a slot until its socket closes, also as a WebSocket; when
//! the end begins nothing new is accepted, and requests have [`DRAIN_LIMIT`] to finish.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use axum::Router;
use ipnet::IpNet;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use self::{
    connection::Connection,
    slots::{Slot, Slots},
    timer::ClockTimer,
    tls::ReloadingCertificate,
};
use crate::{
    clock::{Clock, within},
    config::{ListenerConfig, Resource},
    drain::Drain,
};

mod body;
mod connection;
mod io_guard;
mod slots;
#[cfg(test)]
mod tests;
mod timer;
mod tls;

/// How long requests may take to finish once the end has begun; the database is closed after it, within ten seconds in all.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(8);

/// Longest TLS handshake.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// Pause after the system could not accept, which lasts until something is closed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why a listener cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ListenerError {
    /// The address cannot be bound.
    #[error("port {port} cannot be bound: {source}")]
    Bind {
        /// The port asked for.
        port: u16,
        /// What the operating system says.
        source: io::Error,
    },
    /// A certificate or its key cannot be used.
    #[error("{}: {reason}", .file.display())]
    Certificate {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// TLS itself cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// Bound sockets that serve nothing yet.
#[derive(Debug)]
pub struct Listeners {
    /// One an entry of the configuration, in its order.
    bound: Vec<Bound>,
}

/// One socket.
#[derive(Debug)]
struct Bound {
    /// The socket itself.
    socket: TcpListener,
    /// Where it is bound, with the port that it was given.
    address: SocketAddr,
    /// What it serves.
    resources: BTreeSet<Resource>,
    /// Its certificate and how it shakes hands, unless it is plain.
    tls: Option<(Arc<ReloadingCertificate>, Arc<ServerConfig>)>,
    /// The proxies that are believed; if there are any, nobody else is served.
    proxies: Arc<[IpNet]>,
    /// How many connections it may hold.
    slots: Arc<Slots>,
}

/// The certificates of all listeners, to be read again.
#[derive(Debug, Clone)]
pub struct Certificates(Vec<Arc<ReloadingCertificate>>);

impl Certificates {
    /// Reads all again. One that cannot be used leaves the one in use as it is, and the others are read none the less.
    ///
    /// # Errors
    /// What is wrong with each that cannot be used.
    pub fn reload(&self) -> Result<(), Vec<ListenerError>> {
        let errors: Vec<ListenerError> = self
            .0
            .iter()
            .filter_map(|certificate| certificate.reload().err())
            .collect();
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors)
        }
    }
}

impl Listeners {
    /// Reads the certificates without binding anything.
    ///
    /// # Errors
    /// [`ListenerError`] for the first that cannot be used.
    pub fn check(configs: &[ListenerConfig]) -> Result<(), ListenerError> {
        configs
            .iter()
            .filter_map(|config| config.tls.as_ref())
            .try_for_each(|tls| tls::open(tls).map(drop))
    }

    /// Reads the certificates and binds all sockets.
    ///
    /// # Errors
    /// [`ListenerError`] for the first that cannot be had.
    pub async fn bind(configs: &[ListenerConfig]) -> Result<Self, ListenerError> {
        let mut bound = Vec::with_capacity(configs.len());
        for config in configs {
            let tls = config.tls.as_ref().map(tls::open).transpose()?;
            let failed = |source| ListenerError::Bind {
                port: config.port,
                source,
            };
            let socket = TcpListener::bind(config.socket_address())
                .await
                .map_err(failed)?;
            bound.push(Bound {
                address: socket.local_addr().map_err(failed)?,
                socket,
                resources: config.resources.clone(),
                tls,
                proxies: config.behind_proxy.clone().into(),
                slots: Arc::new(Slots::new(config)),
            });
        }
        Ok(Self { bound })
    }

    /// Where they are bound, in the order of the configuration.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.bound.iter().map(|bound| bound.address).collect()
    }

    /// The certificates, to be read again while serving.
    #[must_use]
    pub fn certificates(&self) -> Certificates {
        Certificates(
            self.bound
                .iter()
                .filter_map(|bound| Some(Arc::clone(&bound.tls.as_ref()?.0)))
                .collect(),
        )
    }

    /// Serves on each socket what `router` gives for its resources, until the end begins and all requests are finished or
    /// [`DRAIN_LIMIT`] is over.
    pub async fn serve(
        self,
        router: impl Fn(&BTreeSet<Resource>) -> Router,
        clock: Arc<dyn Clock>,
        drain: &Drain,
    ) {
        let cut = CancellationToken::new();
        for bound in self.bound {
            let connection = Connection {
                router: router(&bound.resources),
                proxies: Arc::clone(&bound.proxies),
                clock: Arc::clone(&clock),
                timer: ClockTimer::new(Arc::clone(&clock)),
                drain: drain.clone(),
                cut: cut.clone(),
            };
            drain.spawn(bound.accept(connection));
        }
        drain.begun().await;
        if within(&*clock, DRAIN_LIMIT, drain.finished())
            .await
            .is_err()
        {
            tracing::warn!("some requests did not finish in time and are cut off");
        }
        cut.cancel();
    }
}

impl Bound {
    /// Accepts until the end begins.
    async fn accept(self, connection: Connection) {
        let acceptor = self.tls.map(|(_, config)| TlsAcceptor::from(config));
        loop {
            let slot = tokio::select! {
                () = connection.drain.begun() => return,
                slot = self.slots.free() => slot,
            };
            let accepted = tokio::select! {
                () = connection.drain.begun() => return,
                accepted = self.socket.accept() => accepted,
            };
            let (stream, from) = match accepted {
                Ok((stream, from)) => (stream, from.ip().to_canonical()),
                Err(error) => {
                    tracing::warn!(kind = ?error.kind(), "a connection could not be accepted");
                    connection.clock.sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let is_proxy = self.proxies.iter().any(|range| range.contains(&from));
            if !self.proxies.is_empty() && !is_proxy {
                continue;
            }
            // Too many from one address: closed without a word, so that refusing costs less than asking.
            let Some(slot) = self
                .slots
                .take(slot, from, is_proxy, connection.drain.hold())
            else {
                continue;
            };
            // Answers are written whole; waiting to fill a packet would only delay them. A socket that refuses is dead anyway.
            let _ = stream.set_nodelay(true);
            // Without TLS the task holds nothing that a handshake would take.
            match acceptor.clone() {
                None => tokio::spawn(connection.clone().serve(stream, from, false, slot)),
                Some(acceptor) => {
                    let connection = connection.clone();
                    tokio::spawn(serve_tls(connection, acceptor, stream, from, slot))
                }
            };
        }
    }
}

/// Shakes hands, and serves the connection.
async fn serve_tls(
    connection: Connection,
    acceptor: TlsAcceptor,
    stream: TcpStream,
    from: IpAddr,
    slot: Slot,
) {
    // Boxed, so that nothing of it is held once it is over.
    let accept = Box::pin(acceptor.accept(stream));
    let handshake = within(&*connection.clock, HANDSHAKE_LIMIT, accept);
    let accepted = tokio::select! {
        () = connection.drain.begun() => return,
        accepted = handshake => accepted,
    };
    let Ok(Ok(stream)) = accepted else { return };
    let served = connection.serve(stream, from, true, slot);
    served.await;
}
