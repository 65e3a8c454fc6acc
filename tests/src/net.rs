//! Free ports, the process's TLS provider, and HTTP clients.

use std::{
    net::TcpListener,
    process,
    sync::{
        Once,
        atomic::{AtomicU32, Ordering},
    },
};

/// The lowest port that is given out.
const PORT_MIN: u32 = 20_000;

/// How many ports are given out. They end below those from which the system takes the near ends of connections, so that a
/// server that is down for a moment finds its port free again.
const PORTS: u32 = 12_000;

/// A port of `address` that nobody listens on at this moment and that was not given out before by this process.
pub(crate) fn free_port(address: &str) -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..PORTS {
        // Processes that run at the same time start far from each other.
        let step = process::id()
            .wrapping_mul(97)
            .wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(PORT_MIN + step % PORTS).expect("a port");
        if TcpListener::bind((address, port)).is_ok() {
            return port;
        }
    }
    panic!("{address} has no free port");
}

/// Makes ring the provider of all TLS in this process; again is harmless.
pub(crate) fn install_tls_provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error says that the homeserver or the SDK was first; theirs is ring too.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

/// An HTTP client that trusts these certificates and nothing else.
pub(crate) fn http_client(roots: Vec<reqwest::Certificate>) -> reqwest::Client {
    install_tls_provider();
    reqwest::Client::builder()
        .tls_certs_only(roots)
        .no_proxy()
        .build()
        .expect("an HTTP client")
}
