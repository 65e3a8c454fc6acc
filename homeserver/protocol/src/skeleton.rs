//! An event as two halves: the skeleton, which is the event as redacted, and the body, which redaction removes.
//!
//! Invariant: the skeleton alone has the event's identifier and its signatures; joining both gives back the event to the
//! byte. To expire, redact or purge an event is to destroy its body. `unsigned` is kept in neither.
//!
//! Specification: <https://spec.matrix.org/v1.19/client-server-api/#redactions>.

use ruma::{
    CanonicalJsonObject, canonical_json::RedactingSerializer, room_version_rules::RoomVersionRules,
};

use crate::{json, pdu::FORMAT, reason::Reason};

/// The two halves of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The event as redacted by its room version, canonical, with `hashes` and `signatures`.
    pub skeleton: Vec<u8>,
    /// Where the value of `content` lies in the skeleton (offset and length in bytes), if the body is the content alone.
    pub content_at: Option<(u32, u32)>,
    /// The canonical content; or the whole canonical event, if redaction removes other keys as well (`content_at` is `None`
    /// then); or nothing, if redaction removes nothing.
    pub body: Vec<u8>,
}

impl Stored {
    /// The event in federation format.
    pub fn join(&self) -> Vec<u8> {
        join(&self.skeleton, self.content_at, &self.body)
    }
}

/// Splits an event. Fails only if it has no `type`.
pub fn split(full: &CanonicalJsonObject, rules: &RoomVersionRules) -> Result<Stored, Reason> {
    let json = RedactingSerializer::new()
        .custom_redacted_root_fields(&["unsigned"])
        .serialize(full)
        .map_err(|error| Reason::new(FORMAT, error.to_string()))?;
    split_with_json(full, json.as_bytes(), rules)
}

/// As [`split`], for a caller that has the canonical bytes (without `unsigned`) already.
pub(crate) fn split_with_json(
    full: &CanonicalJsonObject,
    json: &[u8],
    rules: &RoomVersionRules,
) -> Result<Stored, Reason> {
    let skeleton = RedactingSerializer::new()
        .rules(&rules.redaction)
        .custom_redacted_root_fields(&["unsigned"])
        .serialize(full)
        .map_err(|error| Reason::new(FORMAT, error.to_string()))?
        .into_bytes();
    if skeleton == json {
        return Ok(Stored {
            skeleton,
            content_at: None,
            body: Vec::new(),
        });
    }
    // Redaction never adds a key, so equal counts mean that only the content differs.
    let only_content = json::top_level(&skeleton).count() == json::top_level(json).count();
    let content_of = |bytes: &[u8]| {
        json::top_level(bytes)
            .find(|(key, _)| *key == b"content")
            .map(|(_, at)| at)
    };
    if let (true, Some(full_at), Some(kept_at)) =
        (only_content, content_of(json), content_of(&skeleton))
        && let (Ok(offset), Ok(len)) = (u32::try_from(kept_at.start), u32::try_from(kept_at.len()))
    {
        return Ok(Stored {
            skeleton,
            content_at: Some((offset, len)),
            body: json[full_at].to_vec(),
        });
    }
    Ok(Stored {
        skeleton,
        content_at: None,
        body: json.to_vec(),
    })
}

/// Joins the halves of an event to its federation format. Without its body an event is its skeleton: serve that.
///
/// A `content_at` that does not lie in the skeleton (a damaged row) gives the skeleton.
pub fn join(skeleton: &[u8], content_at: Option<(u32, u32)>, body: &[u8]) -> Vec<u8> {
    let Some((offset, len)) = content_at else {
        return if body.is_empty() {
            skeleton.to_vec()
        } else {
            body.to_vec()
        };
    };
    let start = offset as usize;
    let end = start.saturating_add(len as usize);
    let (Some(before), Some(after)) = (skeleton.get(..start), skeleton.get(end..)) else {
        return skeleton.to_vec();
    };
    [before, body, after].concat()
}

#[cfg(test)]
mod tests;
