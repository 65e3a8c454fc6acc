//! Events: the skeleton that stays, the body that can be destroyed, and a cache of both.
//!
//! Invariant: an [`Event`] is what the tables hold, or was when it was read; whoever changes an
//! event's rows (redaction, expiry, promotion) replaces it in the cache after the commit. Whether
//! its body may be shown is decided by the projection, not here.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
};

use passeur_protocol::{pdu::Pdu, versions};
use quick_cache::{Weighter, sync::Cache};
use ruma::{EventId, OwnedEventId, RoomId, RoomVersionId};
use sea_orm::{ColumnTrait, EntityTrait, JoinType, QueryFilter, QueryOrder, QuerySelect};

use super::{
    REDACTS, Store, StoreError,
    entity::{event_bodies, event_relations, events, rooms},
};

/// What an event takes beside its bytes: what was read from them, and its place in the cache.
const EVENT_BYTES_BASE: u64 = 1_000;
/// What most events take in all.
const EVENT_BYTES_TYPICAL: u64 = 2_500;
/// Events that one query asks for.
const EVENTS_PER_QUERY_MAX: usize = 500;

/// What became of an event when it was checked. The numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i16)]
pub enum EventStatus {
    /// Part of the room.
    Accepted = 0,
    /// Allowed by the state before it, not by the current one: kept for state resolution only.
    SoftFailed = 1,
    /// Not allowed; never shown, and stays so by whatever route it comes again.
    Rejected = 2,
    /// Known without its place in the graph: part of an auth chain or of a state.
    Outlier = 3,
}

impl EventStatus {
    fn from_number(number: i16) -> Option<Self> {
        Some(match number {
            0 => Self::Accepted,
            1 => Self::SoftFailed,
            2 => Self::Rejected,
            3 => Self::Outlier,
            _ => return None,
        })
    }
}

/// What redaction and expiry destroy of an event.
#[derive(Clone, Debug)]
pub enum Body {
    /// The content. The [`Pdu`] has it, and it is not held twice.
    Content,
    /// The whole event, of which redaction takes more than the content.
    Whole(Arc<[u8]>),
}

impl Body {
    /// The body of `pdu`, which was made from these bytes.
    pub fn of(bytes: &[u8], pdu: &Pdu) -> Self {
        if bytes == pdu.content.get().as_bytes() {
            Self::Content
        } else {
            Self::Whole(bytes.into())
        }
    }
}

/// A stored event.
#[derive(Clone, Debug)]
pub struct Event {
    /// The event as the protocol sees it; without a body, its redacted form.
    pub pdu: Arc<Pdu>,
    /// When this server first received it, in ms since the epoch.
    pub received_ts: i64,
    /// Its place in the timeline; none outside of it.
    pub room_order: Option<i64>,
    /// Its position in the log; none for history and outliers.
    pub position: Option<i64>,
    /// The state before it, as the id of a state group; none for outliers.
    pub state_before: Option<i64>,
    /// The state after it.
    pub state_after: Option<i64>,
    /// What became of it.
    pub status: EventStatus,
    /// The redacted form with hashes and signatures, as canonical JSON.
    pub skeleton: Arc<[u8]>,
    /// Where the value of `content` stands in the skeleton: offset and length in bytes.
    pub content_at: Option<(u32, u32)>,
    /// What redaction and expiry destroy: the content, or (without `content_at`) the whole event.
    pub body: Option<Body>,
    /// The redaction that removed the body.
    pub redacted_by: Option<OwnedEventId>,
    /// From when it is shown without its body, in ms since the epoch.
    pub deadline: Option<i64>,
    /// When its body is destroyed, in ms since the epoch: at the deadline, or later if a later
    /// policy shortened it.
    pub destroy_at: Option<i64>,
    /// Its lifetime class, in ms.
    pub expiry_class: Option<i64>,
}

impl Event {
    /// Its id.
    pub fn id(&self) -> &EventId {
        &self.pdu.event_id
    }

    /// Whether it is part of the room's timeline or state: neither rejected nor soft-failed.
    pub fn is_accepted(&self) -> bool {
        matches!(self.status, EventStatus::Accepted | EventStatus::Outlier)
    }

    /// The bytes of what redaction and expiry destroy, as long as they are there.
    pub fn body(&self) -> Option<&[u8]> {
        Some(match self.body.as_ref()? {
            Body::Content => self.pdu.content.get().as_bytes(),
            Body::Whole(bytes) => bytes,
        })
    }

    /// Whether the body is still there.
    pub fn has_body(&self) -> bool {
        self.body.is_some()
    }

    /// The value of `content` in the redacted form.
    pub fn redacted_content(&self) -> &[u8] {
        let Some((at, len)) = self.content_at else {
            return b"{}";
        };
        let at = at as usize;
        self.skeleton.get(at..at + len as usize).unwrap_or(b"{}")
    }

    /// The same event without its body.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if the skeleton is not an event.
    pub fn without_body(&self, version: &RoomVersionId) -> Result<Self, StoreError> {
        let rules = versions::rules(version).ok_or(StoreError::corrupt("rooms", "version"))?;
        let mut pdu = Pdu::from_stored(
            self.id().to_owned(),
            &self.skeleton,
            self.content_at,
            None,
            rules,
        )
        .map_err(|_| StoreError::corrupt("events", "skeleton"))?;
        pdu.rejected = self.status == EventStatus::Rejected;
        Ok(Self {
            pdu: Arc::new(pdu),
            body: None,
            ..self.clone()
        })
    }
}

/// Weighs events by the memory that they take.
#[derive(Clone, Debug)]
pub(super) struct EventWeight;

impl Weighter<OwnedEventId, Arc<Event>> for EventWeight {
    fn weight(&self, _: &OwnedEventId, event: &Arc<Event>) -> u64 {
        let whole = match &event.body {
            Some(Body::Whole(bytes)) => bytes.len(),
            _ => 0,
        };
        let bytes = event.skeleton.len() + event.pdu.content.get().len() + whole;
        EVENT_BYTES_BASE + bytes as u64
    }
}

/// The cache of events.
pub(super) type EventCache = Cache<OwnedEventId, Arc<Event>, EventWeight>;

/// A new, empty cache that may take so many bytes.
pub(super) fn cache(bytes_max: u64) -> EventCache {
    let estimated = usize::try_from(bytes_max / EVENT_BYTES_TYPICAL).unwrap_or(usize::MAX);
    Cache::with_weighter(estimated, bytes_max, EventWeight)
}

/// Which way a timeline is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Newer events first.
    Backward,
    /// Older events first.
    Forward,
}

impl Store {
    /// One event, whatever its status.
    ///
    /// # Errors
    /// What the database says; [`StoreError::Corrupt`] if a row cannot be read.
    pub async fn event(&self, id: &EventId) -> Result<Option<Arc<Event>>, StoreError> {
        if let Some(event) = self.event_cache.get(id) {
            return Ok(Some(event));
        }
        Ok(self.events(&[id.to_owned()]).await?.pop())
    }

    /// The events with these ids, in the order asked; those that are not held are left out.
    ///
    /// # Errors
    /// As [`Store::event`].
    pub async fn events(&self, ids: &[OwnedEventId]) -> Result<Vec<Arc<Event>>, StoreError> {
        let mut found: HashMap<&EventId, Arc<Event>> = HashMap::with_capacity(ids.len());
        let mut wanted = Vec::new();
        for id in ids {
            match self.event_cache.get(id) {
                Some(event) => {
                    found.insert(id, event);
                }
                None => wanted.push(id.as_str()),
            }
        }
        let mut read = Vec::with_capacity(wanted.len());
        for some in wanted.chunks(EVENTS_PER_QUERY_MAX) {
            read.extend(
                self.read_events(events::Column::EventId.is_in(some.iter().copied()))
                    .await?,
            );
        }
        for event in &read {
            found.insert(event.id(), Arc::clone(event));
        }
        Ok(ids
            .iter()
            .filter_map(|id| found.get(&**id).cloned())
            .collect())
    }

    /// The accepted events of a room's timeline beyond `from` (exclusive), nearest first.
    ///
    /// # Errors
    /// As [`Store::event`].
    pub async fn timeline(
        &self,
        room: &RoomId,
        from: i64,
        direction: Direction,
        limit: u64,
    ) -> Result<Vec<Arc<Event>>, StoreError> {
        let query = events::Entity::find()
            .select_only()
            .column(events::Column::EventId)
            .filter(events::Column::RoomId.eq(room.as_str()));
        let query = match direction {
            Direction::Backward => query
                .filter(events::Column::RoomOrder.lt(from))
                .order_by_desc(events::Column::RoomOrder),
            Direction::Forward => query
                .filter(events::Column::RoomOrder.gt(from))
                .order_by_asc(events::Column::RoomOrder),
        };
        let ids: Vec<String> = query.limit(limit).into_tuple().all(self.reader()).await?;
        let ids = parse_ids(ids)?;
        self.events(&ids).await
    }

    /// The events that relate to `parent`, newest first; at most `limit`. Those that redact it are given by their name alone.
    ///
    /// # Errors
    /// As [`Store::event`].
    pub async fn relations(
        &self,
        parent: &EventId,
        rel_type: Option<&str>,
        limit: u64,
    ) -> Result<Vec<Arc<Event>>, StoreError> {
        let mut query = event_relations::Entity::find()
            .select_only()
            .column(event_relations::Column::Child)
            .filter(event_relations::Column::Parent.eq(parent.as_str()));
        query = query.filter(match rel_type {
            Some(rel_type) => event_relations::Column::RelType.eq(rel_type),
            None => event_relations::Column::RelType.ne(REDACTS),
        });
        let child = event_relations::Entity::belongs_to(events::Entity)
            .from(event_relations::Column::Child)
            .to(events::Column::EventId);
        let query = query
            .join(JoinType::InnerJoin, child.into())
            .order_by_desc(events::Column::RoomOrder);
        let ids: Vec<String> = query.limit(limit).into_tuple().all(self.reader()).await?;
        self.events(&parse_ids(ids)?).await
    }

    /// Puts an event into the cache, in place of what was there: after a commit that wrote it.
    pub fn remember_event(&self, event: Arc<Event>) {
        self.event_cache.insert(event.id().to_owned(), event);
    }

    /// Removes events from the cache: after a commit that changed them.
    pub fn forget_events<'a>(&self, ids: impl IntoIterator<Item = &'a EventId>) {
        // A reader that read before the commit must not put the old event back afterwards.
        self.events_forgotten.fetch_add(1, Ordering::SeqCst);
        for id in ids {
            self.event_cache.remove(id);
        }
    }

    /// Caches what was read while `forgotten` was the count of changes, unless there was another.
    fn cache_read(&self, event: &Arc<Event>, forgotten: u64) {
        let is_current = || self.events_forgotten.load(Ordering::SeqCst) == forgotten;
        if is_current() {
            let id = event.id().to_owned();
            self.event_cache.insert(id, Arc::clone(event));
            if !is_current() {
                self.event_cache.remove(event.id());
            }
        }
    }

    async fn read_events(
        &self,
        filter: impl sea_orm::sea_query::IntoCondition,
    ) -> Result<Vec<Arc<Event>>, StoreError> {
        let forgotten = self.events_forgotten.load(Ordering::SeqCst);
        let skeletons = events::Entity::find()
            .filter(filter)
            .all(self.reader())
            .await?;
        if skeletons.is_empty() {
            return Ok(Vec::new());
        }
        let ids = skeletons.iter().map(|row| row.event_id.as_str());
        let mut bodies: HashMap<String, Vec<u8>> = event_bodies::Entity::find()
            .filter(event_bodies::Column::EventId.is_in(ids))
            .all(self.reader())
            .await?
            .into_iter()
            .map(|row| (row.event_id, row.body))
            .collect();
        let mut read = Vec::with_capacity(skeletons.len());
        for row in skeletons {
            let version = self.version_of(&row.room_id).await?;
            let body = match bodies.remove(&row.event_id) {
                Some(body) => self
                    .shredder
                    .open_stored(&row.room_id, &row.event_id, body)?,
                None => None,
            };
            let event = Arc::new(from_row(row, body, &version)?);
            self.cache_read(&event, forgotten);
            read.push(event);
        }
        Ok(read)
    }

    /// The version of a room, cached for ever: it never changes.
    async fn version_of(&self, room: &str) -> Result<RoomVersionId, StoreError> {
        if let Some(version) = self.room_versions.get(room) {
            return Ok(version);
        }
        let version: Option<String> = rooms::Entity::find_by_id(room)
            .select_only()
            .column(rooms::Column::Version)
            .into_tuple()
            .one(self.reader())
            .await?;
        let version = version
            .and_then(|version| RoomVersionId::try_from(version).ok())
            .ok_or(StoreError::corrupt("rooms", "version"))?;
        self.room_versions.insert(room.to_owned(), version.clone());
        Ok(version)
    }
}

/// Ids as the database holds them.
pub(super) fn parse_ids(ids: Vec<String>) -> Result<Vec<OwnedEventId>, StoreError> {
    ids.into_iter()
        .map(|id| OwnedEventId::try_from(id).map_err(|_| StoreError::corrupt("events", "event_id")))
        .collect()
}

fn from_row(
    row: events::Model,
    body: Option<Vec<u8>>,
    version: &RoomVersionId,
) -> Result<Event, StoreError> {
    let corrupt = |column| StoreError::corrupt("events", column);
    let rules = versions::rules(version).ok_or(StoreError::corrupt("rooms", "version"))?;
    let id = OwnedEventId::try_from(row.event_id).map_err(|_| corrupt("event_id"))?;
    let content_at = match (row.content_at, row.content_len) {
        (Some(at), Some(len)) => Some((
            u32::try_from(at).map_err(|_| corrupt("content_at"))?,
            u32::try_from(len).map_err(|_| corrupt("content_len"))?,
        )),
        _ => None,
    };
    let status = EventStatus::from_number(row.status).ok_or(corrupt("status"))?;
    let mut pdu = Pdu::from_stored(id, &row.skeleton, content_at, body.as_deref(), rules)
        .map_err(|_| corrupt("skeleton"))?;
    pdu.rejected = status == EventStatus::Rejected;
    let body = body.map(|body| Body::of(&body, &pdu));
    let redacted_by = row
        .redacted_by
        .map(OwnedEventId::try_from)
        .transpose()
        .map_err(|_| corrupt("redacted_by"))?;
    Ok(Event {
        pdu: Arc::new(pdu),
        received_ts: row.received_ts,
        room_order: row.room_order,
        position: row.position,
        state_before: row.state_before,
        state_after: row.state_after,
        status,
        skeleton: row.skeleton.into(),
        content_at,
        body,
        redacted_by,
        deadline: row.deadline,
        destroy_at: row.destroy_at,
        expiry_class: row.expiry_class,
    })
}
