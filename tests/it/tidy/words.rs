//! The project speaks of itself alone: no path of a machine it was written on, no word of a tool that nobody else has.

use super::{expect_none, source::workspace_files};

/// What no file may contain. Written in halves, so that this file does not.
const FORBIDDEN: [&str; 5] = [
    concat!("/wo", "rk/"),
    concat!("fa", "rm-"),
    concat!(".lib", "rary"),
    concat!("iss", "ue #"),
    concat!("before", "-stop"),
];

/// Complaints about one file.
fn check(path: &str, text: &str) -> Vec<String> {
    let found = |line: &str| {
        FORBIDDEN
            .iter()
            .find(|word| line.to_lowercase().contains(*word))
    };
    let lines = text.lines().enumerate();
    lines
        .filter_map(|(at, line)| Some(format!("{path}:{}: contains `{}`", at + 1, found(line)?)))
        .collect()
}

#[test]
fn the_project_speaks_of_itself_alone() {
    expect_none(
        &workspace_files()
            .iter()
            .flat_map(|(path, text)| check(path, text))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn a_foreign_word_is_found() {
    assert_eq!(
        check("README.md", concat!("one\nsee /wo", "rk/main")).len(),
        1
    );
    assert_eq!(check("a.rs", concat!("// Iss", "ue #2 says so")).len(), 1);
    assert_eq!(check("a.rs", "// fine"), Vec::<String>::new());
}
