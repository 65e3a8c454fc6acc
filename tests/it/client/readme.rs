//! The commands of the README, typed as they stand there by a new administrator.

use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

use passeur_tests::server::passeur;

/// Whose folder it is.
const AS_SERVICE: &str = "sudo -u passeur passeur ";
/// The folder.
const DATA: &str = "/var/lib/passeur";

/// The lines of the README's shell blocks, without their remarks.
fn commands() -> Vec<String> {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = fs::read_to_string(readme).unwrap();
    let blocks = readme.split("```sh\n").skip(1);
    let lines = blocks.flat_map(|block| block.split("```").next().unwrap_or_default().lines());
    lines
        .map(|line| {
            line.split("  #")
                .next()
                .unwrap_or_default()
                .trim()
                .to_owned()
        })
        .collect()
}

/// A command of the README on another folder and on a free port.
fn typed(line: &str, folder: &Path) -> Command {
    let arguments = line.strip_prefix(AS_SERVICE).unwrap();
    let data = folder.display().to_string();
    let mut command = passeur();
    command
        .args(arguments.replace(DATA, &data).split_whitespace())
        .env("PASSEUR__LISTENERS__0__PORT", "0")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

#[test]
fn every_command_on_the_data_is_typed_as_the_user_of_the_service() {
    let on_data: Vec<_> = commands()
        .into_iter()
        .filter(|line| line.contains("passeur ") && line.contains(&format!("{DATA}/")))
        .collect();
    assert!(on_data.len() >= 4, "{on_data:?}");
    for line in on_data {
        assert!(line.starts_with(AS_SERVICE), "{line}");
    }
    // Nobody else may look into the folder, whatever the system makes of a new user's home.
    assert!(commands().contains(&format!("sudo chmod 700 {DATA}")));
}

#[test]
fn the_commands_work_in_their_order() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("passeur");
    fs::create_dir(&folder).unwrap();
    // As the README's `chmod 700` does.
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    let mut seen = Vec::new();
    for line in commands() {
        let Some(arguments) = line.strip_prefix(AS_SERVICE) else {
            continue;
        };
        let verb: Vec<_> = arguments.split(' ').take(2).collect();
        seen.push(verb[0].to_owned());
        let mut child = typed(&line, &folder).spawn().unwrap();
        if verb[0] == "serve" {
            // A folder that is open to others, or a file, would be warned of before.
            let stderr = BufReader::new(child.stderr.take().unwrap());
            let said: Vec<_> = stderr
                .lines()
                .map(Result::unwrap)
                .take_while(|line| !line.contains("serving"))
                .collect();
            assert!(said.iter().all(|line| !line.contains("WARN")), "{said:?}");
            let pid = child.id().to_string();
            assert!(Command::new("kill").arg(pid).status().unwrap().success());
            assert!(child.wait().unwrap().success());
            continue;
        }
        let mut input = child.stdin.take().unwrap();
        // Only `user create` reads it.
        let _ = writeln!(input, "quetzal feathers are green");
        drop(input);
        let done = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{line}: {said}");
    }
    assert_eq!(
        seen,
        [
            "init",
            "check-config",
            "serve",
            "user",
            "registration-token"
        ]
    );
}
