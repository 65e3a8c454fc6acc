//! Caches that are bounded in bytes.
//!
//! Invariant: what a cache holds weighs no more than its bound, and one value may take all of it.

use std::hash::Hash;

use quick_cache::{
    DefaultHashBuilder, OptionsBuilder, Weighter,
    sync::{Cache, DefaultLifecycle},
};

/// The caches that share one bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CacheShare {
    /// Rooms as last committed.
    Snapshots,
    /// Events.
    Events,
    /// Public keys of local users.
    Keys,
    /// The rooms of users.
    UserRooms,
    /// Groups of states, and states: as much each.
    States,
}

impl CacheShare {
    /// Its part of `bytes`.
    pub(crate) fn of(self, bytes: u64) -> u64 {
        let percent = match self {
            Self::Snapshots | Self::Events => 30,
            Self::Keys | Self::UserRooms | Self::States => 10,
        };
        bytes / 100 * percent
    }
}

/// An empty cache of values that together weigh at most `bytes_max`, most of them about `bytes_typical` each.
///
/// In one piece: a cache in several never keeps a value that is larger than one of them.
pub(crate) fn bounded<Key, Value, Weight>(
    bytes_typical: u64,
    bytes_max: u64,
    weight: Weight,
) -> Cache<Key, Value, Weight>
where
    Key: Eq + Hash + Clone,
    Value: Clone,
    Weight: Weighter<Key, Value> + Clone,
{
    let values_estimated = usize::try_from(bytes_max / bytes_typical.max(1)).unwrap_or(usize::MAX);
    let options = OptionsBuilder::new()
        .shards(1)
        .estimated_items_capacity(values_estimated)
        .weight_capacity(bytes_max)
        .build();
    match options {
        Ok(options) => Cache::with_options(
            options,
            weight,
            DefaultHashBuilder::default(),
            DefaultLifecycle::default(),
        ),
        // Only a bound that was not set would be an error.
        Err(_) => Cache::with_weighter(values_estimated, bytes_max, weight),
    }
}
