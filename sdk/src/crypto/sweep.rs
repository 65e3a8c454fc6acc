//! Destroying the keys of messages whose time is over.
//!
//! Invariant: after a sweep no expired message can be decrypted with what is in memory or in the store, by any ciphertext and after any
//! import; this holds for our own messages as for others'. Time only goes forward.

use std::collections::BTreeMap;

use super::{
    changes::{Staged, Table},
    error::CryptoError,
    inbound::{Floor, InboundKey},
    machine::OlmMachine,
    outcome::SweepOutcome,
};

impl OlmMachine {
    /// Destroys what has expired. Call it at start before anything is displayed, and whenever the time that it returned has come; then have
    /// the store [scrub](crate::store::Store::scrub) its files if anything was destroyed.
    ///
    /// # Errors
    /// [`CryptoError::Encode`] if a record cannot be serialised.
    pub fn sweep(&mut self, now_ms: u64) -> Result<Staged<SweepOutcome>, CryptoError> {
        let now_ms = self.expiry_now(now_ms);
        self.save_meta()?;
        let mut outcome = SweepOutcome::default();
        self.delete_dead(now_ms, &mut outcome)?;
        self.advance_expired(now_ms, &mut outcome)?;
        self.drop_unsendable(now_ms);
        self.forget_old_deadlines(now_ms);
        outcome.next_ms = self.next_deadline();
        Ok(self.stage(outcome))
    }

    fn delete_dead(&mut self, now_ms: u64, outcome: &mut SweepOutcome) -> Result<(), CryptoError> {
        let is_dead = |key: &InboundKey| {
            let expiry = self.inbound.get(key).and_then(|record| record.expiry);
            expiry.is_some_and(|expiry| expiry.dead_at_ms <= now_ms)
        };
        let dead: Vec<InboundKey> = self
            .inbound
            .keys()
            .filter(|key| is_dead(key))
            .cloned()
            .collect();
        for key in dead {
            self.inbound.remove(&key);
            self.pending.delete(Table::Inbound, &key.to_string());
            self.set_floor(
                &key,
                Floor {
                    index_min: u32::MAX,
                    dead: true,
                },
            )?;
            self.forget_seen(&key, u32::MAX);
            outcome.sessions_deleted += 1;
        }
        // A session of ours that has been used for its time encrypts nothing more, and its ratchet is a key as well.
        let over: Vec<String> = self
            .outbound
            .iter()
            .filter(|(_, record)| record.expiry.is_some() && record.is_over(now_ms))
            .map(|(key, _)| key.clone())
            .collect();
        for key in over {
            self.outbound.remove(&key);
            self.shares.remove(&key);
            self.pending.delete(Table::Outbound, &key);
            self.pending.delete(Table::Shares, &key);
        }
        Ok(())
    }

    fn advance_expired(
        &mut self,
        now_ms: u64,
        outcome: &mut SweepOutcome,
    ) -> Result<(), CryptoError> {
        let mut last: BTreeMap<InboundKey, u32> = BTreeMap::new();
        for ((key, index), seen) in &self.replay {
            if seen
                .deadline_ms
                .is_some_and(|deadline_ms| deadline_ms <= now_ms)
            {
                let entry = last.entry(key.clone()).or_insert(*index);
                *entry = (*entry).max(*index);
            }
        }
        for (key, index) in last {
            // A session without a lifetime of its own also holds messages that live on: its ratchet cannot be advanced.
            let Some(record) = self
                .inbound
                .get_mut(&key)
                .filter(|record| record.expiry.is_some())
            else {
                continue;
            };
            let floor = index.saturating_add(1);
            if record.session.advance_to(floor) {
                outcome.sessions_advanced += 1;
            }
            self.save_inbound(&key)?;
            self.set_floor(
                &key,
                Floor {
                    index_min: floor,
                    dead: false,
                },
            )?;
            self.forget_seen(&key, floor);
        }
        Ok(())
    }

    fn set_floor(&mut self, key: &InboundKey, floor: Floor) -> Result<(), CryptoError> {
        self.pending.put(Table::Floor, &key.to_string(), &floor)?;
        self.floors.insert(key.clone(), floor);
        Ok(())
    }

    /// Forgets which messages below an index were seen: the floor keeps them out from now on.
    fn forget_seen(&mut self, key: &InboundKey, below: u32) {
        let range = (key.clone(), 0)..(key.clone(), below);
        let gone: Vec<_> = self
            .replay
            .range(range)
            .map(|(entry, _)| entry.clone())
            .collect();
        for entry in gone {
            self.pending
                .delete(Table::Replay, &entry.0.indexed(entry.1));
            self.replay.remove(&entry);
        }
    }

    fn drop_unsendable(&mut self, now_ms: u64) {
        let dead = |record: &super::outgoing::OutgoingRecord| {
            record.dead_at_ms.is_some_and(|at_ms| at_ms <= now_ms)
        };
        let gone: Vec<String> = self
            .outgoing
            .iter()
            .filter(|(_, record)| dead(record))
            .map(|(key, _)| key.clone())
            .collect();
        for key in gone {
            self.outgoing.remove(&key);
            self.pending.delete(Table::Outgoing, &key);
        }
    }

    fn next_deadline(&self) -> Option<u64> {
        let sessions = self
            .inbound
            .values()
            .filter_map(|record| Some(record.expiry?.dead_at_ms));
        let expiring = |key: &InboundKey| {
            self.inbound
                .get(key)
                .is_some_and(|record| record.expiry.is_some())
        };
        let messages = self
            .replay
            .iter()
            .filter(|((key, _), _)| expiring(key))
            .filter_map(|(_, seen)| seen.deadline_ms);
        sessions.chain(messages).min()
    }
}
