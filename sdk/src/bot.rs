//! A framework for bots: commands with typed arguments, an outbox, and an orderly end.
//!
//! Invariant: a command is obeyed only if it came encrypted from a device that may be taken for its sender's, and a bot's
//! answer is never sent in the clear. Whoever joins later gets no keys until an operator accepts them. What a bot puts into its outbox survives its process.
//!
//! ```no_run
//! use passeur_sdk::{Client, bot::{Bot, Sender, Words}};
//!
//! async fn greet(Sender(who): Sender, Words(words): Words) -> String {
//!     format!("Hello {who}, you said {} words.", words.len())
//! }
//!
//! # async fn example(client: Client) -> Result<(), passeur_sdk::ClientError> {
//! let bot = Bot::new(client).command("greet", "says hello", greet);
//! bot.run(std::future::pending()).await
//! # }
//! ```

mod command;
mod extract;
mod newcomers;
mod outbox;
mod run;

pub use command::{Command, Handler, IntoReply, Reply};
pub use extract::{FromCommand, InRoom, Refusal, Rest, Sender, State, Words};
pub use outbox::{Outbox, OutboxError, Post, Posted};
pub use run::Bot;

#[cfg(test)]
mod tests;
