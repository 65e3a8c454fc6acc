//! Forks and what comes out of them, whatever the order in which they are given.

use proptest::prelude::*;
use ruma::{events::StateEventType, room_version_rules::RoomVersionRules};
use serde_json::json;

use super::*;
use crate::testing::{ALICE, ALL_RULES, BOB, CAROL, TestRoom};

fn resolved(
    room: &TestRoom,
    sets: &[StateMap<OwnedEventId>],
) -> Result<StateMap<OwnedEventId>, ResolveError> {
    let chains = sets
        .iter()
        .map(|set| auth_chain(set.values(), |id| room.get(id)))
        .collect::<Result<Vec<_>, _>>()?;
    resolve(&room.rules, sets, chains, |id| room.get(id))
}

fn place(kind: &str, key: &str) -> (StateEventType, String) {
    (kind.into(), key.to_owned())
}

#[test]
fn a_ban_wins_over_what_the_banned_user_did_meanwhile() {
    for rules in &ALL_RULES {
        let (mut room, base) = TestRoom::with_bob(rules.clone());
        let (mut ours, mut theirs) = (base.clone(), base.clone());
        let ban = room.put(
            &mut ours,
            ALICE,
            "m.room.member",
            Some(BOB),
            json!({ "membership": "ban" }),
        );
        room.put(
            &mut theirs,
            BOB,
            "m.room.topic",
            Some(""),
            json!({ "topic": "mine" }),
        );
        let state = resolved(&room, &[ours, theirs]).unwrap();
        assert_eq!(state[&place("m.room.member", BOB)], ban.event_id);
        assert!(!state.contains_key(&place("m.room.topic", "")));
    }
}

#[test]
fn demotion_wins_over_a_change_that_needed_the_power() {
    for rules in &ALL_RULES {
        let (mut room, base) = TestRoom::with_bob(rules.clone());
        let (mut ours, mut theirs) = (base.clone(), base.clone());
        let users = if rules.authorization.explicitly_privilege_room_creators {
            json!({ "users": { BOB: 0 } })
        } else {
            json!({ "users": { ALICE: 100, BOB: 0 } })
        };
        let levels = room.put(&mut ours, ALICE, "m.room.power_levels", Some(""), users);
        room.put(
            &mut theirs,
            BOB,
            "m.room.name",
            Some(""),
            json!({ "name": "taken" }),
        );
        let state = resolved(&room, &[theirs, ours]).unwrap();
        assert_eq!(state[&place("m.room.power_levels", "")], levels.event_id);
        assert!(!state.contains_key(&place("m.room.name", "")));
    }
}

#[test]
fn one_state_is_its_own_resolution_and_equal_states_too() {
    let (room, base) = TestRoom::with_bob(RoomVersionRules::V12);
    assert_eq!(resolved(&room, std::slice::from_ref(&base)).unwrap(), base);
    assert_eq!(
        resolved(&room, &[base.clone(), base.clone()]).unwrap(),
        base
    );
}

#[test]
fn a_missing_event_is_named_and_nothing_is_resolved_without_it() {
    for rules in [RoomVersionRules::V11, RoomVersionRules::V12] {
        let (mut room, base) = TestRoom::with_bob(rules);
        let (mut ours, mut theirs) = (base.clone(), base.clone());
        let lost = room.put(
            &mut ours,
            ALICE,
            "m.room.topic",
            Some(""),
            json!({ "topic": "a" }),
        );
        room.put(
            &mut theirs,
            BOB,
            "m.room.topic",
            Some(""),
            json!({ "topic": "b" }),
        );
        let chains = vec![
            auth_chain(ours.values(), |id| room.get(id)).unwrap(),
            auth_chain(theirs.values(), |id| room.get(id)).unwrap(),
        ];
        room.events.remove(&lost.event_id);
        let result = resolve(&room.rules, &[ours.clone(), theirs], chains, |id| {
            room.get(id)
        });
        assert_eq!(
            result,
            Err(ResolveError::Missing(vec![lost.event_id.clone()]))
        );
        let chain = auth_chain(ours.values(), |id| room.get(id));
        assert_eq!(
            chain,
            Err(ResolveError::Missing(vec![lost.event_id.clone()]))
        );
    }
}

/// What is in some chain and not in all.
fn difference(chains: &[HashSet<OwnedEventId>]) -> HashSet<OwnedEventId> {
    chains
        .iter()
        .flatten()
        .filter(|id| !chains.iter().all(|chain| chain.contains(*id)))
        .cloned()
        .collect()
}

#[test]
fn states_that_agree_cost_no_look_at_any_event() {
    let (room, base) = TestRoom::with_bob(RoomVersionRules::V12);
    let sets = vec![base.clone(); STATE_SETS_MAX + 1];
    assert_eq!(resolve_states(&room.rules, &sets, |_| None).unwrap(), base);
    assert_eq!(
        resolve_states(&room.rules, &[], |_| None).unwrap(),
        StateMap::new()
    );
}

#[test]
fn a_chain_that_only_the_agreed_state_cites_is_no_difference() {
    // One branch replaced the topic under the first power levels, the other under the second, which both states hold.
    for rules in &ALL_RULES {
        let (mut room, mut base) = TestRoom::with_bob(rules.clone());
        let mut old = base.clone();
        let levels = if rules.authorization.explicitly_privilege_room_creators {
            json!({ "users": { BOB: 60 } })
        } else {
            json!({ "users": { ALICE: 100, BOB: 60 } })
        };
        room.put(&mut base, ALICE, "m.room.power_levels", Some(""), levels);
        let levels = base[&place("m.room.power_levels", "")].clone();
        room.put(
            &mut old,
            BOB,
            "m.room.topic",
            Some(""),
            json!({ "topic": "old" }),
        );
        old.insert(place("m.room.power_levels", ""), levels);
        let mut new = base;
        room.put(
            &mut new,
            BOB,
            "m.room.topic",
            Some(""),
            json!({ "topic": "new" }),
        );
        let sets = [old, new];
        let full = sets
            .iter()
            .map(|set| auth_chain(set.values(), |id| room.get(id)).unwrap())
            .collect::<Vec<_>>();
        let narrow = narrow_chains(&sets, &|id: &EventId| room.get(id)).unwrap();
        assert_eq!(difference(&narrow), difference(&full));
        let expect = resolved(&room, &sets).unwrap();
        assert_eq!(
            resolve_states(&room.rules, &sets, |id| room.get(id)).unwrap(),
            expect
        );
    }
}

#[test]
fn too_many_forks_are_refused() {
    let (room, base) = TestRoom::with_bob(RoomVersionRules::V12);
    let sets = vec![base; STATE_SETS_MAX + 1];
    assert_eq!(
        resolve(&room.rules, &sets, Vec::new(), |id| room.get(id)),
        Err(ResolveError::TooLarge)
    );
}

#[test]
fn the_subgraph_holds_what_lies_between_conflicted_events() {
    let (mut room, mut state) = TestRoom::with_bob(RoomVersionRules::V12);
    let join_rules = state[&place("m.room.join_rules", "")].clone();
    let first = state[&place("m.room.power_levels", "")].clone();
    let between = room.put(
        &mut state,
        ALICE,
        "m.room.power_levels",
        Some(""),
        json!({ "users": { BOB: 60 } }),
    );
    let last = room.put(
        &mut state,
        ALICE,
        "m.room.power_levels",
        Some(""),
        json!({ "users": { BOB: 70 } }),
    );
    let found = subgraph([&first, &last.event_id].into_iter(), &|id: &EventId| {
        room.get(id)
    })
    .unwrap();
    assert!(
        found.contains(&first)
            && found.contains(&between.event_id)
            && found.contains(&last.event_id)
    );
    assert!(!found.contains(&join_rules));
    let alone = subgraph([&last.event_id].into_iter(), &|id: &EventId| room.get(id)).unwrap();
    assert_eq!(alone, HashSet::from([last.event_id.clone()]));
}

/// A state in which a server that asked another one for it found an older event than there is.
fn outdated(
    state: &StateMap<OwnedEventId>,
    kind: &str,
    old: &OwnedEventId,
) -> StateMap<OwnedEventId> {
    let mut state = state.clone();
    state.insert(place(kind, ""), old.clone());
    state
}

// The two problems that state resolution 2.1 solves: <https://github.com/matrix-org/matrix-spec-proposals/pull/4297>. Rooms
// before version 12 show what comes of them otherwise.

#[test]
fn rules_outlive_whoever_set_them_and_left() {
    let kind = "m.room.join_rules";
    for (rules, is_reset) in [
        (RoomVersionRules::V11, true),
        (RoomVersionRules::V12, false),
    ] {
        let (mut room, mut state) = TestRoom::with_bob(rules);
        let old = state[&place(kind, "")].clone();
        let invite = json!({ "join_rule": "invite" });
        let new = room.put(&mut state, ALICE, kind, Some(""), invite);
        let leave = json!({ "membership": "leave" });
        room.put(&mut state, ALICE, "m.room.member", Some(ALICE), leave);
        let theirs = outdated(&state, kind, &old);
        let resolved = resolved(&room, &[state, theirs]).unwrap();
        let expected = (!is_reset).then_some(&new.event_id);
        assert_eq!(resolved.get(&place(kind, "")), expected);
    }
}

#[test]
fn powers_that_rest_on_each_other_are_not_reset() {
    let kind = "m.room.power_levels";
    for (rules, is_reset) in [
        (RoomVersionRules::V11, true),
        (RoomVersionRules::V12, false),
    ] {
        let privileged = rules.authorization.explicitly_privilege_room_creators;
        let (mut room, mut state) = TestRoom::with_bob(rules);
        let levels = |bob: i64, carol: i64| match privileged {
            true => json!({ "users": { BOB: bob, CAROL: carol } }),
            false => json!({ "users": { ALICE: 100, BOB: bob, CAROL: carol } }),
        };
        let first = room.put(&mut state, ALICE, kind, Some(""), levels(0, 0));
        room.put(&mut state, ALICE, kind, Some(""), levels(60, 0));
        let last = room.put(&mut state, BOB, kind, Some(""), levels(60, 50));
        // By this both sides have seen all of the levels.
        let topic = json!({ "topic": "after" });
        room.put(&mut state, BOB, "m.room.topic", Some(""), topic);
        let theirs = outdated(&state, kind, &first.event_id);
        let resolved = resolved(&room, &[state, theirs]).unwrap();
        let expected = if is_reset { &first } else { &last };
        assert_eq!(resolved[&place(kind, "")], expected.event_id);
    }
}

/// What a member may do on a branch.
fn act(room: &mut TestRoom, state: &mut StateMap<OwnedEventId>, action: u8) {
    let privileged = room.rules.authorization.explicitly_privilege_room_creators;
    let levels = |bob: i64| {
        if privileged {
            json!({ "users": { BOB: bob } })
        } else {
            json!({ "users": { ALICE: 100, BOB: bob } })
        }
    };
    match action % 7 {
        0 => room.put(
            state,
            ALICE,
            "m.room.topic",
            Some(""),
            json!({ "topic": "alice" }),
        ),
        1 => room.put(
            state,
            BOB,
            "m.room.topic",
            Some(""),
            json!({ "topic": "bob" }),
        ),
        2 => room.put(state, ALICE, "m.room.power_levels", Some(""), levels(0)),
        3 => room.put(state, ALICE, "m.room.power_levels", Some(""), levels(50)),
        4 => room.put(
            state,
            ALICE,
            "m.room.join_rules",
            Some(""),
            json!({ "join_rule": "invite" }),
        ),
        5 => room.put(
            state,
            CAROL,
            "m.room.member",
            Some(CAROL),
            json!({ "membership": "join" }),
        ),
        _ => room.put(
            state,
            ALICE,
            "m.room.member",
            Some(BOB),
            json!({ "membership": "ban" }),
        ),
    };
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_order_of_the_forks_does_not_matter(
        version in 0..ALL_RULES.len(),
        branches in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..4), 2..4),
        rotation in 0_usize..4,
    ) {
        let (mut room, base) = TestRoom::with_bob(ALL_RULES[version].clone());
        let mut sets = Vec::new();
        for branch in branches {
            let mut state = base.clone();
            for action in branch {
                act(&mut room, &mut state, action);
            }
            sets.push(state);
        }
        let expect = resolved(&room, &sets).unwrap();
        let turned = rotation % sets.len();
        sets.rotate_left(turned);
        prop_assert_eq!(resolved(&room, &sets).unwrap(), expect.clone());
        sets.reverse();
        prop_assert_eq!(resolved(&room, &sets).unwrap(), expect.clone());
        // Resolving again what has been resolved changes nothing.
        prop_assert_eq!(resolved(&room, &[expect.clone(), expect.clone()]).unwrap(), expect.clone());
        let full = sets.iter().map(|set| auth_chain(set.values(), |id| room.get(id)).unwrap()).collect::<Vec<_>>();
        let narrow = narrow_chains(&sets, &|id: &EventId| room.get(id)).unwrap();
        prop_assert_eq!(difference(&narrow), difference(&full));
        // Looking at fewer events gives the same.
        prop_assert_eq!(resolve_states(&room.rules, &sets, |id| room.get(id)).unwrap(), expect);
    }
}
