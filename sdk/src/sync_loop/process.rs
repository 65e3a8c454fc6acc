//! From one sync response to the store, then to the program.
//!
//! Invariant: one commit holds everything that a response changes, `next_batch` included. Only then is anything told. A process
//! killed before the commit gets the same response again; one killed after it may miss the telling but no key and no state.

use std::collections::BTreeMap;

use ruma::{OwnedRoomId, RoomId, api::client::sync::sync_events::v3, serde::Raw};
use serde_json::value::RawValue;

use super::{
    SYNC_TOKEN_VALUE,
    waiting::{Admission, WaitingEvent},
};
use crate::{
    base::{Membership, RoomState, SyncDigest, TimelineItem, digest},
    client::{Client, ClientError, Envelope, Event, Notification, Protection},
    crypto::{
        Changes, CryptoError, MemberPolicy, Notice, OlmMachine, PlaintextVerdict, RoomMessage,
        SyncChanges, SyncOutcome, Undecryptable,
    },
    store::Batch,
};

/// What a response brought, once it is on disk.
struct Processed {
    outcome: SyncOutcome,
    events: Vec<Event>,
    /// Events that came to wait, and those that wait no more.
    waiting: (Vec<WaitingEvent>, Vec<i64>),
    /// What verifications want said in rooms.
    messages: Vec<RoomMessage>,
}

impl Client {
    /// Takes a response in.
    pub(crate) async fn process(&self, response: v3::Response) -> Result<(), ClientError> {
        let own_user = self.session()?.user_id;
        let mut digest = self.with_rooms(|known| digest(known, &own_user, response.rooms));
        let changes = SyncChanges {
            to_device: response.to_device.events,
            device_lists: response.device_lists,
            one_time_key_counts: response.device_one_time_keys_count,
            unused_fallback_keys: response.device_unused_fallback_key_types,
        };
        let waiting = self.waiting_events();
        let next_batch = response.next_batch;
        let tells_members = self.inner.config.members != MemberPolicy::Open;
        let mut processed = self
            .step(|machine, now_ms| {
                let (mut batch, mut processed) =
                    take_in(machine, &mut digest, &waiting, changes, next_batch, now_ms)?;
                if tells_members {
                    let notices = note_members(machine, &digest, &mut batch.crypto)?;
                    processed.outcome.notices.extend(notices);
                }
                Ok::<_, CryptoError>((batch, processed))
            })
            .await??;
        self.set_rooms(digest.rooms);
        let messages = std::mem::take(&mut processed.messages);
        // Old events of a room that was just joined say nothing about the time, but neither do they harm: they are in the past.
        if let Some(newest_ms) = processed
            .events
            .iter()
            .map(|event| event.origin_server_ts_ms)
            .max()
        {
            self.inner.time.hear(newest_ms);
        }
        self.tell_all(processed, digest.ephemeral);
        // Whatever the machine wants sent now can also be sent after the next sync.
        if let Err(error) = self.send_outgoing().await {
            tracing::debug!(%error, "key requests will be sent later");
        }
        self.compare_views().await?;
        self.go_on_verifying(messages).await;
        self.back_up_later();
        self.wake_queue();
        Ok(())
    }

    /// Compares what others say that they are told of rooms with what we are.
    async fn compare_views(&self) -> Result<(), ClientError> {
        for room_id in self.ask(|machine| machine.rooms_to_compare()).await? {
            let state = self.room_state(&room_id);
            let Some(state) = state.filter(|state| state.membership == Membership::Join) else {
                continue;
            };
            let members: Vec<_> = state.recipients().cloned().collect();
            let compared = self
                .staged(|machine, now_ms| machine.compare_views(&room_id, &members, now_ms))
                .await??;
            self.tell_notices(compared);
        }
        Ok(())
    }

    /// Puts new keys into the backup, if there is one in use, while nobody waits for it.
    fn back_up_later(&self) {
        let client = self.clone();
        tokio::spawn(async move {
            // Whoever holds it sees the new keys too.
            let Ok(_alone) = client.inner.backing_up.try_lock() else {
                return;
            };
            if let Err(error) = client.back_up_keys().await {
                tracing::debug!(%error, "keys will be backed up later");
            }
        });
    }

    async fn go_on_verifying(&self, messages: Vec<RoomMessage>) {
        if let Err(error) = self.send_room_messages(messages).await {
            tracing::warn!(%error, "a verification cannot go on");
        }
    }

    /// Tries events again that wait for these keys.
    pub(crate) async fn try_waiting(
        &self,
        keys: &[(OwnedRoomId, String)],
    ) -> Result<(), ClientError> {
        let waiting = self.waiting_events();
        let tried = self.step(|machine, now_ms| {
            let mut changes = Changes::new();
            let retried = retry(machine, &waiting, (keys, &[]), now_ms, &mut changes)?;
            let mut batch = Batch::from(changes);
            batch.inbox_delete.clone_from(&retried.no_longer);
            Ok::<_, CryptoError>((batch, (retried, machine.take_room_messages())))
        });
        let (retried, messages) = tried.await??;
        self.set_waiting((Vec::new(), retried.no_longer));
        self.tell_notices(retried.notices);
        for event in self.shown(retried.events) {
            self.tell(event);
        }
        self.go_on_verifying(messages).await;
        Ok(())
    }

    fn tell_all(&self, processed: Processed, ephemeral: Vec<TimelineItem>) {
        self.set_waiting(processed.waiting);
        self.tell_notices(processed.outcome.notices);
        for event in processed.outcome.to_device {
            self.notify(Notification::ToDevice(event));
        }
        for item in ephemeral {
            self.notify(Notification::Ephemeral(item.room_id, item.event));
        }
        for event in self.shown(processed.events) {
            self.tell(event);
        }
        self.notify(Notification::Synced);
    }
}

/// Everything about a response that the machine decides, and the batch that holds all of it.
fn take_in(
    machine: &mut OlmMachine,
    digest: &mut SyncDigest,
    waiting: &BTreeMap<i64, WaitingEvent>,
    sync: SyncChanges,
    next_batch: String,
    now_ms: u64,
) -> Result<(Batch, Processed), CryptoError> {
    let (mut changes, mut outcome) = machine.receive_sync_changes(sync, now_ms)?.into_parts();
    for room in &digest.rooms {
        follow(machine, room, &mut changes)?;
    }
    let news = (&*outcome.new_room_keys, &*outcome.withheld);
    let retried = retry(machine, waiting, news, now_ms, &mut changes)?;
    let (mut events, no_longer) = (retried.events, retried.no_longer);
    outcome.notices.extend(retried.notices);
    // A device of ours may have been verified meanwhile, and have their keys.
    for item in waiting
        .values()
        .filter(|item| !no_longer.contains(&item.id))
    {
        let asked = machine.request_room_key(&item.room_id, &item.session_id, None)?;
        changes.extend(asked.into_parts().0);
    }
    let mut admission = Admission::new(waiting, no_longer, now_ms);
    for item in digest.timeline.drain(..) {
        let Some(event) = reveal(machine, &item.room_id, &item.event, now_ms, &mut changes) else {
            continue;
        };
        if let Some((made, notices)) = follow_verification(machine, &event, now_ms)? {
            changes.extend(made);
            outcome.notices.extend(notices);
        }
        if let Some(session_id) = missing_session(&event) {
            let sender_key = event.content.text("sender_key");
            let asked = machine.request_room_key(&item.room_id, &session_id, sender_key)?;
            changes.extend(asked.into_parts().0);
            admission.add(WaitingEvent::new(&event, session_id, item.event, now_ms));
        }
        events.push(event);
    }
    let (newly, no_longer) = admission.finish();
    let mut batch = Batch::from(changes).set(SYNC_TOKEN_VALUE, next_batch);
    batch.rooms = digest
        .rooms
        .iter()
        .filter_map(|room| room.encode())
        .collect();
    batch.inbox_put = newly.iter().filter_map(WaitingEvent::encode).collect();
    batch.inbox_delete.clone_from(&no_longer);
    Ok((
        batch,
        Processed {
            outcome,
            events,
            waiting: (newly, no_longer),
            messages: machine.take_room_messages(),
        },
    ))
}

/// Who has come into encrypted rooms and waits to be accepted.
fn note_members(
    machine: &mut OlmMachine,
    digest: &SyncDigest,
    changes: &mut Changes,
) -> Result<Vec<Notice>, CryptoError> {
    let mut notices = Vec::new();
    let rooms = digest.rooms.iter();
    for room in rooms.filter(|room| room.is_encrypted() && room.membership == Membership::Join) {
        let members: Vec<_> = room.recipients().cloned().collect();
        let (made, told) = machine.note_members(&room.room_id, &members)?.into_parts();
        changes.extend(made);
        notices.extend(told);
    }
    Ok(notices)
}

/// Gives the machine an event that belongs to a verification. One in the clear is taken in an encrypted room too: "verification messages
/// may be sent unencrypted, though this is not encouraged", and some clients know no other way. A server that writes one gains what it
/// has with those to devices, which are never encrypted: it can begin a verification and end it, but not make the strings match.
fn follow_verification(
    machine: &mut OlmMachine,
    event: &Event,
    now_ms: u64,
) -> Result<Option<(Changes, Vec<Notice>)>, CryptoError> {
    let content = event.content.object();
    let fit = match &event.protection {
        Protection::Encrypted(_) | Protection::Clear(_) => true,
        Protection::Undecryptable(_) | Protection::Gone => false,
    };
    if !fit || event.state_key.is_some() || !OlmMachine::is_verification(&event.event_type, content)
    {
        return Ok(None);
    }
    let named = (event.event_id.as_str(), event.origin_server_ts_ms);
    let said = (event.event_type.as_str(), content);
    let taken =
        machine.receive_room_verification(&event.room_id, named, &event.sender, said, now_ms)?;
    Ok(Some(taken.into_parts()))
}

/// Tells the machine what it must know of a room.
fn follow(
    machine: &mut OlmMachine,
    room: &RoomState,
    changes: &mut Changes,
) -> Result<(), CryptoError> {
    if !room.is_encrypted() {
        return Ok(());
    }
    changes.extend(machine.set_room_encrypted(&room.room_id)?.into_parts().0);
    let members: Vec<_> = room.recipients().cloned().collect();
    changes.extend(machine.update_tracked_users(&members)?.into_parts().0);
    Ok(())
}

/// What became of events that waited.
#[derive(Default)]
struct Retried {
    /// Those of which there is something new to tell.
    events: Vec<Event>,
    notices: Vec<Notice>,
    /// Those that wait no more.
    no_longer: Vec<i64>,
}

/// Tries events again whose keys have arrived, or will not for a reason that is known now.
fn retry(
    machine: &mut OlmMachine,
    waiting: &BTreeMap<i64, WaitingEvent>,
    (keys, withheld): (&[(OwnedRoomId, String)], &[String]),
    now_ms: u64,
    changes: &mut Changes,
) -> Result<Retried, CryptoError> {
    let mut retried = Retried::default();
    for item in waiting.values() {
        let explained = withheld.contains(&item.session_id);
        let arrived = keys.iter().any(|(room_id, session_id)| {
            *room_id == item.room_id && *session_id == item.session_id
        });
        if !arrived && !explained {
            continue;
        }
        let Some(event) = reveal(machine, &item.room_id, &item.event, now_ms, changes) else {
            retried.no_longer.push(item.id);
            continue;
        };
        if missing_session(&event).is_none() {
            retried.no_longer.push(item.id);
            if let Some((made, notices)) = follow_verification(machine, &event, now_ms)? {
                changes.extend(made);
                retried.notices.extend(notices);
            }
        } else if !explained {
            continue;
        }
        retried.events.push(event);
    }
    Ok(retried)
}

/// The session whose key has not arrived.
fn missing_session(event: &Event) -> Option<String> {
    match &event.protection {
        Protection::Undecryptable(Undecryptable::MissingRoomKey { session_id, .. }) => {
            Some(session_id.clone())
        }
        _ => None,
    }
}

/// Reads an event, and decrypts it where it is encrypted. `None` for what cannot be read at all, and for what came in the clear
/// and would change an encrypted event.
pub(crate) fn reveal(
    machine: &mut OlmMachine,
    room_id: &RoomId,
    raw: &RawValue,
    now_ms: u64,
    changes: &mut Changes,
) -> Option<Event> {
    let envelope: Envelope = serde_json::from_str(raw.get()).ok()?;
    if envelope.is_gone() {
        return Some(envelope.into_event(room_id.to_owned(), Protection::Gone));
    }
    if envelope.state_key.is_some() && !claims_to_be_a_message(&envelope) {
        let protection = Protection::Clear(PlaintextVerdict::Fine);
        return Some(envelope.into_event(room_id.to_owned(), protection));
    }
    if envelope.event_type == "m.room.encrypted" && envelope.state_key.is_none() {
        let event = Raw::from_json(raw.to_owned());
        return Some(match machine.decrypt_room_event(room_id, &event, now_ms) {
            Ok(staged) => {
                let (made, decrypted) = staged.into_parts();
                changes.extend(made);
                envelope.into_decrypted(decrypted)
            }
            Err(reason) => {
                envelope.into_event(room_id.to_owned(), Protection::Undecryptable(reason))
            }
        });
    }
    match machine.judge_plaintext(room_id, &envelope.event_type, &envelope.content) {
        PlaintextVerdict::Reject => None,
        verdict => Some(envelope.into_event(room_id.to_owned(), Protection::Clear(verdict))),
    }
}

/// Whether an event that comes as state is of a kind that people take for somebody's words: it is judged like those then, since a server,
/// or whoever may send state, can put a state key into anything.
fn claims_to_be_a_message(envelope: &Envelope) -> bool {
    const TYPES: [&str; 4] = [
        "m.room.message",
        "m.reaction",
        "m.sticker",
        "m.room.encrypted",
    ];
    TYPES.contains(&envelope.event_type.as_str()) || envelope.content.contains_key("m.relates_to")
}
