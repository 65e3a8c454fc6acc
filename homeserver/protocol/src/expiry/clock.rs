//! The time by which messages expire, made of a wall clock that may lie and a monotonic clock that does not know the date.
//!
//! Invariant: neither the time of hiding nor that of destroying runs backwards within a process, and the time of destroying
//! never runs ahead of what the monotonic clock bears out. So a clock set back resurrects nothing, and one set forward
//! destroys nothing.

/// How far the wall clock may run ahead of the monotonic one before its word is doubted, in milliseconds.
pub const JUMP_MS_MAX: u64 = 10 * 60 * 1000;

/// What the two clocks say together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Compare with `hide_at_ms`. Milliseconds since 1970.
    pub hide_now_ms: u64,
    /// Compare with `destroy_at_ms`. At most `hide_now_ms`; behind it after a jump. This is also what to persist.
    pub destroy_now_ms: u64,
    /// Whether the wall clock is ahead of what is borne out: tell the operator.
    pub has_jumped: bool,
}

/// Keeps both times. One for each process; the greatest persisted `destroy_now_ms` comes back at the start.
#[derive(Debug, Clone)]
pub struct ExpiryClock {
    /// The wall clock and the monotonic clock when their agreement was last assumed.
    anchor: (u64, u64),
    hide_now_ms: u64,
    destroy_now_ms: u64,
}

impl ExpiryClock {
    /// Starts with the wall clock's word, which is taken on trust here, and the persisted time, which it cannot undo.
    ///
    /// `monotonic_ms` counts from any point, and must not go backwards.
    pub fn new(persisted_ms: u64, wall_ms: u64, monotonic_ms: u64) -> Self {
        let now_ms = wall_ms.max(persisted_ms);
        Self {
            anchor: (wall_ms, monotonic_ms),
            hide_now_ms: now_ms,
            destroy_now_ms: now_ms,
        }
    }

    /// Takes both clocks' word at one moment.
    pub fn read(&mut self, wall_ms: u64, monotonic_ms: u64) -> Reading {
        let (anchor_wall_ms, anchor_monotonic_ms) = self.anchor;
        let elapsed_ms = monotonic_ms.saturating_sub(anchor_monotonic_ms);
        let borne_out_ms = anchor_wall_ms
            .saturating_add(elapsed_ms)
            .saturating_add(JUMP_MS_MAX);
        let has_jumped = wall_ms > borne_out_ms;
        self.hide_now_ms = self.hide_now_ms.max(wall_ms);
        self.destroy_now_ms = self.destroy_now_ms.max(wall_ms.min(borne_out_ms));
        Reading {
            hide_now_ms: self.hide_now_ms,
            destroy_now_ms: self.destroy_now_ms,
            has_jumped,
        }
    }

    /// The operator says that the wall clock is right (after a sleep of the machine, say).
    pub fn confirm(&mut self, wall_ms: u64, monotonic_ms: u64) {
        self.anchor = (wall_ms, monotonic_ms);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const T: u64 = 1_700_000_000_000;
    const DAY_MS: u64 = 24 * 60 * 60 * 1000;

    #[test]
    fn honest_clocks_agree() {
        let mut clock = ExpiryClock::new(0, T, 5);
        let reading = clock.read(T + DAY_MS, 5 + DAY_MS);
        assert_eq!(
            reading,
            Reading {
                hide_now_ms: T + DAY_MS,
                destroy_now_ms: T + DAY_MS,
                has_jumped: false
            }
        );
    }

    #[test]
    fn a_clock_set_back_resurrects_nothing_even_over_a_restart() {
        let mut clock = ExpiryClock::new(0, T, 0);
        let before = clock.read(T + 1_000, 1_000);
        assert_eq!(
            clock.read(T - DAY_MS, 2_000).hide_now_ms,
            before.hide_now_ms
        );
        let mut restarted = ExpiryClock::new(before.destroy_now_ms, T - DAY_MS, 0);
        assert_eq!(restarted.read(T - DAY_MS, 1).hide_now_ms, T + 1_000);
    }

    #[test]
    fn a_clock_set_forward_hides_at_once_and_destroys_nothing_until_confirmed() {
        let mut clock = ExpiryClock::new(0, T, 0);
        let jumped = clock.read(T + 30 * DAY_MS, 1_000);
        assert!(jumped.has_jumped);
        assert_eq!(jumped.hide_now_ms, T + 30 * DAY_MS);
        assert_eq!(jumped.destroy_now_ms, T + 1_000 + JUMP_MS_MAX);
        clock.confirm(T + 30 * DAY_MS, 2_000);
        let confirmed = clock.read(T + 30 * DAY_MS, 2_000);
        assert_eq!(
            (confirmed.has_jumped, confirmed.destroy_now_ms),
            (false, T + 30 * DAY_MS)
        );
    }

    #[test]
    fn small_corrections_are_no_jump() {
        let mut clock = ExpiryClock::new(0, T, 0);
        assert!(!clock.read(T + 1_000 + JUMP_MS_MAX, 1_000).has_jumped);
        assert!(clock.read(T + 1_001 + JUMP_MS_MAX, 1_000).has_jumped);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn no_wall_clock_moves_time_back_or_destroys_ahead(
            steps in prop::collection::vec((0..2 * T, 0_u64..DAY_MS), 1..20),
        ) {
            let mut clock = ExpiryClock::new(0, T, 0);
            let (mut last, mut monotonic_ms) = (clock.read(T, 0), 0);
            for (wall_ms, passed_ms) in steps {
                monotonic_ms += passed_ms;
                let now = clock.read(wall_ms, monotonic_ms);
                prop_assert!(now.hide_now_ms >= last.hide_now_ms && now.destroy_now_ms >= last.destroy_now_ms);
                prop_assert!(now.destroy_now_ms <= now.hide_now_ms);
                prop_assert!(now.destroy_now_ms <= T + monotonic_ms + JUMP_MS_MAX);
                last = now;
            }
        }
    }
}
