//! What the other side of a verification says.
//!
//! Invariant: a message counts only for the verification that it names, from the user with whom that one takes place and over the
//! channel on which it was begun; requests that are old or too many are not taken.
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#key-verification-framework>

use ruma::{DeviceId, OwnedDeviceId, RoomId, UserId, serde::JsonObject};
use serde_json::Value;

use super::{
    FLOW_ID_BYTES_MAX, FLOWS_MAX, Flow, ROOM_REQUEST, Stage, VERIFICATION_MS_MAX, cancel_fields,
    methods::Methods,
    qr::RECIPROCATE,
    sas::{self, Code, METHOD, Sas, code},
};
use crate::crypto::{
    account::text, changes::Staged, error::CryptoError, machine::OlmMachine, outcome::Notice,
};

/// How far ahead of our clock the other side's may be, in milliseconds: five minutes.
const AHEAD_MS_MAX: u64 = 5 * 60 * 1000;

/// What types of messages of verifications begin with.
const PREFIX: &str = "m.key.verification.";

/// A message of a verification.
struct Said<'a> {
    sender: &'a UserId,
    /// `None` over to-device messages.
    room_id: Option<&'a RoomId>,
    /// The event's type without the prefix.
    verb: &'a str,
    content: &'a JsonObject,
    flow_id: &'a str,
}

impl Said<'_> {
    fn device(&self) -> Option<OwnedDeviceId> {
        text(self.content, "from_device").map(OwnedDeviceId::from)
    }
}

impl OlmMachine {
    /// Whether an event in a room belongs to a verification.
    pub fn is_verification(event_type: &str, content: &JsonObject) -> bool {
        event_type.starts_with(PREFIX)
            || (event_type == "m.room.message" && text(content, "msgtype") == Some(ROOM_REQUEST))
    }

    /// Takes an event of a room that [belongs to a verification](Self::is_verification).
    ///
    /// # Errors
    /// [`CryptoError`] only if the machine itself fails.
    pub fn receive_room_verification(
        &mut self,
        room_id: &RoomId,
        (event_id, sent_ms): (&str, u64),
        sender: &UserId,
        (event_type, content): (&str, &JsonObject),
        now_ms: u64,
    ) -> Result<Staged<Vec<Notice>>, CryptoError> {
        let mut notices = Vec::new();
        if event_type == "m.room.message" {
            let said = Said {
                sender,
                room_id: Some(room_id),
                verb: "request",
                content,
                flow_id: event_id,
            };
            if *sender == self.user_id {
                self.take_own_request(&said, now_ms, &mut notices);
            } else if text(content, "to") == Some(self.user_id.as_str()) {
                self.take_request(&said, Some(sent_ms), now_ms, &mut notices)?;
            }
            return Ok(self.stage(notices));
        }
        let flow_id = content
            .get("m.relates_to")
            .and_then(|relation| relation.get("event_id"))
            .and_then(Value::as_str);
        if let (Some(flow_id), Some(verb)) = (flow_id, event_type.strip_prefix(PREFIX)) {
            let said = Said {
                sender,
                room_id: Some(room_id),
                verb,
                content,
                flow_id,
            };
            self.take(&said, now_ms, &mut notices)?;
        }
        Ok(self.stage(notices))
    }

    /// Takes a to-device message; tells whether it was one of a verification.
    pub(in crate::crypto) fn receive_verification(
        &mut self,
        sender: &UserId,
        (event_type, content): (&str, &JsonObject),
        now_ms: u64,
        notices: &mut Vec<Notice>,
    ) -> Result<bool, CryptoError> {
        let Some(verb) = event_type.strip_prefix(PREFIX) else {
            return Ok(false);
        };
        if let Some(flow_id) = text(content, "transaction_id") {
            let said = Said {
                sender,
                room_id: None,
                verb,
                content,
                flow_id,
            };
            if verb == "request" {
                let sent_ms = content.get("timestamp").and_then(Value::as_u64);
                self.take_request(&said, sent_ms, now_ms, notices)?;
            } else {
                self.take(&said, now_ms, notices)?;
            }
        }
        Ok(true)
    }

    fn take_request(
        &mut self,
        said: &Said<'_>,
        sent_ms: Option<u64>,
        now_ms: u64,
        notices: &mut Vec<Notice>,
    ) -> Result<(), CryptoError> {
        let in_time = sent_ms.is_some_and(|sent_ms| {
            sent_ms.saturating_add(VERIFICATION_MS_MAX) > now_ms
                && sent_ms <= now_ms.saturating_add(AHEAD_MS_MAX)
        });
        let common = self.methods().with(Methods::offered(said.content));
        let Some(device_id) = said.device().filter(|_| in_time && common.any()) else {
            return Ok(());
        };
        let Some(mut flow) = self.new_incoming(said, &device_id, now_ms, notices)? else {
            return Ok(());
        };
        flow.stage = Stage::Requested;
        flow.common = common;
        self.tell(flow, notices);
        Ok(())
    }

    /// The echo of a request that this device sends into a room, if it comes before the server has said that it was sent: the answer
    /// may follow at once.
    fn take_own_request(&mut self, said: &Said<'_>, now_ms: u64, notices: &mut Vec<Notice>) {
        let asked = text(said.content, "to").and_then(|user| <&UserId>::try_from(user).ok());
        let is_ours = said.device().is_some_and(|id| id == self.device_id)
            && !self.verifications.contains_key(said.flow_id);
        let Some(asked) = asked.filter(|user| is_ours && self.asking.contains(*user)) else {
            return;
        };
        let mut flow = Flow::new(said.flow_id, asked, false, now_ms);
        flow.room_id = said.room_id.map(ToOwned::to_owned);
        self.tell(flow, notices);
    }

    /// A verification that the other side begins, unless there are too many, or one with the same device already: both end then.
    fn new_incoming(
        &mut self,
        said: &Said<'_>,
        device_id: &DeviceId,
        now_ms: u64,
        notices: &mut Vec<Notice>,
    ) -> Result<Option<Flow>, CryptoError> {
        let ourselves = *said.sender == self.user_id && *device_id == *self.device_id;
        let named = !said.flow_id.is_empty() && said.flow_id.len() <= FLOW_ID_BYTES_MAX;
        if ourselves || !named || self.verifications.contains_key(said.flow_id) {
            return Ok(None);
        }
        if self.verifications.len() >= FLOWS_MAX {
            return Ok(None);
        }
        // Its keys will be needed.
        self.track(said.sender)?;
        let mut flow = Flow::new(said.flow_id, said.sender, true, now_ms);
        flow.room_id = said.room_id.map(ToOwned::to_owned);
        flow.device_id = Some(device_id.to_owned());
        let same = |other: &Flow| {
            other.user_id == flow.user_id && other.device_id == flow.device_id && !other.is_over()
        };
        let other = self.verifications.values().find(|other| same(other));
        let Some(other) = other.map(|other| other.flow_id.clone()) else {
            return Ok(Some(flow));
        };
        if let Some(mut other) = self.verifications.remove(&other) {
            self.cancel_flow(&mut other, code::UNEXPECTED_MESSAGE)?;
            self.tell(other, notices);
        }
        self.cancel_flow(&mut flow, code::UNEXPECTED_MESSAGE)?;
        Ok(None)
    }

    fn tell(&mut self, flow: Flow, notices: &mut Vec<Notice>) {
        notices.push(Notice::Verification(flow.view()));
        self.verifications.insert(flow.flow_id.clone(), flow);
    }

    fn take(
        &mut self,
        said: &Said<'_>,
        now_ms: u64,
        notices: &mut Vec<Notice>,
    ) -> Result<(), CryptoError> {
        let ours = *said.sender == self.user_id;
        let fits = |flow: &Flow| {
            flow.room_id.as_deref() == said.room_id
                && !flow.is_over()
                && (flow.user_id == *said.sender || (flow.room_id.is_some() && ours))
        };
        if !self.verifications.get(said.flow_id).is_some_and(fits) {
            return self.take_unasked_start(said, now_ms, notices);
        }
        let Some(mut flow) = self.verifications.remove(said.flow_id) else {
            return Ok(());
        };
        if flow.room_id.is_some() && ours {
            self.take_own(&mut flow, said);
        } else if let Err(code) = self.take_step(&mut flow, said)? {
            self.cancel_flow(&mut flow, code)?;
        }
        self.tell(flow, notices);
        Ok(())
    }

    /// An event of our own user in a room: our own echo, or another device of ours that took the verification over.
    fn take_own(&self, flow: &mut Flow, said: &Said<'_>) {
        let elsewhere = said
            .device()
            .is_some_and(|device_id| device_id != self.device_id);
        if elsewhere && flow.incoming && matches!(flow.stage, Stage::Requested) {
            flow.stage = Stage::Cancelled {
                code: code::ACCEPTED.to_owned(),
                by_us: false,
            };
        }
    }

    /// A `start` without a request, as older clients send it.
    fn take_unasked_start(
        &mut self,
        said: &Said<'_>,
        now_ms: u64,
        notices: &mut Vec<Notice>,
    ) -> Result<(), CryptoError> {
        let is_sas = text(said.content, "method") == Some(METHOD);
        if said.verb != "start" || said.room_id.is_some() || !is_sas {
            return Ok(());
        }
        let Some(device_id) = said.device() else {
            return Ok(());
        };
        if let Some(mut flow) = self.new_incoming(said, &device_id, now_ms, notices)? {
            flow.stage = Stage::TheyStarted(said.content.clone());
            self.tell(flow, notices);
        }
        Ok(())
    }

    fn take_step(
        &mut self,
        flow: &mut Flow,
        said: &Said<'_>,
    ) -> Result<Result<(), Code>, CryptoError> {
        match said.verb {
            "ready" => self.take_ready(flow, said),
            "start" => self.take_start(flow, said),
            "accept" => self.take_accept(flow, said.content),
            "key" => self.take_key(flow, said.content),
            "mac" => self.take_mac(flow, said.content),
            // They confirm that we have scanned their code: what that proved was marked then.
            "done" if matches!(flow.stage, Stage::Reciprocated) => self.say_done(flow),
            // We are done when we say so ourselves: a server can write this.
            "done" => Ok(Ok(())),
            "cancel" => {
                let code = text(said.content, "code").unwrap_or_default();
                let code = code.chars().take(64).collect();
                self.tell_other_devices(flow, code::USER)?;
                flow.stage = Stage::Cancelled { code, by_us: false };
                Ok(Ok(()))
            }
            _ => Ok(Err(code::UNEXPECTED_MESSAGE)),
        }
    }

    fn take_ready(
        &mut self,
        flow: &mut Flow,
        said: &Said<'_>,
    ) -> Result<Result<(), Code>, CryptoError> {
        let Some(device_id) = said.device() else {
            return Ok(Err(code::INVALID_MESSAGE));
        };
        if flow.incoming || !matches!(flow.stage, Stage::Requested) {
            return Ok(Err(code::UNEXPECTED_MESSAGE));
        }
        if flow.room_id.is_none() && !flow.asked.contains(&device_id) {
            return Ok(Err(code::UNEXPECTED_MESSAGE));
        }
        flow.device_id = Some(device_id);
        flow.common = self.methods().with(Methods::offered(said.content));
        if !flow.common.any() {
            return Ok(Err(code::UNKNOWN_METHOD));
        }
        self.tell_other_devices(flow, code::ACCEPTED)?;
        flow.stage = Stage::Ready;
        Ok(Ok(()))
    }

    /// Tells the devices that were asked besides the one that answered that there is nothing more to answer.
    fn tell_other_devices(&mut self, flow: &Flow, code: Code) -> Result<(), CryptoError> {
        if flow.incoming || flow.room_id.is_some() || !matches!(flow.stage, Stage::Requested) {
            return Ok(());
        }
        let others: Vec<_> = flow
            .asked
            .iter()
            .filter(|device_id| Some(*device_id) != flow.device_id.as_ref())
            .cloned()
            .collect();
        let mut content = cancel_fields(code);
        flow.bind(&mut content);
        self.say_to(flow, &others, "m.key.verification.cancel", &content)
    }

    fn take_start(
        &mut self,
        flow: &mut Flow,
        said: &Said<'_>,
    ) -> Result<Result<(), Code>, CryptoError> {
        let Some(device_id) = said.device() else {
            return Ok(Err(code::INVALID_MESSAGE));
        };
        if flow
            .device_id
            .as_ref()
            .is_some_and(|known| *known != device_id)
        {
            return Ok(Err(code::UNEXPECTED_MESSAGE));
        }
        let reciprocated = match text(said.content, "method") {
            Some(METHOD) => false,
            Some(RECIPROCATE) => true,
            _ => return Ok(Err(code::UNKNOWN_METHOD)),
        };
        let ours_counts = (&*self.user_id, &*self.device_id) < (&*flow.user_id, &*device_id);
        match &flow.stage {
            Stage::Ready => {}
            // Both began at once, in the same way: the start of the smaller one counts. "If the two m.key.verification.start messages do
            // not specify the same verification method, then the verification should be cancelled".
            Stage::Sas(Sas::Started { .. }) if !reciprocated && ours_counts => return Ok(Ok(())),
            Stage::Sas(Sas::Started { .. }) if !reciprocated => {}
            Stage::Reciprocated if reciprocated && ours_counts => return Ok(Ok(())),
            Stage::Reciprocated if reciprocated => {}
            _ => return Ok(Err(code::UNEXPECTED_MESSAGE)),
        }
        flow.we_started = false;
        if reciprocated {
            return Ok(Self::take_reciprocate(flow, said.content));
        }
        self.accept_start(flow, said.content.clone())
    }

    pub(super) fn accept_start(
        &mut self,
        flow: &mut Flow,
        start: JsonObject,
    ) -> Result<Result<(), Code>, CryptoError> {
        let (next, fields) = match sas::accept(&start) {
            Ok(accepted) => accepted,
            Err(code) => return Ok(Err(code)),
        };
        self.say(flow, "m.key.verification.accept", fields)?;
        flow.stage = Stage::Sas(next);
        Ok(Ok(()))
    }

    fn take_accept(
        &mut self,
        flow: &mut Flow,
        content: &JsonObject,
    ) -> Result<Result<(), Code>, CryptoError> {
        let Stage::Sas(sas) = std::mem::replace(&mut flow.stage, Stage::Requested) else {
            return Ok(Err(code::UNEXPECTED_MESSAGE));
        };
        match sas.take_accept(content) {
            Ok((next, key)) => {
                flow.stage = Stage::Sas(next);
                self.say_key(flow, key)?;
                Ok(Ok(()))
            }
            Err(code) => Ok(Err(code)),
        }
    }

    fn take_key(
        &mut self,
        flow: &mut Flow,
        content: &JsonObject,
    ) -> Result<Result<(), Code>, CryptoError> {
        let stage = std::mem::replace(&mut flow.stage, Stage::Requested);
        let (Stage::Sas(sas), Some(parties)) = (stage, self.parties(flow)) else {
            return Ok(Err(code::UNEXPECTED_MESSAGE));
        };
        match sas.take_key(content, &parties) {
            Ok((next, answer)) => {
                flow.stage = Stage::Sas(next);
                if let Some(key) = answer {
                    self.say_key(flow, key)?;
                }
                Ok(Ok(()))
            }
            Err(code) => Ok(Err(code)),
        }
    }

    fn say_key(&mut self, flow: &Flow, key: String) -> Result<(), CryptoError> {
        let fields = JsonObject::from_iter([("key".to_owned(), key.into())]);
        self.say(flow, "m.key.verification.key", fields)
    }
}
