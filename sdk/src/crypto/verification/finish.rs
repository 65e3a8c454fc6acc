//! The end of a verification: MACs, and what they prove.
//!
//! Invariant: nothing is marked before both sides have confirmed; what is marked are the keys that we held when the MAC was checked, and a
//! key that is known as a device's and as an identity's at once proves neither.
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#mac-calculation>

use std::collections::BTreeMap;

use ruma::serde::JsonObject;

use super::{
    Flow, Stage,
    sas::{Code, Sas, code},
};
use crate::crypto::{error::CryptoError, machine::OlmMachine};

fn key_id(name: &str) -> String {
    format!("ed25519:{name}")
}

impl OlmMachine {
    /// The person here says that the strings match.
    pub(super) fn confirm(&mut self, flow: &mut Flow) -> Result<Result<(), Code>, CryptoError> {
        let parties = self.parties(flow);
        let (Stage::Sas(Sas::Agreed(agreed)), Some(parties), false) =
            (&flow.stage, parties, flow.confirmed)
        else {
            return Err(CryptoError::UnknownVerification);
        };
        let fields = agreed.mac(&parties, &self.own_keys());
        self.say(flow, "m.key.verification.mac", fields)?;
        flow.confirmed = true;
        self.finish(flow)
    }

    /// The keys that the other side is to hold as ours: this device's, and our identity's if we are sure of it ourselves.
    fn own_keys(&self) -> BTreeMap<String, String> {
        let mut keys = BTreeMap::new();
        keys.insert(key_id(self.device_id.as_str()), self.account.ed25519());
        let identity = self.users.get(&self.user_id);
        let identity = identity.and_then(|user| user.identity.as_ref());
        if let Some(identity) = identity.filter(|identity| identity.verified) {
            keys.insert(key_id(&identity.master), identity.master.clone());
        }
        keys
    }

    /// The keys that we hold as theirs; `None` if a server made them ambiguous, or if there are none.
    fn their_keys(&self, flow: &Flow) -> Option<BTreeMap<String, String>> {
        let user = self.users.get(&flow.user_id)?;
        let device_id = flow.device_id.as_ref()?;
        let device = user.devices.get(device_id)?;
        let mut keys = BTreeMap::from([(key_id(device_id.as_str()), device.ed25519.clone())]);
        if let Some(identity) = &user.identity {
            let taken = keys.insert(key_id(&identity.master), identity.master.clone());
            if taken.is_some() {
                return None;
            }
        }
        (!user.has_changes()).then_some(keys)
    }

    pub(super) fn take_mac(
        &mut self,
        flow: &mut Flow,
        content: &JsonObject,
    ) -> Result<Result<(), Code>, CryptoError> {
        let (Stage::Sas(Sas::Agreed(agreed)), Some(parties), None) =
            (&flow.stage, self.parties(flow), &flow.covered)
        else {
            return Ok(Err(code::UNEXPECTED_MESSAGE));
        };
        let Some(known) = self.their_keys(flow) else {
            return Ok(Err(code::KEY_MISMATCH));
        };
        match agreed.check_mac(&parties, content, &known) {
            Ok(covered) => {
                // The keys themselves, not only their names: they might be others by the time that the person here confirms.
                let covered = covered.iter().filter_map(|id| known.get(id).cloned());
                flow.covered = Some(covered.collect());
                self.finish(flow)
            }
            Err(code) => Ok(Err(code)),
        }
    }

    /// Marks what was proved, once both sides have confirmed.
    fn finish(&mut self, flow: &mut Flow) -> Result<Result<(), Code>, CryptoError> {
        let Some(covered) = flow.covered.as_ref().filter(|_| flow.confirmed) else {
            return Ok(Ok(()));
        };
        let Some(known) = self.their_keys(flow) else {
            return Ok(Err(code::KEY_MISMATCH));
        };
        if !covered
            .iter()
            .all(|key| known.values().any(|now| now == key))
        {
            return Ok(Err(code::KEY_MISMATCH));
        }
        let covered = covered.clone();
        self.mark_verified(flow, &covered)?;
        self.say_done(flow)
    }

    pub(super) fn say_done(&mut self, flow: &mut Flow) -> Result<Result<(), Code>, CryptoError> {
        self.say(flow, "m.key.verification.done", JsonObject::new())?;
        flow.stage = Stage::Done;
        if flow.lacks_secrets {
            // The device that proved itself, and by now has proof of us, can give us what we lack.
            self.request_missing_secrets()?;
        }
        Ok(Ok(()))
    }

    /// Marks those of the other side's keys that are among `covered`.
    pub(super) fn mark_verified(
        &mut self,
        flow: &mut Flow,
        covered: &[String],
    ) -> Result<(), CryptoError> {
        let Some(user) = self.users.get_mut(&flow.user_id) else {
            return Ok(());
        };
        let (mut sign_device, mut sign_identity) = (None, false);
        if let Some(identity) = &mut user.identity
            && covered.contains(&identity.master)
        {
            identity.verified = true;
            sign_identity = true;
        }
        if let Some(device_id) = &flow.device_id
            && let Some(device) = user.devices.get_mut(device_id)
            && covered.contains(&device.ed25519)
        {
            device.verified = true;
            sign_device = Some(device_id.clone());
        }
        self.save_user(&flow.user_id)?;
        let ours = flow.user_id == self.user_id;
        if let Some(device_id) = sign_device.filter(|_| ours) {
            self.queue_device_signature(&device_id)?;
        }
        if sign_identity && !ours {
            self.queue_identity_signature(&flow.user_id)?;
        }
        flow.lacks_secrets = sign_identity && ours;
        Ok(())
    }
}
