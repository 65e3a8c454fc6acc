//! Source files as the rules see them: path, text, tokens with their lines.
//!
//! Tokens, not a syntax tree: a macro's arguments are seen like everything else, and comments and strings are not code.

use std::{
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// One Rust file.
pub(super) struct Source {
    /// Path from the workspace's root, with slashes.
    pub(super) path: String,
    /// The whole text.
    pub(super) text: String,
    /// The text as tokens.
    tokens: TokenStream,
}

impl Source {
    /// Parses a file; panics if its text is not made of Rust tokens.
    pub(super) fn new(path: &str, text: &str) -> Self {
        let tokens = text
            .parse()
            .unwrap_or_else(|error| panic!("{path}: {error}"));
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            tokens,
        }
    }

    /// Calls `look` at every token with the token itself and those after it in the same group, and the one before.
    pub(super) fn each(&self, mut look: impl FnMut(Option<&TokenTree>, &[TokenTree])) {
        walk(self.tokens.clone(), &mut look);
    }

    /// Whether the file holds nothing but tests, which may use what their subject may not.
    pub(super) fn is_test(&self) -> bool {
        self.path.starts_with("tests/")
            || self.path.ends_with("/tests.rs")
            || self.path.contains("/tests/")
            || self.path.ends_with("/testing.rs")
            || self.path.contains("/benches/")
    }

    /// A complaint about one line of this file.
    pub(super) fn complaint(&self, line: usize, what: &str) -> String {
        format!("{}:{line}: {what}", self.path)
    }
}

fn walk(tokens: TokenStream, look: &mut impl FnMut(Option<&TokenTree>, &[TokenTree])) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for at in 0..tokens.len() {
        look(
            at.checked_sub(1).map(|before| &tokens[before]),
            &tokens[at..],
        );
        if let TokenTree::Group(group) = &tokens[at] {
            walk(group.stream(), look);
        }
    }
}

/// Whether the token is this word.
pub(super) fn is_word(token: Option<&TokenTree>, word: &str) -> bool {
    matches!(token, Some(TokenTree::Ident(ident)) if *ident == word)
}

/// Whether the token is this sign.
pub(super) fn is_sign(token: Option<&TokenTree>, sign: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == sign)
}

/// Whether the tokens begin with `::`.
pub(super) fn is_path_separator(tokens: &[TokenTree]) -> bool {
    is_sign(tokens.first(), ':') && is_sign(tokens.get(1), ':')
}

/// The token's line, counted from 1.
pub(super) fn line(token: &TokenTree) -> usize {
    token.span().start().line
}

/// What follows `crate::` at the head of `tokens`: one name, or the first name of each branch of a braced list.
pub(super) fn branches(tokens: &[TokenTree]) -> Vec<String> {
    match tokens.first() {
        Some(TokenTree::Ident(name)) => vec![name.to_string()],
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
            let inner: Vec<TokenTree> = group.stream().into_iter().collect();
            inner
                .split(|token| is_sign(Some(token), ','))
                .flat_map(branches)
                .collect()
        }
        _ => Vec::new(),
    }
}

/// The root of the workspace.
pub(super) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap()
}

/// Every text file of the workspace with its path from the root; what git or cargo keep for themselves is left out.
pub(super) fn workspace_files() -> Vec<(String, String)> {
    let root = workspace();
    let mut files = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if [".git", "target", "node_modules", "__pycache__"].contains(&name.as_str()) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = fs::read_to_string(&path) {
                files.push((
                    path.strip_prefix(&root)
                        .unwrap()
                        .to_string_lossy()
                        .into_owned(),
                    text,
                ));
            }
        }
    }
    files.sort();
    files
}
