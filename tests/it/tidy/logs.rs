//! What a line of log may hold: a text that is the same each time, and fields of known names, none of which is for ids,
//! addresses or words of people. What they hold all the same is scrubbed as it is written.

use proc_macro2::TokenTree;

use super::{
    expect_none,
    source::{Source, is_sign, line},
    workspace_sources,
};

/// What lines of log are made with.
const MACROS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// The fields that a line may have: how often, how long, how much, of which kind, and what a program says went wrong.
const FIELDS: [&str; 18] = [
    "attempt", "bytes", "count", "error", "is_clear", "kind", "lag_ms", "method", "missed", "ms",
    "place", "port", "posted", "problems", "reason", "route", "section", "status",
];

/// Complaints about lines of log outside of tests.
fn check(source: &Source) -> Vec<String> {
    let tests = source.text.find("#[cfg(test)]\nmod tests {");
    let lines = tests.map_or(usize::MAX, |at| source.text[..at].lines().count());
    let mut complaints = Vec::new();
    source.each(|_, tokens| {
        if let [
            TokenTree::Ident(name),
            sign,
            TokenTree::Group(arguments),
            ..,
        ] = tokens
            && MACROS.iter().any(|makes| name == makes)
            && is_sign(Some(sign), '!')
            && line(&tokens[0]) <= lines
        {
            let arguments: Vec<TokenTree> = arguments.stream().into_iter().collect();
            for what in complaints_of(&arguments) {
                complaints.push(source.complaint(line(&tokens[0]), &what));
            }
        }
    });
    complaints
}

/// What is wrong with the arguments of a line.
fn complaints_of(arguments: &[TokenTree]) -> Vec<String> {
    let mut complaints = Vec::new();
    let arguments = arguments.split(|token| is_sign(Some(token), ','));
    for argument in arguments.filter(|argument| !argument.is_empty()) {
        let argument = match argument {
            [sign, rest @ ..] if is_sign(Some(sign), '%') || is_sign(Some(sign), '?') => rest,
            argument => argument,
        };
        match argument {
            [TokenTree::Ident(field)] if FIELDS.iter().any(|known| field == known) => {}
            [TokenTree::Ident(field), sign, ..]
                if is_sign(Some(sign), '=') && FIELDS.iter().any(|known| field == known) => {}
            [TokenTree::Literal(text)] if !text.to_string().contains('{') => {}
            [TokenTree::Literal(_)] => complaints.push("the text of a line is constant".to_owned()),
            [TokenTree::Ident(field), ..] => {
                complaints.push(format!("`{field}` is no field that a line may have"));
            }
            _ => complaints.push("a line has fields by name and a text".to_owned()),
        }
    }
    complaints
}

/// What runs for users; tests and tools say what they like.
fn is_product(source: &Source) -> bool {
    let tools = ["xtask/", "tests/"];
    !source.is_test() && !tools.iter().any(|tool| source.path.starts_with(tool))
}

#[test]
fn lines_of_log_have_known_fields() {
    let sources = workspace_sources();
    let product = sources.iter().filter(|source| is_product(source));
    expect_none(&product.flat_map(check).collect::<Vec<_>>());
}

#[test]
fn a_line_that_names_somebody_is_found() {
    let complaints = |line: &str| {
        let text = format!("fn a() {{ tracing::warn!({line}); }}");
        check(&Source::new("homeserver/src/a.rs", &text)).len()
    };
    assert_eq!(complaints("%error, count = list.len(), \"so many\""), 0);
    assert_eq!(complaints("%user_id, \"somebody came\""), 1);
    assert_eq!(complaints("room = %room_id, \"a room\""), 1);
    assert_eq!(complaints("\"somebody came: {user_id}\""), 1);
    assert_eq!(complaints("\"somebody came: {}\", user_id"), 2);
    assert_eq!(complaints("error = %self.0, user.name, \"no\""), 1);
}
