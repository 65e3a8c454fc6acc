//! From a file and the environment to a checked configuration.
//!
//! Invariant: every error says where it is: the line of the file, or the variable. Variables are laid on one at a time, so that the
//! one to blame is known, and each takes the type of its target: it is read as a string first, then as a TOML value.

use std::{collections::BTreeMap, ops::Range, path::Path};

use serde::Deserialize;
use toml::{
    Table, Value,
    de::{DeTable, DeValue},
};

use super::{Config, ConfigError, ConfigFile, problem::Problem};

/// What the name of an overriding variable begins with, and what separates its parts.
const PREFIX: &str = "PASSEUR__";

/// See [`Config::load`].
pub(super) fn load(
    file: &Path,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Config, ConfigError> {
    let fail = |problems| ConfigError {
        file: file.to_owned(),
        problems,
    };
    let text = std::fs::read_to_string(file).map_err(|error| {
        fail(vec![whole_file(format!(
            "cannot be read: {error}; `passeur init` writes a new one"
        ))])
    })?;
    parse(&text, file, environment).map_err(fail)
}

/// The same from the file's text.
pub(super) fn parse(
    text: &str,
    file: &Path,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Config, Vec<Problem>> {
    let written: ConfigFile = toml::from_str(text).map_err(|error| vec![in_text(text, &error)])?;
    let table: Table = toml::from_str(text).map_err(|error| vec![in_text(text, &error)])?;
    let (written, variables) = overlay(written, table, environment)?;
    let folder = file.parent().unwrap_or(Path::new(""));
    Config::assemble(written, folder).map_err(|problems| {
        let mut problems = problems.into_vec();
        for problem in &mut problems {
            problem.variable = variables
                .iter()
                .find(|(key, _)| is_at(&problem.key, key))
                .map(|(_, name)| name.clone());
            problem.line = line_of_key(text, &problem.key);
        }
        problems
    })
}

/// Whether a key is another one or a part of what that holds.
fn is_at(key: &str, holder: &str) -> bool {
    let rest = key.strip_prefix(holder);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Lays the variables over the file, in the order of their names; gives the keys that they set.
fn overlay(
    mut written: ConfigFile,
    mut table: Table,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<(ConfigFile, BTreeMap<String, String>), Vec<Problem>> {
    let overriding = |(name, value): (String, String)| {
        let key = name.strip_prefix(PREFIX)?.to_lowercase().replace("__", ".");
        Some((key, (name, value)))
    };
    let overrides: BTreeMap<String, (String, String)> =
        environment.into_iter().filter_map(overriding).collect();
    let mut names = BTreeMap::new();
    for (key, (name, value)) in overrides {
        let refuse = |message: String| {
            vec![Problem {
                key: String::new(),
                message,
                line: None,
                variable: Some(name.clone()),
            }]
        };
        (written, table) = lay(&table, &key, &value).map_err(|error| refuse(explain(&error)))?;
        names.insert(key, name);
    }
    Ok((written, names))
}

/// Sets one key to what a variable says.
fn lay(table: &Table, key: &str, value: &str) -> Result<(ConfigFile, Table), String> {
    let with = |value: Value| {
        let mut table = table.clone();
        set(&mut table, key, value)?;
        let written =
            ConfigFile::deserialize(table.clone()).map_err(|error| error.message().to_owned())?;
        Ok((written, table))
    };
    with(Value::String(value.to_owned())).or_else(|as_string: String| {
        let parsed = toml::from_str::<Table>(&format!("value = {value}"))
            .ok()
            .and_then(|mut table| table.remove("value"));
        parsed.map_or(Err(as_string), with)
    })
}

/// Puts `value` at a key of dotted parts, making the tables on the way.
fn set(table: &mut Table, key: &str, value: Value) -> Result<(), String> {
    let Some((first, rest)) = key.split_once('.') else {
        table.insert(key.to_owned(), value);
        return Ok(());
    };
    let child = table
        .entry(first.to_owned())
        .or_insert_with(|| Value::Table(Table::new()));
    match child {
        Value::Table(child) => set(child, rest, value),
        Value::Array(elements) => {
            let (index, rest) = rest
                .split_once('.')
                .ok_or_else(|| format!("`{key}` names an element but none of its keys"))?;
            let element = index
                .parse()
                .ok()
                .and_then(|index: usize| elements.get_mut(index))
                .and_then(Value::as_table_mut);
            set(
                element.ok_or_else(|| {
                    format!("`{first}` has no element {index}; they count from 0")
                })?,
                rest,
                value,
            )
        }
        _ => Err(format!("`{first}` is no section")),
    }
}

/// A problem of the file as a whole.
fn whole_file(message: String) -> Problem {
    Problem {
        key: String::new(),
        message,
        line: None,
        variable: None,
    }
}

/// A problem that the TOML reader found.
fn in_text(text: &str, error: &toml::de::Error) -> Problem {
    Problem {
        line: error.span().map(|span| line_of(text, &span)),
        ..whole_file(explain(error.message()))
    }
}

/// Adds the nearest valid name to serde's message about an unknown one.
fn explain(message: &str) -> String {
    let Some((unknown, expected)) = ["unknown field ", "unknown variant "]
        .into_iter()
        .find_map(|kind| message.strip_prefix(kind))
        .and_then(|rest| rest.split_once(", "))
    else {
        return message.to_owned();
    };
    let unknown = unknown.trim_matches('`');
    // serde puts every valid name between backticks.
    let nearest = expected.split('`').skip(1).step_by(2).max_by(|a, b| {
        strsim::jaro_winkler(unknown, a).total_cmp(&strsim::jaro_winkler(unknown, b))
    });
    match nearest {
        Some(nearest) => {
            format!("`{unknown}` is not known here; did you mean `{nearest}`? ({expected})")
        }
        None => format!("`{unknown}` is not known here"),
    }
}

/// The line, from 1, on which a span begins.
fn line_of(text: &str, span: &Range<usize>) -> usize {
    text.bytes()
        .take(span.start)
        .filter(|&byte| byte == b'\n')
        .count()
        + 1
}

/// The line of a key of dotted parts, or of the deepest part of it that is in the file.
fn line_of_key(text: &str, key: &str) -> Option<usize> {
    let document = DeTable::parse(text).ok()?;
    let mut parts = key.split('.');
    let (name, mut value) = document.get_ref().get_key_value(parts.next()?)?;
    let mut span = name.span();
    for part in parts {
        value = match value.get_ref() {
            DeValue::Table(table) => match table.get_key_value(part) {
                Some((name, value)) => {
                    span = name.span();
                    value
                }
                None => break,
            },
            DeValue::Array(elements) => match part
                .parse()
                .ok()
                .and_then(|index: usize| elements.get(index))
            {
                Some(element) => {
                    span = element.span();
                    element
                }
                None => break,
            },
            _ => break,
        };
    }
    Some(line_of(text, &span))
}
