//! Annotations (reactions) that a user of ours has made already.
//!
//! Invariant: only events of ours are refused for it: what other servers let through is theirs to answer for.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#annotating-events-with-key>

use std::{collections::HashSet, sync::Arc};

use passeur_protocol::pdu::Pdu;
use ruma::{EventId, OwnedEventId};
use serde::Deserialize;

use super::{SendError, chain::Chain};
use crate::store::{Event, EventStatus};

/// The way of relating of an annotation.
const ANNOTATION: &str = "m.annotation";

/// What makes an annotation one of its kind, beside its sender and its type.
#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Annotation {
    rel_type: String,
    event_id: OwnedEventId,
    key: String,
}

/// What an event annotates, and with what.
fn annotation_of(pdu: &Pdu) -> Option<Annotation> {
    #[derive(Deserialize)]
    struct Content {
        #[serde(rename = "m.relates_to")]
        relates_to: Annotation,
    }
    let content = pdu.content.get();
    if !content.contains(ANNOTATION) {
        return None;
    }
    let content: Content = serde_json::from_str(content).ok()?;
    Some(content.relates_to).filter(|relation| relation.rel_type == ANNOTATION)
}

impl Chain<'_> {
    /// "The same user cannot annotate an event with the same event `type` and `key` more than once, unless the first was redacted."
    ///
    /// # Errors
    /// [`SendError::DuplicateAnnotation`] if the sender has.
    pub(super) async fn must_be_new_annotation(&self, pdu: &Pdu) -> Result<(), SendError> {
        let Some(wanted) = annotation_of(pdu) else {
            return Ok(());
        };
        let store = &self.context.store;
        let stored = store
            .relations_by(&wanted.event_id, ANNOTATION, &pdu.sender)
            .await?;
        let redacted: HashSet<&EventId> = self
            .append
            .redactions
            .iter()
            .map(|(target, _)| &**target)
            .collect();
        let is_same = |event: &&Arc<Event>| {
            event.status == EventStatus::Accepted
                && event.redacted_by.is_none()
                && !redacted.contains(event.id())
                && event.pdu.sender == pdu.sender
                && event.pdu.kind == pdu.kind
                && event.pdu.room_id == pdu.room_id
                && annotation_of(&event.pdu).as_ref() == Some(&wanted)
        };
        match stored.iter().chain(self.built.values()).find(is_same) {
            Some(_) => Err(SendError::DuplicateAnnotation),
            None => Ok(()),
        }
    }
}
