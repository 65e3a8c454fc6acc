//! The server's part in cross-signing.

use ruma::OwnedDeviceId;
use serde_json::Value;

use super::world::{Client, World};
use crate::crypto::{CrossSigningUpload, Staged};

impl World {
    pub(super) fn add_signatures(
        &mut self,
        request: &ruma::api::client::keys::upload_signatures::v3::Request,
    ) {
        for (user_id, signed) in &request.signed_keys {
            for (id, content) in signed.iter() {
                let signed: Value = serde_json::from_str(content.get()).unwrap();
                if let Some(master) = self
                    .master
                    .get_mut(user_id)
                    .filter(|master| master["keys"].get(format!("ed25519:{id}")).is_some())
                {
                    let new = signed["signatures"].as_object().unwrap().clone();
                    let signatures = master["signatures"].as_object_mut().unwrap();
                    signatures.extend(new);
                }
                if let Some(device) = self
                    .devices
                    .get_mut(&(user_id.clone(), OwnedDeviceId::from(id)))
                {
                    let new = signed["signatures"][user_id.as_str()]
                        .as_object()
                        .unwrap()
                        .clone();
                    device.keys["signatures"][user_id.as_str()]
                        .as_object_mut()
                        .unwrap()
                        .extend(new);
                }
            }
            self.changes.push(user_id.clone());
        }
    }

    /// Takes a client's cross-signing keys.
    pub(super) fn publish_cross_signing(&mut self, client: &mut Client) {
        let staged = client.machine.create_cross_signing().unwrap();
        self.take_cross_signing(client, staged);
    }

    /// Takes new keys of a client in place of whatever its user had.
    pub(super) fn reset_cross_signing(&mut self, client: &mut Client) {
        let staged = client.machine.reset_cross_signing().unwrap();
        self.take_cross_signing(client, staged);
    }

    fn take_cross_signing(&mut self, client: &mut Client, staged: Staged<CrossSigningUpload>) {
        let CrossSigningUpload {
            signing_keys,
            signatures,
        } = client.keep(staged);
        let parse = |json: &str| serde_json::from_str::<Value>(json).unwrap();
        self.master.insert(
            client.user_id(),
            parse(signing_keys.master_key.unwrap().json().get()),
        );
        self.self_signing.insert(
            client.user_id(),
            parse(signing_keys.self_signing_key.unwrap().json().get()),
        );
        self.user_signing.insert(
            client.user_id(),
            parse(signing_keys.user_signing_key.unwrap().json().get()),
        );
        self.add_signatures(&signatures);
        let staged = client.machine.cross_signing_uploaded().unwrap();
        client.keep(staged);
        self.pump(client);
    }
}
