//! A walk over the tree of a space, by pages.
//!
//! Invariant: each room is visited once, so that loops end; the walk is depth first and its order depends on the rooms alone. A
//! token says how far the last page went and by which rules, so nothing of a walk is remembered.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidhierarchy>

use std::{collections::HashSet, str::FromStr, sync::Arc, time::Duration};

use ruma::{OwnedRoomId, RoomId, UserId};
use serde::Serialize;

use super::{
    Rooms, Summary,
    space::{Child, RemoteSpace, SpaceRoom},
};
use crate::store::StoreError;

/// How far down a walk goes.
const DEPTH_MAX: u64 = 20;
/// Rooms that one walk visits, those of earlier pages among them.
const VISITED_MAX: usize = 2_000;
/// Rooms of one page if the client does not say.
const PAGE_DEFAULT: usize = 50;
/// Rooms of one page.
const PAGE_MAX: usize = 200;
/// Rooms that peers are asked about for one page.
const ASKED_MAX: usize = 20;
/// How long peers are asked for one page.
const ASKING_MAX: Duration = Duration::from_secs(20);

/// What is asked of a space.
#[derive(Clone, Debug, Default)]
pub struct HierarchyQuery {
    /// Whether only suggested children count.
    pub suggested_only: bool,
    /// How far down to go.
    pub max_depth: Option<u64>,
    /// Rooms of one page.
    pub limit: Option<u64>,
    /// Where to go on.
    pub from: Option<String>,
}

/// A page of a walk, as it is written.
#[derive(Clone, Debug, Serialize)]
pub struct HierarchyPage {
    /// The rooms.
    pub rooms: Vec<SpaceRoom>,
    /// Where the next page begins, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_batch: Option<String>,
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum HierarchyError {
    /// There is no such space, or the user may not know of it.
    #[error("no such space")]
    Forbidden,
    /// The token is none of ours, or belongs to a walk by other rules; or the limit is 0.
    #[error("not a page of this walk")]
    Query,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How far a walk has gone, and by which rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Token {
    done: usize,
    max_depth: Option<u64>,
    suggested_only: bool,
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let suggested = u8::from(self.suggested_only);
        match self.max_depth {
            Some(depth) => write!(f, "h{}_{suggested}_{depth}", self.done),
            None => write!(f, "h{}_{suggested}_", self.done),
        }
    }
}

impl FromStr for Token {
    type Err = HierarchyError;

    fn from_str(text: &str) -> Result<Self, HierarchyError> {
        let bad = || HierarchyError::Query;
        let mut parts = text.strip_prefix('h').ok_or_else(bad)?.split('_');
        let done = parts.next().and_then(|part| part.parse().ok());
        let suggested = parts.next().ok_or_else(bad)?;
        let depth = parts.next().ok_or_else(bad)?;
        let max_depth = match depth {
            "" => None,
            depth => Some(depth.parse().map_err(|_| bad())?),
        };
        match (suggested, parts.next()) {
            ("0" | "1", None) => Ok(Self {
                done: done.ok_or_else(bad)?,
                max_depth,
                suggested_only: suggested == "1",
            }),
            _ => Err(bad()),
        }
    }
}

/// A room on the way: where it is, how deep, and what its parent's server said of it.
struct Step {
    child: Child,
    depth: u64,
    told_by: Option<Arc<RemoteSpace>>,
}

/// How much may still be asked of peers.
struct Patience {
    asked: usize,
    since: Duration,
}

impl Rooms {
    /// A page of the tree of a space, as a user may see it.
    ///
    /// # Errors
    /// See [`HierarchyError`].
    pub async fn hierarchy(
        &self,
        user: &UserId,
        space: &RoomId,
        query: &HierarchyQuery,
    ) -> Result<HierarchyPage, HierarchyError> {
        let rules = (query.max_depth, query.suggested_only);
        let done = match &query.from {
            Some(from) => {
                let token: Token = from.parse()?;
                if (token.max_depth, token.suggested_only) != rules {
                    return Err(HierarchyError::Query);
                }
                token.done
            }
            None => 0,
        };
        let limit = match query.limit {
            Some(0) => return Err(HierarchyError::Query),
            Some(limit) => usize::try_from(limit).unwrap_or(PAGE_MAX).min(PAGE_MAX),
            None => PAGE_DEFAULT,
        };
        // One more tells whether there is another page.
        let wanted = done.saturating_add(limit).saturating_add(1);
        let mut rooms = self.walk(user, space, query, wanted).await?;
        let has_more = rooms.len() == wanted;
        rooms.truncate(done.saturating_add(limit));
        let rooms = rooms.split_off(done.min(rooms.len()));
        let token = Token {
            done: done + rooms.len(),
            max_depth: query.max_depth,
            suggested_only: query.suggested_only,
        };
        Ok(HierarchyPage {
            rooms,
            next_batch: has_more.then(|| token.to_string()),
        })
    }

    /// The first `wanted` rooms of the tree.
    async fn walk(
        &self,
        user: &UserId,
        space: &RoomId,
        query: &HierarchyQuery,
        wanted: usize,
    ) -> Result<Vec<SpaceRoom>, HierarchyError> {
        let max_depth = query.max_depth.unwrap_or(DEPTH_MAX).min(DEPTH_MAX);
        let mut patience = Patience {
            asked: 0,
            since: self.context.clock.monotonic(),
        };
        let mut visited: HashSet<OwnedRoomId> = HashSet::new();
        let mut found = Vec::new();
        let root = Child {
            room_id: space.to_owned(),
            via: Vec::new(),
        };
        let mut stack = vec![Step {
            child: root,
            depth: 0,
            told_by: None,
        }];
        while let Some(step) = stack.pop() {
            if visited.len() >= VISITED_MAX || !visited.insert(step.child.room_id.clone()) {
                continue;
            }
            let seen = self.look(user, &step, query.suggested_only, &mut patience);
            let Some((room, told_by)) = seen.await? else {
                if step.depth == 0 {
                    return Err(HierarchyError::Forbidden);
                }
                continue;
            };
            if step.depth < max_depth {
                // The first child is looked at first, so it is put on top.
                stack.extend(room.children.iter().rev().map(|child| Step {
                    child: child.clone(),
                    depth: step.depth + 1,
                    told_by: told_by.clone(),
                }));
            }
            found.push(room);
            if found.len() >= wanted {
                break;
            }
        }
        Ok(found)
    }

    /// What a user may see of a room of the tree, and which answer of a peer it came from.
    async fn look(
        &self,
        user: &UserId,
        step: &Step,
        suggested_only: bool,
        patience: &mut Patience,
    ) -> Result<Option<(SpaceRoom, Option<Arc<RemoteSpace>>)>, StoreError> {
        let room_id = &step.child.room_id;
        if let Some(snapshot) = self.live(room_id).await? {
            let room = self.space_room(&snapshot, suggested_only).await?;
            let may_find = self.may_find(Some(user), &room.summary).await?;
            return Ok(may_find.then_some((room, None)));
        }
        if let Some(parent) = &step.told_by {
            if parent.inaccessible.contains(room_id) {
                // "the requesting server should consider these room IDs as not accessible from anywhere"
                return Ok(None);
            }
            // Of a room that is no space nothing more is to be learnt.
            let told = parent.children.iter().find(|told| told.room_id == *room_id);
            if let Some(told) = told.filter(|told| !told.is_space()) {
                let may_find = self.may_find(Some(user), told).await?;
                return Ok(may_find.then(|| (leaf(told.clone()), None)));
            }
        }
        let waited = self
            .context
            .clock
            .monotonic()
            .saturating_sub(patience.since);
        let may_ask = patience.asked < ASKED_MAX && waited < ASKING_MAX;
        patience.asked += 1;
        let via = &step.child.via;
        let space = self
            .remote_space(room_id, via, suggested_only, may_ask)
            .await;
        let Some(space) = space else {
            return Ok(None);
        };
        let may_find = self.may_find(Some(user), &space.room.summary).await?;
        Ok(may_find.then(|| (space.room.clone(), Some(space))))
    }
}

/// A room without children.
fn leaf(summary: Summary) -> SpaceRoom {
    SpaceRoom {
        summary,
        children_state: Vec::new(),
        children: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_written() {
        for (max_depth, suggested_only) in [(None, true), (Some(3), false)] {
            let token = Token {
                done: 12,
                max_depth,
                suggested_only,
            };
            assert_eq!(token.to_string().parse::<Token>().unwrap(), token);
        }
        for text in [
            "", "h", "h1", "h1_0", "h1_2_", "hx_0_", "h1_0_x", "h1_0_1_1",
        ] {
            assert!(text.parse::<Token>().is_err(), "{text}");
        }
    }
}
