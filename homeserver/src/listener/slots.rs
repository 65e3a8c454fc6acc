//! How many connections a listener holds, in all and from one address.
//!
//! Invariant: a [`Slot`] counts for exactly as long as it lives. When all are taken, further connections wait in the kernel's queue
//! rather than in our memory.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{config::ListenerConfig, drain::Held};

/// Bits of an IPv6 address that belong to its network; the rest every customer may choose freely.
const NETWORK_V6: u128 = !0 << 64;

/// The slots of one listener.
#[derive(Debug)]
pub(super) struct Slots {
    /// Free ones.
    free: Arc<Semaphore>,
    /// Most connections from one address.
    per_address_max: usize,
    /// Open connections by address; only addresses that have some.
    by_address: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// A place that a connection takes.
#[derive(Debug)]
pub(super) struct Slot {
    /// The place among all.
    _permit: OwnedSemaphorePermit,
    /// The place among those of the same address, unless it is exempt.
    _of_address: Option<OfAddress>,
    /// Makes the end of the process wait for the connection.
    _held: Held,
}

/// One connection of an address.
#[derive(Debug)]
struct OfAddress {
    /// Whose.
    address: IpAddr,
    /// Where it is counted.
    by_address: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Slots {
    pub(super) fn new(config: &ListenerConfig) -> Self {
        Self {
            free: Arc::new(Semaphore::new(
                config.connections_max.min(Semaphore::MAX_PERMITS),
            )),
            per_address_max: config.connections_per_address_max,
            by_address: Arc::default(),
        }
    }

    /// Waits for a free place. `None` never comes, since nobody closes the semaphore; it reads as "no place".
    pub(super) async fn free(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.free).acquire_owned().await.ok()
    }

    /// Gives the place to a connection from `address`, unless it has too many. Proxies speak for many, and whoever is on this
    /// machine has easier ways to harm it: neither is counted.
    pub(super) fn take(
        &self,
        permit: Option<OwnedSemaphorePermit>,
        address: IpAddr,
        is_proxy: bool,
        held: Held,
    ) -> Option<Slot> {
        let of_address = if is_proxy || address.is_loopback() {
            None
        } else {
            Some(self.count(network(address))?)
        };
        Some(Slot {
            _permit: permit?,
            _of_address: of_address,
            _held: held,
        })
    }

    /// Counts one more connection of an address, unless it has too many.
    fn count(&self, address: IpAddr) -> Option<OfAddress> {
        let mut by_address = self
            .by_address
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let open = by_address.get(&address).copied().unwrap_or(0);
        if open >= self.per_address_max {
            return None;
        }
        by_address.insert(address, open + 1);
        Some(OfAddress {
            address,
            by_address: Arc::clone(&self.by_address),
        })
    }
}

impl Drop for OfAddress {
    fn drop(&mut self) {
        let mut by_address = self
            .by_address
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut open) = by_address.entry(self.address) {
            *open.get_mut() -= 1;
            if *open.get() == 0 {
                open.remove();
            }
        }
    }
}

/// What one customer has: an IPv4 address, or an IPv6 network of 64 bits.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & NETWORK_V6).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Resource, drain::Drain};

    #[tokio::test]
    async fn an_address_has_so_many_slots_and_no_more() {
        let config = ListenerConfig {
            connections_per_address_max: 2,
            ..ListenerConfig::loopback([Resource::Client], None)
        };
        let (slots, drain) = (Slots::new(&config), Drain::new());
        let take = async |address: &str| {
            slots.take(
                slots.free().await,
                address.parse().unwrap(),
                false,
                drain.hold(),
            )
        };
        let first = take("2001:db8::1").await.unwrap();
        let _second = take("2001:db8::2").await.unwrap();
        assert!(
            take("2001:db8::3").await.is_none(),
            "the same network of 64 bits"
        );
        assert!(take("2001:db8:0:1::1").await.is_some(), "another one");
        drop(first);
        let _third = take("2001:db8::3").await.unwrap();
        let _own: Vec<Slot> = vec![
            take("127.0.0.1").await.unwrap(),
            take("127.0.0.1").await.unwrap(),
            take("127.0.0.1").await.unwrap(),
        ];
        assert_eq!(
            slots.by_address.lock().unwrap().len(),
            1,
            "only addresses with connections are kept"
        );
    }

    #[tokio::test]
    async fn a_thousand_connections_of_one_address_leave_room_for_another() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let usual = ListenerConfig::loopback([Resource::Client], None);
        // The control: without a bound for each address, one takes all there is.
        for (per_address_max, is_let_in) in
            [(usual.connections_per_address_max, true), (1_000, false)]
        {
            let config = ListenerConfig {
                connections_max: 1_000,
                connections_per_address_max: per_address_max,
                ..usual.clone()
            };
            let (slots, drain) = (Slots::new(&config), Drain::new());
            let mut held = Vec::new();
            for _ in 0..1_000 {
                let free = slots.free().await;
                held.extend(slots.take(free, address("192.0.2.1"), false, drain.hold()));
            }
            assert_eq!(held.len(), per_address_max);
            let free = futures_util::FutureExt::now_or_never(slots.free());
            let other =
                free.and_then(|free| slots.take(free, address("192.0.2.2"), false, drain.hold()));
            assert_eq!(other.is_some(), is_let_in);
        }
    }

    #[tokio::test]
    async fn when_all_slots_are_taken_the_next_waits() {
        let config = ListenerConfig {
            connections_max: 1,
            ..ListenerConfig::loopback([Resource::Client], None)
        };
        let slots = Slots::new(&config);
        let taken = slots.free().await.unwrap();
        assert!(futures_util::FutureExt::now_or_never(slots.free()).is_none());
        drop(taken);
        assert!(futures_util::FutureExt::now_or_never(slots.free()).is_some());
    }
}
