//! The line to a server, which a story can cut: a relay of bytes between the address in the server's name and its listener.
//!
//! Bytes pass as they are, TLS included, so nothing but the line's being there or not makes a difference to either end.

use std::net::SocketAddr;

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

use crate::net;

/// A line that is whole until it is cut.
pub struct Wire {
    ports: Ports,
    whole: watch::Sender<bool>,
    relay: JoinHandle<()>,
}

/// The two ends of a line, both on one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// Where others connect: the port in the server's name.
    pub outside: u16,
    /// Where the server listens.
    pub inside: u16,
}

impl Wire {
    /// Lays a line between two free ports of `address`. It needs a worker of the runtime that the story's own waiting does
    /// not block.
    pub async fn lay(address: &str) -> Self {
        let ports = Ports {
            outside: net::free_port(address),
            inside: net::free_port(address),
        };
        let listener = TcpListener::bind((address, ports.outside)).await;
        let listener = listener.expect("the line's outer end");
        let server = SocketAddr::new(address.parse().expect("an address"), ports.inside);
        let (whole, state) = watch::channel(true);
        let relay = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                // What is accepted while the line is cut is dropped, which closes it.
                if *state.borrow() {
                    tokio::spawn(carry(near, server, state.clone()));
                }
            }
        });
        Self {
            ports,
            whole,
            relay,
        }
    }

    /// The line's two ends.
    pub const fn ports(&self) -> Ports {
        self.ports
    }

    /// Breaks every connection, and refuses new ones until the line is mended.
    pub fn cut(&self) {
        self.whole.send_replace(false);
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        self.whole.send_replace(true);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.relay.abort();
    }
}

/// Carries one connection until either end closes it or the line is cut.
async fn carry(mut near: TcpStream, server: SocketAddr, mut whole: watch::Receiver<bool>) {
    // A server that is down refuses, and so does the line then.
    let Ok(mut far) = TcpStream::connect(server).await else {
        return;
    };
    tokio::select! {
        _ = copy_bidirectional(&mut near, &mut far) => {}
        _ = whole.wait_for(|whole| !whole) => {}
    }
}
