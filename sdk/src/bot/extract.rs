//! What a handler may ask for, by the types of its arguments.
//!
//! Invariant: an extractor only reads the command; if it does not fit, the handler is not called and the sender is told why.

use std::{any::Any, fmt, sync::Arc};

use ruma::OwnedUserId;
use zeroize::Zeroizing;

use super::command::Command;
use crate::{Client, Room};

/// Why a handler was not called, in words for whoever sent the command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(pub String);

/// A handler's argument.
pub trait FromCommand: Sized + Send + 'static {
    /// Takes the argument from a command.
    ///
    /// # Errors
    ///
    /// [`Refusal`] if the command does not have it.
    fn from_command(command: &Command) -> Result<Self, Refusal>;
}

/// Who sent the command.
#[derive(Clone, Debug)]
pub struct Sender(pub OwnedUserId);

/// The room the command came from.
#[derive(Clone, Debug)]
pub struct InRoom(pub Room);

/// The words after the command's name, wiped when dropped. Its `Debug` shows their number alone.
#[derive(Clone)]
pub struct Words(pub Zeroizing<Vec<String>>);

/// Everything after the command's name, wiped when dropped; refused if there is nothing. Its `Debug` shows its length alone.
#[derive(Clone)]
pub struct Rest(pub Zeroizing<String>);

/// Something that was handed to [`Bot::state`](super::Bot::state).
#[derive(Clone, Debug)]
pub struct State<T>(pub Arc<T>);

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Words({})", self.0.len())
    }
}

impl fmt::Debug for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rest({} bytes)", self.0.len())
    }
}

impl FromCommand for Sender {
    fn from_command(command: &Command) -> Result<Self, Refusal> {
        Ok(Self(command.sender.clone()))
    }
}

impl FromCommand for InRoom {
    fn from_command(command: &Command) -> Result<Self, Refusal> {
        Ok(Self(command.room.clone()))
    }
}

impl FromCommand for Client {
    fn from_command(command: &Command) -> Result<Self, Refusal> {
        Ok(command.room.client().clone())
    }
}

impl FromCommand for Words {
    fn from_command(command: &Command) -> Result<Self, Refusal> {
        let words = command.rest.split_whitespace().map(str::to_owned);
        Ok(Self(Zeroizing::new(words.collect())))
    }
}

impl FromCommand for Rest {
    fn from_command(command: &Command) -> Result<Self, Refusal> {
        if command.rest.is_empty() {
            return Err(Refusal(format!(
                "{} needs something to work on.",
                command.name
            )));
        }
        Ok(Self(Zeroizing::new(command.rest.clone())))
    }
}

impl<T: Any + Send + Sync> FromCommand for State<T> {
    fn from_command(command: &Command) -> Result<Self, Refusal> {
        let found = command
            .states
            .iter()
            .find_map(|state| state.clone().downcast::<T>().ok());
        found
            .map(Self)
            .ok_or_else(|| Refusal("This bot is not set up for that.".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printing_arguments_shows_none_of_them() {
        let words = Words(vec!["secret".to_owned()].into());
        let printed = format!("{words:?} {:?}", Rest("secret".to_owned().into()));
        assert_eq!(printed, "Words(1) Rest(6 bytes)");
    }
}
