//! The threads of a room, by their newest answer.
//!
//! Invariant: a thread is listed at its newest answer that the reader may see, and nowhere else, so that pages neither repeat
//! nor miss one. An event relates only to events of its own room.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#threading>

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use ruma::{EventId, OwnedEventId, RoomId, UserId};

use super::{Rooms, Standing};
use crate::store::{Event, StoreError};

/// Answers that are looked at at once.
const ANSWERS: u64 = 200;
/// How often answers are looked at for one page.
const ROUNDS_MAX: usize = 10;
/// How threads are listed.
#[derive(Clone, Copy, Debug)]
pub struct ThreadQuery {
    /// Whether only threads count that the reader took part in.
    pub participated: bool,
    /// The room order before which the newest answer stands; none for all.
    pub before: Option<i64>,
    /// How many, at least 1.
    pub limit: usize,
}

/// A page of threads.
#[derive(Clone, Debug)]
pub struct ThreadPage {
    /// The roots.
    pub roots: Vec<Arc<Event>>,
    /// The room order before which the next page begins, if there may be one.
    pub next: Option<i64>,
}

/// A thread, as a reader sees it.
struct Thread {
    newest: i64,
    took_part: bool,
}

impl Rooms {
    /// The threads of a room that a user may read, the one with the newest answer first.
    ///
    /// # Errors
    /// What the database says.
    pub async fn threads(
        &self,
        user: &UserId,
        standing: &Standing,
        room: &RoomId,
        query: ThreadQuery,
    ) -> Result<ThreadPage, StoreError> {
        let mut before = query.before.unwrap_or(i64::MAX);
        let mut page = ThreadPage {
            roots: Vec::new(),
            next: None,
        };
        for _ in 0..ROUNDS_MAX {
            let answers = self.store().thread_answers(room, before, ANSWERS).await?;
            let is_last = answers.len() < usize::try_from(ANSWERS).unwrap_or(usize::MAX);
            let lowest = answers.last().map_or(before, |answer| answer.room_order);
            let roots: BTreeSet<&EventId> = answers.iter().map(|answer| &*answer.root).collect();
            let roots: Vec<&EventId> = roots.into_iter().collect();
            let threads = self.read_threads(user, standing, room, &roots).await?;
            let in_range = |thread: &Thread| (lowest..before).contains(&thread.newest);
            let mut found: Vec<(i64, Arc<Event>)> = threads
                .into_iter()
                .filter(|(_, thread)| in_range(thread))
                .filter(|(_, thread)| !query.participated || thread.took_part)
                .map(|(root, thread)| (thread.newest, root))
                .collect();
            found.sort_by_key(|(newest, _)| std::cmp::Reverse(*newest));
            for (newest, root) in found {
                if page.roots.len() == query.limit {
                    return Ok(page);
                }
                page.roots.push(root);
                page.next = Some(newest);
            }
            if is_last {
                page.next = None;
                return Ok(page);
            }
            before = lowest;
            page.next = Some(lowest);
            if page.roots.len() == query.limit {
                return Ok(page);
            }
        }
        Ok(page)
    }

    /// Threads as a reader sees them: the roots that they may see, of this room.
    async fn read_threads(
        &self,
        user: &UserId,
        standing: &Standing,
        room: &RoomId,
        roots: &[&EventId],
    ) -> Result<Vec<(Arc<Event>, Thread)>, StoreError> {
        let related = self.store().children_of(roots, &["m.thread"]).await?;
        let mut wanted: Vec<OwnedEventId> = roots.iter().map(|id| (*id).to_owned()).collect();
        wanted.extend(related.iter().map(|row| row.child.clone()));
        wanted.sort_unstable();
        wanted.dedup();
        let mut events = self.store().events(&wanted).await?;
        events.retain(|event| event.pdu.room_id == room && event.is_accepted());
        let seen = self.visible_to(user, standing, events).await?;
        let ignored = self.store().ignored_users(user).await?;
        let seen: HashMap<&EventId, &Arc<Event>> =
            seen.iter().map(|event| (event.id(), event)).collect();
        let mut threads: BTreeMap<&EventId, Thread> = BTreeMap::new();
        for row in &related {
            let (Some(root), Some(answer)) = (seen.get(&*row.parent), seen.get(&*row.child)) else {
                continue;
            };
            if ignored.contains(&answer.pdu.sender) {
                continue;
            }
            let order = answer.room_order.unwrap_or(i64::MIN);
            let thread = threads.entry(&row.parent).or_insert(Thread {
                newest: i64::MIN,
                took_part: root.pdu.sender == user,
            });
            thread.newest = thread.newest.max(order);
            thread.took_part |= answer.pdu.sender == user;
        }
        let threads = threads.into_iter();
        Ok(threads
            .filter_map(|(root, thread)| Some((Arc::clone(seen.get(root)?), thread)))
            .collect())
    }
}
