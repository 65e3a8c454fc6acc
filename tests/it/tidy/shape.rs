//! The shape of files and functions: short, with a header, finished.

use proc_macro2::{Delimiter, TokenTree};

use super::{
    expect_none,
    source::{Source, is_sign, is_word, line},
    workspace_sources,
};

/// The most lines that a file may have.
const FILE_LINES_MAX: usize = 500;

/// The most lines that a function may have, from `fn` to its closing brace.
const FUNCTION_LINES_MAX: usize = 70;

/// Complaints about a whole file.
fn check_file(source: &Source) -> Vec<String> {
    let mut complaints = Vec::new();
    if !source.text.starts_with("//! ") {
        complaints.push(source.complaint(
            1,
            "a file opens with `//!`: its purpose and what always holds",
        ));
    }
    if source.path.ends_with("/mod.rs") {
        complaints.push(source.complaint(1, "a module `a` lies in `a.rs`, never in `a/mod.rs`"));
    }
    let lines = source.text.lines().count();
    if lines > FILE_LINES_MAX {
        complaints
            .push(source.complaint(lines, &format!("a file has at most {FILE_LINES_MAX} lines")));
    }
    complaints
}

/// Complaints about an endpoint that does not say where the specification describes it.
fn check_endpoint(source: &Source) -> Vec<String> {
    let areas = ["homeserver/src/client/", "homeserver/src/federation/"];
    let inside = areas.iter().find_map(|area| source.path.strip_prefix(area));
    let is_endpoint = inside.is_some_and(|path| path.contains('/')) && !source.is_test();
    let header: String = source
        .text
        .lines()
        .take_while(|line| line.starts_with("//!"))
        .collect();
    // What is proposed has its proposal; endpoints of our own have a name that says so.
    let says = [
        "https://spec.matrix.org/",
        "https://github.com/matrix-org/matrix-spec-proposals/pull/",
        "/_passeur/",
        "org.passeur",
    ]
    .iter()
    .any(|place| header.contains(place));
    if is_endpoint && !says {
        return vec![source.complaint(
            1,
            "an endpoint's header links its section of the specification",
        )];
    }
    Vec::new()
}

/// Complaints about functions that are too long.
fn check_functions(source: &Source) -> Vec<String> {
    let mut complaints = Vec::new();
    source.each(|_, tokens| {
        let [word, TokenTree::Ident(name), rest @ ..] = tokens else {
            return;
        };
        if !is_word(Some(word), "fn") {
            return;
        }
        let end = rest.iter().find_map(|token| match token {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                Some(Some(group.span_close().end().line))
            }
            TokenTree::Punct(punct) if punct.as_char() == ';' => Some(None),
            _ => None,
        });
        // Without a body it is a declaration.
        let Some(Some(end)) = end else { return };
        let lines = end + 1 - line(word);
        if lines > FUNCTION_LINES_MAX {
            let what =
                format!("`{name}` has {lines} lines, at most {FUNCTION_LINES_MAX} are readable");
            complaints.push(source.complaint(line(word), &what));
        }
    });
    complaints
}

/// Complaints about what is not finished: ignored tests and code to come.
fn check_finished(source: &Source) -> Vec<String> {
    let mut complaints = Vec::new();
    source.each(|_, tokens| {
        if let [sign, TokenTree::Group(group), ..] = tokens
            && is_sign(Some(sign), '#')
            && is_word(group.stream().into_iter().next().as_ref(), "ignore")
        {
            complaints.push(source.complaint(line(sign), "a test is run or deleted, not ignored"));
        }
        if is_sign(tokens.get(1), '!')
            && ["todo", "unimplemented"]
                .iter()
                .any(|word| is_word(tokens.first(), word))
        {
            complaints.push(source.complaint(line(&tokens[0]), "code is finished or absent"));
        }
    });
    complaints
}

#[test]
fn files_have_a_header_and_end_in_time() {
    expect_none(
        &workspace_sources()
            .iter()
            .flat_map(check_file)
            .collect::<Vec<_>>(),
    );
}

#[test]
fn endpoints_link_the_specification() {
    expect_none(
        &workspace_sources()
            .iter()
            .flat_map(check_endpoint)
            .collect::<Vec<_>>(),
    );
}

#[test]
fn functions_are_short() {
    expect_none(
        &workspace_sources()
            .iter()
            .flat_map(check_functions)
            .collect::<Vec<_>>(),
    );
}

#[test]
fn everything_is_finished() {
    expect_none(
        &workspace_sources()
            .iter()
            .flat_map(check_finished)
            .collect::<Vec<_>>(),
    );
}

#[test]
fn a_file_out_of_shape_is_found() {
    let bare = Source::new("sdk/src/room/mod.rs", "use std::fmt;");
    assert_eq!(check_file(&bare).len(), 2);
    let long = Source::new(
        "sdk/src/room.rs",
        &format!("//! A room.{}", "\n".repeat(FILE_LINES_MAX + 1)),
    );
    assert_eq!(check_file(&long).len(), 1);
    let good = Source::new(
        "sdk/src/room.rs",
        &format!("//! A room.{}", "\n".repeat(FILE_LINES_MAX)),
    );
    assert_eq!(check_file(&good), Vec::<String>::new());
}

#[test]
fn an_endpoint_without_a_link_is_found() {
    let check = |path: &str, header: &str| check_endpoint(&Source::new(path, header)).len();
    assert_eq!(
        check(
            "homeserver/src/client/room/create_room.rs",
            "//! Makes a room."
        ),
        1
    );
    assert_eq!(
        check(
            "homeserver/src/client/room/create_room.rs",
            "//! See <https://spec.matrix.org/v1.19/>."
        ),
        0
    );
    assert_eq!(check("homeserver/src/client/room.rs", "//! Rooms."), 0);
}

#[test]
fn a_long_function_is_found() {
    let check = |lines: usize| {
        let text = format!(
            "trait A {{ fn b(); }}\nimpl C {{ fn d(e: [u8; 3]) -> fn() {{{}}} }}",
            "\n".repeat(lines - 1)
        );
        check_functions(&Source::new("a.rs", &text)).len()
    };
    assert_eq!(check(FUNCTION_LINES_MAX), 0);
    assert_eq!(check(FUNCTION_LINES_MAX + 1), 1);
}

#[test]
fn unfinished_code_is_found() {
    let check = |text: &str| check_finished(&Source::new("a.rs", text)).len();
    assert_eq!(check("#[test]\n#[ignore]\nfn a() {}"), 1);
    assert_eq!(check("#[ignore = \"slow\"]\nfn a() {}"), 1);
    assert_eq!(check("fn a() { todo!() }"), 1);
    assert_eq!(check("fn a() { vec![unimplemented!(\"b\")] }"), 1);
    assert_eq!(check("fn ignore() { /* todo!() */ \"todo!()\" }"), 0);
}
