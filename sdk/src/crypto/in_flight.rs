//! Requests: which are due, which are under way, and where their answers go.
//!
//! Invariant: a user's device list is asked for by one query at a time, and of key uploads one is under way at most; so no answer
//! can overwrite a newer one.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use ruma::{
    OneTimeKeyAlgorithm, OwnedDeviceId, OwnedTransactionId, OwnedUserId, TransactionId, UserId,
    api::client::keys::{claim_keys, get_keys},
};

use super::{
    changes::{Staged, Table},
    error::CryptoError,
    machine::OlmMachine,
    outcome::Notice,
    requests::{IncomingResponse, OutgoingBody, OutgoingRequest},
    signatures::SignaturesDue,
};

/// So many users are asked about in one query.
pub(super) const QUERY_USERS_MAX: usize = 250;

/// How long our server may wait for others, in a query or a claim.
const REMOTE_TIMEOUT: Duration = Duration::from_secs(10);

/// A user whose server could not be reached is asked about again after this time, in milliseconds.
pub(super) const QUERY_RETRY_MS: u64 = 60_000;

/// A device that gave no one-time key is asked again after this time, in milliseconds.
pub(super) const CLAIM_RETRY_MS: u64 = 5 * 60_000;

/// What is asked about one at a time, because the server refused a request that held it among others.
#[derive(Debug, Default)]
pub(super) struct Apart {
    users: BTreeSet<OwnedUserId>,
    devices: BTreeSet<(OwnedUserId, OwnedDeviceId)>,
}

/// A request under way.
#[derive(Debug)]
pub(super) enum InFlight {
    KeysUpload,
    /// Each user with the generation of its list.
    KeysQuery(BTreeMap<OwnedUserId, u64>),
    KeysClaim(Vec<(OwnedUserId, OwnedDeviceId)>),
    /// The record's key.
    ToDevice(String),
    SignatureUpload(SignaturesDue),
}

impl OlmMachine {
    /// The requests that are due and not under way. Each must be answered by
    /// [`mark_request_as_sent`](Self::mark_request_as_sent) or [`request_failed`](Self::request_failed).
    ///
    /// # Errors
    /// [`CryptoError::Key`] if our keys cannot be signed.
    pub fn outgoing_requests(&mut self, now_ms: u64) -> Result<Vec<OutgoingRequest>, CryptoError> {
        let mut requests = Vec::new();
        if !self.upload_in_flight()
            && let Some(upload) = self.account.upload()?
        {
            requests.push(self.start(InFlight::KeysUpload, OutgoingBody::KeysUpload(upload)));
        }
        while let Some(query) = self.next_query(now_ms) {
            requests.push(query);
        }
        let wedged = self
            .wedged
            .iter()
            .filter(|name| !self.claimed(name))
            .cloned();
        let wedged = wedged.collect();
        requests.extend(self.claim(wedged));
        requests.extend(self.next_signatures()?);
        requests.extend(self.due_to_device());
        Ok(requests)
    }

    /// Whether a key query is due or under way: until it is answered the room key cannot be shared with everyone.
    pub fn has_outdated_users(&self, users: &[OwnedUserId]) -> bool {
        users.iter().any(|user_id| {
            self.users
                .get(user_id)
                .is_none_or(|user| !user.tracked || user.outdated)
        })
    }

    pub(super) fn start(&mut self, in_flight: InFlight, body: OutgoingBody) -> OutgoingRequest {
        let id = OwnedTransactionId::from(format!("request{}", self.next_request));
        self.next_request += 1;
        self.in_flight.insert(id.clone(), in_flight);
        OutgoingRequest { id, body }
    }

    pub(super) fn upload_in_flight(&self) -> bool {
        self.in_flight
            .values()
            .any(|request| matches!(request, InFlight::KeysUpload))
    }

    fn queried(&self, user_id: &UserId) -> bool {
        self.in_flight.values().any(
            |request| matches!(request, InFlight::KeysQuery(users) if users.contains_key(user_id)),
        )
    }

    fn claimed(&self, name: &(OwnedUserId, OwnedDeviceId)) -> bool {
        self.in_flight.values().any(
            |request| matches!(request, InFlight::KeysClaim(devices) if devices.contains(name)),
        )
    }

    fn next_query(&mut self, now_ms: u64) -> Option<OutgoingRequest> {
        let due = self
            .users
            .iter()
            .filter(|(_, user)| user.tracked && user.outdated)
            .filter(|(_, user)| {
                user.failed_at_ms
                    .is_none_or(|at_ms| now_ms >= at_ms.saturating_add(QUERY_RETRY_MS))
            })
            .filter(|(user_id, _)| !self.queried(user_id))
            .map(|(user_id, user)| (user_id.clone(), user.generation));
        let (apart, together): (Vec<_>, Vec<_>) =
            due.partition(|(user_id, _)| self.apart.users.contains(user_id));
        let due: BTreeMap<_, _> = if together.is_empty() {
            apart.into_iter().take(1).collect()
        } else {
            together.into_iter().take(QUERY_USERS_MAX).collect()
        };
        if due.is_empty() {
            return None;
        }
        let mut request = get_keys::v3::Request::new();
        request.timeout = Some(REMOTE_TIMEOUT);
        request.device_keys = due
            .keys()
            .map(|user_id| (user_id.clone(), Vec::new()))
            .collect();
        Some(self.start(InFlight::KeysQuery(due), OutgoingBody::KeysQuery(request)))
    }

    /// Claims one-time keys of the users' devices with which there is no Olm session. `None` if there is nothing to claim.
    /// Devices that lately gave no key are left out.
    pub fn get_missing_sessions(
        &mut self,
        users: &[OwnedUserId],
        now_ms: u64,
    ) -> Option<OutgoingRequest> {
        let mut missing = Vec::new();
        for user_id in users {
            for (device_id, device) in self
                .users
                .get(user_id)
                .map(|user| &user.devices)
                .into_iter()
                .flatten()
            {
                let asked = self
                    .claims_failed
                    .get(&(user_id.clone(), device_id.clone()));
                let lately =
                    asked.is_some_and(|at_ms| now_ms < at_ms.saturating_add(CLAIM_RETRY_MS));
                if device.encrypts && !lately && !self.has_session(device) {
                    missing.push((user_id.clone(), device_id.clone()));
                }
            }
        }
        self.claim(missing)
    }

    fn claim(&mut self, devices: Vec<(OwnedUserId, OwnedDeviceId)>) -> Option<OutgoingRequest> {
        let (apart, together): (Vec<_>, Vec<_>) = devices
            .into_iter()
            .partition(|name| self.apart.devices.contains(name));
        let devices = if together.is_empty() {
            apart.into_iter().take(1).collect()
        } else {
            together
        };
        if devices.is_empty() {
            return None;
        }
        let mut keys: BTreeMap<OwnedUserId, BTreeMap<OwnedDeviceId, OneTimeKeyAlgorithm>> =
            BTreeMap::new();
        for (user_id, device_id) in &devices {
            let of_user = keys.entry(user_id.clone()).or_default();
            of_user.insert(device_id.clone(), OneTimeKeyAlgorithm::SignedCurve25519);
        }
        let request = claim_keys::v3::Request::new(keys);
        Some(self.start(
            InFlight::KeysClaim(devices),
            OutgoingBody::KeysClaim(request),
        ))
    }

    /// Takes the answer to a request. Commit the changes, then look at the notices and ask for
    /// [`outgoing_requests`](Self::outgoing_requests) again.
    ///
    /// # Errors
    /// [`CryptoError::UnknownRequest`] if no such request is under way, [`CryptoError::WrongResponse`] if the answer is of another kind.
    pub fn mark_request_as_sent(
        &mut self,
        id: &TransactionId,
        response: IncomingResponse,
        now_ms: u64,
    ) -> Result<Staged<Vec<Notice>>, CryptoError> {
        let request = self
            .in_flight
            .remove(id)
            .ok_or(CryptoError::UnknownRequest)?;
        let mut notices = Vec::new();
        match (request, response) {
            (InFlight::KeysUpload, IncomingResponse::KeysUpload(_)) => {
                self.account.uploaded(now_ms);
                self.save_account()?;
            }
            (InFlight::KeysQuery(asked), IncomingResponse::KeysQuery(response)) => {
                notices = self.receive_keys_query(&asked, &response, now_ms)?;
            }
            (InFlight::KeysClaim(asked), IncomingResponse::KeysClaim(response)) => {
                self.receive_keys_claim(&asked, &response, now_ms)?;
            }
            (InFlight::ToDevice(key), IncomingResponse::ToDevice) => {
                self.outgoing.remove(&key);
                self.pending.delete(Table::Outgoing, &key);
            }
            (InFlight::SignatureUpload(taken), IncomingResponse::SignatureUpload(_)) => {
                self.signatures_taken(&taken)?;
            }
            _ => return Err(CryptoError::WrongResponse),
        }
        Ok(self.stage(notices))
    }

    /// Says that the server refuses a request for good. It is taken apart, so that what is wrong with one device or user stops no
    /// other: to-device messages are sent singly and then given up, users and devices asked about one at a time and then taken for
    /// unreachable.
    ///
    /// # Errors
    /// [`CryptoError::Encode`] if a record cannot be serialised.
    pub fn request_refused(
        &mut self,
        id: &TransactionId,
        now_ms: u64,
    ) -> Result<Staged<Vec<Notice>>, CryptoError> {
        let mut notices = Vec::new();
        match self.in_flight.remove(id) {
            Some(InFlight::ToDevice(key)) => notices = self.refuse_to_device(&key)?,
            Some(InFlight::KeysQuery(asked)) if asked.len() > 1 => {
                self.apart.users.extend(asked.into_keys());
            }
            Some(InFlight::KeysQuery(asked)) => {
                for user_id in asked.keys() {
                    if let Some(user) = self.users.get_mut(user_id) {
                        user.failed_at_ms = Some(now_ms);
                    }
                    self.save_user(user_id)?;
                }
            }
            Some(InFlight::KeysClaim(devices)) if devices.len() > 1 => {
                self.apart.devices.extend(devices);
            }
            Some(InFlight::KeysClaim(devices)) => {
                for name in devices {
                    self.wedged.remove(&name);
                    self.claims_failed.insert(name, now_ms);
                }
            }
            Some(InFlight::KeysUpload | InFlight::SignatureUpload(_)) | None => {}
        }
        Ok(self.stage(notices))
    }

    /// Says that a request failed: it will be among the [`outgoing_requests`](Self::outgoing_requests) again. A claim is not, since
    /// whoever needs it asks again.
    pub fn request_failed(&mut self, id: &TransactionId) {
        self.in_flight.remove(id);
    }
}
