//! A homeserver of a few maps, which counts what it is asked and the time that it takes itself.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use passeur_sdk::crypto::{
    Changes, IncomingResponse, OlmMachine, OutgoingBody, OutgoingRequest, RoomKeySettings, Staged,
    SyncChanges,
};
use ruma::{
    OneTimeKeyId, OwnedDeviceId, OwnedUserId, RoomId, UserId,
    api::client::keys::{claim_keys, get_keys, upload_keys},
    events::AnyToDeviceEvent,
    serde::Raw,
    to_device::DeviceIdOrAllDevices,
};
use serde::Serialize;
use serde_json::{Value, json};

/// The time at which everything happens, in milliseconds since the Unix epoch.
pub(crate) const NOW_MS: u64 = 1_800_000_000_000;

/// The most rounds of requests before a step is over.
const ROUNDS_MAX: usize = 100;

type Name = (OwnedUserId, OwnedDeviceId);

/// The server.
#[derive(Default)]
pub(crate) struct Server {
    keys: BTreeMap<Name, (Value, Vec<(String, Value)>)>,
    inboxes: BTreeMap<Name, Vec<Value>>,
    /// What was asked since this was cleared: number and bytes by kind.
    pub(crate) requests: BTreeMap<&'static str, (usize, usize)>,
    /// Time that is the server's, not the client's.
    pub(crate) own_time: Duration,
    /// What clients changed since this was taken.
    pub(crate) changes: Changes,
}

/// A user's id.
pub(crate) fn user(number: usize) -> OwnedUserId {
    UserId::parse(format!("@user{number}:a.example")).unwrap()
}

fn name(machine: &OlmMachine) -> Name {
    (machine.user_id().to_owned(), machine.device_id().to_owned())
}

fn raw<T>(value: &Value) -> Raw<T> {
    Raw::from_json_string(value.to_string()).unwrap()
}

fn bytes(value: &impl Serialize) -> usize {
    serde_json::to_string(value).unwrap().len()
}

impl Server {
    /// A new device, its keys uploaded.
    pub(crate) fn device(&mut self, user_number: usize, device: usize) -> OlmMachine {
        let device_id = OwnedDeviceId::from(format!("DEVICE{device}"));
        let staged = OlmMachine::create(&user(user_number), &device_id, NOW_MS).unwrap();
        let mut machine = self.keep(staged);
        for request in machine.outgoing_requests(NOW_MS).unwrap() {
            match request.body {
                OutgoingBody::KeysUpload(_) => self.answer(&mut machine, request),
                _ => machine.request_failed(&request.id),
            }
        }
        machine
    }

    fn keep<T>(&mut self, staged: Staged<T>) -> T {
        let (changes, value) = staged.into_parts();
        self.changes.extend(changes);
        value
    }

    /// Everything before a message to these members, until their keys are on their way.
    pub(crate) fn share(
        &mut self,
        machine: &mut OlmMachine,
        room_id: &RoomId,
        members: &[OwnedUserId],
    ) {
        let staged = machine.update_tracked_users(members).unwrap();
        self.keep(staged);
        self.pump(machine);
        while let Some(claim) = machine.get_missing_sessions(members, NOW_MS) {
            self.answer(machine, claim);
        }
        let settings = RoomKeySettings::default();
        let staged = machine.share_room_key(room_id, members, &settings, NOW_MS);
        self.keep(staged.unwrap());
        self.pump(machine);
    }

    /// Gives a device what waits for it.
    pub(crate) fn sync(&mut self, machine: &mut OlmMachine) {
        let sync = SyncChanges {
            to_device: self.inbox(machine),
            ..SyncChanges::default()
        };
        let staged = machine.receive_sync_changes(sync, NOW_MS).unwrap();
        self.keep(staged);
    }

    /// What waits for a device.
    pub(crate) fn inbox(&mut self, machine: &OlmMachine) -> Vec<Raw<AnyToDeviceEvent>> {
        let waiting = self.inboxes.remove(&name(machine)).unwrap_or_default();
        waiting.iter().map(raw).collect()
    }

    fn pump(&mut self, machine: &mut OlmMachine) {
        for _ in 0..ROUNDS_MAX {
            let requests = machine.outgoing_requests(NOW_MS).unwrap();
            if requests.is_empty() {
                return;
            }
            for request in requests {
                self.answer(machine, request);
            }
        }
    }

    fn answer(&mut self, machine: &mut OlmMachine, request: OutgoingRequest) {
        let started = Instant::now();
        let response = self.respond(&name(machine), request.body);
        self.own_time += started.elapsed();
        let staged = machine.mark_request_as_sent(&request.id, response, NOW_MS);
        self.keep(staged.unwrap());
    }

    fn count(&mut self, kind: &'static str, bytes: usize) {
        let (count, total) = self.requests.entry(kind).or_default();
        *count += 1;
        *total += bytes;
    }

    fn respond(&mut self, from: &Name, body: OutgoingBody) -> IncomingResponse {
        match body {
            OutgoingBody::KeysUpload(request) => {
                let keys = serde_json::to_value(&request.device_keys).unwrap();
                let one_time = request.one_time_keys.iter();
                let one_time =
                    one_time.map(|(id, key)| (id.to_string(), serde_json::to_value(key).unwrap()));
                self.keys.insert(from.clone(), (keys, one_time.collect()));
                IncomingResponse::KeysUpload(upload_keys::v3::Response::new(BTreeMap::new()))
            }
            OutgoingBody::KeysQuery(request) => {
                self.count("/keys/query", bytes(&request.device_keys));
                IncomingResponse::KeysQuery(self.query(&request))
            }
            OutgoingBody::KeysClaim(request) => {
                self.count("/keys/claim", bytes(&request.one_time_keys));
                IncomingResponse::KeysClaim(self.claim(&request))
            }
            OutgoingBody::ToDevice(request) => {
                self.count("/sendToDevice", bytes(&request.messages));
                for (user_id, devices) in &request.messages {
                    for (device_id, content) in devices {
                        let DeviceIdOrAllDevices::DeviceId(device_id) = device_id else {
                            continue;
                        };
                        let event = json!({
                            "type": request.event_type.to_string(), "sender": from.0, "content": content,
                        });
                        let to = (user_id.clone(), device_id.clone());
                        self.inboxes.entry(to).or_default().push(event);
                    }
                }
                IncomingResponse::ToDevice
            }
            OutgoingBody::SignatureUpload(_) => IncomingResponse::SignatureUpload(
                ruma::api::client::keys::upload_signatures::v3::Response::new(),
            ),
        }
    }

    fn query(&self, request: &get_keys::v3::Request) -> get_keys::v3::Response {
        let mut response = get_keys::v3::Response::new();
        for user_id in request.device_keys.keys() {
            let first = (user_id.clone(), OwnedDeviceId::from(""));
            let theirs = self
                .keys
                .range(first..)
                .take_while(|(name, _)| name.0 == *user_id);
            let devices = theirs.map(|(name, (keys, _))| (name.1.clone(), raw(keys)));
            response
                .device_keys
                .insert(user_id.clone(), devices.collect());
        }
        response
    }

    fn claim(&mut self, request: &claim_keys::v3::Request) -> claim_keys::v3::Response {
        let mut response = claim_keys::v3::Response::new(BTreeMap::new());
        for (user_id, devices) in &request.one_time_keys {
            for device_id in devices.keys() {
                let to = (user_id.clone(), device_id.clone());
                let key = self.keys.get_mut(&to).and_then(|(_, keys)| keys.pop());
                if let Some((id, key)) = key {
                    let keys = BTreeMap::from([(OneTimeKeyId::parse(id).unwrap(), raw(&key))]);
                    let theirs = response.one_time_keys.entry(user_id.clone()).or_default();
                    theirs.insert(device_id.clone(), keys);
                }
            }
        }
        response
    }
}
