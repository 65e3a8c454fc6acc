//! Check 7 on receipt: the recommendation of a room's policy server, asked for and looked at.
//!
//! Invariant: a policy server is asked before an event enters its room's queue, never within it, and waited for no longer
//! than [`Bounds::INTERACTIVE`]. Without its recommendation an event of ours is not sent, and another server's is
//! soft-failed.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#policy-servers>

use std::sync::Arc;

use passeur_protocol::{
    policy_server::{check_policy, policy_of},
    signed::{RawPdu, SignedPdu},
};
use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, OwnedEventId, ServerName,
    api::federation::policy::sign_event::v1 as sign_event,
    events::{StateEventType, TimelineEventType, room::policy::RoomPolicyEventContent},
};

use super::{
    Draft, Offer, ReceiveError, Rooms, SendError, Snapshot, chain::Chain, queue::Work,
    receive::Budget,
};
use crate::{
    outbound::{Bounds, RemoteError},
    store::{LogKind, StoreError},
};

/// The type of the event that names the policy server.
const POLICY: &str = "m.room.policy";

/// The name of the key with which policy servers sign.
const POLICY_KEY: &str = "ed25519:policy_server";

impl Rooms {
    /// The policy server of a room, if it uses one.
    async fn policy_in(
        &self,
        snapshot: &Snapshot,
    ) -> Result<Option<RoomPolicyEventContent>, StoreError> {
        let kind = StateEventType::from(POLICY);
        let event = self.state_event(snapshot, &kind, "").await?;
        let event = event.as_ref().map(|event| &*event.pdu);
        Ok(policy_of(event, |server| {
            snapshot.members.has_server(server)
        }))
    }

    /// An event with the recommendation of the room's policy server, if the room uses one and it
    /// gives any; else the event as it is.
    pub(super) async fn with_recommendation(
        &self,
        snapshot: &Snapshot,
        signed: SignedPdu,
    ) -> Result<SignedPdu, StoreError> {
        Ok(self.judged(snapshot, signed).await?.0)
    }

    /// As [`Rooms::with_recommendation`], and why there is none if the policy server said so.
    async fn judged(
        &self,
        snapshot: &Snapshot,
        signed: SignedPdu,
    ) -> Result<(SignedPdu, Option<RemoteError>), StoreError> {
        let Some(policy) = self.policy_in(snapshot).await? else {
            return Ok((signed, None));
        };
        let is_enough = is_exempt(&signed)
            || check_policy(&signed, &policy, snapshot.rules).is_ok()
            || policy.via == self.context.server_name;
        if is_enough {
            return Ok((signed, None));
        }
        let signature = match self.ask_policy_server(&policy.via, &signed).await {
            Ok(Some(signature)) => signature,
            Ok(None) => return Ok((signed, None)),
            Err(error) => return Ok((signed, Some(error))),
        };
        let copy = signed_copy(signed.object(), &policy.via, signature);
        let recommended = signed
            .clone()
            .with_signatures_of(&copy, &policy.via, snapshot.rules);
        let holds = |event: &SignedPdu| check_policy(event, &policy, snapshot.rules).is_ok();
        Ok((recommended.ok().filter(holds).unwrap_or(signed), None))
    }

    /// As [`Rooms::with_recommendation`], of one of many events that came with another: within that one's budget.
    pub(super) async fn with_recommendation_within(
        &self,
        snapshot: &Snapshot,
        signed: SignedPdu,
        budget: &mut Budget,
    ) -> Result<SignedPdu, ReceiveError> {
        if budget.unrecommended == 0 {
            return Ok(signed);
        }
        let signed = self.with_recommendation(snapshot, signed).await?;
        let chain = Chain::on(&self.context, snapshot);
        if !chain.is_recommended(&signed).await? {
            budget.unrecommended -= 1;
        }
        Ok(signed)
    }

    /// As [`Rooms::with_recommendation`], of an event of ours: without one it is not sent.
    pub(super) async fn recommended(
        &self,
        snapshot: &Snapshot,
        signed: SignedPdu,
    ) -> Result<SignedPdu, SendError> {
        let (signed, refusal) = self.judged(snapshot, signed).await?;
        if Chain::on(&self.context, snapshot)
            .is_recommended(&signed)
            .await?
        {
            return Ok(signed);
        }
        // "If the Policy Server returned an error, that error SHOULD be provided to the client verbatim"
        match refusal {
            Some(error) if error.errcode().is_some() => {
                Err(SendError::NotRecommended(Box::new(error)))
            }
            _ => {
                let detail = "the room's policy server does not recommend this event";
                Err(SendError::Forbidden(detail.to_owned()))
            }
        }
    }

    /// The policy server's signature of an event; none if its answer has none.
    async fn ask_policy_server(
        &self,
        server: &ServerName,
        signed: &SignedPdu,
    ) -> Result<Option<String>, RemoteError> {
        let pdu = serde_json::from_slice(signed.json()).map_err(|_| RemoteError::Request)?;
        let request = sign_event::Request::new(pdu);
        let remote = &self.context.remote;
        let answer = remote.call(server, request, Bounds::INTERACTIVE).await?;
        Ok(answer.ed25519_signature(server).map(str::to_owned))
    }

    /// Whether a client's transaction has made its event before.
    async fn is_made(&self, draft: &Draft) -> Result<bool, StoreError> {
        let Some(transaction) = &draft.transaction else {
            return Ok(false);
        };
        let wanted = (&*draft.sender, &*transaction.device_id, &*transaction.key);
        let made = self.context.store.transactions(&[wanted]).await?;
        Ok(!made.is_empty())
    }

    /// Sends a local user's event to a room that uses a policy server: made here, signed there, and
    /// then taken in. `None` if the room uses none.
    pub(super) async fn send_recommended(
        self: &Arc<Self>,
        draft: &Draft,
    ) -> Result<Option<OwnedEventId>, SendError> {
        let Some(snapshot) = self.snapshot(&draft.room_id).await? else {
            return Ok(None);
        };
        if self.policy_in(&snapshot).await?.is_none() || self.is_made(draft).await? {
            return Ok(None);
        }
        let chain = Chain::on(&self.context, &snapshot);
        let (signed, _) = chain.prepare(draft).await?;
        let offer = Offer {
            signed: self.recommended(&snapshot, signed).await?,
            log: LogKind::OwedEvent,
            state_before: None,
            missing: Vec::new(),
        };
        let work = Work::Recommended(Box::new(draft.clone()), Arc::new(offer));
        Ok(Some(self.enqueue(draft.room_id.clone(), work).await?))
    }
}

impl Chain<'_> {
    /// Whether the room's policy server, if it uses one, recommends an event.
    pub(super) async fn is_recommended(&self, signed: &SignedPdu) -> Result<bool, StoreError> {
        let place = (StateEventType::from(POLICY), String::new());
        let Some(id) = self.state.get(&place) else {
            return Ok(true);
        };
        let event = self.events(std::slice::from_ref(id)).await?.remove(id);
        let policy = policy_of(event.as_deref(), |server| self.members.has_server(server));
        Ok(policy.is_none_or(|policy| {
            is_exempt(signed) || check_policy(signed, &policy, self.rules).is_ok()
        }))
    }
}

/// Whether an event needs no recommendation: that which names the policy server.
fn is_exempt(signed: &SignedPdu) -> bool {
    let pdu = signed.pdu();
    pdu.kind == TimelineEventType::from(POLICY) && pdu.state_key.as_deref() == Some("")
}

/// An event with a policy server's signature alone.
fn signed_copy(object: &CanonicalJsonObject, server: &ServerName, signature: String) -> RawPdu {
    let signature = CanonicalJsonValue::String(signature);
    let keys = CanonicalJsonObject::from([(POLICY_KEY.to_owned(), signature)]);
    let keys = CanonicalJsonValue::Object(keys);
    let signatures = CanonicalJsonObject::from([(server.to_string(), keys)]);
    let mut copy = object.clone();
    copy.insert(
        "signatures".to_owned(),
        CanonicalJsonValue::Object(signatures),
    );
    RawPdu::from_object(copy)
}
