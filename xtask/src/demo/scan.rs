//! Searches files for traces of a text, byte by byte, whatever program they belong to.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// How many bytes of the text in a row are a trace of it.
const PIECE_BYTES: usize = 32;

/// Every file below `folder` that holds a trace of `text`: any of its pieces of [`PIECE_BYTES`], so that a text that a
/// database has split over pages is found as well.
pub(crate) fn files_with(folder: &Path, text: &str) -> Result<Vec<PathBuf>, String> {
    let pieces: Vec<&[u8]> = text.as_bytes().chunks_exact(PIECE_BYTES).collect();
    if pieces.is_empty() {
        return Err(format!(
            "a text of {} bytes is too short to search for",
            text.len()
        ));
    }
    let mut starts = [false; 256];
    for first in pieces.iter().filter_map(|piece| piece.first()) {
        starts[usize::from(*first)] = true;
    }
    let mut found = Vec::new();
    for file in files(folder).map_err(|error| format!("{}: {error}", folder.display()))? {
        let bytes = match fs::read(&file) {
            // A database's journal may go at any moment, and what is gone holds nothing.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            bytes => bytes.map_err(|error| format!("{}: {error}", file.display()))?,
        };
        let is_trace = |at: usize| pieces.iter().any(|piece| bytes[at..].starts_with(piece));
        let mut places = bytes.iter().enumerate();
        if places.any(|(at, byte)| starts[usize::from(*byte)] && is_trace(at)) {
            found.push(file);
        }
    }
    Ok(found)
}

/// An error if a text that was only ever sent encrypted is in a file below `folder`.
pub(crate) fn expect_none(folder: &Path, text: &str) -> Result<(), String> {
    match files_with(folder, text)?.first() {
        None => Ok(()),
        Some(file) => Err(format!(
            "a text that was sent encrypted is in {}",
            file.display()
        )),
    }
}

/// Every file below `folder`.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => open.push(entry.path()),
                Ok(_) => found.push(entry.path()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "AwgAEpAB0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

    /// The names of the files with a trace among files with these contents.
    fn traces(files: &[(&str, &[u8])]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("below")).unwrap();
        for (name, content) in files {
            fs::write(folder.path().join(name), content).unwrap();
        }
        let found = files_with(folder.path(), TEXT).unwrap();
        let mut names: Vec<String> = found
            .iter()
            .map(|path| {
                path.strip_prefix(folder.path())
                    .unwrap()
                    .display()
                    .to_string()
            })
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_text_and_half_of_it_are_found_in_any_folder() {
        let whole = format!("\u{0}before{TEXT}after");
        let half = &TEXT.as_bytes()[PIECE_BYTES..];
        let found = traces(&[
            ("whole", whole.as_bytes()),
            ("below/half", half),
            ("prefix", &TEXT.as_bytes()[..PIECE_BYTES - 1]),
            ("other", b"nothing of it"),
        ]);
        assert_eq!(found, ["below/half", "whole"]);
    }

    #[test]
    fn a_text_that_proves_nothing_is_refused() {
        assert!(files_with(Path::new("."), "short").is_err());
    }
}
