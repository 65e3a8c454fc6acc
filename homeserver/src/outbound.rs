//! Everything that this server says to others: names, keys, signed requests, and what is owed to each server.
//!
//! Invariant: a request to another server is signed, bounded in time and size, and goes only to a server that the
//! configuration allows, at an address that passed the deny list.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/>

mod deny_list;
mod dns;
mod error;
mod expiry_support;
mod https;
mod keys;
mod push_gateway;
mod remote;
mod sender;
mod server_name;
mod split;
#[cfg(test)]
pub(crate) mod testing;
mod tls;
mod transport;
mod well_known;

use std::path::PathBuf;

pub use self::{
    deny_list::{CheckedDns, Endpoint},
    dns::{Dns, Service, SystemDns},
    error::{RemoteError, Said},
    expiry_support::{EXPIRY_SUPPORT_PATH, EXPIRY_VERSIONS, ExpirySupport, Support},
    https::HttpsTransport,
    keys::{BadDocument, OwnKeys, ServerKeys, signed_document},
    push_gateway::{PushGateway, PushNotice},
    remote::Remote,
    sender::{
        DeviceLists, EduRange, EduSource, OwedEdu, OwedEdus, Projection, ProjectionError, Receipts,
        Sender, SenderContext,
    },
    server_name::{ResolveError, Route, ServerNames},
    split::SplitTransport,
    tls::check as check_tls,
    transport::{
        ANSWER_BYTES_MAX, Bounds, INTERACTIVE_TIMEOUT, Pending, SMALL_ANSWER_BYTES_MAX, Transport,
    },
    well_known::Web,
};

/// Why requests to other servers cannot be set up. The operator sees it at start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutboundError {
    /// One of `federation.ca_files` holds no certificate, or a broken one.
    #[error("federation.ca_files: {} holds no readable certificate", .0.display())]
    CaFile(PathBuf),
    /// A certificate of `federation.ca_files` is none of an authority.
    #[error("federation.ca_files: a certificate is none that can be trusted")]
    CaCertificate,
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls,
    /// `federation.proxy` cannot be used.
    #[error("federation.proxy: not the address of a proxy")]
    Proxy,
    /// The resolver cannot be set up.
    #[error("the resolver of domain names cannot be set up")]
    Dns,
}
