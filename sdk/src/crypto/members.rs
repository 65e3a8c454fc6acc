//! Which members of a room may have its keys.
//!
//! Invariant: a server says who the members are, and can name anybody; so nobody gets a key whom the user, or the policy that the
//! program chose, has not accepted. Who leaves is accepted anew before a return counts.
//!
//! Not part of the specification, which leaves membership unauthenticated.

use std::collections::BTreeSet;

use ruma::{OwnedUserId, RoomId, UserId};

use super::{
    changes::Staged,
    error::{CryptoError, ShareError},
    machine::OlmMachine,
    outcome::Notice,
    settings::MemberPolicy,
};

/// Members, sorted by whether they may have keys.
pub(super) struct Sorted {
    pub(super) accepted: BTreeSet<OwnedUserId>,
    pub(super) waiting: BTreeSet<OwnedUserId>,
}

impl OlmMachine {
    /// Accepts members of a room under [`MemberPolicy::AcceptedOnly`] and [`MemberPolicy::Confirm`], before or after they join. If
    /// nobody was accepted before, because no key has been shared yet, these are the only ones.
    ///
    /// # Errors
    /// [`CryptoError::Encode`] if the record cannot be serialised.
    pub fn accept_members(
        &mut self,
        room_id: &RoomId,
        users: &[OwnedUserId],
    ) -> Result<Staged<()>, CryptoError> {
        let room = self.rooms.entry(room_id.to_owned()).or_default();
        room.accepted
            .get_or_insert_default()
            .extend(users.iter().cloned());
        room.waiting.retain(|user_id| !users.contains(user_id));
        self.save_room(room_id)?;
        Ok(self.stage(()))
    }

    /// Accepts somebody whom our own user has asked to join. Changes nothing while no key has been shared: all who are there then
    /// will be accepted.
    ///
    /// # Errors
    /// [`CryptoError::Encode`] if the record cannot be serialised.
    pub fn accept_invited(
        &mut self,
        room_id: &RoomId,
        user_id: &UserId,
    ) -> Result<Staged<()>, CryptoError> {
        let known = self.rooms.get(room_id);
        if known.is_some_and(|room| room.accepted.is_some()) {
            return self.accept_members(room_id, &[user_id.to_owned()]);
        }
        Ok(self.stage(()))
    }

    /// Whether somebody may have the room's keys. Everybody may until a key is shared for the first time.
    pub fn is_accepted(&self, room_id: &RoomId, user_id: &UserId) -> bool {
        let room = self.rooms.get(room_id);
        let accepted = room.and_then(|room| room.accepted.as_ref());
        *user_id == self.user_id || accepted.is_none_or(|accepted| accepted.contains(user_id))
    }

    /// Takes note of who the members are now: says which have come that wait to be accepted, each once, and forgets the acceptance of
    /// those who left.
    ///
    /// # Errors
    /// [`CryptoError::Encode`] if the record cannot be serialised.
    pub fn note_members(
        &mut self,
        room_id: &RoomId,
        members: &[OwnedUserId],
    ) -> Result<Staged<Vec<Notice>>, CryptoError> {
        let members = members.iter().cloned().collect();
        self.forget_left(room_id, &members)?;
        self.note_view(room_id, &members)?;
        let waiting = self.sort_members(room_id, &members).waiting;
        let notices = self.tell_waiting(room_id, &waiting)?;
        Ok(self.stage(notices))
    }

    pub(super) fn sort_members(&self, room_id: &RoomId, members: &BTreeSet<OwnedUserId>) -> Sorted {
        let (accepted, waiting) = members
            .iter()
            .cloned()
            .partition(|user_id| self.is_accepted(room_id, user_id));
        Sorted { accepted, waiting }
    }

    /// What the policy says of the members who have not been accepted: who may have the key, and what to tell.
    pub(super) fn apply_policy(
        &mut self,
        room_id: &RoomId,
        members: &BTreeSet<OwnedUserId>,
        policy: MemberPolicy,
    ) -> Result<(Sorted, Vec<Notice>), ShareError> {
        self.forget_left(room_id, members)?;
        let mut sorted = self.sort_members(room_id, members);
        let notices = match policy {
            MemberPolicy::Confirm if !sorted.waiting.is_empty() => {
                let users = sorted.waiting.into_iter().collect();
                return Err(ShareError::NewMembers { users });
            }
            MemberPolicy::AcceptedOnly | MemberPolicy::Confirm => {
                self.tell_waiting(room_id, &sorted.waiting)?
            }
            MemberPolicy::Open => {
                let new = std::mem::take(&mut sorted.waiting);
                sorted.accepted.extend(new.iter().cloned());
                let notice = |user_id| Notice::NewMember {
                    room_id: room_id.to_owned(),
                    user_id,
                };
                new.into_iter().map(notice).collect()
            }
        };
        Ok((sorted, notices))
    }

    /// Remembers who has been given the key as accepted and present.
    pub(super) fn remember_accepted(
        &mut self,
        room_id: &RoomId,
        members: BTreeSet<OwnedUserId>,
    ) -> Result<(), CryptoError> {
        let room = self.rooms.entry(room_id.to_owned()).or_default();
        let accepted = room.accepted.get_or_insert_default();
        if accepted.is_superset(&members) && room.present == members {
            return Ok(());
        }
        accepted.extend(members.iter().cloned());
        room.present = members;
        self.save_room(room_id)
    }

    fn tell_waiting(
        &mut self,
        room_id: &RoomId,
        waiting: &BTreeSet<OwnedUserId>,
    ) -> Result<Vec<Notice>, CryptoError> {
        let Some(room) = self.rooms.get_mut(room_id) else {
            return Ok(Vec::new());
        };
        if room.waiting == *waiting {
            return Ok(Vec::new());
        }
        let new = waiting.difference(&room.waiting);
        let notices = new
            .map(|user_id| Notice::MemberWaits {
                room_id: room_id.to_owned(),
                user_id: user_id.clone(),
            })
            .collect();
        room.waiting.clone_from(waiting);
        self.save_room(room_id)?;
        Ok(notices)
    }

    /// Who was given keys and is no member any more is a stranger on return.
    fn forget_left(
        &mut self,
        room_id: &RoomId,
        members: &BTreeSet<OwnedUserId>,
    ) -> Result<(), CryptoError> {
        let Some(room) = self.rooms.get_mut(room_id) else {
            return Ok(());
        };
        let left: Vec<_> = room.present.difference(members).cloned().collect();
        if left.is_empty() {
            return Ok(());
        }
        for user_id in left {
            room.present.remove(&user_id);
            if let Some(accepted) = &mut room.accepted {
                accepted.remove(&user_id);
            }
        }
        self.save_room(room_id)
    }
}
