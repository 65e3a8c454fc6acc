//! Tidiness is a test: the rules that keep the source navigable, each beside a text that breaks it.
//!
//! A rule is a function from source files to complaints. Its first test holds the whole workspace to it, its second
//! shows that it can fail.

use source::{Source, workspace_files};

mod imports;
mod layers;
mod logs;
mod names;
mod packages;
mod shape;
mod source;
mod sql;
mod words;

/// Fails with all `complaints`, one a line.
fn expect_none(complaints: &[String]) {
    assert!(
        complaints.is_empty(),
        "{} complaints:\n{}",
        complaints.len(),
        complaints.join("\n")
    );
}

/// Every Rust file of the workspace, parsed.
fn workspace_sources() -> Vec<Source> {
    let files = workspace_files();
    files
        .into_iter()
        .filter(|(path, _)| path.ends_with(".rs"))
        .map(|(path, text)| Source::new(&path, &text))
        .collect()
}
