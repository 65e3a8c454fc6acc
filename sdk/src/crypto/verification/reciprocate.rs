//! Verification by a code that one device shows and the other scans.
//!
//! Invariant: whoever scans verifies the first key of the code, which its shower holds; whoever shows verifies the second, and only
//! after the secret came back *and* the person here saw that the other device is content. A code names the keys that each side holds
//! for itself and for the other, so that both are compared at once.
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#qr-codes>

use ruma::{UserId, serde::JsonObject};

use super::{
    Flow, Stage, Verification,
    qr::{Mode, QrCode, RECIPROCATE},
    sas::{Code, code},
};
use crate::{
    clock::Rng,
    crypto::{
        account::text, changes::Staged, error::CryptoError, machine::OlmMachine,
        secret::SecretBytes, users::Identity,
    },
};

impl OlmMachine {
    /// The code to be shown, as the bytes of one segment in byte mode: draw it in any size and with any error correction. The same one is
    /// given again as long as nobody has scanned it.
    ///
    /// # Errors
    /// [`CryptoError::UnknownVerification`] if there is none of that name in which a code can be shown now;
    /// [`CryptoError::NoIdentity`] if one side has no cross-signing identity, or ours is not one that this device is sure of.
    pub fn verification_code(
        &mut self,
        flow_id: &str,
        rng: &dyn Rng,
    ) -> Result<SecretBytes, CryptoError> {
        let flow = self.verifications.get(flow_id);
        let flow = flow.filter(|flow| matches!(flow.stage, Stage::Ready) && flow.common.codes.show);
        let flow = flow.ok_or(CryptoError::UnknownVerification)?;
        let (mode, keys) = self.keys_to_show(flow).ok_or(CryptoError::NoIdentity)?;
        let flow = self.verifications.get_mut(flow_id);
        let flow = flow.ok_or(CryptoError::UnknownVerification)?;
        let same =
            |shown: &QrCode| shown.mode == mode && shown.first == keys.0 && shown.second == keys.1;
        if !flow.shown.as_ref().is_some_and(same) {
            flow.shown = Some(QrCode::new(mode, flow_id, keys, rng));
        }
        let shown = flow.shown.as_ref().and_then(QrCode::encode);
        shown.ok_or(CryptoError::Key)
    }

    /// Takes a code that was scanned from the other device. If its keys are those that are known here, the other side is verified, and
    /// told; if they are not, the verification ends.
    ///
    /// # Errors
    /// [`CryptoError::NotThisCode`] if the bytes are no code or that of another verification: scan again;
    /// [`CryptoError::UnknownVerification`] if there is none of that name in which a code can be scanned now.
    pub fn scan_verification_code(
        &mut self,
        flow_id: &str,
        bytes: &[u8],
    ) -> Result<Staged<Verification>, CryptoError> {
        let scanned = QrCode::decode(bytes).filter(|scanned| scanned.flow_id == flow_id);
        let scanned = scanned.ok_or(CryptoError::NotThisCode)?;
        self.with_flow(flow_id, |machine, flow| {
            if !matches!(flow.stage, Stage::Ready) || !flow.common.codes.scan {
                return Err(CryptoError::UnknownVerification);
            }
            let expected = machine.keys_to_scan(flow, scanned.mode);
            if expected
                .is_none_or(|(first, second)| first != scanned.first || second != scanned.second)
            {
                return Ok(Err(code::KEY_MISMATCH));
            }
            // "Alice's device has now verified Bob's key, and Alice's device knows that Bob has the correct key for her."
            machine.mark_verified(flow, std::slice::from_ref(&scanned.first))?;
            let start = JsonObject::from_iter([
                ("from_device".to_owned(), machine.device_id.as_str().into()),
                ("method".to_owned(), RECIPROCATE.into()),
                ("secret".to_owned(), scanned.secret().into()),
            ]);
            machine.say(flow, "m.key.verification.start", start)?;
            flow.we_started = true;
            flow.stage = Stage::Reciprocated;
            Ok(Ok(()))
        })
    }

    /// The other side says that it has scanned our code.
    pub(super) fn take_reciprocate(flow: &mut Flow, start: &JsonObject) -> Result<(), Code> {
        let shown = flow.shown.as_ref().ok_or(code::UNEXPECTED_MESSAGE)?;
        let secret = text(start, "secret").ok_or(code::INVALID_MESSAGE)?;
        if !shown.is_secret(secret) {
            return Err(code::KEY_MISMATCH);
        }
        flow.stage = Stage::Scanned;
        Ok(())
    }

    /// The person here says that the other device is content.
    pub(super) fn confirm_scan(
        &mut self,
        flow: &mut Flow,
    ) -> Result<Result<(), Code>, CryptoError> {
        let shown = flow.shown.take().ok_or(CryptoError::UnknownVerification)?;
        // What was shown must be what is held still.
        let held = self.keys_to_show(flow);
        if held.is_none_or(|(_, (first, second))| first != shown.first || second != shown.second) {
            return Ok(Err(code::KEY_MISMATCH));
        }
        self.mark_verified(flow, std::slice::from_ref(&shown.second))?;
        self.say_done(flow)
    }

    /// Who we are, and whom we expect.
    fn keys_to_show(&self, flow: &Flow) -> Option<(Mode, (String, String))> {
        let own = self.settled_identity(&self.user_id)?;
        if flow.user_id != self.user_id {
            let theirs = self.settled_identity(&flow.user_id)?;
            let keys = (own.master.clone(), theirs.master.clone());
            return own.verified.then_some((Mode::Another, keys));
        }
        if own.verified {
            let keys = (own.master.clone(), self.key_of_their_device(flow)?);
            Some((Mode::Trusting, keys))
        } else {
            let keys = (self.account.ed25519(), own.master.clone());
            Some((Mode::NotTrusting, keys))
        }
    }

    /// Who they must be, and whom they must expect, in a code of this mode.
    fn keys_to_scan(&self, flow: &Flow, mode: Mode) -> Option<(String, String)> {
        let own = self.settled_identity(&self.user_id)?;
        let master = own.master.clone();
        let ourselves = flow.user_id == self.user_id;
        match mode {
            Mode::Another if !ourselves && own.verified => {
                let theirs = self.settled_identity(&flow.user_id)?;
                Some((theirs.master.clone(), master))
            }
            Mode::Trusting if ourselves => Some((master, self.account.ed25519())),
            // They will trust the master key on our word, which is worth nothing if we do not trust it ourselves.
            Mode::NotTrusting if ourselves && own.verified => {
                Some((self.key_of_their_device(flow)?, master))
            }
            _ => None,
        }
    }

    fn settled_identity(&self, user_id: &UserId) -> Option<&Identity> {
        let user = self.users.get(user_id).filter(|user| !user.has_changes());
        user.and_then(|user| user.identity.as_ref())
    }

    fn key_of_their_device(&self, flow: &Flow) -> Option<String> {
        let user = self.users.get(&flow.user_id)?;
        let device = user.devices.get(flow.device_id.as_ref()?)?;
        Some(device.ed25519.clone())
    }
}
