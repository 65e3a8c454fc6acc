//! Caches that are bounded in bytes.
//!
//! Invariant: what a cache holds weighs no more than its bound, and one value may take all of it.

use std::hash::Hash;

use quick_cache::{
    DefaultHashBuilder, OptionsBuilder, Weighter,
    sync::{Cache, DefaultLifecycle},
};

/// An empty cache of about `values_estimated` values, which together weigh at most `bytes_max`.
///
/// In one piece: a cache in several never keeps a value that is larger than one of them.
pub(crate) fn bounded<Key, Value, Weight>(
    values_estimated: usize,
    bytes_max: u64,
    weight: Weight,
) -> Cache<Key, Value, Weight>
where
    Key: Eq + Hash + Clone,
    Value: Clone,
    Weight: Weighter<Key, Value> + Clone,
{
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
