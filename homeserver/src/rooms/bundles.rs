//! Bundled aggregations: the newest edit of an event, the thread that it is the root of, and what refers to it.
//!
//! Invariant: what is bundled is an event that the reader may see, written by the projection like
//! any other; of an event that is redacted or has expired, nothing is bundled.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#aggregations-of-child-events>

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    sync::Arc,
};

use ruma::{EventId, OwnedEventId, OwnedUserId, UserId, events::TimelineEventType};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Rooms,
    json::JsonWriter,
    projection::{self, Extras, View},
};
use crate::store::{Event, StoreError};

/// How an edit relates to what it edits.
const REPLACE: &str = "m.replace";
/// How an answer in a thread relates to its root.
const THREAD: &str = "m.thread";
/// How an event that only refers to another relates to it.
const REFERENCE: &str = "m.reference";

/// The children of one event.
#[derive(Debug, Default)]
struct Children {
    edits: Vec<Arc<Event>>,
    thread: Vec<Arc<Event>>,
    references: Vec<Arc<Event>>,
}

/// Who reads, and when.
#[derive(Clone, Copy)]
struct Bundler<'a> {
    user: &'a UserId,
    ignored: &'a HashSet<OwnedUserId>,
    view: View,
}

impl Rooms {
    /// Adds to the extras of events, all of one room, what is bundled with them for a user.
    ///
    /// # Errors
    /// What the database says.
    pub async fn add_bundles(
        &self,
        user: &UserId,
        view: View,
        events: &[Arc<Event>],
        extras: &mut [Extras],
    ) -> Result<(), StoreError> {
        let ignored = self.store().ignored_users(user).await?;
        let bundler = Bundler {
            user,
            ignored: &ignored,
            // Around what is bundled nobody names the room.
            view: View {
                with_room: true,
                ..view
            },
        };
        let mut children = self.children(bundler, events).await?;
        if children.is_empty() {
            return Ok(());
        }
        let mut latest: Vec<Arc<Event>> = Vec::new();
        for children in children.values_mut() {
            children.thread.sort_by_key(|answer| answer.room_order);
            latest.extend(children.thread.last().cloned());
        }
        let edits_of_latest = self.children(bundler, &latest).await?;
        for (event, extras) in events.iter().zip(extras) {
            if let Some(children) = children.get(event.id()) {
                extras.relations = bundler.bundle(event, children, &edits_of_latest);
            }
        }
        Ok(())
    }

    /// The children of events, all of one room, that a user may see, by parent.
    async fn children(
        &self,
        bundler: Bundler<'_>,
        events: &[Arc<Event>],
    ) -> Result<HashMap<OwnedEventId, Children>, StoreError> {
        let mut by_parent: HashMap<OwnedEventId, Children> = HashMap::new();
        let now_ms = bundler.view.now_ms;
        let parents = events
            .iter()
            .filter(|event| projection::is_readable(event, now_ms));
        let parents: Vec<&EventId> = parents.map(|event| event.id()).collect();
        let related = self.store().bundled_children_of(&parents).await?;
        let Some(room) = events.first().map(|event| &event.pdu.room_id) else {
            return Ok(by_parent);
        };
        if related.is_empty() {
            return Ok(by_parent);
        }
        let ids: Vec<OwnedEventId> = related.iter().map(|row| row.child.clone()).collect();
        let standing = self.standing(room, bundler.user).await?;
        let mut found = self.store().events(&ids).await?;
        found.retain(|child| {
            child.is_accepted()
                && child.pdu.room_id == *room
                && projection::is_readable(child, now_ms)
                && !bundler.ignored.contains(&child.pdu.sender)
        });
        let found = self.visible_to(bundler.user, &standing, found).await?;
        let found: HashMap<&EventId, &Arc<Event>> =
            found.iter().map(|event| (event.id(), event)).collect();
        for row in &related {
            let Some(child) = found.get(&*row.child).copied() else {
                continue;
            };
            let children = by_parent.entry(row.parent.clone()).or_default();
            let list = match row.rel_type.as_str() {
                REPLACE => &mut children.edits,
                THREAD => &mut children.thread,
                REFERENCE => &mut children.references,
                _ => continue,
            };
            list.push(Arc::clone(child));
        }
        Ok(by_parent)
    }
}

impl Bundler<'_> {
    /// What is bundled with an event: a JSON object; none if there is nothing.
    fn bundle(
        self,
        event: &Event,
        children: &Children,
        edits_of_latest: &HashMap<OwnedEventId, Children>,
    ) -> Option<Box<RawValue>> {
        let edit = newest_edit(event, children);
        if edit.is_none() && children.thread.is_empty() && children.references.is_empty() {
            return None;
        }
        let mut out = JsonWriter::with_capacity(1024);
        out.open();
        if let Some(edit) = edit {
            projection::write_client_event(out.key(REPLACE), edit, &Extras::default(), self.view);
        }
        if let Some(latest) = children.thread.last() {
            let extras = Extras {
                relations: edits_of_latest.get(latest.id()).and_then(|children| {
                    self.bundle(latest, &edits_alone(children), &HashMap::new())
                }),
                ..Extras::default()
            };
            let is_own = |event: &Event| event.pdu.sender == self.user;
            let took_part = is_own(event) || children.thread.iter().any(|answer| is_own(answer));
            out.key(THREAD)
                .open()
                .key("count")
                .value(&children.thread.len());
            out.key("current_user_participated").boolean(took_part);
            projection::write_client_event(out.key("latest_event"), latest, &extras, self.view);
            out.close();
        }
        if !children.references.is_empty() {
            out.key(REFERENCE).open().key("chunk").open_list();
            for child in &children.references {
                let child = child.id().as_str();
                out.element().open().key("event_id").string(child).close();
            }
            out.close_list().close();
        }
        out.close();
        let json = String::from_utf8(out.into_bytes()).ok()?;
        RawValue::from_string(json).ok()
    }
}

/// The edits among children, and nothing else.
fn edits_alone(children: &Children) -> Children {
    Children {
        edits: children.edits.clone(),
        ..Children::default()
    }
}

/// The newest valid edit: by time, then by id.
fn newest_edit<'a>(event: &Event, children: &'a Children) -> Option<&'a Arc<Event>> {
    let edits = children.edits.iter().filter(|edit| is_edit_of(edit, event));
    edits.max_by_key(|edit| (edit.pdu.origin_server_ts, edit.id()))
}

/// Whether an event may stand in place of another.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#validity-of-replacement-events>
fn is_edit_of(edit: &Event, event: &Event) -> bool {
    edit.pdu.sender == event.pdu.sender
        && edit.pdu.kind == event.pdu.kind
        && edit.pdu.state_key.is_none()
        && event.pdu.state_key.is_none()
        && !is_edit(event)
        && (edit.pdu.kind == TimelineEventType::RoomEncrypted || has_new_content(edit))
}

/// Whether an event is itself an edit: those cannot be edited.
fn is_edit(event: &Event) -> bool {
    #[derive(Deserialize)]
    struct Content<'a> {
        #[serde(borrow, rename = "m.relates_to")]
        relates_to: Relation<'a>,
    }
    #[derive(Deserialize)]
    struct Relation<'a> {
        #[serde(borrow)]
        rel_type: Cow<'a, str>,
    }
    let content = event.pdu.content.get();
    content.contains(REPLACE)
        && serde_json::from_str::<Content<'_>>(content)
            .is_ok_and(|content| content.relates_to.rel_type == REPLACE)
}

/// Whether there is something to put in place of the old content.
fn has_new_content(edit: &Event) -> bool {
    #[derive(Deserialize)]
    struct Content {
        #[serde(rename = "m.new_content")]
        new_content: Option<serde_json::Map<String, serde_json::Value>>,
    }
    serde_json::from_str::<Content>(edit.pdu.content.get())
        .is_ok_and(|content| content.new_content.is_some())
}
