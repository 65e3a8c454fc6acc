//! The two readers of untrusted JSON: one builds canonical values, the other only checks.
//!
//! Invariant: the first fault found is the one reported; nothing is kept of a refused text.

use std::{borrow::Cow, cell::Cell, collections::HashSet, fmt};

use ruma::{CanonicalJsonObject, CanonicalJsonValue, Int};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::JsonError;
use crate::limits::JSON_DEPTH_MAX;

/// Reads `text` as one object of canonical values.
pub(super) fn object(text: &str) -> Result<CanonicalJsonObject, JsonError> {
    let fault = Cell::new(None);
    match run(
        text,
        Canonical {
            fault: &fault,
            depth: 0,
        },
        &fault,
    )? {
        CanonicalJsonValue::Object(object) => Ok(object),
        _ => Err(JsonError::NotAnObject),
    }
}

/// Checks `text` without keeping its values. `depth_max` levels are read, the outermost object counting as one.
pub(super) fn check(text: &str, depth_max: usize) -> Result<(), JsonError> {
    let fault = Cell::new(None);
    if run(
        text,
        Shape {
            fault: &fault,
            left: depth_max,
        },
        &fault,
    )? {
        Ok(())
    } else {
        Err(JsonError::NotAnObject)
    }
}

/// Drives `seed` over the whole of `text`; a fault noted by the seed wins over the parser's own error.
fn run<'de, S: DeserializeSeed<'de>>(
    text: &'de str,
    seed: S,
    fault: &Cell<Option<JsonError>>,
) -> Result<S::Value, JsonError> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = seed
        .deserialize(&mut deserializer)
        .map_err(|_| fault.get().unwrap_or(JsonError::Syntax))?;
    deserializer.end().map_err(|_| JsonError::Syntax)?;
    Ok(value)
}

/// Notes `error` as the fault and gives the parser an error to stop with.
fn stop<E: serde::de::Error>(fault: &Cell<Option<JsonError>>, error: JsonError) -> E {
    fault.set(Some(error));
    E::custom("refused")
}

/// Builds canonical values.
#[derive(Clone, Copy)]
struct Canonical<'f> {
    fault: &'f Cell<Option<JsonError>>,
    depth: usize,
}

impl<'f> Canonical<'f> {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth >= JSON_DEPTH_MAX {
            return Err(stop(self.fault, JsonError::TooDeep));
        }
        Ok(Self {
            fault: self.fault,
            depth: self.depth + 1,
        })
    }
}

impl<'de> DeserializeSeed<'de> for Canonical<'_> {
    type Value = CanonicalJsonValue;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Canonical<'_> {
    type Value = CanonicalJsonValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("canonical JSON")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(CanonicalJsonValue::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(CanonicalJsonValue::Bool(value))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Self::Value, E> {
        Int::try_from(value)
            .map(CanonicalJsonValue::Integer)
            .map_err(|_| stop(self.fault, JsonError::Number))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Self::Value, E> {
        Int::try_from(value)
            .map(CanonicalJsonValue::Integer)
            .map_err(|_| stop(self.fault, JsonError::Number))
    }

    // Every number with a fraction, an exponent or a negative zero, and every integer beyond 64 bits, ends up here.
    fn visit_f64<E: serde::de::Error>(self, _value: f64) -> Result<Self::Value, E> {
        Err(stop(self.fault, JsonError::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(CanonicalJsonValue::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Self::Value, E> {
        Ok(CanonicalJsonValue::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let inner = self.deeper()?;
        let mut values = Vec::new();
        while let Some(value) = access.next_element_seed(inner)? {
            values.push(value);
        }
        Ok(CanonicalJsonValue::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let inner = self.deeper()?;
        let mut object = CanonicalJsonObject::new();
        while let Some(key) = access.next_key::<String>()? {
            if object.contains_key(&key) {
                return Err(stop(self.fault, JsonError::DuplicateKey));
            }
            let value = access.next_value_seed(inner)?;
            object.insert(key, value);
        }
        Ok(CanonicalJsonValue::Object(object))
    }
}

/// Checks depth and duplicate keys; its value says whether it read an object.
#[derive(Clone, Copy)]
struct Shape<'f> {
    fault: &'f Cell<Option<JsonError>>,
    /// Levels that may follow.
    left: usize,
}

impl<'f> Shape<'f> {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        match self.left.checked_sub(1) {
            Some(left) => Ok(Self {
                fault: self.fault,
                left,
            }),
            None => Err(stop(self.fault, JsonError::TooDeep)),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Shape<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Shape<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_bool<E>(self, _: bool) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_i64<E>(self, _: i64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_u64<E>(self, _: u64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_f64<E>(self, _: f64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_str<E>(self, _: &str) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<bool, A::Error> {
        let inner = self.deeper()?;
        while access.next_element_seed(inner)?.is_some() {}
        Ok(false)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<bool, A::Error> {
        let inner = self.deeper()?;
        let mut keys = HashSet::new();
        while let Some(key) = access.next_key_seed(Key)? {
            if !keys.insert(key) {
                return Err(stop(self.fault, JsonError::DuplicateKey));
            }
            access.next_value_seed(inner)?;
        }
        Ok(true)
    }
}

/// A key, borrowed from the text unless it holds escapes.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(value.to_owned()))
    }
}
