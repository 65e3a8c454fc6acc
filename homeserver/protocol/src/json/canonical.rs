//! The canonical form of any JSON, numbers that canonical JSON cannot hold included: those stay as they are written.
//!
//! Invariant: works on text that was checked to be JSON, and whose depth is bounded. For what canonical JSON can hold, the
//! result is the canonical form; the rest is written as its sender wrote it, which is what its sender signed.

use std::borrow::Cow;

use super::{JsonError, span::end_of_string};

/// Appends the canonical form of the value that begins at `at`, and answers where it ends.
pub(super) fn write(text: &str, at: usize, out: &mut Vec<u8>) -> Result<usize, JsonError> {
    let at = skip_space(text, at);
    match text.as_bytes().get(at) {
        Some(b'{') => write_object(text, at, out),
        Some(b'[') => write_array(text, at, out),
        Some(b'"') => {
            let end = end_of_string(text.as_bytes(), at).ok_or(JsonError::Syntax)?;
            write_string(&string(text, at, end)?, out)?;
            Ok(end)
        }
        _ => {
            let rest = text.as_bytes().get(at..).unwrap_or_default();
            let is_end =
                |byte: &u8| matches!(byte, b',' | b']' | b'}') || byte.is_ascii_whitespace();
            let len = rest.iter().position(is_end).unwrap_or(rest.len());
            out.extend_from_slice(rest.get(..len).unwrap_or_default());
            Ok(at + len)
        }
    }
}

fn write_object(text: &str, at: usize, out: &mut Vec<u8>) -> Result<usize, JsonError> {
    let mut members: Vec<(Cow<'_, str>, Vec<u8>)> = Vec::new();
    let mut at = skip_space(text, at + 1);
    while text.as_bytes().get(at) != Some(&b'}') {
        let end = end_of_string(text.as_bytes(), at).ok_or(JsonError::Syntax)?;
        let key = string(text, at, end)?;
        let colon = skip_space(text, end);
        let mut value = Vec::new();
        at = skip_space(text, write(text, colon + 1, &mut value)?);
        members.push((key, value));
        if text.as_bytes().get(at) == Some(&b',') {
            at = skip_space(text, at + 1);
        }
    }
    members.sort_by(|(a, _), (b, _)| a.cmp(b));
    out.push(b'{');
    for (n, (key, value)) in members.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        write_string(key, out)?;
        out.push(b':');
        out.extend_from_slice(value);
    }
    out.push(b'}');
    Ok(at + 1)
}

fn write_array(text: &str, at: usize, out: &mut Vec<u8>) -> Result<usize, JsonError> {
    out.push(b'[');
    let mut at = skip_space(text, at + 1);
    while text.as_bytes().get(at) != Some(&b']') {
        at = skip_space(text, write(text, at, out)?);
        if text.as_bytes().get(at) == Some(&b',') {
            out.push(b',');
            at += 1;
        }
    }
    out.push(b']');
    Ok(at + 1)
}

/// The string that lies between two places, quotes included.
fn string(text: &str, at: usize, end: usize) -> Result<Cow<'_, str>, JsonError> {
    let quoted = text.get(at..end).ok_or(JsonError::Syntax)?;
    if !quoted.contains('\\') {
        return Ok(Cow::Borrowed(
            text.get(at + 1..end - 1).ok_or(JsonError::Syntax)?,
        ));
    }
    serde_json::from_str::<String>(quoted)
        .map(Cow::Owned)
        .map_err(|_| JsonError::Syntax)
}

fn write_string(string: &str, out: &mut Vec<u8>) -> Result<(), JsonError> {
    serde_json::to_writer(out, string).map_err(|_| JsonError::Syntax)
}

fn skip_space(text: &str, at: usize) -> usize {
    let rest = text.as_bytes().get(at..).unwrap_or_default();
    at + rest
        .iter()
        .take_while(|byte| byte.is_ascii_whitespace())
        .count()
}
