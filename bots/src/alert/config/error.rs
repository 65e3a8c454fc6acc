//! What is wrong with a configuration, said so that its author can mend it.
//!
//! Invariant: a mistake in the file names the file and the line; an unknown key also the nearest valid one.

use std::{
    io,
    path::{Path, PathBuf},
};

/// The furthest that a key may be from a valid one to be taken for a slip of the pen, in edits.
const EDITS_MAX: usize = 5;

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// The system's word.
        error: io::Error,
    },
    /// The file is not TOML, or has an unknown key, or a value of the wrong kind.
    #[error("{}, line {line}: {problem}", path.display())]
    InFile {
        /// Which file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong, in one line.
        problem: String,
    },
    /// An environment variable names no key, or has a value of the wrong kind.
    #[error("{name}: {problem}")]
    InEnvironment {
        /// The variable.
        name: String,
        /// What is wrong, in one line.
        problem: String,
    },
    /// A key that is needed is neither in the file nor in the environment.
    #[error("{key} is missing")]
    Missing {
        /// Section and key.
        key: &'static str,
    },
    /// Keys that do not go together.
    #[error("{0}")]
    Contradiction(&'static str),
    /// A file that should be written is there already.
    #[error("{} is there already; it is never overwritten", .0.display())]
    Exists(PathBuf),
    /// A file cannot be written.
    #[error("cannot write {}: {error}", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// The system's word.
        error: io::Error,
    },
}

impl ConfigError {
    pub(super) fn in_file(path: &Path, text: &str, error: &toml::de::Error) -> Self {
        let start = error.span().map_or(0, |span| span.start.min(text.len()));
        let line = text.as_bytes()[..start]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
            + 1;
        Self::InFile {
            path: path.to_owned(),
            line,
            problem: problem(error.message()),
        }
    }

    pub(super) fn in_environment(name: &str, error: &toml::de::Error) -> Self {
        Self::InEnvironment {
            name: name.to_owned(),
            problem: problem(error.message()),
        }
    }
}

/// One line; serde lists the valid keys in backticks after the unknown one, of which the nearest is named.
fn problem(message: &str) -> String {
    let line = message.lines().collect::<Vec<_>>().join(" ");
    if !line.starts_with("unknown field") && !line.starts_with("unknown variant") {
        return line;
    }
    let mut quoted = line.split('`').skip(1).step_by(2);
    let Some(unknown) = quoted.next() else {
        return line;
    };
    let nearest = quoted
        .map(|valid| (strsim::damerau_levenshtein(unknown, valid), valid))
        .filter(|(edits, _)| *edits <= EDITS_MAX)
        .min();
    match nearest {
        Some((_, valid)) => format!("`{unknown}` is not known here; did you mean `{valid}`?"),
        None => line,
    }
}
