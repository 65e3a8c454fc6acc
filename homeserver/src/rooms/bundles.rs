//! Bundled aggregations: the newest edit of an event, and the thread that it is the root of.
//!
//! Invariant: what is bundled is an event that the reader may see, written by the projection like
//! any other; of an event that is redacted or has expired, nothing is bundled.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#aggregations-of-child-events>

use std::{collections::HashMap, sync::Arc};

use ruma::{EventId, OwnedEventId, UserId};
use serde_json::value::RawValue;

use super::{
    Rooms, Standing,
    json::JsonWriter,
    projection::{self, Extras, View},
};
use crate::store::{Event, StoreError};

/// How an edit relates to what it edits.
const REPLACE: &str = "m.replace";
/// How an answer in a thread relates to its root.
const THREAD: &str = "m.thread";

/// The children of one event, oldest first.
#[derive(Debug, Default)]
struct Children {
    edits: Vec<Arc<Event>>,
    thread: Vec<Arc<Event>>,
}

impl Rooms {
    /// Adds to the extras of events, all of one room, what is bundled with them.
    ///
    /// # Errors
    /// What the database says.
    pub async fn add_bundles(
        &self,
        user: &UserId,
        standing: &Standing,
        view: View,
        events: &[Arc<Event>],
        extras: &mut [Extras],
    ) -> Result<(), StoreError> {
        let parents = events
            .iter()
            .filter(|event| projection::is_readable(event, view.now_ms));
        let parents: Vec<&EventId> = parents.map(|event| event.id()).collect();
        let related = self
            .store()
            .children_of(&parents, &[REPLACE, THREAD])
            .await?;
        if related.is_empty() {
            return Ok(());
        }
        let ids: Vec<OwnedEventId> = related.iter().map(|row| row.child.clone()).collect();
        let found = self
            .visible_to(user, standing, self.store().events(&ids).await?)
            .await?;
        let found: HashMap<&EventId, &Arc<Event>> =
            found.iter().map(|event| (event.id(), event)).collect();
        let mut by_parent: HashMap<&EventId, Children> = HashMap::new();
        for row in &related {
            let child = found.get(&*row.child).copied();
            let Some(child) = child.filter(|child| projection::is_readable(child, view.now_ms))
            else {
                continue;
            };
            let children = by_parent.entry(&row.parent).or_default();
            match row.rel_type.as_str() {
                REPLACE => children.edits.push(Arc::clone(child)),
                _ => children.thread.push(Arc::clone(child)),
            }
        }
        for (event, extras) in events.iter().zip(extras) {
            if let Some(children) = by_parent.remove(event.id()) {
                extras.relations = bundle(event, children, user, view);
            }
        }
        Ok(())
    }
}

fn bundle(
    event: &Event,
    mut children: Children,
    user: &UserId,
    view: View,
) -> Option<Box<RawValue>> {
    children.edits.retain(|edit| is_edit_of(edit, event));
    let newest = children
        .edits
        .iter()
        .max_by_key(|edit| (edit.pdu.origin_server_ts, edit.id()));
    children.thread.sort_by_key(|answer| answer.room_order);
    if newest.is_none() && children.thread.is_empty() {
        return None;
    }
    let mut out = JsonWriter::with_capacity(1024);
    out.open();
    if let Some(edit) = newest {
        projection::write_client_event(out.key(REPLACE), edit, &Extras::default(), view);
    }
    if let Some(latest) = children.thread.last() {
        let is_own = |event: &Event| event.pdu.sender == user;
        let took_part = is_own(event) || children.thread.iter().any(|answer| is_own(answer));
        out.key(THREAD)
            .open()
            .key("count")
            .value(&children.thread.len());
        out.key("current_user_participated").boolean(took_part);
        projection::write_client_event(out.key("latest_event"), latest, &Extras::default(), view);
        out.close();
    }
    out.close();
    let json = String::from_utf8(out.into_bytes()).ok()?;
    RawValue::from_string(json).ok()
}

/// Whether an event may stand in place of another.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#validity-of-replacement-events>
fn is_edit_of(edit: &Event, event: &Event) -> bool {
    edit.pdu.sender == event.pdu.sender
        && edit.pdu.kind == event.pdu.kind
        && edit.pdu.state_key.is_none()
        && event.pdu.state_key.is_none()
}
