//! Glob patterns as push rules and server ACLs use them, in time linear in the text.
//!
//! Invariant: matching visits each character of the text once, whatever the pattern; a pattern longer than its bound
//! matches nothing. There is no recursion and no backtracking.
//!
//! Specification: <https://spec.matrix.org/v1.19/appendices/#glob-style-matching>.

use std::collections::HashMap;

use crate::limits::GLOB_CHARS_MAX;

/// A compiled pattern. `*` stands for any characters, `?` for exactly one; case does not matter.
#[derive(Debug, Clone)]
pub struct Glob {
    /// How many characters the pattern has besides `*`; a state is how many of them have matched.
    len: usize,
    /// For each character of the pattern: the positions at which it may stand, those of `?` included.
    by_char: HashMap<char, States>,
    /// The positions of `?`: where any other character may stand.
    any: States,
    /// The states before which a `*` stands: those that outlive any character.
    stars: States,
}

impl Glob {
    /// Compiles a pattern. `None` if it has more than [`GLOB_CHARS_MAX`] characters: it matches nothing then.
    pub fn new(pattern: &str) -> Option<Self> {
        Self::compile(pattern, true)
    }

    /// Compiles a text that stands for itself, `*` and `?` included.
    pub fn literal(text: &str) -> Option<Self> {
        Self::compile(text, false)
    }

    fn compile(pattern: &str, has_wildcards: bool) -> Option<Self> {
        let is_star = |c: &char| has_wildcards && *c == '*';
        let len = lower(pattern).filter(|c| !is_star(c)).count();
        if len > GLOB_CHARS_MAX {
            return None;
        }
        let mut by_char = HashMap::<char, States>::new();
        let mut any = States::NONE;
        let mut stars = States::NONE;
        let mut position = 0;
        for c in lower(pattern) {
            if is_star(&c) {
                stars.add(position);
                continue;
            }
            if has_wildcards && c == '?' {
                any.add(position);
            } else {
                by_char
                    .entry(c)
                    .or_insert_with(|| States::NONE)
                    .add(position);
            }
            position += 1;
        }
        for positions in by_char.values_mut() {
            positions.add_all(&any);
        }
        Some(Self {
            len,
            by_char,
            any,
            stars,
        })
    }

    /// Whether the pattern matches the whole of `text`.
    pub fn matches(&self, text: &str) -> bool {
        let mut states = States::NONE;
        states.add(0);
        for c in lower(text) {
            if !self.step(&mut states, c) {
                return false;
            }
        }
        states.has(self.len)
    }

    /// Whether the pattern matches a part of `text` that begins and ends at a word boundary. An empty pattern does not.
    ///
    /// A boundary is the start, the end, and each side of a character other than `A–Z`, `a–z`, `0–9` and `_`.
    /// <https://spec.matrix.org/v1.19/client-server-api/#push-rules>
    pub fn matches_words(&self, text: &str) -> bool {
        if self.len == 0 {
            return self.stars.has(0);
        }
        let mut states = States::NONE;
        let mut before_is_word = false;
        for c in lower(text) {
            let is_word = c.is_ascii_alphanumeric() || c == '_';
            if !(before_is_word && is_word) {
                if states.has(self.len) {
                    return true;
                }
                states.add(0);
            }
            self.step(&mut states, c);
            before_is_word = is_word;
        }
        states.has(self.len)
    }

    /// Takes one character. Whether any state is left.
    fn step(&self, states: &mut States, c: char) -> bool {
        let positions = self.by_char.get(&c).unwrap_or(&self.any);
        let mut carry = 0;
        let mut alive = 0;
        for ((state, position), star) in states.0.iter_mut().zip(&positions.0).zip(&self.stars.0) {
            let advanced = *state & position;
            *state = (advanced << 1) | carry | (*state & star);
            carry = advanced >> 63;
            alive |= *state;
        }
        alive != 0
    }
}

/// Whether `pattern` matches the whole of `text`, compiled for this once. Cheap where it has no wildcards.
pub fn matches(pattern: &str, text: &str) -> bool {
    if pattern.contains(['*', '?']) {
        Glob::new(pattern).is_some_and(|glob| glob.matches(text))
    } else {
        pattern == text || lower(pattern).eq(lower(text))
    }
}

/// The characters of a text without regard to case.
fn lower(text: &str) -> impl Iterator<Item = char> + '_ {
    text.chars().flat_map(char::to_lowercase)
}

/// A set of small numbers, one bit each. Of fixed size, so that matching allocates nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct States([u64; WORDS]);

/// One bit for each number of matched characters, none included.
const WORDS: usize = GLOB_CHARS_MAX / 64 + 1;

impl States {
    const NONE: Self = Self([0; WORDS]);

    fn add(&mut self, number: usize) {
        if let Some(word) = self.0.get_mut(number / 64) {
            *word |= 1 << (number % 64);
        }
    }

    fn add_all(&mut self, other: &Self) {
        for (word, more) in self.0.iter_mut().zip(&other.0) {
            *word |= more;
        }
    }

    fn has(&self, number: usize) -> bool {
        self.0
            .get(number / 64)
            .is_some_and(|word| word & (1 << (number % 64)) != 0)
    }
}

#[cfg(test)]
mod tests;
