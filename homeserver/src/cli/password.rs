//! Where a command gets a password from: standard input or a file.
//!
//! Invariant: it is wiped after use, is never an argument, and is not shown on the terminal that it is typed into.

use std::{
    fs::File,
    io::{BufRead, BufReader, IsTerminal, Read, Write},
    os::fd::AsFd,
    path::PathBuf,
};

use clap::Args;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
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
            if !input.is_terminal() {
                return first_line(input);
            }
            write!(std::io::stderr(), "Password (it is not shown): ")?;
            let password = {
                let _silence = Silence::on(&input)?;
                first_line(&input)
            };
            // The end of the line was not shown either.
            writeln!(std::io::stderr())?;
            return password;
        };
        first_line(File::open(path).map_err(|error| format!("{}: {error}", path.display()))?)
    }
}

/// A terminal that shows nothing of what is typed, until this is dropped.
struct Silence<T: AsFd> {
    terminal: T,
    before: Termios,
}

impl<T: AsFd> Silence<T> {
    fn on(terminal: T) -> Result<Self, Failure> {
        let before = tcgetattr(&terminal)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&terminal, OptionalActions::Flush, &silent)?;
        Ok(Self { terminal, before })
    }
}

impl<T: AsFd> Drop for Silence<T> {
    fn drop(&mut self) {
        // There is nobody to tell if the terminal has gone.
        let _ = tcsetattr(&self.terminal, OptionalActions::Flush, &self.before);
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
    use rustix::pty::{OpenptFlags, grantpt, openpt, unlockpt};

    use super::*;

    #[test]
    fn a_terminal_shows_nothing_until_the_password_is_there() {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let shows = || {
            let modes = tcgetattr(&terminal).unwrap().local_modes;
            modes.contains(LocalModes::ECHO)
        };
        assert!(shows());
        let silence = Silence::on(&terminal).unwrap();
        assert!(!shows());
        drop(silence);
        assert!(shows());
    }

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
