//! The opaque tokens of clients: where a sync stands, and where a page of a timeline begins.
//!
//! Invariant: the first letter says what a token is and in which version it is written; what this
//! program did not write is refused, never guessed at.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3sync> (`since`, `next_batch`) and
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidmessages> (`from`, `to`).

use std::{fmt, str::FromStr};

/// The longest token that is looked at, in bytes: three numbers of 20 digits, three separators.
const TOKEN_BYTES_MAX: usize = 64;

/// A token that this program did not write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not one of our tokens")]
pub struct TokenError;

/// Where a sync stands: everything up to here has been told.
///
/// Written `s{position}_{to_device}_{typing}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SyncToken {
    /// The position in the log.
    pub position: i64,
    /// The position up to which to-device messages were given; at most `position`.
    pub to_device: i64,
    /// The newest revision of typing that was told.
    pub typing: i64,
}

impl fmt::Display for SyncToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            position,
            to_device,
            typing,
        } = self;
        write!(f, "s{position}_{to_device}_{typing}")
    }
}

impl FromStr for SyncToken {
    type Err = TokenError;

    fn from_str(token: &str) -> Result<Self, TokenError> {
        let numbers = token.strip_prefix('s').ok_or(TokenError)?;
        let mut numbers = bounded(numbers)?.split('_').map(natural);
        let mut next = || numbers.next().ok_or(TokenError)?;
        let token = Self {
            position: next()?,
            to_device: next()?,
            typing: next()?,
        };
        if numbers.next().is_some() || token.to_device > token.position {
            return Err(TokenError);
        }
        Ok(token)
    }
}

/// A gap in a room's timeline: the one just before the event of this room order.
///
/// Going back from it the next event is the one before the gap, going forward the one after it,
/// so that no event is told twice or lost when the direction turns. Written `o{order}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RoomToken(pub i64);

impl fmt::Display for RoomToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "o{}", self.0)
    }
}

impl FromStr for RoomToken {
    type Err = TokenError;

    fn from_str(token: &str) -> Result<Self, TokenError> {
        let order = bounded(token.strip_prefix('o').ok_or(TokenError)?)?;
        let digits = order.strip_prefix('-').unwrap_or(order);
        natural(digits)?;
        order.parse().map(Self).map_err(|_| TokenError)
    }
}

/// Where a client asks a room's timeline to begin or end: either kind of token will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoomPoint {
    /// A gap in the timeline.
    Room(RoomToken),
    /// A moment of a sync.
    Sync(SyncToken),
}

impl FromStr for RoomPoint {
    type Err = TokenError;

    fn from_str(token: &str) -> Result<Self, TokenError> {
        if token.starts_with('o') {
            token.parse().map(Self::Room)
        } else {
            token.parse().map(Self::Sync)
        }
    }
}

fn bounded(token: &str) -> Result<&str, TokenError> {
    (token.len() <= TOKEN_BYTES_MAX)
        .then_some(token)
        .ok_or(TokenError)
}

/// A number of digits alone: `parse` would take a plus sign too.
fn natural(digits: &str) -> Result<i64, TokenError> {
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(TokenError);
    }
    digits.parse().map_err(|_| TokenError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let token = SyncToken {
            position: 12,
            to_device: 7,
            typing: 1_893_456_000_001,
        };
        assert_eq!(token.to_string(), "s12_7_1893456000001");
        assert_eq!(token.to_string().parse(), Ok(token));
        for order in [-3, 0, i64::MAX] {
            assert_eq!(RoomToken(order).to_string().parse(), Ok(RoomToken(order)));
        }
        assert_eq!("o-4".parse(), Ok(RoomPoint::Room(RoomToken(-4))));
        assert_eq!(token.to_string().parse(), Ok(RoomPoint::Sync(token)));
    }

    #[test]
    fn what_was_not_written_is_refused() {
        let long = format!("s{}_1_1", "0".repeat(80));
        let hostile = [
            "",
            "s",
            "s1",
            "s1_",
            "s1_1",
            "s1_1_1_1",
            "s-1_0_0",
            "s+1_0_0",
            "s1_2_0",
            "t1_1_1",
            "s1_1_x",
            "s99999999999999999999_0_0",
            "s１_0_0",
            &long,
        ];
        for token in hostile {
            assert_eq!(token.parse::<SyncToken>(), Err(TokenError), "{token}");
        }
        for token in [
            "o",
            "o-",
            "o--1",
            "o+1",
            "1",
            "o1 ",
            "o99999999999999999999",
        ] {
            assert_eq!(token.parse::<RoomToken>(), Err(TokenError), "{token}");
        }
    }
}
