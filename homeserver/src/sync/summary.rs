//! The summary of a room: how many are in it, and whose names stand for it.
//!
//! Invariant: the reader is never among the heroes, and there are at most [`HEROES_MAX`].
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3sync> (`summary`)

use ruma::{OwnedUserId, UserId, events::StateEventType};
use serde::Deserialize;

use super::Sync;
use crate::{
    rooms::{Member, Snapshot, json::JsonWriter},
    store::{Membership, StoreError},
};

/// How many heroes a room has.
const HEROES_MAX: usize = 5;

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
            heroes: (!named).then(|| heroes(snapshot, reader)),
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

/// The first of those who are joined or invited; of those who are gone, if nobody is.
fn heroes(snapshot: &Snapshot, reader: &UserId) -> Vec<OwnedUserId> {
    let present =
        |membership: &Membership| matches!(membership, Membership::Join | Membership::Invite);
    let pick = |wanted: &dyn Fn(&Member) -> bool| -> Vec<OwnedUserId> {
        let members = snapshot.members.by_user.iter();
        let others = members.filter(|(user, member)| *user != reader && wanted(member));
        others
            .take(HEROES_MAX)
            .map(|(user, _)| user.clone())
            .collect()
    };
    let here = pick(&|member| present(&member.membership));
    if here.is_empty() {
        pick(&|member| !present(&member.membership))
    } else {
        here
    }
}
