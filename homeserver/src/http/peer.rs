//! Who is at the other end of a request: an address, and whether nobody could listen on the way.
//!
//! Invariant: `X-Forwarded-For` and `X-Forwarded-Proto` are believed only from a declared proxy. The address is for rate limits; it
//! is stored and logged nowhere.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

/// The header in which proxies list whom they speak for, the nearest last.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The header in which a proxy says how the client came.
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The other end. The listener puts one into every request's extensions.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// The client's address: the connection's, or what a declared proxy says.
    pub address: IpAddr,
    /// Whether the client came by TLS, to us or to a declared proxy that says so.
    pub secure: bool,
}

impl std::fmt::Debug for Peer {
    /// Without the address, so that it cannot slip into a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peer")
            .field("secure", &self.secure)
            .finish_non_exhaustive()
    }
}

impl Peer {
    /// Judges a request that came over a connection from `connected`, by TLS if `tls`, where `proxies` are believed.
    #[must_use]
    pub fn of_request(
        connected: IpAddr,
        tls: bool,
        proxies: &[IpNet],
        headers: &HeaderMap,
    ) -> Self {
        let connected = connected.to_canonical();
        let is_proxy = |address: &IpAddr| proxies.iter().any(|range| range.contains(address));
        if !is_proxy(&connected) {
            return Self {
                address: connected,
                secure: tls,
            };
        }
        // From the nearest outwards, the first that is no proxy of ours: what stands before it anyone may have written.
        let hops = headers
            .get_all(FORWARDED_FOR)
            .into_iter()
            .filter_map(|value| value.to_str().ok());
        let hops: Vec<&str> = hops
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .collect();
        let hops = hops
            .iter()
            .rev()
            .map_while(|hop| hop.parse::<IpAddr>().ok())
            .map(|hop| hop.to_canonical());
        let mut address = connected;
        for hop in hops {
            address = hop;
            if !is_proxy(&hop) {
                break;
            }
        }
        let proto = headers
            .get_all(FORWARDED_PROTO)
            .into_iter()
            .next_back()
            .and_then(|value| value.to_str().ok());
        let secure = proto
            .and_then(|value| value.rsplit(',').next())
            .is_some_and(|value| value.trim() == "https");
        Self { address, secure }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        connected: &str,
        forwarded: &[(HeaderName, &'static str)],
        address: &str,
        secure: bool,
    ) {
        let proxies: Vec<IpNet> = vec!["10.0.0.0/24".parse().unwrap()];
        let mut headers = HeaderMap::new();
        for (name, value) in forwarded {
            headers.append(name, value.parse().unwrap());
        }
        let peer = Peer::of_request(connected.parse().unwrap(), false, &proxies, &headers);
        assert_eq!(
            (peer.address, peer.secure),
            (address.parse().unwrap(), secure)
        );
    }

    #[test]
    fn a_stranger_is_not_believed() {
        check(
            "192.0.2.7",
            &[(FORWARDED_FOR, "198.51.100.1"), (FORWARDED_PROTO, "https")],
            "192.0.2.7",
            false,
        );
    }

    #[test]
    fn a_declared_proxy_is_believed_about_the_nearest_hop_only() {
        check(
            "10.0.0.1",
            &[
                (FORWARDED_FOR, "203.0.113.5, 198.51.100.1"),
                (FORWARDED_PROTO, "https"),
            ],
            "198.51.100.1",
            true,
        );
        check(
            "10.0.0.1",
            &[
                (FORWARDED_FOR, "198.51.100.1, 10.0.0.2"),
                (FORWARDED_PROTO, "http"),
            ],
            "198.51.100.1",
            false,
        );
        check(
            "::ffff:10.0.0.1",
            &[
                (FORWARDED_FOR, "203.0.113.5"),
                (FORWARDED_FOR, "198.51.100.1"),
            ],
            "198.51.100.1",
            false,
        );
    }

    #[test]
    fn what_a_proxy_cannot_have_meant_is_left_out() {
        check("10.0.0.1", &[], "10.0.0.1", false);
        check("10.0.0.1", &[(FORWARDED_FOR, "unknown")], "10.0.0.1", false);
        check(
            "10.0.0.1",
            &[(FORWARDED_FOR, "203.0.113.5, unknown")],
            "10.0.0.1",
            false,
        );
    }
}
