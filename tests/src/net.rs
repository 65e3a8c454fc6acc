//! Free ports, the process's TLS provider, and HTTP clients.

use std::{net::TcpListener, sync::Once};

/// A port of `address` that nobody listens on at this moment.
pub(crate) fn free_port(address: &str) -> u16 {
    let listener = TcpListener::bind((address, 0)).expect("a free port");
    listener.local_addr().expect("the port's number").port()
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
