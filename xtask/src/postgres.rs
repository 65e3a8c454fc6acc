//! A private PostgreSQL 15 cluster in a temporary folder, reached through a unix socket only, gone when dropped.
//!
//! PostgreSQL refuses to run as root, so then it runs as the user `postgres`, which its package made.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    os::unix::{fs as unix_fs, process::CommandExt},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
};

use tempfile::TempDir;

use crate::{debian::POSTGRES_BIN, process};

/// A running cluster.
pub(crate) struct Cluster {
    server: Child,
    folder: TempDir,
}

impl Cluster {
    /// Makes and starts a cluster whose superuser `postgres` needs no password, and waits until it answers.
    pub(crate) fn start() -> Result<Self, String> {
        // Not under `target/`: the path of a unix socket has at most 107 bytes.
        let folder = tempfile::Builder::new()
            .prefix("passeur-pg-")
            .tempdir()
            .map_err(|error| format!("no temporary folder: {error}"))?;
        let owner = owner()?;
        if let Some((user, group)) = owner {
            unix_fs::chown(folder.path(), Some(user), Some(group)).map_err(|error| {
                format!("cannot give the temporary folder to postgres: {error}")
            })?;
        }
        let data = folder.path().join("data");
        let mut make = program("initdb", owner);
        process::capture(make.arg("-D").arg(&data).args([
            "-E",
            "UTF8",
            "--locale=C",
            "-A",
            "trust",
            "-U",
            "postgres",
            "--no-sync",
        ]))?;
        let server = serve(&data, folder.path(), owner)?;
        Ok(Self { server, folder })
    }

    /// The URL of the database `postgres`, from which tests make databases of their own.
    pub(crate) fn url(&self) -> String {
        format!(
            "postgres://postgres@localhost/postgres?host={}",
            self.folder.path().display()
        )
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // The files go next, so there is nothing to save.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Starts the server in the foreground as our child and returns once it accepts connections.
fn serve(data: &Path, socket: &Path, owner: Option<(u32, u32)>) -> Result<Child, String> {
    let socket = format!("unix_socket_directories={}", socket.display());
    let mut command = program("postgres", owner);
    command.arg("-D").arg(data);
    for setting in [
        "listen_addresses=",
        "max_connections=400",
        "fsync=off",
        "full_page_writes=off",
        "synchronous_commit=off",
        &socket,
    ] {
        command.args(["-c", setting]);
    }
    let mut server = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot start PostgreSQL: {error}"))?;
    let Some(stderr) = server.stderr.take() else {
        return Err("PostgreSQL has no standard error".to_owned());
    };
    let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
    let mut seen = Vec::new();
    for line in lines.by_ref() {
        if line.contains("ready to accept connections") {
            keep_log(lines);
            return Ok(server);
        }
        seen.push(line);
    }
    Err(format!(
        "PostgreSQL ended at its start: {}",
        seen.join("; ")
    ))
}

/// Writes what the server says from now on to `target/peers/postgres.log`.
fn keep_log(lines: impl Iterator<Item = String> + Send + 'static) {
    let folder = process::workspace().join("target/peers");
    let file = fs::create_dir_all(&folder).and_then(|()| File::create(folder.join("postgres.log")));
    thread::spawn(move || {
        let mut file = file.ok();
        // Read on even without a file: a server whose pipe is full stands still.
        for line in lines {
            if let Some(file) = &mut file {
                let _ = writeln!(file, "{line}");
            }
        }
    });
}

/// One of PostgreSQL's programs, run as `owner` in a folder that every user may read.
fn program(name: &str, owner: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(Path::new(POSTGRES_BIN).join(name));
    command.current_dir("/").env("LC_ALL", "C");
    if let Some((user, group)) = owner {
        command.uid(user).gid(group);
    }
    command
}

/// The ids of the user and group `postgres` if this process is root.
fn owner() -> Result<Option<(u32, u32)>, String> {
    if !process::is_root() {
        return Ok(None);
    }
    let id = |kind: &str| -> Result<u32, String> {
        let text = process::capture(Command::new("id").args([kind, "postgres"]))?;
        text.trim()
            .parse()
            .map_err(|error| format!("unexpected answer of id: {error}"))
    };
    Ok(Some((id("-u")?, id("-g")?)))
}
