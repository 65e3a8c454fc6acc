//! The canonical form of any JSON, numbers that canonical JSON cannot hold included: those stay as they are written.
//!
//! Invariant: works on text that was checked to be JSON. For what canonical JSON can hold, the result is the canonical form; the
//! rest is written as its sender wrote it, which is what its sender signed. Nothing here calls itself, and the work is in
//! proportion to the text (but for sorting keys), so that no depth of nesting is too deep.

use std::borrow::Cow;

use super::{JsonError, span::end_of_string};

/// An object of the text: where it lies, and which members are its own.
struct Object {
    at: usize,
    end: usize,
    first: usize,
    count: usize,
}

/// A member of an object: where key and value begin.
#[derive(Clone, Copy)]
struct Member {
    key: usize,
    value: usize,
}

/// Appends the canonical form of `text`.
pub(super) fn write(text: &str, out: &mut Vec<u8>) -> Result<(), JsonError> {
    Outline::of(text)?.write(out)
}

/// Where the objects of a text are, in the order in which they begin, each with its members in the order of their keys.
struct Outline<'a> {
    text: &'a str,
    objects: Vec<Object>,
    members: Vec<Member>,
}

/// An array or object that has begun.
enum Open {
    Array,
    /// An object: its number, and how many members had been waiting for their object's end before it.
    Object(usize, usize),
}

/// What is to be written next.
enum Next {
    /// The value that begins at a place.
    Value(usize),
    /// What follows an element of an array: another, or the end.
    AfterElement,
    /// A member of an object, by the numbers of both.
    Member(usize, usize),
}

impl<'a> Outline<'a> {
    /// Reads a text from its beginning to its end.
    fn of(text: &'a str) -> Result<Self, JsonError> {
        let bytes = text.as_bytes();
        let mut outline = Self {
            text,
            objects: Vec::new(),
            members: Vec::new(),
        };
        let mut open: Vec<Open> = Vec::new();
        let mut waiting: Vec<Member> = Vec::new();
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            match byte {
                b'{' => {
                    open.push(Open::Object(outline.objects.len(), waiting.len()));
                    outline.objects.push(Object {
                        at,
                        end: at,
                        first: 0,
                        count: 0,
                    });
                    at += 1;
                }
                b'[' => {
                    open.push(Open::Array);
                    at += 1;
                }
                b'}' | b']' => {
                    at += 1;
                    if let Some(Open::Object(number, before)) = open.pop() {
                        outline.close(number, at, waiting.drain(before..))?;
                    }
                }
                b'"' => {
                    let end = end_of_string(bytes, at).ok_or(JsonError::Syntax)?;
                    let after = skip_space(text, end);
                    if bytes.get(after) == Some(&b':') {
                        let value = skip_space(text, after + 1);
                        waiting.push(Member { key: at, value });
                        at = value;
                    } else {
                        at = end;
                    }
                }
                _ => at += 1,
            }
        }
        Ok(outline)
    }

    /// Notes the end and the members of an object.
    fn close(
        &mut self,
        number: usize,
        end: usize,
        members: impl Iterator<Item = Member>,
    ) -> Result<(), JsonError> {
        let keyed = members.map(|member| {
            let (key, _) = string(self.text, member.key)?;
            Ok((key, member))
        });
        let mut keyed = keyed.collect::<Result<Vec<_>, JsonError>>()?;
        keyed.sort_by(|(a, _), (b, _)| a.cmp(b));
        let same = |pair: &[(Cow<'_, str>, Member)]| matches!(pair, [a, b] if a.0 == b.0);
        if keyed.windows(2).any(same) {
            return Err(JsonError::DuplicateKey);
        }
        let first = self.members.len();
        let count = keyed.len();
        self.members
            .extend(keyed.into_iter().map(|(_, member)| member));
        if let Some(object) = self.objects.get_mut(number) {
            *object = Object {
                end,
                first,
                count,
                ..*object
            };
        }
        Ok(())
    }

    /// Writes value after value, the members of objects in their order.
    fn write(&self, out: &mut Vec<u8>) -> Result<(), JsonError> {
        let mut stack = vec![Next::Value(skip_space(self.text, 0))];
        // Where the value that was written last ends.
        let mut end = 0;
        while let Some(next) = stack.pop() {
            match next {
                Next::Value(at) => match self.text.as_bytes().get(at) {
                    Some(b'{') => {
                        let number = self.objects.partition_point(|object| object.at < at);
                        out.push(b'{');
                        stack.push(Next::Member(number, 0));
                    }
                    Some(b'[') => {
                        let first = skip_space(self.text, at + 1);
                        out.push(b'[');
                        if self.text.as_bytes().get(first) == Some(&b']') {
                            out.push(b']');
                            end = first + 1;
                        } else {
                            stack.extend([Next::AfterElement, Next::Value(first)]);
                        }
                    }
                    _ => end = self.write_leaf(at, out)?,
                },
                Next::AfterElement => {
                    let at = skip_space(self.text, end);
                    if self.text.as_bytes().get(at) == Some(&b',') {
                        out.push(b',');
                        let value = skip_space(self.text, at + 1);
                        stack.extend([Next::AfterElement, Next::Value(value)]);
                    } else {
                        out.push(b']');
                        end = at + 1;
                    }
                }
                Next::Member(number, n) => {
                    let object = self.objects.get(number).ok_or(JsonError::Syntax)?;
                    if n == object.count {
                        out.push(b'}');
                        end = object.end;
                        continue;
                    }
                    let member = self.members.get(object.first + n);
                    let member = *member.ok_or(JsonError::Syntax)?;
                    if n > 0 {
                        out.push(b',');
                    }
                    write_string(&string(self.text, member.key)?.0, out)?;
                    out.push(b':');
                    stack.extend([Next::Member(number, n + 1), Next::Value(member.value)]);
                }
            }
        }
        Ok(())
    }

    /// Writes a string, a number or a word, and answers where it ends.
    fn write_leaf(&self, at: usize, out: &mut Vec<u8>) -> Result<usize, JsonError> {
        let rest = self.text.as_bytes().get(at..).unwrap_or_default();
        if rest.first() == Some(&b'"') {
            let (value, end) = string(self.text, at)?;
            write_string(&value, out)?;
            return Ok(end);
        }
        let is_end = |byte: &u8| matches!(byte, b',' | b']' | b'}') || byte.is_ascii_whitespace();
        let len = rest.iter().position(is_end).unwrap_or(rest.len());
        out.extend_from_slice(rest.get(..len).unwrap_or_default());
        Ok(at + len)
    }
}

/// The string that begins at a quote, and where it ends.
fn string(text: &str, at: usize) -> Result<(Cow<'_, str>, usize), JsonError> {
    let end = end_of_string(text.as_bytes(), at).ok_or(JsonError::Syntax)?;
    let quoted = text.get(at..end).ok_or(JsonError::Syntax)?;
    if !quoted.contains('\\') {
        let bare = text.get(at + 1..end - 1).ok_or(JsonError::Syntax)?;
        return Ok((Cow::Borrowed(bare), end));
    }
    serde_json::from_str::<String>(quoted)
        .map(|string| (Cow::Owned(string), end))
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
