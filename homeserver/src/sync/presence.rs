//! What is told of who is online.
//!
//! Invariant: a user is told of themselves and of those who share a room with them, and of nobody else.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#presence>

use ruma::{OwnedUserId, presence::PresenceState};

use super::{
    Sync,
    window::{Window, is_joined},
};
use crate::{
    rooms::{
        json::JsonWriter,
        presence::{Shown, write_presence},
    },
    store::StoreError,
};

/// From how many changed users on all of those who share a room are read at once.
const MANY: usize = 10;
/// Members of a newly joined room who are looked at.
const COMPANY_MAX: usize = 200;

impl Sync {
    /// Writes the presence that changed, as a key; answers whether there was anything new.
    pub(super) async fn write_presence(
        &self,
        out: &mut JsonWriter,
        window: &Window<'_>,
    ) -> Result<bool, StoreError> {
        if !self.context.presence.is_enabled() {
            return Ok(false);
        }
        let mut changed = self.context.presence.since(window.typing_known());
        self.add_company(window, &mut changed).await?;
        let filter = &window.request.filter.presence;
        changed.retain(|(user, shown)| {
            let is_news = window.after.is_some() || shown.presence != PresenceState::Offline;
            is_news && filter.allows("m.presence", user)
        });
        if changed.is_empty() {
            return Ok(false);
        }
        let (rooms, own) = (&self.context.rooms, &window.request.user_id);
        let sharing = match changed.len() >= MANY {
            true => Some(rooms.users_sharing_with(own).await?),
            false => None,
        };
        let now_ms = self.context.clock.now_ms();
        let start = out.len();
        let mut told = false;
        out.key("presence").open().key("events").open_list();
        for (user, shown) in &changed {
            let is_told = user == own
                || match &sharing {
                    Some(sharing) => sharing.contains(user),
                    None => rooms.shares_room(own, user).await?,
                };
            if is_told {
                write_presence(out.element(), user, shown, now_ms);
                told = true;
            }
        }
        out.close_list().close();
        if !told {
            out.truncate(start);
        }
        Ok(told && window.after.is_some())
    }

    /// Adds those of whom the user has not been told because they did not share a room before: the members of rooms that the
    /// user has joined since.
    async fn add_company(
        &self,
        window: &Window<'_>,
        changed: &mut Vec<(OwnedUserId, Shown)>,
    ) -> Result<(), StoreError> {
        let Some(after) = window.after else {
            return Ok(());
        };
        let joined = window.memberships.values();
        let joined = joined.filter(|row| is_joined(row) && row.position > after);
        for row in joined {
            let Some(room) = self.context.rooms.snapshot(&row.room_id).await? else {
                continue;
            };
            for (user, _) in room.members.joined().take(COMPANY_MAX) {
                let is_known = changed.iter().any(|(known, _)| known == user);
                let shown = self.context.presence.of(user).filter(|_| !is_known);
                let shown = shown.filter(|shown| shown.presence != PresenceState::Offline);
                changed.extend(shown.map(|shown| (user.clone(), shown)));
            }
        }
        Ok(())
    }
}
