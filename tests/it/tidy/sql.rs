//! No SQL from formatted strings: what a statement takes, it takes as a bound value.

use proc_macro2::TokenTree;

use super::{
    expect_none,
    source::{Source, is_sign, is_word, line},
    workspace_sources,
};

/// Functions that take raw SQL.
const RAW: [&str; 6] = [
    "from_string",
    "from_sql_and_values",
    "execute_unprepared",
    "cust",
    "cust_with_values",
    "raw_sql",
];

/// How SQL begins.
const VERBS: [&str; 10] = [
    "SELECT ",
    "INSERT ",
    "UPDATE ",
    "DELETE ",
    "CREATE ",
    "DROP ",
    "ALTER ",
    "WITH ",
    "MERGE ",
    "REPLACE INTO ",
];

/// Complaints about formatted text where SQL is expected, and about formatted text that looks like SQL.
fn check(source: &Source) -> Vec<String> {
    let mut complaints = Vec::new();
    source.each(|_, tokens| {
        if let [TokenTree::Ident(name), TokenTree::Group(arguments), ..] = tokens
            && RAW.iter().any(|raw| name == raw)
            && formats(arguments.stream())
        {
            complaints
                .push(source.complaint(line(&tokens[0]), "SQL is a literal; values are bound"));
        }
        if let [TokenTree::Ident(_), sign, TokenTree::Group(arguments), ..] = tokens
            && is_word(tokens.first(), "format")
            && is_sign(Some(sign), '!')
            && let Some(TokenTree::Literal(text)) = arguments.stream().into_iter().next()
        {
            let text = text.to_string();
            let text = text
                .trim_start_matches(['r', '#', '"', ' ', '\\', 'n'])
                .to_uppercase();
            if VERBS.iter().any(|verb| text.starts_with(verb)) && text.contains('{') {
                complaints
                    .push(source.complaint(line(&tokens[0]), "SQL is a literal; values are bound"));
            }
        }
    });
    complaints
}

/// Whether anything in the tokens is put together at run time.
fn formats(tokens: proc_macro2::TokenStream) -> bool {
    tokens.into_iter().any(|token| match &token {
        TokenTree::Ident(word) => *word == "format",
        TokenTree::Group(group) => formats(group.stream()),
        TokenTree::Punct(sign) => sign.as_char() == '+',
        TokenTree::Literal(_) => false,
    })
}

/// What only tests and tools do to databases of their own is left alone.
fn is_product(source: &Source) -> bool {
    !source.is_test() && !source.path.starts_with("xtask/")
}

#[test]
fn sql_is_never_formatted() {
    let sources = workspace_sources();
    expect_none(
        &sources
            .iter()
            .filter(|source| is_product(source))
            .flat_map(check)
            .collect::<Vec<_>>(),
    );
}

#[test]
fn formatted_sql_is_found() {
    let complaints = |text: &str| check(&Source::new("homeserver/src/store/a.rs", text)).len();
    assert_eq!(
        complaints("fn a() { Statement::from_string(b, format!(\"PRAGMA {c}\")); }"),
        1
    );
    assert_eq!(
        complaints("fn a() { let q = format!(\"select x from {t}\"); }"),
        1
    );
    assert_eq!(
        complaints("fn a() { db.execute_unprepared(&(\"PRAGMA \".to_owned() + b)); }"),
        1
    );
    assert_eq!(
        complaints("fn a() { Statement::from_sql_and_values(b, \"SELECT 1 + $1\", [c]); }"),
        0
    );
}
