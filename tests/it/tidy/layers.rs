//! Inside the homeserver, dependencies point down only; within a layer they make no circle.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    expect_none,
    source::{Source, branches, is_path_separator, is_word, line},
    workspace_sources,
};

/// The homeserver's modules, highest layer first. A new module gets its place here before it compiles into a test run.
const LAYERS: [&[&str]; 9] = [
    &["listener", "server", "cli"],
    &["router"],
    &["client", "federation"],
    &["http", "app"],
    &["sync"],
    &["rooms", "accounts", "media"],
    &["outbound"],
    &["store"],
    &["config", "key_files", "drain", "clock"],
];

/// Holds every part, and is what handlers are given: its circle with the HTTP layers is meant, and no part may know it.
const HOLDER: &str = "app";

/// The folder whose modules have layers.
const FOLDER: &str = "homeserver/src/";

/// How far down a module lies; `None` if nobody has said.
fn depth(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// The module at the crate's root that a file belongs to; the crate's roots themselves may use everything.
fn module_of(path: &str) -> Option<&str> {
    let inside = path.strip_prefix(FOLDER)?;
    let module = inside.split('/').next()?.trim_end_matches(".rs");
    (!["lib", "main"].contains(&module)).then_some(module)
}

/// Complaints about uses that point up, modules without a layer, and circles.
fn check(sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources.iter().filter(|source| !source.is_test()) {
        let Some(from) = module_of(&source.path) else {
            continue;
        };
        let Some(from_depth) = depth(from) else {
            complaints.push(source.complaint(1, &format!("the module `{from}` has no layer")));
            continue;
        };
        source.each(|_, tokens| {
            if !is_word(tokens.first(), "crate") || !is_path_separator(&tokens[1..]) {
                return;
            }
            for to in branches(&tokens[3..]) {
                // What is no module of the crate's root is an item that it re-exports: no layer, no complaint.
                let Some(to_depth) = depth(&to) else { continue };
                if to_depth < from_depth {
                    complaints.push(source.complaint(
                        line(&tokens[0]),
                        &format!("`{from}` lies below `{to}` and may not use it"),
                    ));
                }
                if to != from && to != HOLDER && from != HOLDER {
                    edges.entry(from.to_owned()).or_default().insert(to);
                }
            }
        });
    }
    complaints.extend(circles(&edges));
    complaints
}

/// A complaint for each pair of modules that reach each other.
fn circles(edges: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let reach = |from: &str| {
        let mut seen = BTreeSet::new();
        let mut open = vec![from.to_owned()];
        while let Some(module) = open.pop() {
            open.extend(
                edges
                    .get(&module)
                    .into_iter()
                    .flatten()
                    .filter(|next| seen.insert((*next).clone()))
                    .cloned(),
            );
        }
        seen
    };
    let pairs = edges
        .keys()
        .flat_map(|from| reach(from).into_iter().map(move |to| (from, to)));
    let mutual = pairs.filter(|(from, to)| *from < to && reach(to).contains(*from));
    mutual
        .map(|(from, to)| format!("{FOLDER}: `{from}` and `{to}` use each other"))
        .collect()
}

#[test]
fn dependencies_point_down() {
    expect_none(&check(&workspace_sources()));
}

#[test]
fn a_use_that_points_up_is_found() {
    let upward = Source::new(
        "homeserver/src/store/rooms.rs",
        "//! x\nuse crate::{config::Config, http::error::Answer};",
    );
    assert_eq!(
        check(&[upward]),
        ["homeserver/src/store/rooms.rs:2: `store` lies below `http` and may not use it"]
    );
    let in_macro = Source::new(
        "homeserver/src/clock.rs",
        "//! x\nfn a() { select!(crate::store::open()) }",
    );
    assert_eq!(
        check(&[in_macro]),
        ["homeserver/src/clock.rs:2: `clock` lies below `store` and may not use it"]
    );
}

#[test]
fn a_test_may_use_what_is_above_its_subject() {
    let test = Source::new("homeserver/src/client/tests.rs", "use crate::router;");
    assert_eq!(check(&[test]), Vec::<String>::new());
}

#[test]
fn a_circle_within_a_layer_is_found() {
    let rooms = Source::new(
        "homeserver/src/rooms/join.rs",
        "use crate::accounts::Accounts;",
    );
    let accounts = Source::new(
        "homeserver/src/accounts.rs",
        "fn a() { crate::rooms::leave() }",
    );
    assert_eq!(
        check(&[rooms, accounts]),
        ["homeserver/src/: `accounts` and `rooms` use each other"]
    );
}

#[test]
fn a_module_without_a_layer_is_found() {
    let unknown = Source::new("homeserver/src/helpers.rs", "//! x");
    assert_eq!(
        check(&[unknown]),
        ["homeserver/src/helpers.rs:1: the module `helpers` has no layer"]
    );
}
