//! The socket that the webhook listens on: plain on loopback, TLS anywhere else.
//!
//! Invariant: a peer that stalls in its TLS handshake holds up nobody else, and no more than [`HANDSHAKES_MAX`] handshakes are
//! under way at once.

use std::{
    io,
    net::SocketAddr,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use passeur_sdk::clock::Clock;
use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// The most TLS handshakes under way at once.
const HANDSHAKES_MAX: usize = 64;

/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long to wait after the system refused to accept a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Why the listener cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address is taken or not allowed.
    #[error("cannot listen on the webhook's address: {0}")]
    Bind(io::Error),
    /// The certificate or key file cannot be read.
    #[error("cannot read the webhook's TLS certificate or key")]
    Pem,
    /// Certificate and key do not fit, or are not usable.
    #[error("the webhook's TLS certificate and key cannot be used")]
    Tls,
}

/// Accepts connections for axum.
#[derive(Debug)]
pub enum Listener {
    /// Plain TCP.
    Plain(TcpListener),
    /// TLS; handshakes are done by a task of their own.
    Tls(
        mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
        SocketAddr,
    ),
}

impl Listener {
    /// Starts to listen without TLS.
    ///
    /// # Errors
    ///
    /// [`ListenError::Bind`].
    pub async fn plain(address: SocketAddr) -> Result<Self, ListenError> {
        Ok(Self::Plain(
            TcpListener::bind(address)
                .await
                .map_err(ListenError::Bind)?,
        ))
    }

    /// Starts to listen with TLS, certificate chain and key given as PEM files; `clock` lets the pauses pass that it makes when the
    /// system refuses to accept.
    ///
    /// # Errors
    ///
    /// [`ListenError`] for whatever of address, certificate or key cannot be used.
    pub async fn tls(
        address: SocketAddr,
        certificate_file: &Path,
        key_file: &Path,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ListenError> {
        let acceptor = TlsAcceptor::from(Arc::new(server_config(certificate_file, key_file)?));
        let listener = TcpListener::bind(address)
            .await
            .map_err(ListenError::Bind)?;
        let local = listener.local_addr().map_err(ListenError::Bind)?;
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(shake_hands(listener, acceptor, sender, clock));
        Ok(Self::Tls(receiver, local))
    }

    /// The address listened on, with the port that the system chose where the configured one was 0.
    ///
    /// # Errors
    ///
    /// The system's, if the socket is gone.
    pub fn address(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Plain(listener) => listener.local_addr(),
            Self::Tls(_, address) => Ok(*address),
        }
    }
}

fn server_config(certificate_file: &Path, key_file: &Path) -> Result<ServerConfig, ListenError> {
    let chain: Vec<_> = CertificateDer::pem_file_iter(certificate_file)
        .and_then(Iterator::collect)
        .map_err(|_| ListenError::Pem)?;
    let key = PrivateKeyDer::from_pem_file(key_file).map_err(|_| ListenError::Pem)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| ListenError::Tls)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|_| ListenError::Tls)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Accepts and shakes hands until nobody wants connections any more.
async fn shake_hands(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    ready: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>,
    clock: Arc<dyn Clock>,
) {
    let places = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = ready.closed() => return,
        };
        let Ok((stream, peer)) = accepted else {
            clock.sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let (acceptor, ready) = (acceptor.clone(), ready.clone());
        tokio::spawn(async move {
            let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await;
            if let Ok(Ok(stream)) = handshake {
                // Nobody receives any more only when the bot stops.
                let _ = ready.send((stream, peer)).await;
            }
            drop(place);
        });
    }
}

impl axum::serve::Listener for Listener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        match self {
            Self::Plain(listener) => {
                let (stream, peer) = axum::serve::Listener::accept(listener).await;
                (Connection::Plain(stream), peer)
            }
            Self::Tls(receiver, _) => match receiver.recv().await {
                Some((stream, peer)) => (Connection::Tls(Box::new(stream)), peer),
                None => std::future::pending().await,
            },
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.address()
    }
}

/// An accepted connection.
#[derive(Debug)]
pub enum Connection {
    /// Without TLS.
    Plain(TcpStream),
    /// With TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
