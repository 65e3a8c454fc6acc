//! A document that names a test names one that is there.

use std::collections::BTreeSet;

use super::{
    expect_none,
    source::{Source, workspace_files},
    workspace_sources,
};

/// The documents that say which test shows what.
const DOCUMENTS: [&str; 2] = ["docs/adversaries.md", "docs/expiry.md"];

/// The names of functions in a file.
fn functions(source: &Source) -> BTreeSet<String> {
    let words = |line: &str| {
        let name = line.split("fn ").nth(1)?;
        let end = name.find(|c: char| !c.is_alphanumeric() && c != '_')?;
        Some(name[..end].to_owned())
    };
    source.text.lines().filter_map(words).collect()
}

/// Complaints about a document, which writes the beginning of a test's name as `` `so_it_begins_…` ``.
fn check(path: &str, text: &str, names: &BTreeSet<String>) -> Vec<String> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted
        .filter_map(|name| name.strip_suffix('…'))
        .filter(|begin| !begin.is_empty() && begin.chars().all(|c| c.is_alphanumeric() || c == '_'))
        .filter(|begin| !names.iter().any(|name| name.starts_with(begin)))
        .map(|begin| format!("{path}: no test begins with `{begin}`"))
        .collect()
}

#[test]
fn tests_that_documents_name_are_there() {
    let names: BTreeSet<String> = workspace_sources().iter().flat_map(functions).collect();
    let files = workspace_files();
    let documents = files
        .iter()
        .filter(|(path, _)| DOCUMENTS.contains(&path.as_str()));
    let complaints: Vec<_> = documents
        .flat_map(|(path, text)| check(path, text, &names))
        .collect();
    expect_none(&complaints);
}

#[test]
fn a_name_of_nothing_is_found() {
    let source = Source::new("a.rs", "async fn a_door_is_shut_at_night() {}");
    let names = functions(&source);
    assert!(check("a.md", "| `a_door_is_shut_…` |", &names).is_empty());
    assert_eq!(check("a.md", "`x.rs` `a_door_is_open_…`", &names).len(), 1);
}
