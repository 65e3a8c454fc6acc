//! Spaces: a room with its children, for users and for servers, and rooms of other servers before joining.
//!
//! Invariant: a room is described only to who could read or join it, be it by invite, by its join rule or because anybody may
//! read it. What is known here is never replaced by what another server says. Peers' answers are remembered for a while, and
//! how many are asked for one answer is bounded.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#spaces>

use std::{sync::Arc, time::Duration};

use quick_cache::sync::Cache;
use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedRoomId, OwnedServerName, RoomId, ServerName, UserId,
    api::federation::space::get_hierarchy::v1 as get_hierarchy, events::StateEventType,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Rooms, Snapshot, Summary, json::JsonWriter, projection};
use crate::{
    outbound::Bounds,
    store::{Membership, StoreError},
};

/// Children of one space that are looked at.
pub(super) const CHILDREN_MAX: usize = 500;
/// Servers through which a child is looked for.
const VIA_MAX: usize = 3;
/// Longest `order` of a child, in characters.
const ORDER_CHARS_MAX: usize = 50;
/// How long a peer's answer is remembered.
const REMEMBERED: Duration = Duration::from_secs(5 * 60);
/// How many peers' answers are remembered.
const REMEMBERED_MAX: usize = 500;

/// A room with its children, as it is written.
#[derive(Clone, Debug, Serialize)]
pub struct SpaceRoom {
    /// The room.
    #[serde(flatten)]
    pub summary: Summary,
    /// Its children: stripped events with their time. Empty if it is no space.
    pub children_state: Vec<Box<RawValue>>,
    /// Where these lead.
    #[serde(skip)]
    pub children: Vec<Child>,
}

/// Where a child of a space is.
#[derive(Clone, Debug)]
pub struct Child {
    /// The room.
    pub room_id: OwnedRoomId,
    /// Servers that are in it.
    pub via: Vec<OwnedServerName>,
}

/// A space with its children, for another server.
#[derive(Clone, Debug, Serialize)]
pub struct SpaceForServer {
    /// The space.
    pub room: SpaceRoom,
    /// The children that the server could read or join.
    pub children: Vec<SpaceRoom>,
    /// Those that it could not.
    pub inaccessible_children: Vec<OwnedRoomId>,
}

/// What another server says of a space.
#[derive(Clone, Debug)]
pub(super) struct RemoteSpace {
    /// The room that was asked for.
    pub(super) room: SpaceRoom,
    /// Its children.
    pub(super) children: Vec<Summary>,
    /// Children that nobody here could enter.
    pub(super) inaccessible: Vec<OwnedRoomId>,
    /// When it was asked, in monotonic time.
    asked: Duration,
}

/// What was asked of peers: the room, and whether only for suggested children.
pub(super) type SpaceCache = Cache<(OwnedRoomId, bool), Arc<RemoteSpace>>;

/// A new, empty cache.
pub(super) fn space_cache() -> SpaceCache {
    Cache::new(REMEMBERED_MAX)
}

/// The content of `m.space.child`.
#[derive(Deserialize)]
struct ChildContent {
    #[serde(default)]
    via: Vec<String>,
    order: Option<String>,
    #[serde(default)]
    suggested: bool,
}

/// How children are ordered: those with a valid `order` first, then by time, then by room.
type ChildOrder = (bool, String, MilliSecondsSinceUnixEpoch, OwnedRoomId);

impl Rooms {
    /// A room that this server is in, with its children.
    ///
    /// # Errors
    /// What the database says.
    pub(super) async fn space_room(
        &self,
        snapshot: &Arc<Snapshot>,
        suggested_only: bool,
    ) -> Result<SpaceRoom, StoreError> {
        let summary = self.summary(snapshot).await?;
        let mut room = SpaceRoom {
            summary,
            children_state: Vec::new(),
            children: Vec::new(),
        };
        if !room.summary.is_space() {
            return Ok(room);
        }
        let ids = snapshot.state.iter();
        let ids = ids.filter(|((kind, _), _)| *kind == StateEventType::SpaceChild);
        let ids: Vec<_> = ids
            .map(|(_, id)| id.clone())
            .take(CHILDREN_MAX * 4)
            .collect();
        let now_ms = self.showing_ms();
        let mut children: Vec<(ChildOrder, Child, Box<RawValue>)> = Vec::new();
        for event in self.store().events(&ids).await? {
            let content = projection::content(&event, now_ms);
            let state_key = event.pdu.state_key.as_deref().unwrap_or_default();
            let ts = event.pdu.origin_server_ts;
            let Some((order, child, suggested)) = child(state_key, &content, ts) else {
                continue;
            };
            if suggested_only && !suggested {
                continue;
            }
            let mut out = JsonWriter::with_capacity(256);
            out.open().key("content").raw(content.as_bytes());
            out.key("origin_server_ts").number(ts.get().into());
            out.key("sender").string(event.pdu.sender.as_str());
            out.key("state_key").string(state_key);
            out.key("type").string("m.space.child").close();
            let json = String::from_utf8(out.into_bytes()).ok();
            let json = json.and_then(|json| RawValue::from_string(json).ok());
            children.extend(json.map(|json| (order, child, json)));
        }
        children.sort_by(|(a, ..), (b, ..)| a.cmp(b));
        children.truncate(CHILDREN_MAX);
        for (_, child, json) in children {
            room.children.push(child);
            room.children_state.push(json);
        }
        Ok(room)
    }

    /// A room as last committed, if somebody of this server is in it.
    ///
    /// # Errors
    /// What the database says.
    pub(super) async fn live(&self, room: &RoomId) -> Result<Option<Arc<Snapshot>>, StoreError> {
        let snapshot = self.snapshot(room).await?;
        Ok(snapshot.filter(|room| !room.members.local_joined.is_empty()))
    }

    /// Whether one of our users, or nobody in particular, could read or join a room of this description.
    ///
    /// # Errors
    /// What the database says.
    pub async fn may_find(
        &self,
        user: Option<&UserId>,
        room: &Summary,
    ) -> Result<bool, StoreError> {
        if room.world_readable {
            return Ok(true);
        }
        let Some(user) = user else {
            return Ok(is_open(room));
        };
        let rooms = self.memberships(user).await?;
        let membership = |room: &RoomId| rooms.get(room).map(|row| &row.membership);
        Ok(match membership(&room.room_id) {
            Some(Membership::Join | Membership::Invite) => true,
            Some(Membership::Ban) => false,
            _ if is_open(room) => true,
            _ => room
                .allowed_room_ids
                .iter()
                .any(|allowed| membership(allowed) == Some(&Membership::Join)),
        })
    }

    /// Whether a server could read or join a room that we are in.
    async fn server_may_find(
        &self,
        server: &ServerName,
        snapshot: &Snapshot,
        room: &Summary,
    ) -> Result<bool, StoreError> {
        if !room.is_federated || !self.may_take_part(snapshot, server).await? {
            return Ok(false);
        }
        let has_server = |members: &super::Members| members.has_server(server);
        let is_invited = || {
            snapshot.members.by_user.iter().any(|(user, member)| {
                user.server_name() == server && member.membership == Membership::Invite
            })
        };
        if room.world_readable || is_open(room) || has_server(&snapshot.members) || is_invited() {
            return Ok(true);
        }
        for allowed in &room.allowed_room_ids {
            if let Some(allowed) = self.live(allowed).await?
                && has_server(&allowed.members)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A space with its children, for another server; none if there is nothing that it may know of.
    ///
    /// # Errors
    /// What the database says.
    pub async fn space_for(
        &self,
        server: &ServerName,
        room: &RoomId,
        suggested_only: bool,
    ) -> Result<Option<SpaceForServer>, StoreError> {
        let Some(snapshot) = self.live(room).await? else {
            return Ok(None);
        };
        let room = self.space_room(&snapshot, suggested_only).await?;
        if !self
            .server_may_find(server, &snapshot, &room.summary)
            .await?
        {
            return Ok(None);
        }
        let (mut children, mut inaccessible) = (Vec::new(), Vec::new());
        for child in &room.children {
            // "Rooms which the responding server cannot provide details on will be outright excluded"
            let Some(snapshot) = self.live(&child.room_id).await? else {
                continue;
            };
            let child = self.space_room(&snapshot, suggested_only).await?;
            match self
                .server_may_find(server, &snapshot, &child.summary)
                .await?
            {
                true => children.push(child),
                false => inaccessible.push(child.summary.room_id),
            }
        }
        Ok(Some(SpaceForServer {
            room,
            children,
            inaccessible_children: inaccessible,
        }))
    }

    /// What other servers say of a room: remembered, or asked for now of the first that answers, unless `may_ask` is false.
    pub(super) async fn remote_space(
        &self,
        room: &RoomId,
        via: &[OwnedServerName],
        suggested_only: bool,
        may_ask: bool,
    ) -> Option<Arc<RemoteSpace>> {
        let key = (room.to_owned(), suggested_only);
        let now = self.context.clock.monotonic();
        let remembered = self.spaces.get(&key);
        let remembered = remembered.filter(|space| now.saturating_sub(space.asked) < REMEMBERED);
        if remembered.is_some() || !may_ask {
            return remembered;
        }
        let others = via
            .iter()
            .filter(|server| **server != self.context.server_name);
        for server in others.take(VIA_MAX) {
            let mut request = get_hierarchy::Request::new(room.to_owned());
            request.suggested_only = suggested_only;
            let remote = &self.context.remote;
            let Ok(answer) = remote.call(server, request, Bounds::INTERACTIVE).await else {
                continue;
            };
            if answer.room.summary.room_id != *room {
                continue;
            }
            let space = Arc::new(read(answer, now));
            self.spaces.insert(key, Arc::clone(&space));
            return Some(space);
        }
        None
    }

    /// The summary of a room that a user, or nobody in particular, may know of. Other servers are asked for users only.
    ///
    /// # Errors
    /// What the database says.
    pub async fn preview(
        &self,
        user: Option<&UserId>,
        room: &RoomId,
        via: &[OwnedServerName],
    ) -> Result<Option<Summary>, StoreError> {
        let summary = match self.live(room).await? {
            Some(snapshot) => Some(self.summary(&snapshot).await?),
            None => {
                let space = self.remote_space(room, via, false, user.is_some()).await;
                space.map(|space| space.room.summary.clone())
            }
        };
        match summary {
            Some(summary) if self.may_find(user, &summary).await? => Ok(Some(summary)),
            _ => Ok(None),
        }
    }
}

/// Whether the join rule of a room lets anybody in, or ask to be let in.
fn is_open(room: &Summary) -> bool {
    matches!(
        room.join_rule.as_str(),
        "public" | "knock" | "knock_restricted"
    )
}

/// A child, if the event is one: how it is ordered, where it leads, and whether it is suggested.
fn child(
    state_key: &str,
    content: &str,
    ts: MilliSecondsSinceUnixEpoch,
) -> Option<(ChildOrder, Child, bool)> {
    let room_id = OwnedRoomId::try_from(state_key).ok()?;
    let content: ChildContent = serde_json::from_str(content).ok()?;
    let via = content.via.into_iter();
    let via: Vec<OwnedServerName> = via.filter_map(|name| name.try_into().ok()).collect();
    if via.is_empty() {
        // "if not present or invalid (not an array of server names), the child is ignored"
        return None;
    }
    let is_valid = |order: &String| {
        order.chars().count() <= ORDER_CHARS_MAX
            && order.bytes().all(|byte| (0x20..=0x7e).contains(&byte))
    };
    let order = content.order.filter(is_valid);
    let order = (
        order.is_none(),
        order.unwrap_or_default(),
        ts,
        room_id.clone(),
    );
    Some((order, Child { room_id, via }, content.suggested))
}

/// A peer's answer, as it is remembered.
fn read(answer: get_hierarchy::Response, asked: Duration) -> RemoteSpace {
    #[derive(Deserialize)]
    struct Event<'a> {
        state_key: String,
        origin_server_ts: MilliSecondsSinceUnixEpoch,
        #[serde(borrow)]
        content: &'a RawValue,
    }
    let mut room = SpaceRoom {
        summary: answer.room.summary.into(),
        children_state: Vec::new(),
        children: Vec::new(),
    };
    let mut children = Vec::new();
    for raw in answer.room.children_state.into_iter().take(CHILDREN_MAX) {
        let event = serde_json::from_str::<Event<'_>>(raw.json().get());
        let found = event.ok().and_then(|event| {
            child(
                &event.state_key,
                event.content.get(),
                event.origin_server_ts,
            )
        });
        children.extend(found.map(|(order, child, _)| (order, child, raw.into_json())));
    }
    children.sort_by(|(a, ..), (b, ..)| a.cmp(b));
    for (_, child, json) in children {
        room.children.push(child);
        room.children_state.push(json);
    }
    let summaries = answer.children.into_iter().take(CHILDREN_MAX);
    RemoteSpace {
        room,
        children: summaries.map(Summary::from).collect(),
        inaccessible: answer.inaccessible_children,
        asked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_are_ordered_as_the_specification_shows() {
        let at = |ms: u32| MilliSecondsSinceUnixEpoch(ms.into());
        let of = |name: &str, order: &str, ms| {
            let content = format!("{{\"via\": [\"example.org\"]{order}}}");
            child(&format!("!{name}:example.org"), &content, at(ms))
                .unwrap()
                .0
        };
        let expected = [
            of("b", ", \"order\": \" \"", 40),
            of("a", ", \"order\": \"aaaa\"", 14),
            of("c", ", \"order\": \"first\"", 84),
            of("e", "", 64),
            // An order that is not valid counts for nothing.
            of("d", ", \"order\": \"é\"", 74),
        ];
        let mut sorted = expected.clone();
        sorted.reverse();
        sorted.sort();
        assert_eq!(sorted, expected);
    }

    #[test]
    fn what_leads_nowhere_is_no_child() {
        let ts = MilliSecondsSinceUnixEpoch(1_u32.into());
        for (key, content) in [
            ("!a:example.org", "{}"),
            ("!a:example.org", "{\"via\": []}"),
            ("!a:example.org", "{\"via\": \"example.org\"}"),
            ("!a:example.org", "{\"via\": [\"not a name\"]}"),
            ("example.org", "{\"via\": [\"example.org\"]}"),
        ] {
            assert!(child(key, content, ts).is_none(), "{key} {content}");
        }
    }
}
