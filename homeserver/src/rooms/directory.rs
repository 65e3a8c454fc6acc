//! The directory of published rooms: ours by pages, others' by asking.
//!
//! Invariant: a room is listed only while somebody of this server is in it; to another server only if it may take part.
//! Rooms are ordered by their members, the most first, then by their ids; a token says behind or before which room to go on,
//! so that rooms that come and go meanwhile shift nothing.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#published-room-directory>

use std::{cmp::Reverse, str::FromStr, sync::Arc};

use passeur_protocol::power_levels::PowerLevels;
use ruma::{
    OwnedRoomId, RoomId, ServerName, UInt, UserId,
    api::federation::directory::{get_public_rooms, get_public_rooms_filtered},
    directory::{Filter, PublicRoomsChunk, RoomNetwork, RoomTypeFilter},
    events::{StateEventType, TimelineEventType},
    room::RoomSummary,
};
use serde::Serialize;

use super::{Rooms, Snapshot, Summary};
use crate::{
    outbound::{Bounds, RemoteError},
    store::{PublishRoom, StoreError},
};

/// Rooms of the directory that are looked at.
const PUBLISHED_MAX: u64 = 5_000;
/// Rooms of one page, whatever is asked for.
const PAGE_MAX: usize = 500;

/// What is asked of a directory.
#[derive(Clone, Debug, Default)]
pub struct DirectoryQuery {
    /// Rooms of one page; none or 0: as many as the server likes.
    pub limit: Option<UInt>,
    /// Where to go on.
    pub since: Option<String>,
    /// Which rooms.
    pub filter: Filter,
    /// Of which networks.
    pub network: RoomNetwork,
}

/// A page of a directory, as it is written.
#[derive(Clone, Debug, Serialize)]
pub struct DirectoryPage {
    /// The rooms.
    pub chunk: Vec<Summary>,
    /// Where the next page begins, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_batch: Option<String>,
    /// Where the page before this one ends, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prev_batch: Option<String>,
    /// How many rooms match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_room_count_estimate: Option<u64>,
}

/// Why a question to the directory has no answer.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The token is none that this directory made.
    #[error("not a token of this directory")]
    Token,
    /// Another network is named: this server bridges to none.
    #[error("no such network")]
    Network,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A room's place in the order.
type Place = (Reverse<usize>, OwnedRoomId);

/// A place, and in which direction to go on from it: as text `f` or `b`, the number of members, `~`, the room.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Token {
    is_forward: bool,
    place: Place,
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let direction = if self.is_forward { 'f' } else { 'b' };
        let (Reverse(members), room) = &self.place;
        write!(f, "{direction}{members}~{room}")
    }
}

impl FromStr for Token {
    type Err = DirectoryError;

    fn from_str(text: &str) -> Result<Self, DirectoryError> {
        let (head, room) = text.split_once('~').ok_or(DirectoryError::Token)?;
        let (is_forward, members) = match head.split_at_checked(1) {
            Some(("f", members)) => (true, members),
            Some(("b", members)) => (false, members),
            _ => return Err(DirectoryError::Token),
        };
        let members = members.parse().map_err(|_| DirectoryError::Token)?;
        let room = OwnedRoomId::try_from(room).map_err(|_| DirectoryError::Token)?;
        Ok(Self {
            is_forward,
            place: (Reverse(members), room),
        })
    }
}

impl Rooms {
    /// Publishes a room in the directory, or takes it out.
    ///
    /// # Errors
    /// What the database says.
    pub async fn publish(&self, room_id: OwnedRoomId, is_public: bool) -> Result<(), StoreError> {
        let change = PublishRoom { room_id, is_public };
        self.store().commit(change).await?;
        Ok(())
    }

    /// Whether a user may decide on the room's place in the directory and on its aliases: whoever may set its canonical
    /// alias.
    ///
    /// # Errors
    /// What the database says.
    pub async fn may_list(&self, snapshot: &Snapshot, user: &UserId) -> Result<bool, StoreError> {
        if !snapshot.members.is_joined(user) {
            return Ok(false);
        }
        let create = StateEventType::RoomCreate;
        let Some(create) = self.state_event(snapshot, &create, "").await? else {
            return Ok(false);
        };
        let levels = StateEventType::RoomPowerLevels;
        let levels = self.state_event(snapshot, &levels, "").await?;
        let levels = levels.as_ref().map(|levels| &levels.pdu);
        let levels = PowerLevels::new(&create.pdu, levels, snapshot.rules);
        let kind = TimelineEventType::RoomCanonicalAlias;
        Ok(levels.is_ok_and(|levels| levels.of_user(user) >= levels.to_send(&kind, true)))
    }

    /// A page of this server's directory, for users of ours or for the server that asks.
    ///
    /// # Errors
    /// See [`DirectoryError`].
    pub async fn directory(
        &self,
        query: &DirectoryQuery,
        asker: Option<&ServerName>,
    ) -> Result<DirectoryPage, DirectoryError> {
        if let RoomNetwork::ThirdParty(name) = &query.network
            && !name.is_empty()
        {
            return Err(DirectoryError::Network);
        }
        let since = query.since.as_deref().map(Token::from_str).transpose()?;
        let listed = self.listed(query, asker).await?;
        let limit = query.limit.and_then(|limit| usize::try_from(limit).ok());
        let limit = limit.filter(|limit| *limit > 0).unwrap_or(PAGE_MAX);
        let (first, end) = page(&listed, since.as_ref(), limit.min(PAGE_MAX));
        let shown = listed.get(first..end).unwrap_or_default();
        let shown: Vec<Arc<Snapshot>> = shown.iter().map(|(_, room)| Arc::clone(room)).collect();
        let place = |index: usize| listed.get(index).map(|(place, _)| place.clone());
        let token = |is_forward, place: Option<Place>| {
            place.map(|place| Token { is_forward, place }.to_string())
        };
        let summaries = self.summaries(&shown).await?;
        Ok(DirectoryPage {
            chunk: summaries.into_iter().map(Summary::listed).collect(),
            next_batch: token(
                true,
                place(end.wrapping_sub(1)).filter(|_| end < listed.len()),
            ),
            prev_batch: token(false, place(first).filter(|_| first > 0)),
            total_room_count_estimate: Some(listed.len() as u64),
        })
    }

    /// The rooms that match, in their order.
    async fn listed(
        &self,
        query: &DirectoryQuery,
        asker: Option<&ServerName>,
    ) -> Result<Vec<(Place, Arc<Snapshot>)>, StoreError> {
        let mut rooms = Vec::new();
        for room in self.store().published_rooms(PUBLISHED_MAX).await? {
            let Some(snapshot) = self.snapshot(&room).await? else {
                continue;
            };
            let is_told = match asker {
                Some(server) => self.may_take_part(&snapshot, server).await?,
                None => true,
            };
            if is_told && !snapshot.members.local_joined.is_empty() {
                rooms.push(snapshot);
            }
        }
        if asker.is_some() || !query.filter.is_empty() {
            let summaries = self.summaries(&rooms).await?;
            let matches = |summary: &Summary| {
                (asker.is_none() || summary.is_federated) && matches(summary, &query.filter)
            };
            let kept = rooms.into_iter().zip(&summaries);
            let kept = kept.filter(|(_, summary)| matches(summary));
            rooms = kept.map(|(room, _)| room).collect();
        }
        let placed = rooms
            .into_iter()
            .map(|room| ((Reverse(room.members.joined), room.room_id.clone()), room));
        let mut placed: Vec<_> = placed.collect();
        placed.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(placed)
    }

    /// A page of another server's directory.
    ///
    /// # Errors
    /// Any [`RemoteError`].
    pub async fn remote_directory(
        &self,
        server: &ServerName,
        query: DirectoryQuery,
    ) -> Result<DirectoryPage, RemoteError> {
        let remote = &self.context.remote;
        let (chunk, next_batch, prev_batch, total) = if query.filter.is_empty() {
            let mut request = get_public_rooms::v1::Request::new();
            request.limit = query.limit;
            request.since = query.since;
            request.room_network = query.network;
            let page = remote.call(server, request, Bounds::INTERACTIVE).await?;
            let total = page.total_room_count_estimate;
            (page.chunk, page.next_batch, page.prev_batch, total)
        } else {
            let mut request = get_public_rooms_filtered::v1::Request::new();
            request.limit = query.limit;
            request.since = query.since;
            request.filter = query.filter;
            request.room_network = query.network;
            let page = remote.call(server, request, Bounds::INTERACTIVE).await?;
            let total = page.total_room_count_estimate;
            (page.chunk, page.next_batch, page.prev_batch, total)
        };
        let summary = |room: PublicRoomsChunk| Summary::from(RoomSummary::from(room));
        Ok(DirectoryPage {
            chunk: chunk.into_iter().map(summary).collect(),
            next_batch,
            prev_batch,
            total_room_count_estimate: total.map(u64::from),
        })
    }

    /// Whether this server publishes a room.
    ///
    /// # Errors
    /// What the database says.
    pub async fn is_published(&self, room: &RoomId) -> Result<bool, StoreError> {
        self.store().is_published(room).await
    }
}

/// Which part of the rooms a page holds: from, and up to.
fn page(rooms: &[(Place, Arc<Snapshot>)], since: Option<&Token>, limit: usize) -> (usize, usize) {
    let Some(Token { is_forward, place }) = since else {
        return (0, limit.min(rooms.len()));
    };
    if *is_forward {
        let first = rooms.partition_point(|(other, _)| other <= place);
        return (first, first.saturating_add(limit).min(rooms.len()));
    }
    let end = rooms.partition_point(|(other, _)| other < place);
    (end.saturating_sub(limit), end)
}

/// Whether a room is one that is asked for.
fn matches(summary: &Summary, filter: &Filter) -> bool {
    let types = &filter.room_types;
    let own = RoomTypeFilter::from(summary.room_type.clone());
    if !types.is_empty() && !types.contains(&own) {
        return false;
    }
    let term = filter.generic_search_term.as_deref().unwrap_or_default();
    let term = term.trim().to_lowercase();
    let fields = [&summary.name, &summary.topic, &summary.canonical_alias];
    let mut fields = fields.into_iter().flatten();
    term.is_empty() || fields.any(|field| field.to_lowercase().contains(&term))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_written() {
        for is_forward in [true, false] {
            let room = OwnedRoomId::try_from("!room~with:example.org").unwrap();
            let place = (Reverse(17), room);
            let token = Token { is_forward, place };
            assert_eq!(token.to_string().parse::<Token>().unwrap(), token);
        }
    }

    #[test]
    fn what_is_no_token_is_refused() {
        for text in [
            "",
            "~",
            "x1~!room:example.org",
            "f~!room:example.org",
            "f1~room",
            "é1~!a:b",
        ] {
            assert!(text.parse::<Token>().is_err(), "{text}");
        }
    }
}
