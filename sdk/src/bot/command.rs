//! Commands and the functions that carry them out.
//!
//! Invariant: a text becomes a [`Command`] only if it begins with the bot's prefix and a name without spaces.

use std::{any::Any, fmt, future::Future, pin::Pin, sync::Arc};

use ruma::OwnedUserId;
use zeroize::Zeroize;

use super::extract::{FromCommand, Refusal};
use crate::Room;

/// The longest command taken, in bytes.
const COMMAND_BYTES_MAX: usize = 4096;

/// What a bot shares with its handlers.
pub(super) type States = Arc<Vec<Arc<dyn Any + Send + Sync>>>;

/// A command that somebody sent. What it says is overwritten when it is dropped.
#[derive(Clone)]
pub struct Command {
    /// Where it came from.
    pub room: Room,
    /// Who sent it.
    pub sender: OwnedUserId,
    /// Its name, without the prefix.
    pub name: String,
    /// What follows the name.
    pub rest: String,
    pub(super) states: States,
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Drop for Command {
    fn drop(&mut self) {
        self.rest.zeroize();
    }
}

/// Splits `!name rest` into name and rest.
pub(super) fn split<'a>(prefix: &str, text: &'a str) -> Option<(&'a str, &'a str)> {
    if text.len() > COMMAND_BYTES_MAX {
        return None;
    }
    let text = text.strip_prefix(prefix)?;
    let (name, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (!name.is_empty()).then_some((name, rest.trim()))
}

/// What a handler may answer.
pub trait IntoReply {
    /// The text to send back; `None` sends nothing.
    fn into_reply(self) -> Option<String>;
}

impl IntoReply for () {
    fn into_reply(self) -> Option<String> {
        None
    }
}

impl IntoReply for String {
    fn into_reply(self) -> Option<String> {
        Some(self)
    }
}

impl IntoReply for &str {
    fn into_reply(self) -> Option<String> {
        Some(self.to_owned())
    }
}

impl<T: IntoReply> IntoReply for Option<T> {
    fn into_reply(self) -> Option<String> {
        self.and_then(IntoReply::into_reply)
    }
}

impl<T: IntoReply> IntoReply for Result<T, Refusal> {
    fn into_reply(self) -> Option<String> {
        match self {
            Ok(reply) => reply.into_reply(),
            Err(Refusal(reason)) => Some(reason),
        }
    }
}

/// What is left to do to have a command carried out.
pub type Reply = Pin<Box<dyn Future<Output = Option<String>> + Send>>;

/// An async function whose arguments can be taken from a command.
pub trait Handler<Arguments>: Send + Sync + 'static {
    /// Begins to carry the command out.
    fn call(&self, command: &Command) -> Reply;
}

/// A handler whose arguments' types are forgotten.
pub(super) type AnyHandler = Arc<dyn Fn(&Command) -> Reply + Send + Sync>;

/// Forgets the types of a handler's arguments.
pub(super) fn erase<Arguments, H: Handler<Arguments>>(handler: H) -> AnyHandler {
    Arc::new(move |command| handler.call(command))
}

macro_rules! handlers {
    ($(($($Argument:ident $argument:ident),*))*) => {$(
        impl<F, Fut, $($Argument,)*> Handler<($($Argument,)*)> for F
        where
            F: Fn($($Argument),*) -> Fut + Send + Sync + 'static,
            Fut: Future<Output: IntoReply> + Send + 'static,
            $($Argument: FromCommand,)*
        {
            fn call(&self, _command: &Command) -> Reply {
                $(let $argument = match $Argument::from_command(_command) {
                    Ok(argument) => argument,
                    Err(Refusal(reason)) => return Box::pin(async move { Some(reason) }),
                };)*
                let future = self($($argument),*);
                Box::pin(async move { future.await.into_reply() })
            }
        }
    )*};
}

handlers! { () (A a) (A a, B b) (A a, B b, C c) (A a, B b, C c, D d) }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_prefix_and_a_name_make_a_command() {
        assert_eq!(split("!", "!status"), Some(("status", "")));
        assert_eq!(split("!", "!ack  one two "), Some(("ack", "one two")));
        assert_eq!(split("!", "!ack\none"), Some(("ack", "one")));
        for text in ["", "!", "! status", "status", " !status"] {
            assert_eq!(split("!", text), None, "{text:?}");
        }
        assert_eq!(split("!", &format!("!a {}", "x".repeat(5000))), None);
    }
}
