//! States of rooms, as differences of bounded depth.
//!
//! A state group is the state after some event. The n-th change of a room is stored as its
//! difference to the state `n & (n - 1)` changes after the empty one (the binary number with its
//! lowest set bit cleared, as in a Fenwick tree). So a state is read from at most 63 differences,
//! and each change is written on average log n times, whatever the room holds.
//!
//! Invariant: a group never changes once written; its id is random, so that replicas need not
//! agree on one.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use quick_cache::{Weighter, sync::Cache};
use ruma::{OwnedEventId, RoomId, events::StateEventType};
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter};
use serde::{Deserialize, Serialize};

use super::{Store, StoreError, bounded::bounded, entity::state_groups};

/// The place of a state event: its type and state key.
pub type StateKey = (StateEventType, String);
/// A state: which event stands at each place. Cheap to clone and to change.
pub type RoomStateMap = imbl::GenericHashMap<
    StateKey,
    OwnedEventId,
    std::hash::RandomState,
    imbl::shared_ptr::DefaultSharedPtr,
>;

/// What most groups take.
const GROUP_BYTES_TYPICAL: u64 = 1_000;
/// What most states take.
const STATE_BYTES_TYPICAL: u64 = 4_000;
/// What a group takes beside its changes.
const GROUP_BYTES_BASE: u64 = 200;
/// What one change takes: its place and its event's id.
const CHANGE_BYTES: u64 = 150;
/// What a state takes even if it shares all but one change with others.
const STATE_BYTES_BASE: u64 = 3_000;
/// What one event of a state takes, as neighbouring states share most of theirs.
const STATE_ENTRY_BYTES: u64 = 32;
/// Groups that one query asks for.
const GROUPS_PER_QUERY_MAX: usize = 500;

/// What one group changes on the group below it: a place, and the event that stands there then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateChange(pub StateEventType, pub String, pub Option<OwnedEventId>);

/// One group: where it stands and what it changes.
#[derive(Clone, Debug)]
pub struct StateGroup {
    /// Its number.
    pub id: i64,
    /// How many changes led here from the empty state.
    pub ordinal: i64,
    /// The groups below it, nearest first.
    pub path: Vec<i64>,
    /// What it changes on the nearest of them.
    pub delta: Vec<StateChange>,
}

impl StateGroup {
    /// The group that follows `parent` (with the groups of its path, nearest first) by `changes`.
    pub fn after(id: i64, parent: &[Arc<StateGroup>], changes: Vec<StateChange>) -> Self {
        let ordinal = parent.first().map_or(1, |group| group.ordinal + 1);
        let base = ordinal & (ordinal - 1);
        let merged = parent.iter().take_while(|group| group.ordinal > base);
        let mut delta: HashMap<StateKey, Option<OwnedEventId>> = HashMap::new();
        let mut merged: Vec<_> = merged.collect();
        merged.reverse();
        for StateChange(kind, key, id) in merged
            .iter()
            .flat_map(|group| &group.delta)
            .chain(&changes)
            .cloned()
        {
            delta.insert((kind, key), id);
        }
        let path = parent
            .iter()
            .filter(|group| group.ordinal <= base)
            .map(|group| group.id);
        let mut delta: Vec<_> = delta
            .into_iter()
            .map(|((kind, key), id)| StateChange(kind, key, id))
            .collect();
        delta.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
        Self {
            id,
            ordinal,
            path: path.collect(),
            delta,
        }
    }

    /// The row of this group.
    pub(super) fn row(&self, room: &RoomId) -> Result<state_groups::ActiveModel, StoreError> {
        let unreadable = |_| StoreError::corrupt("state_groups", "delta");
        Ok(state_groups::ActiveModel {
            id: Set(self.id),
            room_id: Set(room.as_str().to_owned()),
            ordinal: Set(self.ordinal),
            path: Set(serde_json::to_string(&self.path).map_err(unreadable)?),
            delta: Set(serde_json::to_vec(&self.delta).map_err(unreadable)?),
        })
    }
}

/// Applies changes to a state.
pub fn apply(state: &mut RoomStateMap, changes: &[StateChange]) {
    for StateChange(kind, key, id) in changes {
        match id {
            Some(id) => {
                state.insert((kind.clone(), key.clone()), id.clone());
            }
            None => {
                state.remove(&(kind.clone(), key.clone()));
            }
        }
    }
}

/// What turns `from` into `to`.
pub fn difference(from: &RoomStateMap, to: &RoomStateMap) -> Vec<StateChange> {
    // As after every event that is no state: to look through ten thousand members takes longer than all else.
    if from.ptr_eq(to) {
        return Vec::new();
    }
    let changed = to
        .iter()
        .filter(|(place, id)| from.get(*place) != Some(*id));
    let changed =
        changed.map(|((kind, key), id)| StateChange(kind.clone(), key.clone(), Some(id.clone())));
    let removed = from.keys().filter(|place| !to.contains_key(*place));
    let removed = removed.map(|(kind, key)| StateChange(kind.clone(), key.clone(), None));
    changed.chain(removed).collect()
}

/// A group and those of its path, nearest first: a state that has not been put together.
#[derive(Clone, Debug, Default)]
pub struct StatePath(Vec<Arc<StateGroup>>);

impl StatePath {
    /// The event at a place. Costs a search in each difference, not the whole state.
    pub fn get(&self, place: &StateKey) -> Option<&OwnedEventId> {
        let change = self.0.iter().find_map(|group| {
            let found = group.delta.binary_search_by(|StateChange(kind, key, _)| {
                (kind, key).cmp(&(&place.0, &place.1))
            });
            group.delta.get(found.ok()?)
        });
        change?.2.as_ref()
    }
}

/// Weighs groups by the memory that they take.
#[derive(Clone, Debug)]
pub(super) struct GroupWeight;

impl Weighter<i64, Arc<StateGroup>> for GroupWeight {
    fn weight(&self, _: &i64, group: &Arc<StateGroup>) -> u64 {
        GROUP_BYTES_BASE + CHANGE_BYTES * group.delta.len() as u64
    }
}

/// Weighs states by the memory that they take beside what they share.
#[derive(Clone, Debug)]
pub(super) struct StateWeight;

impl Weighter<i64, RoomStateMap> for StateWeight {
    fn weight(&self, _: &i64, state: &RoomStateMap) -> u64 {
        STATE_BYTES_BASE + STATE_ENTRY_BYTES * state.len() as u64
    }
}

/// The caches of groups and of the states that they stand for.
pub(super) struct StateCaches {
    groups: Cache<i64, Arc<StateGroup>, GroupWeight>,
    states: Cache<i64, RoomStateMap, StateWeight>,
}

impl StateCaches {
    /// Empty caches that may take so many bytes each.
    pub(super) fn new(bytes_max: u64) -> Self {
        Self {
            groups: bounded(GROUP_BYTES_TYPICAL, bytes_max, GroupWeight),
            states: bounded(STATE_BYTES_TYPICAL, bytes_max, StateWeight),
        }
    }
}

impl Store {
    /// A group and those of its path, nearest first.
    ///
    /// # Errors
    /// What the database says; [`StoreError::Corrupt`] if a group is missing or unreadable.
    pub async fn state_path(&self, group: i64) -> Result<Vec<Arc<StateGroup>>, StoreError> {
        let path = self.state_paths([group]).await?.remove(&group);
        Ok(path.unwrap_or_default().0)
    }

    /// The paths of several groups: with at most two queries, however many they are.
    ///
    /// # Errors
    /// As [`Store::state_path`].
    pub async fn state_paths(
        &self,
        groups: impl IntoIterator<Item = i64>,
    ) -> Result<HashMap<i64, StatePath>, StoreError> {
        let nearest = self.groups(groups.into_iter().collect()).await?;
        let below = nearest.values().flat_map(|group| &group.path).copied();
        let below = self.groups(below.collect()).await?;
        let mut paths = HashMap::with_capacity(nearest.len());
        for (id, group) in nearest {
            let mut path = Vec::with_capacity(1 + group.path.len());
            path.push(Arc::clone(&group));
            for id in &group.path {
                let found = below.get(id).cloned();
                path.push(found.ok_or(StoreError::corrupt("state_groups", "path"))?);
            }
            paths.insert(id, StatePath(path));
        }
        Ok(paths)
    }

    /// These groups; those that are not cached are read together.
    async fn groups(
        &self,
        ids: BTreeSet<i64>,
    ) -> Result<HashMap<i64, Arc<StateGroup>>, StoreError> {
        let mut found = HashMap::with_capacity(ids.len());
        let mut wanted = Vec::new();
        for id in ids {
            match self.state_caches.groups.get(&id) {
                Some(group) => {
                    found.insert(id, group);
                }
                None => wanted.push(id),
            }
        }
        for some in wanted.chunks(GROUPS_PER_QUERY_MAX) {
            let read = self.read_groups(some).await?;
            if read.len() != some.len() {
                return Err(StoreError::corrupt("state_groups", "id"));
            }
            found.extend(read.into_iter().map(|group| (group.id, group)));
        }
        Ok(found)
    }

    /// The state that a group stands for.
    ///
    /// # Errors
    /// As [`Store::state_path`].
    pub async fn state_at(&self, group: i64) -> Result<RoomStateMap, StoreError> {
        if let Some(state) = self.state_caches.states.get(&group) {
            return Ok(state);
        }
        let path = self.state_path(group).await?;
        let mut state = RoomStateMap::default();
        for group in path.iter().rev() {
            apply(&mut state, &group.delta);
        }
        self.state_caches.states.insert(group, state.clone());
        Ok(state)
    }

    /// Remembers a group that was just written, and the state that it stands for.
    pub fn remember_state(&self, group: Arc<StateGroup>, state: RoomStateMap) {
        self.state_caches.states.insert(group.id, state);
        self.state_caches.groups.insert(group.id, group);
    }

    async fn read_groups(&self, ids: &[i64]) -> Result<Vec<Arc<StateGroup>>, StoreError> {
        let rows = state_groups::Entity::find()
            .filter(state_groups::Column::Id.is_in(ids.iter().copied()))
            .all(self.reader())
            .await?;
        let mut groups = Vec::with_capacity(rows.len());
        for row in rows {
            let corrupt = |column| move |_| StoreError::corrupt("state_groups", column);
            let group = Arc::new(StateGroup {
                id: row.id,
                ordinal: row.ordinal,
                path: serde_json::from_str(&row.path).map_err(corrupt("path"))?,
                delta: serde_json::from_slice(&row.delta).map_err(corrupt("delta"))?,
            });
            self.state_caches
                .groups
                .insert(group.id, Arc::clone(&group));
            groups.push(group);
        }
        Ok(groups)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(number: usize) -> StateChange {
        let id = OwnedEventId::try_from(format!("${number}")).unwrap();
        StateChange(
            "org.example.state".into(),
            (number % 7).to_string(),
            Some(id),
        )
    }

    #[test]
    fn every_state_is_reached_over_few_small_differences() {
        let mut paths: Vec<Vec<Arc<StateGroup>>> = vec![Vec::new()];
        let mut states = vec![RoomStateMap::default()];
        for number in 1..300 {
            let parent = paths.last().unwrap().clone();
            let group = Arc::new(StateGroup::after(
                number as i64,
                &parent,
                vec![change(number)],
            ));
            let mut expected = states.last().unwrap().clone();
            apply(&mut expected, &[change(number)]);
            let below = group
                .path
                .iter()
                .map(|id| Arc::clone(&paths[*id as usize][0]));
            let path: Vec<_> = std::iter::once(Arc::clone(&group)).chain(below).collect();
            assert!(path.len() <= 9, "{} differences", path.len());
            let mut state = RoomStateMap::default();
            path.iter()
                .rev()
                .for_each(|group| apply(&mut state, &group.delta));
            assert!(state == expected);
            let path = StatePath(path);
            for number in 0..7 {
                let place = ("org.example.state".into(), number.to_string());
                assert_eq!(path.get(&place), expected.get(&place));
            }
            let path = path.0;
            paths.push(path);
            states.push(expected);
        }
    }

    #[test]
    fn a_difference_turns_one_state_into_the_other() {
        let mut from = RoomStateMap::default();
        apply(&mut from, &[change(1), change(2)]);
        let mut to = RoomStateMap::default();
        apply(&mut to, &[change(9), change(3)]);
        let changes = difference(&from, &to);
        apply(&mut from, &changes);
        assert!(from == to);
        assert_eq!(changes.len(), 3);
    }
}
