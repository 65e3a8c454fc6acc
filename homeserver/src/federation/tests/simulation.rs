//! A seeded simulation: several whole servers in one process, on the test's clock, over a network that delays, loses, repeats
//! and cuts, while users talk, come, go, ban and change who may do what, and servers are restarted. When the weather has
//! cleared, all must hold the same events, judge them alike, and agree on the state of the room, although messages have expired
//! everywhere meanwhile; no server may have the content of one after its deadline, nor move the deadline later.
//!
//! Invariant: what is decided by chance is decided by the seed, so a seed that fails can be run again by its number:
//! `PASSEUR_TEST_SEED=17 cargo test -p passeur-homeserver simulation`. Virtual time moves only when nothing is under way, and a
//! statement to a database is answered before anything else runs, so two runs of a seed do the same.
//! `PASSEUR_TEST_TRACE` names a file for what went over the wires.

use std::{collections::BTreeSet, env, fs};

use ruma::OwnedEventId;

use self::world::World;
use crate::store::connection::answer_at_once;

mod network;
mod plan;
mod world;

/// Seeds that the ordinary test runs.
const SEEDS: u64 = 4;
/// Steps of one seed.
const STEPS: usize = 60;
/// Rounds that servers may take to agree once the weather has cleared.
const ROUNDS_MAX: usize = 60;

/// Runs one seed from the first step to the agreement of all; answers what went over the wires.
async fn run(seed: u64) -> Result<Vec<String>, String> {
    answer_at_once();
    let mut world = World::start(seed).await;
    let mut undead = None;
    for _ in 0..STEPS {
        plan::step(&mut world).await;
        undead = undead.or(world.undead().await);
    }
    world.clear().await;
    for _ in 0..ROUNDS_MAX {
        world.catch_up().await;
        if world.difference().await.is_none() {
            break;
        }
    }
    let difference = world.difference().await;
    let acknowledged: BTreeSet<OwnedEventId> = std::mem::take(&mut world.acknowledged);
    let lost = world.lost(&acknowledged).await;
    world.outlive_all().await;
    world.purge().await;
    undead = undead.or(world.undead().await);
    let trace = world.network.trace();
    if let Ok(file) = env::var("PASSEUR_TEST_TRACE") {
        fs::write(file, trace.join("\n")).unwrap();
    }
    world.end().await;
    match (difference, lost, undead) {
        (Some(difference), ..) => Err(format!("seed {seed}: {difference}")),
        (None, Some(lost), _) => Err(format!("seed {seed}: acknowledged, but lost: {lost}")),
        (None, None, Some(undead)) => Err(format!("seed {seed}: {undead}")),
        (None, None, None) => Ok(trace),
    }
}

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok()?.parse().ok()
}

/// `PASSEUR_TEST_SEED` says which seed is first, `PASSEUR_TEST_SEEDS` how many there are: one after the other, or the first alone.
#[tokio::test]
async fn servers_agree_after_any_weather() {
    let (first, count) = (number("PASSEUR_TEST_SEED"), number("PASSEUR_TEST_SEEDS"));
    let count = count.unwrap_or(if first.is_some() { 1 } else { SEEDS });
    let first = first.unwrap_or_default();
    let seeds = first..first + count;
    let mut failures = Vec::new();
    for seed in seeds {
        failures.extend(run(seed).await.err());
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The same seed, the same weather, the same servers: so the same is said, or a failure could not be run again. Another seed
/// does something else, or the comparison would compare nothing.
#[tokio::test]
async fn a_seed_does_the_same_twice() {
    let (one, other) = (run(3).await.unwrap(), run(3).await.unwrap());
    let parting = one.iter().zip(&other).position(|(one, other)| one != other);
    if let Some(at) = parting {
        let about = at.saturating_sub(3)..(at + 5);
        let shown = |lines: &[String]| lines.get(about.clone()).map(<[String]>::to_vec);
        panic!(
            "they part at line {at}: {:#?} and {:#?}",
            shown(&one),
            shown(&other)
        );
    }
    assert_eq!(one.len(), other.len());
    assert_ne!(one, run(11).await.unwrap());
}

/// The negative control of the agreement: servers that were never joined again do differ.
#[tokio::test]
async fn servers_that_stay_apart_do_not_agree() {
    let mut world = World::start(1).await;
    world.network.cut_all();
    for _ in 0..STEPS / 3 {
        plan::step(&mut world).await;
        world.network.cut_all();
    }
    assert!(world.difference().await.is_some());
    world.end().await;
}

/// The negative control of expiry: what nobody purges is found, and what lives is seen.
#[tokio::test]
async fn what_is_not_purged_is_found() {
    let mut world = World::start(2).await;
    world.say_for_a_while(0).await;
    assert_eq!(world.undead().await, None);
    assert!(world.seen_alive() > 0);
    world.outlive_all().await;
    let undead = world.undead().await;
    assert!(undead.is_some_and(|undead| undead.contains("has content after its deadline")));
    world.purge().await;
    assert_eq!(world.undead().await, None);
    world.end().await;
}
