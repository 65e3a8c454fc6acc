//! What goes out of a queued message now: its content, and how long it may live.
//!
//! Invariant: both are decided by what is known when the message goes out, not when it was queued. A message never lives longer than
//! the room's policy allows, and what changes another message or reacts to it never outlives that one.

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use ruma::serde::JsonObject;

use super::{
    Waiting,
    deliver::{Obstacle, TARGET_LOST},
    message::Target,
};
use crate::{
    base::RoomState,
    crypto::{Deadline, OlmMachine, wipe},
    expiry::{ExpiryClass, ExpiryStamp, SALT_FIELD},
};

/// What is refused because nobody could see it any more.
pub(super) const EXPIRED: &str = "expired";

/// How many random bytes go with an expiring message that is not encrypted.
pub(super) const SALT_BYTES: usize = 32;

/// A message as it goes out.
pub(super) struct Prepared {
    pub(super) content: JsonObject,
    /// How long it lives; decides which session encrypts it.
    pub(super) class: Option<ExpiryClass>,
    /// When the message that it refers to dies.
    target: Option<Deadline>,
}

impl Prepared {
    /// `target` is the deadline of the message that this one refers to, where it is known and there is one.
    pub(super) fn new(
        waiting: &Waiting,
        state: &RoomState,
        target: Option<Deadline>,
        now_ms: u64,
    ) -> Result<Self, Obstacle> {
        let message = &waiting.message;
        // A message of a verification is committed to byte for byte, and says nothing that would have to go.
        let is_verification = OlmMachine::is_verification(&message.event_type, &message.content);
        let class = (!is_verification).then(|| state.lifetime(message.wished));
        let class = class.flatten();
        // A server gives a change of a dead message no life at all, and takes it without a word.
        if target.is_some_and(|target| target.at_ms <= now_ms) {
            let content = message.standing_alone();
            let content = content.ok_or_else(|| Obstacle::Failed(EXPIRED.to_owned()))?;
            return Ok(Self {
                content,
                class,
                target: None,
            });
        }
        let content = message.finished();
        let of_target = target.map(|target| target.class);
        Ok(Self {
            content: content.ok_or_else(|| Obstacle::Failed(TARGET_LOST.to_owned()))?,
            class: class.into_iter().chain(of_target).min(),
            target,
        })
    }

    /// When it dies if it goes out now.
    pub(super) fn deadline(&self, now_ms: u64) -> Option<Deadline> {
        let class = self.class?;
        let own = Deadline {
            class,
            at_ms: now_ms.saturating_add(class.as_ms()),
        };
        Some(self.target.map_or(own, |target| own.earlier(target)))
    }

    /// The content for a room that is not encrypted, with the stamp that the ciphertext would carry. `salt` makes its hash tell nothing
    /// after it has expired.
    pub(super) fn into_plain(mut self, salt: [u8; SALT_BYTES]) -> JsonObject {
        if let Some(class) = self.class {
            ExpiryStamp::new(class).write_outer(&mut self.content);
            let salt = STANDARD_NO_PAD.encode(salt);
            self.content.insert(SALT_FIELD.to_owned(), salt.into());
        }
        std::mem::take(&mut self.content)
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        self.content.values_mut().for_each(wipe);
    }
}

impl Waiting {
    /// The event that it refers to, if that has an ID already.
    pub(super) fn target(&self) -> Option<&ruma::EventId> {
        match &self.message.target {
            Some(Target::Event(event_id)) => Some(event_id),
            Some(Target::Queued(_)) | None => None,
        }
    }
}
