//! Where a thread may begin.
//!
//! Invariant: only events of ours are refused for it: what other servers let through is theirs to answer for.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#validation-of-mthread-relationships>

use passeur_protocol::pdu::Pdu;
use serde::Deserialize;
use serde_json::value::RawValue as RawJsonValue;

use super::{
    SendError,
    chain::{Chain, relation_of},
};

/// The way of relating of an answer in a thread.
const THREAD: &str = "m.thread";

/// Whether an event relates to another, in whatever way.
fn relates(pdu: &Pdu) -> bool {
    #[derive(Deserialize)]
    struct Content<'a> {
        #[serde(rename = "m.relates_to", borrow)]
        relates_to: Option<&'a RawJsonValue>,
    }
    let content = serde_json::from_str::<Content<'_>>(pdu.content.get());
    let relation = content.ok().and_then(|content| content.relates_to);
    relation.is_some_and(|relation| relation.get().starts_with('{'))
}

impl Chain<'_> {
    /// "Servers SHOULD reject client requests which attempt to start a thread off an event with an `m.relates_to` property."
    ///
    /// # Errors
    /// [`SendError::NotAThreadRoot`] if this one does. What is not known here may be a root.
    pub(super) async fn must_begin_at_a_root(&self, pdu: &Pdu) -> Result<(), SendError> {
        let root = match relation_of(pdu) {
            Some((root, rel_type)) if rel_type == THREAD => root,
            _ => return Ok(()),
        };
        let found = self.events(std::slice::from_ref(&root)).await?;
        match found.get(&root) {
            Some(root) if root.room_id == pdu.room_id && relates(root) => {
                Err(SendError::NotAThreadRoot)
            }
            _ => Ok(()),
        }
    }
}
