//! Where the values of a canonical object lie in its bytes.
//!
//! Invariant: works on canonical bytes, which we wrote ourselves. On other bytes it may find nothing, but never panics and
//! never reads beyond them.

use std::ops::Range;

/// The members of the object that `bytes` are, in order: the key as written, without its quotes, and where its value lies.
pub(crate) fn top_level(bytes: &[u8]) -> TopLevel<'_> {
    TopLevel {
        bytes,
        at: if bytes.first() == Some(&b'{') {
            1
        } else {
            bytes.len()
        },
    }
}

/// See [`top_level`].
pub(crate) struct TopLevel<'a> {
    bytes: &'a [u8],
    /// Where the next key is expected.
    at: usize,
}

impl<'a> Iterator for TopLevel<'a> {
    type Item = (&'a [u8], Range<usize>);

    fn next(&mut self) -> Option<Self::Item> {
        let key_end = end_of_string(self.bytes, self.at)?;
        let key = self.bytes.get(self.at + 1..key_end - 1)?;
        if self.bytes.get(key_end) != Some(&b':') {
            return None;
        }
        let value_end = end_of_value(self.bytes, key_end + 1)?;
        // Steps over the comma; after the closing brace there is no quote, so the next call ends.
        self.at = value_end + 1;
        Some((key, key_end + 1..value_end))
    }
}

/// The index after the closing quote of the string that begins at `at`.
pub(super) fn end_of_string(bytes: &[u8], at: usize) -> Option<usize> {
    if bytes.get(at) != Some(&b'"') {
        return None;
    }
    let mut i = at + 1;
    loop {
        match bytes.get(i)? {
            b'"' => return Some(i + 1),
            b'\\' => i += 2,
            _ => i += 1,
        }
    }
}

/// The index after the value that begins at `at`.
fn end_of_value(bytes: &[u8], at: usize) -> Option<usize> {
    let mut i = at;
    let mut depth = 0_usize;
    loop {
        match bytes.get(i)? {
            b'"' => i = end_of_string(bytes, i)?,
            b'{' | b'[' => {
                depth += 1;
                i += 1;
            }
            b'}' | b']' if depth == 0 => return Some(i),
            b'}' | b']' => {
                depth -= 1;
                i += 1;
            }
            b',' if depth == 0 => return Some(i),
            _ => i += 1,
        }
        if depth == 0 && matches!(bytes.get(i), Some(b',' | b'}')) {
            return Some(i);
        }
    }
}
