//! Passeur and Synapse in one room: a table of stories, each told with the one as host and with the other, by room version.
//!
//! One pair of servers serves all of them, and each story has people and rooms of its own, so none depends on another.
//! Stories of fair weather run several at a time; those that cut the line or stop a server come after them, one by one.
//!
//! Version 12 is told whole, 10 and 11 what their rules touch. `PASSEUR_TEST_ROOM_VERSIONS=all` tells every story in every
//! version; `PASSEUR_TEST_STORY=restricted` only those whose name contains that.

mod directory;
mod ephemeral;
mod expiring;
mod history;
mod keys;
mod media;
mod membership;
mod messages;
pub(super) mod stage;
mod state;
mod weather;

use std::env;

use futures_util::{StreamExt, future::LocalBoxFuture, stream};

use super::telling::{AT_ONCE, Outcome, report, tell};
use stage::{Direction, Pair, Stage};

/// The room versions that both servers speak.
const VERSIONS: [u8; 7] = [6, 7, 8, 9, 10, 11, 12];

/// A line of the table.
struct Row {
    /// The story's name: that of its function, with its subject.
    name: &'static str,
    run: Box<dyn Fn(Stage) -> LocalBoxFuture<'static, ()>>,
    /// The room versions in which it is always told.
    versions: &'static [u8],
    /// The first room version that has what it is about.
    since: u8,
    /// Whether it cuts the line or stops a server.
    foul: bool,
    /// With whom as the host.
    directions: &'static [Direction],
}

/// A story of version 12 in fair weather.
fn row<F, S>(story: F) -> Row
where
    F: Fn(Stage) -> S + 'static,
    S: Future<Output = ()> + 'static,
{
    let path = std::any::type_name::<F>();
    Row {
        name: path.split_once("stories::").map_or(path, |(_, name)| name),
        run: Box::new(move |stage| Box::pin(story(stage))),
        versions: &[12],
        since: 6,
        foul: false,
        directions: &[Direction::PasseurHosts, Direction::SynapseHosts],
    }
}

impl Row {
    /// Told in versions 10 and 11 too.
    fn thrice(self) -> Self {
        Self {
            versions: &[10, 11, 12],
            ..self
        }
    }

    /// With a cut line or a stopped server.
    fn foul(self) -> Self {
        Self { foul: true, ..self }
    }

    /// With Synapse as the host alone: as a guest it does not do what the story asks of one.
    fn synapse_hosts(self) -> Self {
        Self {
            directions: &[Direction::SynapseHosts],
            ..self
        }
    }

    /// About something that came with this version.
    fn since(self, since: u8) -> Self {
        Self { since, ..self }
    }
}

/// Every story.
fn table() -> Vec<Row> {
    vec![
        row(membership::a_guest_joins_by_alias).thrice(),
        row(membership::an_invite_is_accepted),
        row(membership::an_invite_is_refused),
        row(membership::an_invite_is_taken_back),
        row(membership::a_guest_leaves_and_hears_no_more),
        row(membership::a_kicked_guest_may_come_again),
        row(membership::a_banned_guest_may_not_until_unbanned),
        row(membership::a_knock_is_answered).since(7),
        row(membership::a_knock_is_refused).since(7),
        // Synapse takes its users' knocks back without telling the host.
        row(membership::a_knock_is_taken_back)
            .since(7)
            .synapse_hosts(),
        row(membership::members_of_a_space_may_join).since(8),
        row(messages::each_hears_the_other).thrice(),
        row(messages::edits_and_reactions_are_counted),
        row(messages::redactions_empty_on_both_sides).thrice(),
        row(expiring::what_expires_is_redacted_on_the_other_side).thrice(),
        row(expiring::whoever_leaves_redacts_first_what_would_expire),
        row(expiring::whoever_was_banned_redacts_nothing_more).synapse_hosts(),
        row(state::state_is_changed_by_who_has_the_power),
        row(state::a_room_is_followed_to_its_successor),
        row(state::a_server_that_is_shut_out_is_not_heard),
        row(history::much_is_read_after_a_late_join),
        row(history::who_comes_late_finds_the_moment),
        row(ephemeral::typing_begins_and_ends),
        row(ephemeral::receipts_travel_unless_they_are_private),
        row(keys::devices_come_and_go),
        row(keys::a_key_is_claimed_once),
        row(keys::identities_are_known_on_the_other_side),
        row(keys::devices_get_messages_once),
        row(keys::two_libraries_read_each_other),
        row(media::files_are_fetched_from_the_other_side),
        row(directory::public_rooms_are_found),
        row(directory::a_space_shows_its_rooms),
        row(directory::a_new_name_is_seen),
        row(weather::conflicting_state_is_settled_alike)
            .thrice()
            .foul(),
        row(weather::a_demotion_undoes_what_was_done_meanwhile).foul(),
        row(weather::a_ban_holds_against_what_was_said_meanwhile).foul(),
        row(weather::who_was_down_catches_up).foul(),
        row(weather::a_new_key_is_believed).foul(),
    ]
}

/// One telling: a row, a room version, and who is the host.
struct Case<'a> {
    row: &'a Row,
    version: u8,
    direction: Direction,
}

impl Case<'_> {
    /// `host hosts, version 12: membership::…`
    fn name(&self) -> String {
        let (host, name) = (self.direction.host(), self.row.name);
        format!("{host} hosts version {}: {name}", self.version)
    }

    /// Tells the story.
    async fn tell(&self, pair: &Pair) -> Outcome {
        let story = async {
            let stage = pair.stage(self.version, self.direction).await;
            (self.row.run)(stage).await;
        };
        tell(self.name(), story).await
    }
}

/// The tellings that were asked for.
fn cases(table: &[Row]) -> Vec<Case<'_>> {
    let every = env::var("PASSEUR_TEST_ROOM_VERSIONS").is_ok_and(|which| which == "all");
    let wanted = env::var("PASSEUR_TEST_STORY").unwrap_or_default();
    let mut cases = Vec::new();
    for row in table {
        for version in VERSIONS {
            let told = row.versions.contains(&version) || every;
            if !told || version < row.since {
                continue;
            }
            for &direction in row.directions {
                let case = Case {
                    row,
                    version,
                    direction,
                };
                if case.name().contains(&wanted) {
                    cases.push(case);
                }
            }
        }
    }
    cases
}

// The relays of the two lines need a worker, for the story itself waits for processes to end.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn passeur_and_synapse_keep_one_room() {
    let table = table();
    let (foul, fair): (Vec<_>, Vec<_>) = cases(&table).into_iter().partition(|case| case.row.foul);
    assert!(
        !foul.is_empty() || !fair.is_empty(),
        "no story has such a name"
    );
    let pair = Pair::start().await;
    let fair = stream::iter(&fair).map(|case| case.tell(&pair));
    let mut outcomes: Vec<Outcome> = fair.buffer_unordered(AT_ONCE).collect().await;
    for case in &foul {
        outcomes.push(case.tell(&pair).await);
        pair.calm().await;
    }
    if let Err(failed) = report(&outcomes) {
        panic!(
            "{failed}\n\nSynapse's complaints:\n{}",
            pair.complaints().await
        );
    }
}
