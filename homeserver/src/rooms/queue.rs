//! One task a room: what waits for the room is built as one chain and handed to the writer.
//!
//! Invariant: of the changes to a room that this process makes, one is under way at a time. If the
//! room has moved all the same (another replica), the chain is built again on what is there now.
//! A task lives only as long as something waits.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use ruma::{OwnedEventId, OwnedRoomId, RoomId};
use tokio::sync::oneshot;

use super::{Draft, Offer, Rooms, SendError, Snapshot, chain::Chain, deadline::policy_ids};
use crate::store::{Moved, StoreError};

/// Events that may wait for one room.
const WAITING_MAX: usize = 2_000;
/// Events in one chain.
const CHAIN_MAX: usize = 64;
/// How often a chain is built again because the room has moved.
const TRIES_MAX: usize = 10;

/// A change that waits for its room.
#[derive(Clone, Debug)]
pub(super) enum Work {
    /// An event of ours, to be built.
    Draft(Box<Draft>),
    /// An event of ours that is made already, because another server signs it too.
    Recommended(Box<Draft>, Arc<Offer>),
    /// An event of another server, to be judged.
    Offer(Arc<Offer>),
}

impl Work {
    fn draft(&self) -> Option<&Draft> {
        match self {
            Self::Draft(draft) | Self::Recommended(draft, _) => Some(draft),
            Self::Offer(_) => None,
        }
    }
}

/// Work and the one who waits for it.
struct Job {
    work: Work,
    answer: oneshot::Sender<Result<OwnedEventId, SendError>>,
}

/// What waits, by room; a room is in the map while its task runs.
#[derive(Default)]
pub(super) struct Queues(Mutex<HashMap<OwnedRoomId, VecDeque<Job>>>);

impl Queues {
    /// Adds a job; answers whether a task must be started for the room.
    fn push(&self, room: &RoomId, job: Job) -> Result<bool, Job> {
        let mut queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match queues.get_mut(room) {
            Some(waiting) if waiting.len() >= WAITING_MAX => Err(job),
            Some(waiting) => {
                waiting.push_back(job);
                Ok(false)
            }
            None => {
                queues.insert(room.to_owned(), VecDeque::from([job]));
                Ok(true)
            }
        }
    }

    /// Takes what waits; without anything, the room's task ends.
    fn take(&self, room: &RoomId) -> Vec<Job> {
        let mut queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(waiting) = queues.get_mut(room) else {
            return Vec::new();
        };
        let jobs: Vec<Job> = waiting.drain(..waiting.len().min(CHAIN_MAX)).collect();
        if jobs.is_empty() {
            queues.remove(room);
        }
        jobs
    }
}

/// A room's task. If it dies, what waits for it is told, and the next job starts another.
struct Serving<'a> {
    queues: &'a Queues,
    room: &'a RoomId,
    is_over: bool,
}

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            let mut queues = self.queues.0.lock().unwrap_or_else(PoisonError::into_inner);
            queues.remove(self.room);
        }
    }
}

impl Rooms {
    /// Lets work wait its turn.
    pub(super) async fn enqueue(
        self: &Arc<Self>,
        room: OwnedRoomId,
        work: Work,
    ) -> Result<OwnedEventId, SendError> {
        let (answer, waiting) = oneshot::channel();
        match self.queues.push(&room, Job { work, answer }) {
            Ok(true) => {
                tokio::spawn(Arc::clone(self).serve(room));
            }
            Ok(false) => {}
            Err(_) => return Err(SendError::Busy),
        }
        waiting.await.unwrap_or(Err(SendError::Busy))
    }

    async fn serve(self: Arc<Self>, room: OwnedRoomId) {
        let mut serving = Serving {
            queues: &self.queues,
            room: &room,
            is_over: false,
        };
        loop {
            let jobs = self.queues.take(&room);
            if jobs.is_empty() {
                serving.is_over = true;
                return;
            }
            let work: Vec<Work> = jobs.iter().map(|job| job.work.clone()).collect();
            let outcomes = self.do_together(&room, &work).await;
            for (job, outcome) in jobs.into_iter().zip(outcomes) {
                // A client that has gone away will repeat its transaction and be answered then.
                let _ = job.answer.send(outcome);
            }
        }
    }

    /// Does it all in one chain; if that fails, one after another, so that what cannot be done
    /// takes nothing else with it.
    async fn do_together(
        &self,
        room: &RoomId,
        work: &[Work],
    ) -> Vec<Result<OwnedEventId, SendError>> {
        match self.try_often(room, work).await {
            Ok(outcomes) => return outcomes,
            Err(error) if work.len() == 1 => return vec![Err(error)],
            // What failed may be on disk after all: it is for those who waited to do it again, by their transaction ids.
            Err(SendError::Storage) => return vec![Err(SendError::Storage); work.len()],
            Err(_) => {}
        }
        let mut outcomes = Vec::with_capacity(work.len());
        for one in work {
            match self.try_often(room, std::slice::from_ref(one)).await {
                Ok(done) => outcomes.extend(done),
                Err(error) => outcomes.push(Err(error)),
            }
        }
        outcomes
    }

    async fn try_often(
        &self,
        room: &RoomId,
        work: &[Work],
    ) -> Result<Vec<Result<OwnedEventId, SendError>>, SendError> {
        for _ in 0..TRIES_MAX {
            match self.try_once(room, work).await {
                Ok(Ok(outcomes)) => return Ok(outcomes),
                Ok(Err(Moved)) => {
                    self.snapshots.remove(room);
                }
                Err(error) => return Err(error),
            }
        }
        Err(SendError::Busy)
    }

    async fn try_once(
        &self,
        room: &RoomId,
        work: &[Work],
    ) -> Result<Result<Vec<Result<OwnedEventId, SendError>>, Moved>, SendError> {
        let mut made = self.made_by(work).await?;
        let snapshot = self.snapshot(room).await?.ok_or(SendError::UnknownRoom)?;
        let mut chain = Chain::on(&self.context, &snapshot);
        let mut outcomes = Vec::with_capacity(work.len());
        for one in work {
            let key = one.draft().and_then(transaction_key);
            if let Some(id) = key.as_ref().and_then(|key| made.get(key)) {
                outcomes.push(Ok(id.clone()));
                continue;
            }
            let outcome = match one {
                Work::Draft(draft) => chain.add_local(draft).await,
                Work::Recommended(draft, offer) => chain.add_recommended(draft, offer).await,
                Work::Offer(offer) => chain.add_remote(offer).await,
            };
            // Nobody knows how much of it is on the chain.
            if let Err(error @ (SendError::Storage | SendError::Damaged)) = outcome {
                return Err(error);
            }
            if let (Ok(id), Some(key)) = (&outcome, key) {
                made.insert(key, id.clone());
            }
            outcomes.push(outcome);
        }
        if chain.append.events.is_empty() {
            return Ok(Ok(outcomes));
        }
        chain.settle_members().await?;
        Ok(self.commit(chain).await?.map(|()| outcomes))
    }

    /// The events that these transactions made before, also before a restart.
    async fn made_by(
        &self,
        work: &[Work],
    ) -> Result<HashMap<(String, String, String), OwnedEventId>, StoreError> {
        let wanted: Vec<_> = work
            .iter()
            .filter_map(Work::draft)
            .filter_map(|draft| {
                let transaction = draft.transaction.as_ref()?;
                Some((&*draft.sender, &*transaction.device_id, &*transaction.key))
            })
            .collect();
        Ok(self
            .context
            .store
            .transactions(&wanted)
            .await?
            .into_iter()
            .collect())
    }

    /// Commits a chain; once it is on disk and before anybody is told, the caches move on.
    pub(super) async fn commit(&self, chain: Chain<'_>) -> Result<Result<(), Moved>, StoreError> {
        let Chain {
            rules,
            room,
            state,
            path,
            members,
            mut append,
            states,
            policy_before,
            ..
        } = chain;
        let Some(row) = room else { return Ok(Ok(())) };
        let policy_changes = policy_ids(&state) != policy_before;
        if policy_changes {
            append.policy_changed_ms = Some(self.showing_ms());
        }
        append.room = Some(row.clone());
        let room_id = row.room_id.clone();
        append.room_id = Some(room_id.clone());
        let snapshot = Arc::new(Snapshot {
            row,
            rules,
            state,
            path,
            members,
        });
        append.on_disk = Some(self.renewal(&append, snapshot, states, policy_changes));
        let committed = self.context.store.commit(append).await;
        if committed.is_err() {
            // It may be on disk without anybody having been told.
            self.snapshots.remove(&room_id);
        }
        Ok(committed?.output.map(|_| ()))
    }
}

/// What identifies a draft's transaction.
fn transaction_key(draft: &Draft) -> Option<(String, String, String)> {
    let transaction = draft.transaction.as_ref()?;
    Some((
        draft.sender.to_string(),
        transaction.device_id.clone(),
        transaction.key.clone(),
    ))
}
