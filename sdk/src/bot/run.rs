//! The loop that turns messages into commands, until it is told to end.
//!
//! Invariant: one command at a time is carried out, in the order of arrival and once however often a server sends it, and the one under way is finished before the bot
//! ends; messages that the bot had queued before are sent, or stay in the queue for the next start.

use std::{any::Any, collections::BTreeMap, fmt, future::Future, sync::Arc, time::Duration};

use ruma::{OwnedRoomId, OwnedUserId};

use super::{
    command::{AnyHandler, Command, Handler, erase, split},
    newcomers,
};
use crate::{Client, ClientError, Event, Room, SendOptions};

/// How long the queue may take to empty once the bot was told to end.
const DRAIN_PATIENCE: Duration = Duration::from_secs(8);

/// A bot.
pub struct Bot {
    client: Client,
    prefix: String,
    operators: Vec<OwnedUserId>,
    members: Vec<OwnedUserId>,
    rooms: Vec<OwnedRoomId>,
    handlers: BTreeMap<String, (&'static str, AnyHandler)>,
    states: Vec<Arc<dyn Any + Send + Sync>>,
}

impl fmt::Debug for Bot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bot")
            .field("commands", &self.handlers.len())
            .finish_non_exhaustive()
    }
}

impl Bot {
    /// A bot that obeys no command yet. The client must be logged in.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self {
            client,
            prefix: "!".to_owned(),
            operators: Vec::new(),
            members: Vec::new(),
            rooms: Vec::new(),
            handlers: BTreeMap::new(),
            states: Vec::new(),
        }
    }

    /// What a command begins with; `!` unless set.
    #[must_use]
    pub fn prefix(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.prefix);
        self
    }

    /// Who may command the bot; every member who may have its keys unless set.
    #[must_use]
    pub fn operators(mut self, operators: Vec<OwnedUserId>) -> Self {
        self.operators = operators;
        self
    }

    /// Who may have the keys of the bot's rooms, besides its operators; those who are members when the bot first says something, unless
    /// set. Others wait until somebody who may command the bot accepts them, by the command `accept`.
    #[must_use]
    pub fn members(mut self, members: Vec<OwnedUserId>) -> Self {
        self.members = members;
        self
    }

    /// The rooms the bot listens in, and joins when it is invited; all that it is in, and none, unless set.
    #[must_use]
    pub fn rooms(mut self, rooms: Vec<OwnedRoomId>) -> Self {
        self.rooms = rooms;
        self
    }

    /// Something that handlers can ask for as [`State`](super::State).
    #[must_use]
    pub fn state<T: Any + Send + Sync>(mut self, state: Arc<T>) -> Self {
        self.states.push(state);
        self
    }

    /// Has `handler` carry out the command `name`; `help` is what `help` says about it.
    #[must_use]
    pub fn command<Arguments, H: Handler<Arguments>>(
        mut self,
        name: &str,
        help: &'static str,
        handler: H,
    ) -> Self {
        self.handlers
            .insert(name.to_owned(), (help, erase(handler)));
        self
    }

    /// Syncs and obeys until `end` is ready, then ends in order.
    ///
    /// # Errors
    ///
    /// [`ClientError`] if the session ends.
    pub async fn run(self, end: impl Future<Output = ()> + Send) -> Result<(), ClientError> {
        let mut events = self.client.events();
        let sync = self.client.start_sync()?;
        let states = Arc::new(self.states.clone());
        let mut end = std::pin::pin!(end);
        let mut rooms = self.client.room_changes();
        let mut notifications = self.client.notifications();
        self.accept_known().await;
        let result = loop {
            self.join_invited().await;
            tokio::select! {
                () = &mut end => break Ok(()),
                ended = sync.ended() => break ended,
                _ = rooms.changed() => {}
                notification = notifications.next() => match notification {
                    Some(notification) => self.meet(&notification).await,
                    None => break Ok(()),
                },
                event = events.next() => match event {
                    Some(event) => self.obey(&event, &states).await,
                    None => break Ok(()),
                },
            }
        };
        self.client.drain_queue(DRAIN_PATIENCE).await;
        sync.stop().await;
        result
    }

    /// Joins those of the bot's rooms that it is invited to.
    async fn join_invited(&self) {
        for room_id in &self.rooms {
            let room = self.client.room(room_id);
            if room.is_invited()
                && let Err(error) = room.join().await
            {
                tracing::warn!(%error, "a room could not be joined");
            }
        }
    }

    pub(super) const fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn prefix_text(&self) -> &str {
        &self.prefix
    }

    /// The rooms the bot listens in.
    pub(super) fn own_rooms(&self) -> Vec<Room> {
        if self.rooms.is_empty() {
            return self.client.joined_rooms();
        }
        self.rooms
            .iter()
            .map(|room_id| self.client.room(room_id))
            .collect()
    }

    /// Who is named as one who may have keys; empty if nobody is.
    pub(super) fn named(&self) -> Vec<OwnedUserId> {
        self.members
            .iter()
            .chain(&self.operators)
            .cloned()
            .collect()
    }

    /// Whether only those who are named may have keys from the first.
    pub(super) const fn has_members(&self) -> bool {
        !self.members.is_empty()
    }

    pub(super) async fn obey(&self, event: &Event, states: &super::command::States) {
        let ours = self.rooms.is_empty() || self.rooms.contains(&event.room_id);
        let allowed = self.operators.is_empty() || self.operators.contains(&event.sender);
        let own = self
            .client
            .user_id()
            .is_some_and(|user| user == event.sender);
        let edit = event.replacement().is_some();
        // A server can send a command again, but not have it carried out again.
        let again = event.was_seen_before();
        if !ours || !allowed || own || edit || again || !event.is_authentic() {
            return;
        }
        // A server can name anybody a member.
        let room = self.client.room(&event.room_id);
        if !room.is_accepted(&event.sender).await.unwrap_or(false) {
            return;
        }
        let Some((name, rest)) = event.body().and_then(|body| split(&self.prefix, body)) else {
            return;
        };
        let reply = match self.handlers.get(name) {
            Some((_, handler)) => {
                let command = Command {
                    room: room.clone(),
                    sender: event.sender.clone(),
                    name: name.to_owned(),
                    rest: rest.to_owned(),
                    states: states.clone(),
                };
                handler(&command).await
            }
            None if name == "help" => Some(self.help()),
            None if name == "accept" => Some(newcomers::accept(&room, rest).await),
            None => None,
        };
        let Some(reply) = reply else { return };
        let options = SendOptions {
            must_encrypt: true,
            ..SendOptions::default()
        };
        if let Err(error) = room.send_notice(&reply, options).await {
            tracing::warn!(%error, "a reply could not be queued");
        }
    }

    fn help(&self) -> String {
        let lines = self.handlers.iter();
        let lines = lines.map(|(name, (help, _))| format!("{}{name}: {help}", self.prefix));
        lines.collect::<Vec<_>>().join("\n")
    }
}
