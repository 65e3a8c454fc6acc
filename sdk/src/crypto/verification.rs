//! Verification by people who compare emoji or numbers, or scan a code: requests, and the steps of each verification that is under way.
//!
//! Invariant: a device or an identity is marked as verified only when the person here said that the strings match *and* the other
//! side's MAC covers exactly the key that we hold, or when a code went from one screen to the other camera; whatever does not fit ends
//! the verification. Verifications are kept in memory: one
//! that a restart interrupts is begun again. Spec: <https://spec.matrix.org/v1.19/client-server-api/#key-verification-framework>

use ruma::{OwnedDeviceId, OwnedRoomId, OwnedUserId, RoomId, UserId, serde::JsonObject};
use serde_json::{Value, json};

use self::{
    methods::Methods,
    qr::QrCode,
    sas::{Code, Parties, Party, Sas, code},
};
use super::{
    changes::Staged, error::CryptoError, machine::OlmMachine, outcome::Notice, signing::into_raw,
};

mod emoji;
mod finish;
mod methods;
mod qr;
mod receive;
mod reciprocate;
mod sas;
mod view;

pub use self::{
    emoji::Emoji,
    view::{QrAbilities, RoomMessage, Verification, VerificationStage},
};

/// A verification that is not completed within this time is given up, in milliseconds: ten minutes.
pub(super) const VERIFICATION_MS_MAX: u64 = 10 * 60 * 1000;

/// So many verifications are kept at once; requests beyond them are not answered.
const FLOWS_MAX: usize = 32;

/// The longest name of a verification, in bytes.
const FLOW_ID_BYTES_MAX: usize = 255;

/// The type of a request in a room.
const ROOM_REQUEST: &str = "m.key.verification.request";

/// A verification that is under way, or lately was.
pub(super) struct Flow {
    flow_id: String,
    /// Where it takes place; `None` over to-device messages.
    room_id: Option<OwnedRoomId>,
    user_id: OwnedUserId,
    /// The other side's device, once it is known which.
    device_id: Option<OwnedDeviceId>,
    /// The devices that were asked by to-device messages.
    asked: Vec<OwnedDeviceId>,
    incoming: bool,
    made_ms: u64,
    we_started: bool,
    stage: Stage,
    /// Whether the person here said that the strings match.
    confirmed: bool,
    /// The keys that the other side's MAC covers.
    covered: Option<Vec<String>>,
    /// Whether it proved our own identity to us, so that the other side can give us its secrets.
    lacks_secrets: bool,
    /// What both sides can do, as seen from here; nothing before that is known.
    common: Methods,
    /// The code that is shown here.
    shown: Option<QrCode>,
}

enum Stage {
    Requested,
    Ready,
    /// They began without asking, as older clients do.
    TheyStarted(JsonObject),
    Sas(Sas),
    /// They have scanned our code.
    Scanned,
    /// We have scanned theirs.
    Reciprocated,
    Done,
    Cancelled {
        code: String,
        by_us: bool,
    },
}

impl Flow {
    fn new(flow_id: &str, user_id: &UserId, incoming: bool, now_ms: u64) -> Self {
        Self {
            flow_id: flow_id.to_owned(),
            room_id: None,
            user_id: user_id.to_owned(),
            device_id: None,
            asked: Vec::new(),
            incoming,
            made_ms: now_ms,
            we_started: false,
            stage: Stage::Requested,
            confirmed: false,
            covered: None,
            lacks_secrets: false,
            common: Methods::default(),
            shown: None,
        }
    }

    fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Done | Stage::Cancelled { .. })
    }

    fn view(&self) -> Verification {
        let stage = match &self.stage {
            Stage::Requested => VerificationStage::Requested {
                incoming: self.incoming,
            },
            Stage::TheyStarted(_) => VerificationStage::Requested { incoming: true },
            Stage::Ready => VerificationStage::Ready,
            Stage::Sas(Sas::Agreed(_)) if self.confirmed => VerificationStage::Confirmed,
            Stage::Sas(Sas::Agreed(agreed)) => VerificationStage::Comparing {
                emoji: agreed.emoji(),
                decimals: agreed.decimals(),
            },
            Stage::Sas(_) => VerificationStage::Started,
            Stage::Scanned => VerificationStage::Scanned,
            Stage::Reciprocated => VerificationStage::Confirmed,
            Stage::Done => VerificationStage::Done,
            Stage::Cancelled { code, by_us } => VerificationStage::Cancelled {
                code: code.clone(),
                by_us: *by_us,
            },
        };
        Verification {
            flow_id: self.flow_id.clone(),
            room_id: self.room_id.clone(),
            user_id: self.user_id.clone(),
            device_id: self.device_id.clone(),
            stage,
            codes: match self.stage {
                Stage::Ready => self.common.codes,
                _ => QrAbilities::default(),
            },
        }
    }

    /// Names the verification in a message of it.
    fn bind(&self, content: &mut JsonObject) {
        if self.room_id.is_some() {
            let relation = json!({"rel_type": "m.reference", "event_id": self.flow_id});
            content.insert("m.relates_to".to_owned(), relation);
        } else {
            content.insert("transaction_id".to_owned(), self.flow_id.as_str().into());
        }
    }
}

impl OlmMachine {
    /// Asks devices of a user to verify with this one, by to-device messages: our own other devices, or those of somebody with whom there
    /// is no room. `flow_id` names the verification and must be fresh.
    ///
    /// # Errors
    /// [`CryptoError::UnknownDevice`] if there is nobody to ask, [`CryptoError::IdentityUnsettled`] if the user's identity has changed
    /// and nobody has accepted that.
    pub fn request_verification(
        &mut self,
        user_id: &UserId,
        devices: &[OwnedDeviceId],
        flow_id: &str,
        now_ms: u64,
    ) -> Result<Staged<Verification>, CryptoError> {
        self.check_settled(user_id)?;
        if devices.is_empty() {
            return Err(CryptoError::UnknownDevice);
        }
        let mut flow = Flow::new(flow_id, user_id, false, now_ms);
        flow.asked = devices.to_vec();
        let mut content = self.request_fields();
        content.insert("timestamp".to_owned(), now_ms.into());
        self.say(&flow, ROOM_REQUEST, content)?;
        Ok(self.keep(flow))
    }

    /// The content of the `m.room.message` by which a user is asked in a room. Once it is sent, tell
    /// [`verification_requested`](Self::verification_requested) its event id.
    ///
    /// # Errors
    /// [`CryptoError::IdentityUnsettled`] if the user's identity has changed and nobody has accepted that,
    /// [`CryptoError::UnknownUser`] if there is no room with the user.
    pub fn verification_request_content(
        &mut self,
        user_id: &UserId,
    ) -> Result<JsonObject, CryptoError> {
        self.check_settled(user_id)?;
        self.asking.insert(user_id.to_owned());
        let mut content = self.request_fields();
        let body = "You are asked to verify this conversation, which your client cannot do.";
        content.insert("msgtype".to_owned(), ROOM_REQUEST.into());
        content.insert("body".to_owned(), body.into());
        content.insert("to".to_owned(), user_id.as_str().into());
        Ok(content)
    }

    /// Says that a user was asked in a room, by this event.
    ///
    /// # Errors
    /// [`CryptoError::IdentityUnsettled`] if the user's identity has changed and nobody has accepted that.
    pub fn verification_requested(
        &mut self,
        room_id: &RoomId,
        event_id: &str,
        user_id: &UserId,
        now_ms: u64,
    ) -> Result<Staged<Verification>, CryptoError> {
        self.check_settled(user_id)?;
        self.asking.remove(user_id);
        // Its echo, and even the answer, may have been faster than the server's word that it was sent.
        if let Some(known) = self.verifications.get(event_id) {
            let view = known.view();
            return Ok(self.stage(view));
        }
        let mut flow = Flow::new(event_id, user_id, false, now_ms);
        flow.room_id = Some(room_id.to_owned());
        Ok(self.keep(flow))
    }

    /// Says yes to a verification that the other side asked for, or began.
    ///
    /// # Errors
    /// [`CryptoError::UnknownVerification`] if there is none of that name that waits for this.
    pub fn accept_verification(
        &mut self,
        flow_id: &str,
    ) -> Result<Staged<Verification>, CryptoError> {
        self.with_flow(flow_id, |machine, flow| {
            let stage = std::mem::replace(&mut flow.stage, Stage::Ready);
            match stage {
                Stage::Requested if flow.incoming => {
                    let fields = machine.method_fields(flow.common);
                    machine.say(flow, "m.key.verification.ready", fields)?;
                    Ok(Ok(()))
                }
                Stage::TheyStarted(start) => machine.accept_start(flow, start),
                other => {
                    flow.stage = other;
                    Err(CryptoError::UnknownVerification)
                }
            }
        })
    }

    /// Begins to compare: whoever comes first.
    ///
    /// # Errors
    /// [`CryptoError::UnknownVerification`] if there is none of that name for which both sides are ready.
    pub fn start_sas(&mut self, flow_id: &str) -> Result<Staged<Verification>, CryptoError> {
        self.with_flow(flow_id, |machine, flow| {
            if !matches!(flow.stage, Stage::Ready) || !flow.common.sas {
                return Err(CryptoError::UnknownVerification);
            }
            let mut start = sas::offer();
            start.insert("from_device".to_owned(), machine.device_id.as_str().into());
            flow.bind(&mut start);
            machine.say(flow, "m.key.verification.start", start.clone())?;
            flow.we_started = true;
            flow.stage = Stage::Sas(Sas::Started { start });
            Ok(Ok(()))
        })
    }

    /// Says that the strings match, or that the other side's device says that it has scanned our code.
    ///
    /// # Errors
    /// [`CryptoError::UnknownVerification`] if there is none of that name to be compared.
    pub fn confirm_verification(
        &mut self,
        flow_id: &str,
    ) -> Result<Staged<Verification>, CryptoError> {
        self.with_flow(flow_id, |machine, flow| match flow.stage {
            Stage::Scanned => machine.confirm_scan(flow),
            _ => machine.confirm(flow),
        })
    }

    /// Ends a verification: because the strings do not match, or for any other reason.
    ///
    /// # Errors
    /// [`CryptoError::UnknownVerification`] if there is none of that name.
    pub fn cancel_verification(
        &mut self,
        flow_id: &str,
        strings_differ: bool,
    ) -> Result<Staged<Verification>, CryptoError> {
        self.with_flow(flow_id, |_, _| {
            Ok(Err(if strings_differ {
                code::MISMATCHED_SAS
            } else {
                code::USER
            }))
        })
    }

    /// The verifications that are under way or ended lately.
    pub fn verifications(&self) -> Vec<Verification> {
        self.verifications.values().map(Flow::view).collect()
    }

    /// The messages that verifications want sent into rooms; they are handed out once.
    pub fn take_room_messages(&mut self) -> Vec<RoomMessage> {
        std::mem::take(&mut self.room_messages)
    }

    fn check_settled(&self, user_id: &UserId) -> Result<(), CryptoError> {
        match self.users.get(user_id) {
            Some(user) if user.has_changes() => Err(CryptoError::IdentityUnsettled),
            Some(_) => Ok(()),
            None => Err(CryptoError::UnknownUser),
        }
    }

    fn keep(&mut self, flow: Flow) -> Staged<Verification> {
        let view = flow.view();
        self.verifications.insert(flow.flow_id.clone(), flow);
        self.stage(view)
    }

    /// Takes a step of a verification; a code in answer ends it with that code.
    fn with_flow(
        &mut self,
        flow_id: &str,
        step: impl FnOnce(&mut Self, &mut Flow) -> Result<Result<(), Code>, CryptoError>,
    ) -> Result<Staged<Verification>, CryptoError> {
        let flow = self.verifications.remove(flow_id);
        let mut flow = flow.ok_or(CryptoError::UnknownVerification)?;
        let outcome = if flow.is_over() {
            Err(CryptoError::UnknownVerification)
        } else {
            step(self, &mut flow)
        };
        let outcome = match outcome {
            Ok(Err(code)) => self.cancel_flow(&mut flow, code),
            Ok(Ok(())) => Ok(()),
            Err(error) => Err(error),
        };
        let view = flow.view();
        self.verifications.insert(flow.flow_id.clone(), flow);
        outcome.map(|()| self.stage(view))
    }

    /// Sends a message of a verification to the other side.
    fn say(
        &mut self,
        flow: &Flow,
        event_type: &str,
        mut content: JsonObject,
    ) -> Result<(), CryptoError> {
        flow.bind(&mut content);
        if let Some(room_id) = &flow.room_id {
            self.room_messages.push(RoomMessage {
                room_id: room_id.clone(),
                event_type: event_type.to_owned(),
                content,
            });
            return Ok(());
        }
        let devices = match &flow.device_id {
            Some(device_id) => std::slice::from_ref(device_id),
            None => &flow.asked[..],
        };
        self.say_to(flow, devices, event_type, &content)
    }

    fn say_to(
        &mut self,
        flow: &Flow,
        devices: &[OwnedDeviceId],
        event_type: &str,
        content: &JsonObject,
    ) -> Result<(), CryptoError> {
        let mut messages = Vec::new();
        for device_id in devices {
            let content = into_raw(content.clone())?;
            messages.push((flow.user_id.clone(), device_id.clone(), content));
        }
        self.queue_to_device(event_type, messages, None)
    }

    fn cancel_flow(&mut self, flow: &mut Flow, code: Code) -> Result<(), CryptoError> {
        let content = cancel_fields(code);
        self.say(flow, "m.key.verification.cancel", content)?;
        flow.stage = Stage::Cancelled {
            code: code.to_owned(),
            by_us: true,
        };
        Ok(())
    }

    /// Gives up what takes too long, and forgets what ended.
    pub(super) fn expire_verifications(
        &mut self,
        now_ms: u64,
        notices: &mut Vec<Notice>,
    ) -> Result<(), CryptoError> {
        let due: Vec<Flow> = self
            .verifications
            .extract_if(.., |_, flow| {
                now_ms >= flow.made_ms.saturating_add(VERIFICATION_MS_MAX)
            })
            .map(|(_, flow)| flow)
            .collect();
        for mut flow in due.into_iter().filter(|flow| !flow.is_over()) {
            self.cancel_flow(&mut flow, code::TIMEOUT)?;
            notices.push(Notice::Verification(flow.view()));
        }
        Ok(())
    }

    /// Both sides as they stand in what is computed; `None` before the other device is known.
    fn parties(&self, flow: &Flow) -> Option<Parties> {
        Some(Parties {
            ours: Party {
                user_id: self.user_id.clone(),
                device_id: self.device_id.clone(),
            },
            theirs: Party {
                user_id: flow.user_id.clone(),
                device_id: flow.device_id.clone()?,
            },
            flow_id: flow.flow_id.clone(),
            we_started: flow.we_started,
        })
    }
}

fn cancel_fields(code: &str) -> JsonObject {
    // The reason is for people who do not know the codes, and says no more than they do.
    JsonObject::from_iter([
        ("code".to_owned(), Value::from(code)),
        ("reason".to_owned(), Value::from(code)),
    ])
}
