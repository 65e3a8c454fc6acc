//! Our SDK and the client libraries of others: a table of stories, each told with every library that can do what it is about, on one
//! Passeur server and between two.
//!
//! The servers serve all stories, and each story has people and rooms of its own, so none depends on another. The foreign user is
//! at the first server, ours at the second, where there are two. `PASSEUR_TEST_STORY=backup` tells only those whose name contains
//! that.
//!
//! Left out is what a library cannot do. matrix-nio has neither cross-signing nor secret storage, backups or codes of withheld keys; it
//! compares strings, but its commitment is hexadecimal and its emoji are not those of the specification. mautrix has no
//! verification by comparing, no backup, and takes no notice of codes. matrix-js-sdk asks no other device for keys.

pub(super) mod talk;

mod keys;
mod recovery;
mod stage;
mod trust;

use std::env;

use futures_util::{StreamExt, future::LocalBoxFuture, stream};
use passeur_tests::foreign::Library;

use super::telling::{AT_ONCE, Outcome, report, tell};
use Library::{JsSdk, MatrixSdk, Mautrix, Nio};
use stage::{Places, Servers, Stage};

/// A line of the table.
struct Row {
    /// The story's name: that of its function, with its subject.
    name: &'static str,
    run: Box<dyn Fn(Stage) -> LocalBoxFuture<'static, ()>>,
    /// With whom it is told.
    libraries: &'static [Library],
    /// Where it is told.
    places: &'static [Places],
}

/// A story of two people, told on one server and between two.
fn row<F, S>(story: F, libraries: &'static [Library]) -> Row
where
    F: Fn(Stage) -> S + 'static,
    S: Future<Output = ()> + 'static,
{
    let path = std::any::type_name::<F>();
    Row {
        name: path.split_once("clients::").map_or(path, |(_, name)| name),
        run: Box::new(move |stage| Box::pin(story(stage))),
        libraries,
        places: &[Places::OnePasseur, Places::TwoPasseurs],
    }
}

impl Row {
    /// Of one person with devices of both kinds.
    fn of_one_person(self) -> Self {
        Self {
            places: &[Places::OnePasseur],
            ..self
        }
    }

    /// On Synapse too, and between it and Passeur.
    fn with_synapse(self) -> Self {
        Self {
            places: &[
                Places::OnePasseur,
                Places::TwoPasseurs,
                Places::Synapse,
                Places::SynapseAndPasseur,
            ],
            ..self
        }
    }
}

/// Every story.
fn table() -> Vec<Row> {
    vec![
        row(
            talk::each_reads_the_other,
            &[Nio, Mautrix, JsSdk, MatrixSdk],
        )
        .with_synapse(),
        row(
            talk::edits_and_reactions_arrive,
            &[Nio, Mautrix, JsSdk, MatrixSdk],
        ),
        row(talk::files_are_opened, &[Nio, Mautrix, JsSdk, MatrixSdk]),
        row(
            keys::a_leave_replaces_the_session,
            &[Nio, Mautrix, JsSdk, MatrixSdk],
        ),
        row(keys::new_devices_read_on, &[Nio, Mautrix, JsSdk, MatrixSdk]),
        row(
            keys::we_learn_of_a_withheld_key,
            &[Mautrix, JsSdk, MatrixSdk],
        ),
        row(keys::they_learn_of_a_withheld_key, &[JsSdk, MatrixSdk]),
        row(
            keys::our_device_is_given_a_key,
            &[Nio, Mautrix, JsSdk, MatrixSdk],
        )
        .of_one_person(),
        row(
            keys::their_device_is_given_a_key,
            &[Nio, Mautrix, MatrixSdk],
        )
        .of_one_person(),
        row(trust::identities_are_seen, &[Mautrix, JsSdk, MatrixSdk]),
        row(trust::they_ask_to_compare_emoji, &[JsSdk, MatrixSdk]),
        row(trust::we_ask_to_compare_emoji, &[JsSdk, MatrixSdk]),
        row(trust::they_scan_our_code, &[JsSdk, MatrixSdk]),
        row(trust::we_scan_their_code, &[JsSdk, MatrixSdk]),
        row(trust::our_device_verifies_theirs, &[JsSdk, MatrixSdk]).of_one_person(),
        row(trust::their_device_verifies_ours, &[JsSdk, MatrixSdk]).of_one_person(),
        row(
            recovery::we_open_their_storage,
            &[Mautrix, JsSdk, MatrixSdk],
        )
        .of_one_person(),
        row(
            recovery::they_open_our_storage,
            &[Mautrix, JsSdk, MatrixSdk],
        )
        .of_one_person(),
    ]
}

/// One telling: a row, a library, and where.
struct Case<'a> {
    row: &'a Row,
    kind: Library,
    places: Places,
}

impl Case<'_> {
    fn name(&self) -> String {
        let (library, places) = (self.kind, self.places);
        format!("{library:?} on {places}: {}", self.row.name)
    }

    async fn tell(&self, servers: &Servers) -> Outcome {
        let stage = servers.stage(self.kind, self.places);
        tell(self.name(), (self.row.run)(stage)).await
    }
}

/// The tellings that were asked for.
fn cases(table: &[Row]) -> Vec<Case<'_>> {
    let wanted = env::var("PASSEUR_TEST_STORY").unwrap_or_default();
    let mut cases = Vec::new();
    for row in table {
        for &library in row.libraries {
            for &places in row.places {
                let case = Case {
                    row,
                    kind: library,
                    places,
                };
                if case.name().contains(&wanted) {
                    cases.push(case);
                }
            }
        }
    }
    cases
}

#[tokio::test]
async fn our_sdk_and_the_libraries_of_others_understand_each_other() {
    let table = table();
    let cases = cases(&table);
    assert!(!cases.is_empty(), "no story has such a name");
    let servers = Servers::start();
    let telling = stream::iter(&cases).map(|case| case.tell(&servers));
    let outcomes: Vec<Outcome> = telling.buffer_unordered(AT_ONCE).collect().await;
    if let Err(failed) = report(&outcomes) {
        panic!("{failed}");
    }
}
