//! The summary of a room: how many are in it, and whose names stand for it.
//!
//! Invariant: the reader is never among the heroes, and there are at most [`HEROES_MAX`].
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3sync> (`summary`)

use std::collections::HashMap;

use ruma::{EventId, OwnedEventId, OwnedUserId, UserId, events::StateEventType};
use serde::Deserialize;

use super::Sync;
use crate::{
    rooms::{Member, Snapshot, json::JsonWriter},
    store::{Membership, StoreError},
};

/// How many heroes a room has.
const HEROES_MAX: usize = 5;
/// Members among whom they are looked for: in a larger room without a name nobody is told by five of them which it is.
const CANDIDATES_MAX: usize = 200;

/// What a summary tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Summary {
    /// Whose names stand for the room, if it has no name of its own.
    pub(super) heroes: Option<Vec<OwnedUserId>>,
    /// How many are joined.
    joined: usize,
    /// How many are invited.
    invited: usize,
}

impl Summary {
    /// Writes it, as a value.
    pub(super) fn write(&self, out: &mut JsonWriter) {
        out.open();
        if let Some(heroes) = &self.heroes {
            out.key("m.heroes").value(heroes);
        }
        out.key("m.joined_member_count").value(&self.joined);
        out.key("m.invited_member_count").value(&self.invited);
        out.close();
    }
}

impl Sync {
    /// The summary of a room as it is now.
    pub(super) async fn summary(
        &self,
        snapshot: &Snapshot,
        reader: &UserId,
    ) -> Result<Summary, StoreError> {
        let named = self.is_set(snapshot, StateEventType::RoomName).await?
            || self
                .is_set(snapshot, StateEventType::RoomCanonicalAlias)
                .await?;
        Ok(Summary {
            heroes: match named {
                true => None,
                false => Some(self.heroes(snapshot, reader).await?),
            },
            joined: snapshot.members.joined,
            invited: snapshot.members.invited,
        })
    }

    /// Whether the room has a name or an alias that is not empty.
    async fn is_set(&self, snapshot: &Snapshot, kind: StateEventType) -> Result<bool, StoreError> {
        #[derive(Deserialize)]
        struct Content {
            #[serde(alias = "name", alias = "alias")]
            value: String,
        }
        let event = self.context.rooms.state_event(snapshot, &kind, "").await?;
        let content = event.map(|event| serde_json::from_str::<Content>(event.pdu.content.get()));
        Ok(matches!(content, Some(Ok(content)) if !content.value.is_empty()))
    }
}

impl Sync {
    /// Those who are joined or invited, or who are gone if nobody is: "the first 5 members of the room, ordered by stream ordering".
    async fn heroes(
        &self,
        snapshot: &Snapshot,
        reader: &UserId,
    ) -> Result<Vec<OwnedUserId>, StoreError> {
        let candidates = candidates(snapshot, reader);
        let ids: Vec<OwnedEventId> = candidates
            .iter()
            .map(|(_, member)| member.event_id.clone())
            .collect();
        let events = self.context.store.events(&ids).await?;
        let places: HashMap<&EventId, _> = events
            .iter()
            .map(|event| (event.id(), (event.room_order, event.pdu.depth)))
            .collect();
        // What came with the state of a join has no place in our timeline and comes first, in the order of the graph.
        let mut ordered: Vec<_> = candidates
            .into_iter()
            .map(|(user, member)| (places.get(&*member.event_id), user))
            .collect();
        ordered.sort_unstable();
        Ok(ordered
            .into_iter()
            .take(HEROES_MAX)
            .map(|(_, user)| user.clone())
            .collect())
    }
}

/// The members that may stand for a room, at most [`CANDIDATES_MAX`].
fn candidates<'a>(snapshot: &'a Snapshot, reader: &UserId) -> Vec<(&'a OwnedUserId, &'a Member)> {
    let present =
        |membership: &Membership| matches!(membership, Membership::Join | Membership::Invite);
    let pick = |wanted: &dyn Fn(&Member) -> bool| -> Vec<_> {
        let members = snapshot.members.by_user.iter();
        let others = members.filter(|(user, member)| *user != reader && wanted(member));
        others.take(CANDIDATES_MAX).collect()
    };
    let here = pick(&|member| present(&member.membership));
    if here.is_empty() {
        pick(&|member| matches!(member.membership, Membership::Leave | Membership::Ban))
    } else {
        here
    }
}
