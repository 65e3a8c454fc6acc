//! Identities, secrets, backups, and verification by comparing emoji.

use futures_util::{FutureExt, StreamExt};
use matrix_sdk::ruma::events::key::verification::VerificationMethod;
use matrix_sdk::{
    encryption::verification::{
        QrVerificationData, SasState, Verification, VerificationRequest, VerificationRequestState,
    },
    ruma::{
        OwnedDeviceId,
        api::client::uiaa::{AuthData, MatrixUserIdentifier, Password, UserIdentifier},
    },
};
use serde_json::{Value, json};

use crate::{Answer, peer::Peer, room_id, text, user_id};

impl Peer {
    pub(crate) async fn identity(&self, request: &Value) -> Answer {
        let encryption = self.client.encryption();
        if let Err(refused) = encryption.bootstrap_cross_signing(None).await {
            let Some(asked) = refused.as_uiaa_response() else {
                return Err(refused.into());
            };
            let user = MatrixUserIdentifier::new(text(request, "user")?.to_owned());
            let mut password = Password::new(
                UserIdentifier::Matrix(user),
                text(request, "password")?.to_owned(),
            );
            password.session = asked.session.clone();
            encryption
                .bootstrap_cross_signing(Some(AuthData::Password(password)))
                .await?;
        }
        self.turn().await?;
        Ok(json!({}))
    }

    pub(crate) async fn keep(&self) -> Answer {
        let encryption = self.client.encryption();
        let recovery_key = encryption
            .recovery()
            .enable()
            .wait_for_backups_to_upload()
            .await?;
        Ok(json!({"recovery_key": recovery_key}))
    }

    pub(crate) async fn open(&self, request: &Value) -> Answer {
        let recovery = self.client.encryption().recovery();
        recovery.recover(text(request, "recovery_key")?).await?;
        self.turn().await?;
        Ok(json!({}))
    }

    pub(crate) async fn restore(&self) -> Answer {
        let encryption = self.client.encryption();
        let received = encryption
            .room_keys_received_stream()
            .await
            .ok_or("not logged in")?;
        tokio::pin!(received);
        for room in self.client.joined_rooms() {
            encryption
                .backups()
                .download_room_keys_for_room(room.room_id())
                .await?;
        }
        let mut imported = 0;
        while let Some(Some(keys)) = received.next().now_or_never() {
            imported += keys?.len();
        }
        Ok(json!({"imported": imported}))
    }

    pub(crate) async fn know(&self, request: &Value) -> Answer {
        let device_id = OwnedDeviceId::from(text(request, "device")?);
        loop {
            let device = self
                .client
                .encryption()
                .get_device(user_id(request)?, &device_id)
                .await?;
            let known = device.is_some_and(|device| match request["trust"].as_str() {
                Some("verified") => device.is_verified_with_cross_signing(),
                Some("signed") => device.is_cross_signed_by_owner(),
                _ => true,
            });
            if known {
                return Ok(json!({}));
            }
            self.turn().await?;
        }
    }

    pub(crate) async fn secrets(&self) -> Answer {
        loop {
            let status = self.client.encryption().cross_signing_status().await;
            if status.is_some_and(|status| status.is_complete()) {
                return Ok(json!({}));
            }
            self.turn().await?;
        }
    }

    pub(crate) async fn ask(&mut self, request: &Value) -> Answer {
        let user = user_id(request)?;
        if request["room"].is_string() {
            // The library asks in a direct chat, and would make one.
            self.client
                .account()
                .mark_as_dm(room_id(request)?, &[user.to_owned()])
                .await?;
            while self.client.get_dm_room(user).is_none() {
                self.turn().await?;
            }
        }
        let identity = loop {
            if let Some(identity) = self.client.encryption().get_user_identity(user).await? {
                break identity;
            }
            self.turn().await?;
        };
        self.request = Some(
            identity
                .request_verification_with_methods(methods())
                .await?,
        );
        Ok(json!({}))
    }

    pub(crate) async fn accept(&mut self, request: &Value) -> Answer {
        let user = user_id(request)?;
        loop {
            let asked = self.asked.lock().map_err(|_| "poisoned")?.clone();
            for (by, flow) in asked.iter().filter(|(by, _)| by == user) {
                if let Some(request) = self
                    .client
                    .encryption()
                    .get_verification_request(by, flow)
                    .await
                {
                    request.accept_with_methods(methods()).await?;
                    self.request = Some(request);
                    return Ok(json!({}));
                }
            }
            self.turn().await?;
        }
    }

    pub(crate) async fn start(&mut self) -> Answer {
        self.sas = self.ready().await?.start_sas().await?;
        Ok(json!({}))
    }

    pub(crate) async fn compare(&mut self) -> Answer {
        let request = self.request.clone().ok_or("nobody asked")?;
        loop {
            if let VerificationRequestState::Transitioned {
                verification: Verification::SasV1(sas),
            } = request.state()
            {
                if !sas.we_started() && matches!(sas.state(), SasState::Started { .. }) {
                    sas.accept().await?;
                }
                self.sas = Some(sas);
            }
            if let Some(emoji) = self.sas.as_ref().and_then(|sas| sas.emoji()) {
                let symbols: Vec<&str> = emoji.iter().map(|one| one.symbol).collect();
                return Ok(json!({"emoji": symbols}));
            }
            if let Some(why) = request.cancel_info() {
                return Err(why.reason().into());
            }
            self.turn().await?;
        }
    }

    pub(crate) async fn confirm(&mut self) -> Answer {
        let sas = self.sas.clone().ok_or("nothing to compare")?;
        sas.confirm().await?;
        while !sas.is_done() {
            if let Some(why) = sas.cancel_info() {
                return Err(why.reason().into());
            }
            self.turn().await?;
        }
        // The other side waits to hear that it is done.
        self.turn().await?;
        Ok(json!({}))
    }

    /// The request once both sides are ready.
    async fn ready(&self) -> Result<VerificationRequest, Box<dyn std::error::Error>> {
        let request = self.request.clone().ok_or("nobody asked")?;
        while !request.is_ready() {
            self.turn().await?;
        }
        Ok(request)
    }

    /// The code that this side shows.
    pub(crate) async fn show(&mut self) -> Answer {
        self.code = self.ready().await?.generate_qr_code().await?;
        let code = self.code.as_ref().ok_or("no code to show")?;
        Ok(json!({"code": code.to_bytes()?}))
    }

    /// Waits until the code was scanned, says so, and waits for the end.
    pub(crate) async fn scanned(&mut self) -> Answer {
        let code = self.code.clone().ok_or("no code was shown")?;
        while !code.has_been_scanned() {
            self.turn().await?;
        }
        code.confirm().await?;
        self.finish().await
    }

    pub(crate) async fn scan(&mut self, request: &Value) -> Answer {
        let bytes: Vec<u8> = serde_json::from_value(request["code"].clone())?;
        let data = QrVerificationData::from_bytes(bytes)?;
        self.code = self.ready().await?.scan_qr_code(data).await?;
        // What was scanned is said at once.
        self.code
            .as_ref()
            .ok_or("not the code of this verification")?
            .confirm()
            .await?;
        Ok(json!({}))
    }

    /// Waits until the other side has said that its code was scanned.
    pub(crate) async fn finish(&mut self) -> Answer {
        let code = self.code.clone().ok_or("no code was scanned")?;
        while !code.is_done() {
            if let Some(why) = code.cancel_info() {
                return Err(why.reason().into());
            }
            self.turn().await?;
        }
        self.turn().await?;
        Ok(json!({}))
    }
}

/// All that the library can do.
fn methods() -> Vec<VerificationMethod> {
    vec![
        VerificationMethod::SasV1,
        VerificationMethod::QrCodeShowV1,
        VerificationMethod::QrCodeScanV1,
        VerificationMethod::ReciprocateV1,
    ]
}
