//! What a client asked to be told: a filter, compiled once for each request.
//!
//! Invariant: matching costs at most the length of the filter times that of what is matched,
//! whatever the client wrote; lists longer than [`ENTRIES_MAX`] are refused.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#filtering>

use std::collections::HashSet;

use ruma::{
    OwnedRoomId, OwnedUserId, RoomId, UserId,
    api::client::filter::{
        EventFormat, Filter, FilterDefinition, LazyLoadOptions, RoomEventFilter, UrlFilter,
    },
};
use serde::Deserialize;

use super::fields::Fields;
use crate::store::Event;

/// Entries in one list of a filter.
pub const ENTRIES_MAX: usize = 1000;
/// Events of a timeline if the filter does not say.
const TIMELINE_EVENTS_DEFAULT: usize = 10;
/// Events of a timeline, whatever the filter says.
pub const TIMELINE_EVENTS_MAX: usize = 500;

/// A filter that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// A list has more than [`ENTRIES_MAX`] entries.
    #[error("a list of the filter is too long")]
    TooLong,
}

/// A list that lets some through and holds others back.
#[derive(Clone, Debug)]
struct Only<T> {
    /// What is let through; all if `None`.
    include: Option<HashSet<T>>,
    /// What is held back all the same.
    exclude: HashSet<T>,
}

impl<T> Default for Only<T> {
    fn default() -> Self {
        Self {
            include: None,
            exclude: HashSet::new(),
        }
    }
}

impl<T: Eq + std::hash::Hash> Only<T> {
    fn new(include: Option<Vec<T>>, exclude: Vec<T>) -> Result<Self, FilterError> {
        bounded(include.as_deref().unwrap_or_default())?;
        bounded(&exclude)?;
        Ok(Self {
            include: include.map(|list| list.into_iter().collect()),
            exclude: exclude.into_iter().collect(),
        })
    }

    fn allows<Q>(&self, item: &Q) -> bool
    where
        T: std::borrow::Borrow<Q>,
        Q: Eq + std::hash::Hash + ?Sized,
    {
        !self.exclude.contains(item) && self.include.as_ref().is_none_or(|list| list.contains(item))
    }
}

/// Types, with `*` for any run of characters.
#[derive(Clone, Debug, Default)]
struct Types {
    include: Option<Vec<String>>,
    exclude: Vec<String>,
}

impl Types {
    fn new(include: Option<Vec<String>>, exclude: Vec<String>) -> Result<Self, FilterError> {
        bounded(include.as_deref().unwrap_or_default())?;
        bounded(&exclude)?;
        Ok(Self { include, exclude })
    }

    fn allows(&self, kind: &str) -> bool {
        let listed = |list: &[String]| list.iter().any(|pattern| matches(pattern, kind));
        !listed(&self.exclude) && self.include.as_deref().is_none_or(listed)
    }
}

/// What may pass of one section that is in no room: account data.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    types: Types,
    senders: Only<OwnedUserId>,
}

impl EventFilter {
    fn new(filter: Filter) -> Result<Self, FilterError> {
        Ok(Self {
            types: Types::new(filter.types, filter.not_types)?,
            senders: Only::new(filter.senders, filter.not_senders)?,
        })
    }

    /// Whether data of this type, of this user, passes.
    pub fn allows(&self, kind: &str, sender: &UserId) -> bool {
        self.types.allows(kind) && self.senders.allows(sender)
    }
}

/// What may pass of one section of a room.
#[derive(Clone, Debug, Default)]
pub struct RoomSection {
    types: Types,
    senders: Only<OwnedUserId>,
    rooms: Only<OwnedRoomId>,
    /// Whether events with a `url` in their content pass, or those without; both if `None`.
    contains_url: Option<bool>,
    /// How many events are asked for.
    limit: Option<usize>,
    /// Whether only the members that are needed are told, and if so, whether even those that the
    /// client knows.
    lazy: LazyLoad,
}

/// How members are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LazyLoad {
    /// All of them.
    #[default]
    Off,
    /// Those whose events are told, unless the client was told already.
    On,
    /// Those whose events are told, every time.
    Redundant,
}

impl RoomSection {
    /// Compiles one section.
    ///
    /// # Errors
    /// [`FilterError::TooLong`].
    pub fn new(filter: RoomEventFilter) -> Result<Self, FilterError> {
        Ok(Self {
            types: Types::new(filter.types, filter.not_types)?,
            senders: Only::new(filter.senders, filter.not_senders)?,
            rooms: Only::new(filter.rooms, filter.not_rooms)?,
            contains_url: filter
                .url_filter
                .map(|filter| filter == UrlFilter::EventsWithUrl),
            limit: filter
                .limit
                .map(|limit| usize::try_from(limit).unwrap_or(usize::MAX)),
            lazy: match filter.lazy_load_options {
                LazyLoadOptions::Disabled => LazyLoad::Off,
                LazyLoadOptions::Enabled {
                    include_redundant_members: true,
                } => LazyLoad::Redundant,
                LazyLoadOptions::Enabled { .. } => LazyLoad::On,
            },
        })
    }

    /// Whether anything of this room passes.
    pub fn allows_room(&self, room: &RoomId) -> bool {
        self.rooms.allows(room)
    }

    /// Whether something of this type, from this user, passes; of an event, see
    /// [`RoomSection::allows`].
    pub fn allows_type(&self, kind: &str, sender: &UserId) -> bool {
        self.types.allows(kind) && self.senders.allows(sender)
    }

    /// Whether data of this type passes that has no sender, such as receipts of many.
    pub fn allows_kind(&self, kind: &str) -> bool {
        self.types.allows(kind)
    }

    /// Whether an event passes; its room is not looked at.
    pub fn allows(&self, event: &Event) -> bool {
        let pdu = &event.pdu;
        self.allows_type(&pdu.kind.to_string(), &pdu.sender)
            && self
                .contains_url
                .is_none_or(|wanted| wanted == has_url(pdu.content.get()))
    }

    /// Whether every event passes.
    pub fn allows_all(&self) -> bool {
        self.types.include.is_none()
            && self.types.exclude.is_empty()
            && self.senders.include.is_none()
            && self.senders.exclude.is_empty()
            && self.contains_url.is_none()
    }

    /// How many events to tell, at most [`TIMELINE_EVENTS_MAX`].
    pub fn limit(&self) -> usize {
        self.limit
            .unwrap_or(TIMELINE_EVENTS_DEFAULT)
            .min(TIMELINE_EVENTS_MAX)
    }

    /// How members are told.
    pub fn lazy(&self) -> LazyLoad {
        self.lazy
    }
}

/// A whole filter, ready for use.
#[derive(Clone, Debug, Default)]
pub struct SyncFilter {
    /// The fields of events to tell; all if `None`.
    pub fields: Option<Fields>,
    /// Whether events are told as they travel between servers.
    pub federation_format: bool,
    /// Global account data.
    pub account_data: EventFilter,
    /// Who is online.
    pub presence: EventFilter,
    /// Whether rooms that the user has left are told.
    pub include_leave: bool,
    /// Events of timelines.
    pub timeline: RoomSection,
    /// State.
    pub state: RoomSection,
    /// Receipts and typing.
    pub ephemeral: RoomSection,
    /// Account data of rooms.
    pub room_account_data: RoomSection,
    /// Whether unread counts are told by thread.
    pub threads: bool,
    rooms: Only<OwnedRoomId>,
}

impl SyncFilter {
    /// Compiles a filter.
    ///
    /// # Errors
    /// [`FilterError::TooLong`].
    pub fn new(definition: FilterDefinition) -> Result<Self, FilterError> {
        let room = definition.room;
        bounded(definition.event_fields.as_deref().unwrap_or_default())?;
        Ok(Self {
            fields: definition.event_fields.as_deref().map(Fields::new),
            federation_format: definition.event_format == EventFormat::Federation,
            account_data: EventFilter::new(definition.account_data)?,
            presence: EventFilter::new(definition.presence)?,
            include_leave: room.include_leave,
            threads: room.timeline.unread_thread_notifications,
            timeline: RoomSection::new(room.timeline)?,
            state: RoomSection::new(room.state)?,
            ephemeral: RoomSection::new(room.ephemeral)?,
            room_account_data: RoomSection::new(room.account_data)?,
            rooms: Only::new(room.rooms, room.not_rooms)?,
        })
    }

    /// Whether anything of this room passes.
    pub fn allows_room(&self, room: &RoomId) -> bool {
        self.rooms.allows(room)
    }
}

/// Whether a pattern with `*` for any run of characters matches the whole text.
///
/// Greedy with one point to go back to: never worse than the product of the lengths.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(byte) if *byte == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match &mut star {
                Some((star, from)) => {
                    *from += 1;
                    (p, t) = (*star + 1, *from);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

fn has_url(content: &str) -> bool {
    #[derive(Deserialize)]
    struct Content {
        url: Option<serde::de::IgnoredAny>,
    }
    serde_json::from_str::<Content>(content).is_ok_and(|content| content.url.is_some())
}

fn bounded<T>(list: &[T]) -> Result<(), FilterError> {
    (list.len() <= ENTRIES_MAX)
        .then_some(())
        .ok_or(FilterError::TooLong)
}

#[cfg(test)]
mod tests {
    use ruma::{room_id, user_id};
    use serde_json::{from_value, json};

    use super::*;

    fn compile(definition: serde_json::Value) -> Result<SyncFilter, FilterError> {
        SyncFilter::new(from_value(definition).unwrap())
    }

    #[test]
    fn patterns_match_whole_types() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("m.room.*", "m.room.message", true),
            ("m.room.*", "m.roommate", false),
            ("*.message", "m.room.message", true),
            ("m.*.m*e", "m.room.message", true),
            ("m.room.message", "m.room.messages", false),
            ("", "m", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
        let hostile = "*a".repeat(300);
        assert!(!matches(&hostile, &"a".repeat(255)));
    }

    #[test]
    fn exclusion_wins_over_inclusion() {
        let filter = compile(json!({"room": {
            "rooms": ["!a:x.org", "!b:x.org"], "not_rooms": ["!b:x.org"],
            "timeline": {"types": ["m.*"], "not_types": ["m.room.member"], "not_senders": ["@b:x.org"], "limit": 1_000_000},
            "state": {"lazy_load_members": true},
        }}))
        .unwrap();
        assert!(filter.allows_room(room_id!("!a:x.org")));
        assert!(!filter.allows_room(room_id!("!b:x.org")));
        assert!(!filter.allows_room(room_id!("!c:x.org")));
        let (alice, bob) = (user_id!("@a:x.org"), user_id!("@b:x.org"));
        assert!(filter.timeline.allows_type("m.room.message", alice));
        assert!(!filter.timeline.allows_type("m.room.member", alice));
        assert!(!filter.timeline.allows_type("m.room.message", bob));
        assert!(!filter.timeline.allows_all());
        assert_eq!(filter.timeline.limit(), TIMELINE_EVENTS_MAX);
        assert_eq!(filter.state.lazy(), LazyLoad::On);
    }

    #[test]
    fn an_empty_list_lets_nothing_through() {
        let filter = compile(json!({"account_data": {"types": []}})).unwrap();
        assert!(!filter.account_data.allows("m.direct", user_id!("@a:x.org")));
    }

    #[test]
    fn long_lists_are_refused() {
        let types: Vec<String> = (0..=ENTRIES_MAX).map(|n| n.to_string()).collect();
        let refused = compile(json!({"room": {"state": {"not_types": types}}}));
        assert_eq!(refused.unwrap_err(), FilterError::TooLong);
    }
}
