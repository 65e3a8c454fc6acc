//! `[passwords]`: what hashing one costs (Argon2id).
//!
//! Invariant: the costs are ones that Argon2 accepts (RFC 9106, section 3.1) and that cannot exhaust the machine by a typing error.

use serde::Deserialize;

use super::problem::Problems;

/// Cost of Argon2id. The default is the first choice of OWASP: 19 MiB, two passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PasswordsConfig {
    /// Memory, in KiB; at least 8 a lane.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub iterations: u32,
    /// Lanes.
    pub parallelism: u32,
}

impl Default for PasswordsConfig {
    fn default() -> Self {
        Self {
            memory_kib: 19 * 1024,
            iterations: 2,
            parallelism: 1,
        }
    }
}

impl PasswordsConfig {
    pub(super) fn check(self, problems: &mut Problems) {
        if !(1..=64).contains(&self.parallelism) {
            problems.add("passwords.parallelism", "must lie between 1 and 64");
        }
        if !(1..=1000).contains(&self.iterations) {
            problems.add("passwords.iterations", "must lie between 1 and 1000");
        }
        let memory_kib_min = self.parallelism.saturating_mul(8);
        if self.memory_kib < memory_kib_min || self.memory_kib > 4 * 1024 * 1024 {
            problems.add(
                "passwords.memory_kib",
                format!("must lie between {memory_kib_min} (8 a lane) and 4194304 (4 GiB)"),
            );
        }
    }
}
