//! What is wrong with a configuration, where, and what to do about it.
//!
//! Invariant: a message names the key and the remedy and never repeats a secret.

use std::{fmt, path::PathBuf};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key, its parts joined by dots; the number of an array's element counts from 0. Empty if the file as a whole is meant.
    pub key: String,
    /// What is wrong and what to do: a sentence that reads on from the key.
    pub message: String,
    /// Line of the file, from 1, if the key is there.
    pub line: Option<usize>,
    /// The environment variable that set it, if one did.
    pub variable: Option<String>,
}

/// Collects what sections find.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems {
    /// In the order found.
    found: Vec<Problem>,
}

impl Problems {
    /// Notes that `key` is wrong.
    pub fn add(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.found.push(Problem {
            key: key.into(),
            message: message.into(),
            line: None,
            variable: None,
        });
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The problems, to be placed and shown.
    #[must_use]
    pub fn into_vec(self) -> Vec<Problem> {
        self.found
    }
}

/// A configuration that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// The file that was read.
    pub file: PathBuf,
    /// At least one problem.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    /// One line a problem, as compilers write them: `file:line: key message`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            match (&problem.variable, problem.line) {
                (Some(variable), _) => write!(f, "environment variable {variable}: ")?,
                (None, Some(line)) => write!(f, "{}:{line}: ", self.file.display())?,
                (None, None) => write!(f, "{}: ", self.file.display())?,
            }
            if !problem.key.is_empty() {
                write!(f, "{} ", problem.key)?;
            }
            f.write_str(&problem.message)?;
        }
        Ok(())
    }
}
