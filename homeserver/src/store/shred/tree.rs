//! A key for each thing, of which any single one can be destroyed: a binary tree of keys, each made from the one above it.
//!
//! Invariant: a key leads to those below it and to no others. To destroy one leaf is to forget the keys above it and to keep
//! those that branch off its path, so that nothing that is left leads to it. Leaves of one room lie together.
//!
//! No part of the specification.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// Length of a key, in bytes.
pub(super) const KEY_BYTES: usize = 32;
/// The upper levels, which the room decides: below them is what belongs to one bucket.
const ROOM_BITS: u32 = 32;
/// The lower levels, which the thing in the room decides.
const ITEM_BITS: u32 = 40;
/// All levels.
pub(super) const BITS: u32 = ROOM_BITS + ITEM_BITS;

/// A key; overwritten when dropped.
pub(super) type Key = Zeroizing<[u8; KEY_BYTES]>;

/// A place at the bottom of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leaf(u128);

impl Leaf {
    /// The place of something in a room. Two things have the same one once in a million million pairs.
    pub(super) fn of(room: &str, item: &str) -> Self {
        Self(hash(room, ROOM_BITS) << ITEM_BITS | hash(item, ITEM_BITS))
    }

    /// A place by its number, for tests of places that lie side by side.
    #[cfg(test)]
    pub(super) const fn at(number: u128) -> Self {
        Self(number)
    }
}

/// The first bits of a text's hash.
fn hash(text: &str, bits: u32) -> u128 {
    let mut wide = [0; 16];
    wide.copy_from_slice(&Sha256::digest(text)[..16]);
    u128::from_be_bytes(wide) >> (128 - bits)
}

/// A key that is held, with everything below it.
#[derive(Clone)]
pub(super) struct Node {
    /// How far below the root.
    pub(super) depth: u32,
    /// The key.
    pub(super) key: Key,
}

/// The keys of a tree from which all others that are left can be made, by the first leaf below them.
#[derive(Clone)]
pub(super) struct Tree {
    nodes: BTreeMap<u128, Node>,
}

impl Tree {
    /// A whole tree.
    pub(super) fn new(root: Key) -> Self {
        Self::from_nodes([(
            0,
            Node {
                depth: 0,
                key: root,
            },
        )])
    }

    /// A tree as [`Tree::nodes`] gave it.
    pub(super) fn from_nodes(nodes: impl IntoIterator<Item = (u128, Node)>) -> Self {
        Self {
            nodes: nodes.into_iter().collect(),
        }
    }

    /// The keys that are held, each with the first leaf below it.
    pub(super) fn nodes(&self) -> impl ExactSizeIterator<Item = (u128, &Node)> {
        self.nodes.iter().map(|(start, node)| (*start, node))
    }

    /// The key of a leaf, unless it was destroyed.
    pub(super) fn key(&self, leaf: Leaf) -> Option<Key> {
        let (start, node) = self.above(leaf)?;
        let mut key = node.key.clone();
        let below = leaf.0 - start;
        for depth in node.depth..BITS {
            key = child(&key, below & half(depth) != 0);
        }
        Some(key)
    }

    /// Destroys the key of a leaf for ever. Whether it was there.
    pub(super) fn destroy(&mut self, leaf: Leaf) -> bool {
        let Some((mut start, _)) = self.above(leaf) else {
            return false;
        };
        let Some(Node { depth, mut key }) = self.nodes.remove(&start) else {
            return false;
        };
        for depth in depth..BITS {
            let is_right = (leaf.0 - start) & half(depth) != 0;
            let beside = if is_right { start } else { start + half(depth) };
            let kept = Node {
                depth: depth + 1,
                key: child(&key, !is_right),
            };
            self.nodes.insert(beside, kept);
            key = child(&key, is_right);
            if is_right {
                start += half(depth);
            }
        }
        true
    }

    /// The key that is held above a leaf.
    fn above(&self, leaf: Leaf) -> Option<(u128, &Node)> {
        let (start, node) = self.nodes.range(..=leaf.0).next_back()?;
        let width = 1_u128 << BITS.checked_sub(node.depth)?;
        (leaf.0 - start < width).then_some((*start, node))
    }
}

/// How many leaves each half below a key of this depth has.
const fn half(depth: u32) -> u128 {
    1 << (BITS - depth - 1)
}

/// The key of one half.
fn child(key: &Key, is_right: bool) -> Key {
    let mut hash = Sha256::new();
    hash.update(key.as_ref());
    hash.update([u8::from(is_right)]);
    Zeroizing::new(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: u128 = 1 << BITS;

    fn tree() -> Tree {
        Tree::new(Zeroizing::new([7; KEY_BYTES]))
    }

    proptest! {
        #[test]
        fn what_is_destroyed_is_gone_and_everything_else_keeps_its_key(
            gone in prop::collection::vec(prop_oneof![0..ALL, 0..40_u128], 1..12),
            others in prop::collection::vec(prop_oneof![0..ALL, 0..40_u128], 1..12),
        ) {
            let whole = tree();
            let mut left = tree();
            for leaf in &gone {
                left.destroy(Leaf::at(*leaf));
            }
            // Nothing that is held leads to what is gone: it is above none of it.
            for leaf in &gone {
                prop_assert!(left.key(Leaf::at(*leaf)).is_none());
                prop_assert!(whole.key(Leaf::at(*leaf)).is_some());
                let covers = |(start, node): (u128, &Node)| {
                    (start..start + (ALL >> node.depth)).contains(leaf)
                };
                prop_assert!(!left.nodes().any(covers));
            }
            for leaf in others.iter().filter(|leaf| !gone.contains(leaf)) {
                prop_assert_eq!(left.key(Leaf::at(*leaf)), whole.key(Leaf::at(*leaf)));
            }
        }
    }

    #[test]
    fn places_differ_and_those_of_a_room_lie_together() {
        let place = |room, item| Leaf::of(room, item).0;
        assert_ne!(place("!a", "$1"), place("!a", "$2"));
        assert_ne!(place("!a", "$1"), place("!b", "$1"));
        assert_eq!(
            place("!a", "$1") >> ITEM_BITS,
            place("!a", "$2") >> ITEM_BITS
        );
        let mut tree = tree();
        assert!(tree.destroy(Leaf::of("!a", "$1")));
        assert!(!tree.destroy(Leaf::of("!a", "$1")));
        assert_eq!(tree.nodes().len(), BITS as usize);
    }
}
