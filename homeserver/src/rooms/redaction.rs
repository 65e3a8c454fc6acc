//! Redactions: what they name, and which of them take effect.
//!
//! Invariant: a redaction is shown only if it takes effect, and a body is destroyed only if its event and the redaction are of one room and the redaction has power over it.
//! What is believed of another server's users (it answers for them all) is not granted to our own: of these, each may redact
//! what is their own, and only those with the level for it what is not.
//!
//! Spec: <https://spec.matrix.org/v1.19/rooms/v3/#handling-redactions> and
//! <https://spec.matrix.org/v1.19/client-server-api/#redactions>

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use passeur_protocol::{pdu::Pdu, power_levels::PowerLevels};
use ruma::{EventId, OwnedEventId, events::TimelineEventType};
use serde_json::value::{RawValue, to_raw_value};

use super::{Draft, SendError, chain::Chain};
use crate::store::{Event, EventStatus, LogKind, REDACTS, StoreError};

/// Redactions of one event, made before it came, that are looked at.
const REDACTIONS_MAX: u64 = 1_000;

impl Chain<'_> {
    /// A redaction of ours, wherever its request names the target; the answer has it outside of the content.
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidsendeventtypetxnid>
    pub(super) fn with_target<'d>(&self, draft: &'d Draft) -> Result<Cow<'d, Draft>, SendError> {
        if draft.kind != TimelineEventType::RoomRedaction || draft.redacts.is_some() {
            return Ok(Cow::Borrowed(draft));
        }
        let malformed = |what: &str| SendError::Malformed(what.to_owned());
        let mut content: BTreeMap<String, Box<RawValue>> =
            serde_json::from_str(draft.content.get())
                .map_err(|_| malformed("the content is no object"))?;
        let target: OwnedEventId = content
            .remove("redacts")
            .and_then(|target| serde_json::from_str(target.get()).ok())
            .ok_or_else(|| malformed("redacts must be the ID of an event"))?;
        Ok(Cow::Owned(Draft {
            redacts: Some(target),
            content: to_raw_value(&content).map_err(|_| malformed("the content is no object"))?,
            ..draft.clone()
        }))
    }

    /// Whether people are shown an event: a redaction only once its target is held, and if it has power over it. Clients
    /// believe what they are shown.
    pub(super) async fn is_shown(&self, pdu: &Pdu) -> Result<bool, StoreError> {
        let Some(target) = &pdu.redacts else {
            return Ok(true);
        };
        match self.event(target).await? {
            Some(target) => self.redaction_applies(pdu, &target.pdu).await,
            None => Ok(false),
        }
    }

    /// A redaction removes its target if it is held and may be redacted; an event that was
    /// redacted before it came loses its body now, by the redaction that is answered.
    pub(super) async fn apply_redactions(
        &mut self,
        pdu: &Pdu,
    ) -> Result<Option<Arc<Event>>, StoreError> {
        if let Some(target) = &pdu.redacts {
            if let Some(target) = self.event(target).await?
                && self.redaction_applies(pdu, &target.pdu).await?
            {
                let target = target.id().to_owned();
                self.append.redactions.push((target, pdu.event_id.clone()));
            }
            return Ok(None);
        }
        let names_it = |event: &&Arc<Event>| event.pdu.redacts.as_ref() == Some(&pdu.event_id);
        let mut earlier: Vec<_> = self.built.values().filter(names_it).cloned().collect();
        let store = &self.context.store;
        let stored = store.relations(&pdu.event_id, Some(REDACTS), REDACTIONS_MAX);
        earlier.extend(stored.await?);
        for redaction in earlier {
            if redaction.status == EventStatus::Accepted
                && self.redaction_applies(&redaction.pdu, pdu).await?
            {
                let by = redaction.id().to_owned();
                self.append.redactions.push((pdu.event_id.clone(), by));
                return Ok(Some(redaction));
            }
        }
        Ok(None)
    }

    /// Shows a redaction whose target came after it.
    pub(super) fn show_late(&mut self, redaction: &Event) {
        let Some(room) = &mut self.room else { return };
        if redaction.room_order.is_some() {
            return;
        }
        room.order_max += 1;
        let (order, log) = (Some(room.order_max), Some(LogKind::Event));
        let mut added = self.append.events.iter_mut();
        if let Some(new) = added.find(|new| new.event.id() == redaction.id()) {
            new.event.room_order = order;
            new.log = log;
            return;
        }
        let event = Event {
            room_order: order,
            ..redaction.clone()
        };
        self.push(event, log, true);
    }

    /// The target of a redaction of ours, if its sender may redact it.
    pub(super) async fn redactable(
        &self,
        redaction: &Pdu,
        target: &EventId,
    ) -> Result<OwnedEventId, SendError> {
        let found = self.context.store.event(target).await?;
        let found = found.filter(|event| event.pdu.room_id == redaction.room_id);
        let target = found.ok_or(SendError::UnknownEvent)?;
        let is_own = redaction.sender == target.pdu.sender;
        if is_own || self.has_power_to_redact(redaction).await? {
            return Ok(target.id().to_owned());
        }
        Err(SendError::Forbidden(
            "not enough power to redact this event".to_owned(),
        ))
    }

    /// Whether a redaction removes its target: same domain, or the power to redact.
    pub(super) async fn redaction_applies(
        &self,
        redaction: &Pdu,
        target: &Pdu,
    ) -> Result<bool, StoreError> {
        if redaction.room_id != target.room_id {
            return Ok(false);
        }
        let is_same_domain = redaction.sender.server_name() == target.sender.server_name();
        Ok(is_same_domain || self.has_power_to_redact(redaction).await?)
    }

    /// Whether the sender has the level that redacting others' events takes.
    async fn has_power_to_redact(&self, redaction: &Pdu) -> Result<bool, StoreError> {
        let Some(create) = self.state_pdu("m.room.create").await? else {
            return Ok(false);
        };
        let levels = self.state_pdu("m.room.power_levels").await?;
        let levels = PowerLevels::new(&create, levels.as_ref(), self.rules);
        Ok(levels.is_ok_and(|levels| levels.of_user(&redaction.sender) >= levels.redact))
    }

    /// The current state event of a type with an empty state key.
    async fn state_pdu(&self, kind: &str) -> Result<Option<Arc<Pdu>>, StoreError> {
        let Some(id) = self.state.get(&(kind.into(), String::new())) else {
            return Ok(None);
        };
        Ok(self.events(std::slice::from_ref(id)).await?.remove(id))
    }
}
