//! Writing JSON straight into bytes, for answers whose parts are stored as JSON already.
//!
//! Invariant: as long as raw parts are values of their own and every opened bracket is closed,
//! what comes out is one JSON value. Commas are set here and nowhere else.

use serde::Serialize;

/// JSON under construction.
#[derive(Clone, Debug, Default)]
pub struct JsonWriter {
    /// What has been written. Whether a comma is due is read from its last byte.
    out: Vec<u8>,
}

impl JsonWriter {
    /// An empty writer that expects about so many bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        Self {
            out: Vec::with_capacity(bytes),
        }
    }

    /// What was written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.out
    }

    /// How many bytes were written.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Takes back what was written beyond `len`, an earlier [`JsonWriter::len`].
    pub fn truncate(&mut self, len: usize) {
        self.out.truncate(len);
    }

    /// Begins an object, as a value.
    pub fn open(&mut self) -> &mut Self {
        self.out.push(b'{');
        self
    }

    /// Ends an object.
    pub fn close(&mut self) -> &mut Self {
        self.out.push(b'}');
        self
    }

    /// Begins a list, as a value.
    pub fn open_list(&mut self) -> &mut Self {
        self.out.push(b'[');
        self
    }

    /// Ends a list.
    pub fn close_list(&mut self) -> &mut Self {
        self.out.push(b']');
        self
    }

    /// Begins an element of a list: its value must follow.
    pub fn element(&mut self) -> &mut Self {
        self.separate();
        self
    }

    /// Writes a key of an object: its value must follow.
    pub fn key(&mut self, key: &str) -> &mut Self {
        self.separate();
        self.string(key);
        self.out.push(b':');
        self
    }

    /// Writes a string, as a value.
    pub fn string(&mut self, text: &str) -> &mut Self {
        if text
            .bytes()
            .all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\')
        {
            self.out.push(b'"');
            self.out.extend_from_slice(text.as_bytes());
            self.out.push(b'"');
            self
        } else {
            self.value(text)
        }
    }

    /// Writes a whole number, as a value.
    pub fn number(&mut self, number: i64) -> &mut Self {
        self.value(&number)
    }

    /// Writes `true` or `false`, as a value.
    pub fn boolean(&mut self, value: bool) -> &mut Self {
        self.raw(if value { b"true" } else { b"false" })
    }

    /// Writes JSON that is there already, as a value.
    pub fn raw(&mut self, json: &[u8]) -> &mut Self {
        self.out.extend_from_slice(json);
        self
    }

    /// Writes anything that serde can write without failing (numbers, strings, lists and objects of
    /// them), as a value.
    pub fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> &mut Self {
        let before = self.out.len();
        if serde_json::to_writer(&mut self.out, value).is_err() {
            // Only keys that are no strings can fail, and we have none; the answer stays JSON.
            self.out.truncate(before);
            self.out.extend_from_slice(b"null");
        }
        self
    }

    fn separate(&mut self) {
        if !matches!(self.out.last(), None | Some(b'{' | b'[' | b':')) {
            self.out.push(b',');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_and_escapes_are_set() {
        let mut json = JsonWriter::default();
        json.open().key("a\"b").number(-1).key("list").open_list();
        json.element().string("x\n").element().raw(b"{\"y\":[]}");
        json.element().open().close();
        json.close_list().key("b").boolean(true).close();
        let text = String::from_utf8(json.into_bytes()).unwrap();
        assert_eq!(text, r#"{"a\"b":-1,"list":["x\n",{"y":[]},{}],"b":true}"#);
    }
}
