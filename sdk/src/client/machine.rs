//! The only place where the crypto machine is touched.
//!
//! Invariant: whatever a step of the machine changes is committed before its outcome is handed on. If the commit fails or is
//! abandoned, or the machine itself fails in the middle of a step, the machine in memory is dropped, because it is ahead of the disk,
//! and loaded anew for the next step.

use ruma::OwnedUserId;

use super::{Client, ClientError, Notification};
use crate::{
    crypto::{
        CryptoError, EncryptError, IncomingResponse, Notice, OlmMachine, OutgoingBody,
        OutgoingRequest, ShareError, Staged,
    },
    http::HttpError,
    store::Batch,
};

/// The most rounds in which the machine's requests are sent before the rest waits for the next occasion.
const ROUNDS_MAX: usize = 20;

/// Why a step of the machine failed.
pub(crate) trait StepError {
    /// Whether the machine itself failed, so that what it holds cannot be relied on; otherwise it refused, which changes nothing that the
    /// next step would not write.
    fn is_the_machines(&self) -> bool;
}

impl StepError for CryptoError {
    fn is_the_machines(&self) -> bool {
        matches!(self, Self::Decode { .. } | Self::Encode { .. } | Self::Key)
    }
}

impl StepError for ShareError {
    fn is_the_machines(&self) -> bool {
        matches!(self, Self::Machine(error) if error.is_the_machines())
    }
}

impl StepError for EncryptError {
    fn is_the_machines(&self) -> bool {
        matches!(self, Self::Machine(error) if error.is_the_machines())
    }
}

impl Client {
    /// Loads the machine, or makes it for a new device.
    pub(super) async fn load_machine(&self) -> Result<(), ClientError> {
        let mut slot = self.inner.machine.lock().await;
        *slot = Some(self.read_machine().await?);
        Ok(())
    }

    async fn read_machine(&self) -> Result<OlmMachine, ClientError> {
        let mut machine = self.read_or_make_machine().await?;
        machine.set_qr_abilities(self.inner.config.codes);
        Ok(machine)
    }

    async fn read_or_make_machine(&self) -> Result<OlmMachine, ClientError> {
        let session = self.session()?;
        let records = self.inner.store.records().await?;
        if let Some(machine) = OlmMachine::load(&session.user_id, &session.device_id, records)? {
            return Ok(machine);
        }
        let staged = OlmMachine::create(&session.user_id, &session.device_id, self.now_ms())?;
        let (changes, machine) = staged.into_parts();
        self.inner.store.commit(changes.into()).await?;
        Ok(machine)
    }

    /// Has the machine take a step, commits what it changes together with `batch`, and gives the step's outcome. The outer
    /// error is the store's, the inner one the step's own; a step that fails commits nothing.
    pub(crate) async fn step<T, E: StepError>(
        &self,
        step: impl FnOnce(&mut OlmMachine, u64) -> Result<(Batch, T), E>,
    ) -> Result<Result<T, E>, ClientError> {
        let mut slot = self.inner.machine.lock().await;
        // Taken out of its place while it is ahead of the disk: if this future is dropped half way, the place stays empty.
        let mut machine = match slot.take() {
            Some(machine) => machine,
            None => self.read_machine().await?,
        };
        let outcome = match step(&mut machine, self.now_ms()) {
            Ok((batch, value)) => {
                if !is_empty(&batch) {
                    self.inner.store.commit(batch).await?;
                }
                Ok(value)
            }
            // What it has changed until then would never be written.
            Err(error) if error.is_the_machines() => return Ok(Err(error)),
            Err(error) => Err(error),
        };
        *slot = Some(machine);
        Ok(outcome)
    }

    /// A step that changes nothing but the machine.
    pub(crate) async fn staged<T, E: StepError>(
        &self,
        step: impl FnOnce(&mut OlmMachine, u64) -> Result<Staged<T>, E>,
    ) -> Result<Result<T, E>, ClientError> {
        self.step(|machine, now_ms| {
            let (changes, value) = step(machine, now_ms)?.into_parts();
            Ok((Batch::from(changes), value))
        })
        .await
    }

    /// Asks the machine something.
    pub(crate) async fn ask<T>(
        &self,
        question: impl FnOnce(&mut OlmMachine) -> T,
    ) -> Result<T, ClientError> {
        let answer =
            self.step::<T, CryptoError>(|machine, _| Ok((Batch::default(), question(machine))));
        Ok(answer.await??)
    }

    /// Sends whatever the machine wants sent, until it wants nothing more.
    pub(crate) async fn send_outgoing(&self) -> Result<(), ClientError> {
        let client = self.clone();
        // A task of its own, because a request that was begun must be answered to the machine even if nobody waits any more.
        let sending = tokio::spawn(async move {
            // Whoever comes second waits, so that its requests are known to be out when it goes on.
            let _one_at_a_time = client.inner.outgoing.lock().await;
            for _ in 0..ROUNDS_MAX {
                let requests = client.step(|machine, now_ms| {
                    Ok::<_, CryptoError>((Batch::default(), machine.outgoing_requests(now_ms)?))
                });
                let requests = requests.await??;
                // What was refused a moment ago would be refused again.
                if requests.is_empty() || !client.exchange_all(requests).await? {
                    break;
                }
            }
            Ok(())
        });
        sending.await.unwrap_or(Err(ClientError::NotLoggedIn))
    }

    /// Sends some requests; tells whether it is worth asking the machine for more. A server that refuses one is asked for the next; if
    /// it is not there, the rest is handed back. What it refuses for good the machine has taken apart, so that is progress; only uploads
    /// of our own keys would be the same again, are tried on the next occasion, and nobody waits for them.
    async fn exchange_all(&self, requests: Vec<OutgoingRequest>) -> Result<bool, ClientError> {
        let mut failure = None;
        let mut all_taken = true;
        for request in requests {
            if failure.as_ref().is_some_and(is_away) {
                self.ask(|machine| machine.request_failed(&request.id))
                    .await?;
                continue;
            }
            let upload = matches!(
                request.body,
                OutgoingBody::KeysUpload(_) | OutgoingBody::SignatureUpload(_)
            );
            match self.exchange(request).await {
                Err(error) if upload && !is_transient(&error) => {
                    tracing::warn!(%error, "the server refuses our keys");
                    all_taken = false;
                }
                Err(error) if is_judgement(&error) => {
                    tracing::warn!(%error, "the server refuses a request of the crypto machine");
                }
                Err(error) => failure = Some(error),
                Ok(()) => {}
            }
        }
        failure.map_or(Ok(all_taken), Err)
    }

    /// Sends one request and gives the machine its answer.
    pub(crate) async fn exchange(&self, request: OutgoingRequest) -> Result<(), ClientError> {
        let id = request.id;
        let asks_for_devices = matches!(request.body, OutgoingBody::KeysQuery(_));
        let answer = match self.send_body(request.body).await {
            Ok(answer) => answer,
            Err(error) if is_judgement(&error) => {
                let notices = self
                    .staged(|machine, now_ms| machine.request_refused(&id, now_ms))
                    .await??;
                self.tell_notices(notices);
                return Err(error);
            }
            Err(error) => {
                self.ask(|machine| machine.request_failed(&id)).await?;
                return Err(error);
            }
        };
        let notices = self
            .staged(|machine, now_ms| machine.mark_request_as_sent(&id, answer, now_ms))
            .await??;
        self.tell_notices(notices);
        if asks_for_devices {
            self.notify(Notification::Devices);
        }
        Ok(())
    }

    async fn send_body(&self, body: OutgoingBody) -> Result<IncomingResponse, ClientError> {
        Ok(match body {
            OutgoingBody::KeysUpload(request) => {
                IncomingResponse::KeysUpload(self.request(request).await?)
            }
            OutgoingBody::KeysQuery(request) => {
                IncomingResponse::KeysQuery(self.request(request).await?)
            }
            OutgoingBody::KeysClaim(request) => {
                IncomingResponse::KeysClaim(self.request(request).await?)
            }
            OutgoingBody::ToDevice(request) => {
                self.request(request).await?;
                IncomingResponse::ToDevice
            }
            OutgoingBody::SignatureUpload(request) => {
                IncomingResponse::SignatureUpload(self.request(request).await?)
            }
        })
    }

    pub(crate) fn tell_notices(&self, notices: Vec<Notice>) {
        for notice in notices {
            self.notify(Notification::Crypto(notice));
        }
    }

    /// Makes Olm sessions with devices of these users, as far as their servers hand out keys.
    pub(crate) async fn make_sessions(&self, users: &[OwnedUserId]) -> Result<(), ClientError> {
        let claim = self.step(|machine, now_ms| {
            Ok::<_, CryptoError>((
                Batch::default(),
                machine.get_missing_sessions(users, now_ms),
            ))
        });
        match claim.await?? {
            // Taken apart by the machine: the next attempt asks for less.
            Some(request) => match self.exchange(request).await {
                Err(error) if is_judgement(&error) => Ok(()),
                outcome => outcome,
            },
            None => Ok(()),
        }
    }
}

/// Whether there is nothing to write.
fn is_empty(batch: &Batch) -> bool {
    batch.crypto.is_empty()
        && batch.values.is_empty()
        && batch.send_queue_put.is_empty()
        && batch.send_queue_delete.is_empty()
        && batch.rooms.is_empty()
        && batch.inbox_put.is_empty()
        && batch.inbox_delete.is_empty()
}

/// Whether the server would say the same again.
fn is_judgement(error: &ClientError) -> bool {
    matches!(error, ClientError::Http(error) if error.is_judgement())
}

/// Whether the next request would fare no better; a single refusal, or a fault in one answer, says nothing of the others.
fn is_away(error: &ClientError) -> bool {
    match error {
        ClientError::Http(HttpError::Matrix { status, .. }) => {
            matches!(*status, 401 | 408 | 429 | 502 | 503 | 504)
        }
        ClientError::Http(HttpError::BadAnswer | HttpError::TooLarge { .. }) => false,
        _ => true,
    }
}

/// Whether trying again later can help.
pub(crate) fn is_transient(error: &ClientError) -> bool {
    match error {
        ClientError::Http(error) => error.is_transient() || matches!(error, HttpError::BadAnswer),
        ClientError::SoftLoggedOut | ClientError::Store(_) => true,
        _ => false,
    }
}
