//! The keys of all buckets, and the form in which a key store keeps them.
//!
//! Buckets of all rooms that end together, of one class, hang on one root: they die together. So there are some hundreds of roots at
//! most, however many rooms and messages there are, and a new one is needed only as often as buckets begin.
//!
//! Invariant: what was decoded was encoded here, to the byte; a root whose time has come is not kept.

use std::collections::BTreeMap;

use zeroize::{Zeroize, Zeroizing};

use super::tree::{BITS, KEY_BYTES, Key, Leaf, Node, Tree};

/// Length of the name of a key store, in bytes.
pub(super) const ID_BYTES: usize = 16;
/// Keys of one root that may be kept apart because something below it was destroyed early: 41 bytes each, about 70 for each thing
/// at first and fewer the more there are. Beyond it, what is destroyed early waits for the end of its bucket.
const NODES_MAX: usize = 20_000;

/// Buckets that die together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Slot {
    /// When, in ms since the epoch.
    pub(crate) ends_at_ms: u64,
    /// Their class, in ms.
    pub(crate) class_ms: u64,
}

/// All keys.
#[derive(Clone)]
pub(super) struct Keys {
    /// The name of the key store, which the database knows as well.
    pub(super) id: [u8; ID_BYTES],
    /// Up to when buckets were destroyed, in ms since the epoch.
    pub(super) destroyed_ms: u64,
    slots: BTreeMap<Slot, Tree>,
}

impl Keys {
    /// None yet.
    pub(super) const fn new(id: [u8; ID_BYTES]) -> Self {
        Self {
            id,
            destroyed_ms: 0,
            slots: BTreeMap::new(),
        }
    }

    /// Whether nothing was ever kept under them.
    pub(super) fn is_unused(&self) -> bool {
        self.slots.is_empty() && self.destroyed_ms == 0
    }

    /// How many roots there are.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether a slot has begun and not ended.
    pub(super) fn has(&self, slot: Slot) -> bool {
        self.slots.contains_key(&slot)
    }

    /// The key of something, unless it was destroyed.
    pub(super) fn key(&self, slot: Slot, leaf: Leaf) -> Option<Key> {
        self.slots.get(&slot)?.key(leaf)
    }

    /// Begins a slot.
    pub(super) fn begin(&mut self, slot: Slot, root: Key) {
        self.slots.insert(slot, Tree::new(root));
    }

    /// Destroys one key before its bucket ends. Whether anything changed.
    pub(super) fn destroy(&mut self, slot: Slot, leaf: Leaf) -> bool {
        match self.slots.get_mut(&slot) {
            Some(tree) if tree.nodes().len() < NODES_MAX => tree.destroy(leaf),
            _ => false,
        }
    }

    /// Destroys all buckets that end at `now_ms` or before. Whether anything changed.
    pub(super) fn destroy_through(&mut self, now_ms: u64) -> bool {
        let before = self.slots.len();
        self.slots.retain(|slot, _| slot.ends_at_ms > now_ms);
        self.destroyed_ms = self.destroyed_ms.max(now_ms);
        self.slots.len() != before
    }

    /// As a key store keeps it.
    pub(super) fn encode(&self) -> Zeroizing<Vec<u8>> {
        let nodes: usize = self.slots.values().map(|tree| tree.nodes().len()).sum();
        // Large enough from the start: a buffer that grows leaves copies of keys behind.
        let mut out = Zeroizing::new(Vec::with_capacity(64 + self.slots.len() * 24 + nodes * 64));
        out.extend(self.id);
        out.extend(self.destroyed_ms.to_be_bytes());
        out.extend((self.slots.len() as u64).to_be_bytes());
        for (slot, tree) in &self.slots {
            out.extend(slot.ends_at_ms.to_be_bytes());
            out.extend(slot.class_ms.to_be_bytes());
            out.extend((tree.nodes().len() as u64).to_be_bytes());
            for (start, node) in tree.nodes() {
                out.extend(start.to_be_bytes());
                out.push(node.depth as u8);
                out.extend(node.key.as_ref());
            }
        }
        out
    }

    /// What [`Keys::encode`] made; none if these bytes are something else.
    pub(super) fn decode(mut bytes: &[u8]) -> Option<Self> {
        let bytes = &mut bytes;
        let mut keys = Self::new(*take::<ID_BYTES>(bytes)?);
        keys.destroyed_ms = number(bytes)?;
        for _ in 0..number(bytes)? {
            let slot = Slot {
                ends_at_ms: number(bytes)?,
                class_ms: number(bytes)?,
            };
            let mut nodes = BTreeMap::new();
            for _ in 0..number(bytes)? {
                let start = u128::from_be_bytes(*take(bytes)?);
                let [depth] = *take(bytes)?;
                let depth = u32::from(depth);
                let mut key = *take::<KEY_BYTES>(bytes)?;
                let node = Node {
                    depth,
                    key: Zeroizing::new(key),
                };
                key.zeroize();
                if depth > BITS || start >= 1 << BITS {
                    return None;
                }
                nodes.insert(start, node);
            }
            keys.slots.insert(slot, Tree::from_nodes(nodes));
        }
        bytes.is_empty().then_some(keys)
    }
}

fn take<'a, const LEN: usize>(bytes: &mut &'a [u8]) -> Option<&'a [u8; LEN]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(taken)
}

fn number(bytes: &mut &[u8]) -> Option<u64> {
    take(bytes).map(|bytes| u64::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: u64 = 3_600_000;

    fn slot(ends_at_ms: u64) -> Slot {
        Slot {
            ends_at_ms,
            class_ms: HOUR_MS,
        }
    }

    fn keys() -> Keys {
        let mut keys = Keys::new([9; ID_BYTES]);
        for end in 1..4 {
            keys.begin(slot(end), Zeroizing::new([end as u8; KEY_BYTES]));
        }
        keys
    }

    #[test]
    fn keys_are_encoded_and_decoded_and_nothing_shorter_is() {
        let mut keys = keys();
        keys.destroy(slot(2), Leaf::of("!room", "$gone"));
        keys.destroy_through(1);
        let bytes = keys.encode();
        let again = Keys::decode(&bytes).unwrap();
        assert_eq!(*again.encode(), *bytes);
        assert_eq!((again.id, again.destroyed_ms, again.len()), ([9; 16], 1, 2));
        assert!(again.key(slot(1), Leaf::of("!room", "$other")).is_none());
        assert!(again.key(slot(2), Leaf::of("!room", "$gone")).is_none());
        let other = Leaf::of("!room", "$other");
        assert!(again.key(slot(2), other).is_some());
        assert_eq!(again.key(slot(2), other), keys.key(slot(2), other));
        for len in 0..bytes.len() {
            assert!(Keys::decode(&bytes[..len]).is_none(), "{len}");
        }
        assert!(Keys::decode(&[&bytes[..], b"x"].concat()).is_none());
    }

    #[test]
    fn what_is_destroyed_early_is_bounded() {
        let mut keys = keys();
        let mut destroyed = 0;
        while keys.destroy(slot(3), Leaf::of("!room", &format!("${destroyed}"))) {
            destroyed += 1;
        }
        assert!(destroyed > 500, "{destroyed}");
        assert!(keys.encode().len() < 2_000_000);
    }
}
