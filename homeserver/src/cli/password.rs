//! Where a command gets a password from: standard input or a file.
//!
//! Invariant: it is wiped after use and is never an argument.

use std::{
    fs::File,
    io::{BufRead, BufReader, IsTerminal, Read, Write},
    path::PathBuf,
};

use clap::Args;
use zeroize::Zeroizing;

use super::Failure;

/// Longest line that is read, in bytes; what is longer is no password that the server takes.
const LINE_BYTES_MAX: u64 = 4096;

/// Where the password is.
#[derive(Debug, Args)]
pub(super) struct PasswordArgs {
    /// Read the password from the first line of a file; without it, from standard input
    #[arg(long, value_name = "FILE")]
    pub(super) password_file: Option<PathBuf>,
}

impl PasswordArgs {
    /// Reads the first line, without its end.
    pub(super) fn read(&self) -> Result<Zeroizing<String>, Failure> {
        let Some(path) = &self.password_file else {
            let input = std::io::stdin();
            if input.is_terminal() {
                let prompt = "Password (it shows as you type; pipe it in to avoid that): ";
                write!(std::io::stderr(), "{prompt}")?;
            }
            return first_line(input);
        };
        first_line(File::open(path).map_err(|error| format!("{}: {error}", path.display()))?)
    }
}

/// The first line of an input, which must not be empty.
fn first_line(input: impl Read) -> Result<Zeroizing<String>, Failure> {
    let mut line = Zeroizing::new(String::new());
    BufReader::new(input.take(LINE_BYTES_MAX)).read_line(&mut line)?;
    let password = Zeroizing::new(line.trim_end_matches(['\r', '\n']).to_owned());
    if password.is_empty() {
        return Err("the password is empty: write it on one line".into());
    }
    Ok(password)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_the_password_with_its_blanks() {
        let read = |text: &str| first_line(text.as_bytes());
        assert_eq!(
            *read(" correct horse \r\nbattery").unwrap(),
            " correct horse "
        );
        assert_eq!(*read("short").unwrap(), "short");
        assert!(read("\nsecond").is_err());
        assert!(read("").is_err());
    }
}
