//! A homeserver of a few maps, and clients that commit before they act.

use std::collections::{BTreeMap, BTreeSet};

use ruma::{
    OneTimeKeyAlgorithm, OwnedDeviceId, OwnedRoomId, OwnedUserId, RoomId, UInt, UserId,
    api::client::{
        keys::{claim_keys, get_keys, upload_keys},
        sync::sync_events::DeviceLists,
        to_device::send_event_to_device,
    },
    events::AnySyncTimelineEvent,
    serde::{JsonObject, Raw},
    to_device::DeviceIdOrAllDevices,
};
use serde_json::{Value, json};

use crate::crypto::{
    Changes, DecryptedEvent, EncryptOptions, IncomingResponse, Notice, OlmMachine, OutgoingBody,
    OutgoingRequest, Record, RoomKeySettings, SecretBytes, ShareError, Staged, SyncChanges,
    SyncOutcome, Table, Undecryptable,
};
use crate::expiry::{ExpiryClass, ExpiryStamp};

pub(super) const START_MS: u64 = 1_800_000_000_000;

/// The server's side of one device.
#[derive(Default)]
pub(super) struct ServerDevice {
    pub(super) keys: Value,
    pub(super) one_time: BTreeMap<String, Value>,
    pub(super) fallback: BTreeMap<String, Value>,
    pub(super) fallback_used: bool,
    pub(super) inbox: Vec<Value>,
}

#[derive(Default)]
pub(super) struct World {
    pub(super) now_ms: u64,
    pub(super) devices: BTreeMap<(OwnedUserId, OwnedDeviceId), ServerDevice>,
    pub(super) master: BTreeMap<OwnedUserId, Value>,
    pub(super) self_signing: BTreeMap<OwnedUserId, Value>,
    pub(super) user_signing: BTreeMap<OwnedUserId, Value>,
    /// Users whose lists changed, in order.
    pub(super) changes: Vec<OwnedUserId>,
    /// Servers that cannot be reached.
    pub(super) unreachable: BTreeSet<String>,
    /// Transactions that were taken.
    pub(super) transactions: BTreeSet<String>,
    events: u64,
}

pub(super) struct Client {
    pub(super) machine: OlmMachine,
    records: BTreeMap<(Table, String), SecretBytes>,
    pub(super) notices: Vec<Notice>,
    position: usize,
}

pub(super) fn room() -> OwnedRoomId {
    RoomId::parse("!room:a.example").unwrap()
}

pub(super) fn user(name: &str) -> OwnedUserId {
    UserId::parse(format!("@{name}:a.example")).unwrap()
}

pub(super) fn text(body: &str) -> JsonObject {
    JsonObject::from_iter([
        ("msgtype".to_owned(), "m.text".into()),
        ("body".to_owned(), body.into()),
    ])
}

pub(super) fn lasting(class: ExpiryClass) -> EncryptOptions {
    EncryptOptions {
        expiry: Some(ExpiryStamp::new(class)),
        ..EncryptOptions::default()
    }
}

impl Client {
    pub(super) fn keep<T>(&mut self, staged: Staged<T>) -> T {
        let (changes, value) = staged.into_parts();
        self.commit(&changes);
        value
    }

    fn commit(&mut self, changes: &Changes) {
        for (table, key, value) in changes.iter() {
            let row = (table, key.to_owned());
            match value {
                Some(value) => self.records.insert(row, value.clone()),
                None => self.records.remove(&row),
            };
        }
    }

    pub(super) fn records(&self) -> Vec<Record> {
        let record = |((table, key), value): (&(Table, String), &SecretBytes)| Record {
            table: *table,
            key: key.clone(),
            value: value.clone(),
        };
        self.records.iter().map(record).collect()
    }

    /// As after a crash: everything but the committed records is lost.
    pub(super) fn restart(&mut self) {
        let (user_id, device_id) = (
            self.machine.user_id().to_owned(),
            self.machine.device_id().to_owned(),
        );
        self.machine = OlmMachine::load(&user_id, &device_id, self.records())
            .unwrap()
            .unwrap();
    }

    pub(super) fn user_id(&self) -> OwnedUserId {
        self.machine.user_id().to_owned()
    }

    pub(super) fn decrypt(
        &mut self,
        event: &Value,
        now_ms: u64,
    ) -> Result<DecryptedEvent, Undecryptable> {
        self.decrypt_in(&room(), event, now_ms)
    }

    pub(super) fn decrypt_in(
        &mut self,
        room_id: &RoomId,
        event: &Value,
        now_ms: u64,
    ) -> Result<DecryptedEvent, Undecryptable> {
        let raw = Raw::<AnySyncTimelineEvent>::from_json_string(event.to_string()).unwrap();
        let staged = self.machine.decrypt_room_event(room_id, &raw, now_ms)?;
        Ok(self.keep(staged))
    }

    pub(super) fn body(&mut self, event: &Value, now_ms: u64) -> Result<String, Undecryptable> {
        Ok(self.decrypt(event, now_ms)?.content["body"]
            .as_str()
            .unwrap()
            .to_owned())
    }
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            now_ms: START_MS,
            ..Self::default()
        }
    }

    /// A new device, its keys uploaded.
    pub(super) fn client(&mut self, name: &str, device: &str) -> Client {
        let staged = OlmMachine::create(&user(name), device.into(), self.now_ms).unwrap();
        let (changes, machine) = staged.into_parts();
        let position = self.changes.len();
        let mut client = Client {
            machine,
            records: BTreeMap::new(),
            notices: Vec::new(),
            position,
        };
        client.commit(&changes);
        self.pump(&mut client);
        client
    }

    /// Sends everything that is due until nothing is.
    pub(super) fn pump(&mut self, client: &mut Client) {
        for _ in 0..20 {
            let requests = client.machine.outgoing_requests(self.now_ms).unwrap();
            if requests.is_empty() {
                return;
            }
            for request in requests {
                self.answer(client, request);
            }
        }
        panic!("requests without end");
    }

    pub(super) fn answer(&mut self, client: &mut Client, request: OutgoingRequest) {
        let response = self.respond(client, request.body);
        let staged = client
            .machine
            .mark_request_as_sent(&request.id, response, self.now_ms)
            .unwrap();
        let notices = client.keep(staged);
        client.notices.extend(notices);
    }

    pub(super) fn respond(&mut self, client: &Client, body: OutgoingBody) -> IncomingResponse {
        let me = (client.user_id(), client.machine.device_id().to_owned());
        match body {
            OutgoingBody::KeysUpload(request) => {
                IncomingResponse::KeysUpload(self.upload(&me, &request))
            }
            OutgoingBody::KeysQuery(request) => IncomingResponse::KeysQuery(self.query(&request)),
            OutgoingBody::KeysClaim(request) => IncomingResponse::KeysClaim(self.claim(&request)),
            OutgoingBody::ToDevice(request) => {
                self.deliver(&me.0, &request);
                IncomingResponse::ToDevice
            }
            OutgoingBody::SignatureUpload(request) => {
                self.add_signatures(&request);
                IncomingResponse::SignatureUpload(
                    ruma::api::client::keys::upload_signatures::v3::Response::new(),
                )
            }
        }
    }

    fn upload(
        &mut self,
        me: &(OwnedUserId, OwnedDeviceId),
        request: &upload_keys::v3::Request,
    ) -> upload_keys::v3::Response {
        let device = self.devices.entry(me.clone()).or_default();
        if let Some(keys) = &request.device_keys {
            device.keys = serde_json::from_str(keys.json().get()).unwrap();
            self.changes.push(me.0.clone());
        }
        for (id, key) in &request.one_time_keys {
            device.one_time.insert(
                id.to_string(),
                serde_json::from_str(key.json().get()).unwrap(),
            );
        }
        if !request.fallback_keys.is_empty() {
            device.fallback.clear();
            device.fallback_used = false;
        }
        for (id, key) in &request.fallback_keys {
            device.fallback.insert(
                id.to_string(),
                serde_json::from_str(key.json().get()).unwrap(),
            );
        }
        upload_keys::v3::Response::new(BTreeMap::new())
    }

    pub(super) fn query(&self, request: &get_keys::v3::Request) -> get_keys::v3::Response {
        let mut response = get_keys::v3::Response::new();
        for user_id in request.device_keys.keys() {
            if self.unreachable.contains(user_id.server_name().as_str()) {
                response
                    .failures
                    .insert(user_id.server_name().to_string(), json!({}));
                continue;
            }
            let devices = self
                .devices
                .iter()
                .filter(|((owner, _), _)| owner == user_id);
            let devices = devices.map(|((_, id), device)| (id.clone(), raw(&device.keys)));
            response
                .device_keys
                .insert(user_id.clone(), devices.collect());
            if let Some(key) = self.master.get(user_id) {
                response.master_keys.insert(user_id.clone(), raw(key));
            }
            if let Some(key) = self.self_signing.get(user_id) {
                response.self_signing_keys.insert(user_id.clone(), raw(key));
            }
            if let Some(key) = self.user_signing.get(user_id) {
                response.user_signing_keys.insert(user_id.clone(), raw(key));
            }
        }
        response
    }

    fn claim(&mut self, request: &claim_keys::v3::Request) -> claim_keys::v3::Response {
        let mut response = claim_keys::v3::Response::new(BTreeMap::new());
        for (user_id, devices) in &request.one_time_keys {
            for device_id in devices.keys() {
                let Some(device) = self.devices.get_mut(&(user_id.clone(), device_id.clone()))
                else {
                    continue;
                };
                let key = device.one_time.pop_first().or_else(|| {
                    device.fallback_used = true;
                    device.fallback.clone().pop_first()
                });
                if let Some((id, key)) = key {
                    let keys =
                        BTreeMap::from([(ruma::OneTimeKeyId::parse(id).unwrap(), raw(&key))]);
                    response
                        .one_time_keys
                        .entry(user_id.clone())
                        .or_default()
                        .insert(device_id.clone(), keys);
                }
            }
        }
        response
    }

    fn deliver(&mut self, sender: &UserId, request: &send_event_to_device::v3::Request) {
        if !self.transactions.insert(request.txn_id.to_string()) {
            return;
        }
        for (user_id, devices) in &request.messages {
            for (device_id, content) in devices {
                let DeviceIdOrAllDevices::DeviceId(device_id) = device_id else {
                    continue;
                };
                let content: Value = serde_json::from_str(content.json().get()).unwrap();
                let event = json!({ "type": request.event_type.to_string(), "sender": sender, "content": content });
                if let Some(device) = self.devices.get_mut(&(user_id.clone(), device_id.clone())) {
                    device.inbox.push(event);
                }
            }
        }
    }

    /// One sync: everything that waits for the device, and what changed.
    pub(super) fn sync(&mut self, client: &mut Client) -> SyncOutcome {
        let me = (client.user_id(), client.machine.device_id().to_owned());
        let changed = self.changes[client.position..].to_vec();
        client.position = self.changes.len();
        let device = self.devices.get_mut(&me).unwrap();
        let to_device = std::mem::take(&mut device.inbox);
        let count = UInt::try_from(device.one_time.len()).unwrap();
        let unused = if device.fallback_used {
            vec![]
        } else {
            vec![OneTimeKeyAlgorithm::SignedCurve25519]
        };
        let mut device_lists = DeviceLists::new();
        device_lists.changed = changed;
        let sync = SyncChanges {
            to_device: to_device.iter().map(raw).collect(),
            device_lists,
            one_time_key_counts: BTreeMap::from([(OneTimeKeyAlgorithm::SignedCurve25519, count)]),
            unused_fallback_keys: Some(unused),
        };
        let staged = client
            .machine
            .receive_sync_changes(sync, self.now_ms)
            .unwrap();
        let outcome = client.keep(staged);
        client.notices.extend(outcome.notices.clone());
        self.pump(client);
        outcome
    }

    /// The steps before sending, up to and with the keys being on their way.
    pub(super) fn share(
        &mut self,
        client: &mut Client,
        members: &[OwnedUserId],
        settings: &RoomKeySettings,
    ) -> Result<(), ShareError> {
        let staged = client.machine.update_tracked_users(members).unwrap();
        client.keep(staged);
        self.pump(client);
        if let Some(claim) = client.machine.get_missing_sessions(members, self.now_ms) {
            self.answer(client, claim);
        }
        let staged = client
            .machine
            .share_room_key(&room(), members, settings, self.now_ms)?;
        let notices = client.keep(staged);
        client.notices.extend(notices);
        self.pump(client);
        Ok(())
    }

    /// Shares the key and encrypts a message, as an event that the server passes on.
    pub(super) fn send(
        &mut self,
        client: &mut Client,
        members: &[OwnedUserId],
        body: &str,
        options: EncryptOptions,
    ) -> Value {
        let settings = RoomKeySettings {
            expiry: options.expiry.map(|stamp| stamp.class),
            ..RoomKeySettings::default()
        };
        self.share(client, members, &settings).unwrap();
        self.send_only(client, &text(body), options)
    }

    pub(super) fn send_only(
        &mut self,
        client: &mut Client,
        content: &JsonObject,
        options: EncryptOptions,
    ) -> Value {
        let staged = client
            .machine
            .encrypt_room_event(&room(), "m.room.message", content, options, self.now_ms)
            .unwrap();
        let content = client.keep(staged);
        self.event(
            &client.user_id(),
            &serde_json::from_str(content.json().get()).unwrap(),
        )
    }

    pub(super) fn event(&mut self, sender: &UserId, content: &Value) -> Value {
        self.events += 1;
        json!({
            "type": "m.room.encrypted",
            "event_id": format!("$event{}", self.events),
            "sender": sender,
            "origin_server_ts": self.now_ms,
            "content": content,
        })
    }

    pub(super) fn device(&mut self, client: &Client) -> &mut ServerDevice {
        self.devices
            .get_mut(&(client.user_id(), client.machine.device_id().to_owned()))
            .unwrap()
    }
}

pub(super) fn raw<T>(value: &Value) -> Raw<T> {
    Raw::from_json_string(value.to_string()).unwrap()
}

/// Alice and Bob, each with one device.
pub(super) fn alice_and_bob() -> (World, Client, Client, [OwnedUserId; 2]) {
    let mut world = World::new();
    let (alice, bob) = (world.client("alice", "ALICE1"), world.client("bob", "BOB1"));
    let members = [alice.user_id(), bob.user_id()];
    (world, alice, bob, members)
}
