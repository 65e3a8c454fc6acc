//! The commands, as the program runs them.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use super::*;
use crate::clock::SeededRng;

/// A data folder, in a temporary one that takes the keys beside it along when it goes.
struct DataFolder(tempfile::TempDir);

impl DataFolder {
    fn path(&self) -> std::path::PathBuf {
        self.0.path().join("data")
    }
}

fn data_folder() -> DataFolder {
    DataFolder(tempfile::tempdir().unwrap())
}

/// Runs `init` for a server in a folder.
fn init(server_name: &str, data: &Path) -> Result<(), Failure> {
    let arguments = ["passeur", "init", "--server-name", server_name, "--data"];
    let cli = Cli::try_parse_from(
        arguments
            .iter()
            .map(Into::into)
            .chain([data.as_os_str().to_owned()]),
    )
    .unwrap();
    match cli.command {
        Command::Init(args) => init::run(&args, &SeededRng::new(1)),
        _ => panic!("not init"),
    }
}

/// Runs the program on arguments and tells whether it succeeded.
fn passeur(arguments: &[&str], config: &Path) -> bool {
    let arguments = ["passeur"].iter().chain(arguments).map(Into::into);
    let config = ["--config".into(), config.as_os_str().to_owned()];
    let code = run(Cli::try_parse_from(arguments.chain(config))
        .unwrap()
        .command);
    format!("{code:?}") == format!("{:?}", ExitCode::SUCCESS)
}

#[test]
fn init_makes_private_files_that_are_good_and_never_overwrites_them() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    init("example.org", &data).unwrap();
    let files = ["passeur.toml", "signing.key", "tokens.key"].map(|name| data.join(name));
    let read = || files.each_ref().map(|file| fs::read(file).unwrap());
    for file in &files {
        assert_eq!(
            fs::metadata(file).unwrap().permissions().mode() & 0o777,
            0o600,
            "{}",
            file.display()
        );
    }
    assert_eq!(
        fs::metadata(&data).unwrap().permissions().mode() & 0o777,
        0o700
    );
    let before = read();
    init("example.org", &data).unwrap();
    assert_eq!(read(), before);
    assert!(passeur(&["check-config"], &files[0]));
    let error = init("other.org", &data).unwrap_err().to_string();
    assert!(
        error.ends_with("is the configuration of example.org: choose another folder"),
        "{error}"
    );
    assert_eq!(read(), before);
}

#[test]
fn check_config_misses_a_key() {
    let folder = data_folder();
    init("example.org", &folder.path()).unwrap();
    fs::remove_file(folder.path().join("tokens.key")).unwrap();
    assert!(!passeur(
        &["check-config"],
        &folder.path().join("passeur.toml")
    ));
}

#[test]
fn check_config_reads_the_certificates_of_authorities() {
    let folder = data_folder();
    init("example.org", &folder.path()).unwrap();
    let config = folder.path().join("passeur.toml");
    let text = fs::read_to_string(&config).unwrap();
    let authority = rcgen::generate_simple_self_signed(["example.org".to_owned()]).unwrap();
    let file = folder.path().join("ca.pem");
    let with = text.replace("# ca_files = [\"our-ca.pem\"]", "ca_files = [\"ca.pem\"]");
    assert_ne!(with, text);
    fs::write(&config, with).unwrap();
    fs::write(&file, authority.cert.pem()).unwrap();
    assert!(passeur(&["check-config"], &config));
    fs::write(&file, "no certificate").unwrap();
    assert!(!passeur(&["check-config"], &config));
}

#[test]
fn accounts_and_tokens_are_managed_in_the_database() {
    let folder = data_folder();
    init("example.org", &folder.path()).unwrap();
    let (config, password) = (
        folder.path().join("passeur.toml"),
        folder.path().join("password"),
    );
    fs::write(&password, "correct horse battery\n").unwrap();
    let with_password = |verb, user| {
        passeur(
            &[
                "user",
                verb,
                user,
                "--password-file",
                password.to_str().unwrap(),
            ],
            &config,
        )
    };
    assert!(with_password("create", "alice"));
    assert!(
        !with_password("create", "@alice:example.org"),
        "the name is taken"
    );
    assert!(
        !with_password("create", "@alice:other.org"),
        "not of this server"
    );
    assert!(with_password("set-password", "@alice:example.org"));
    assert!(!with_password("set-password", "bob"), "no such account");
    let database = fs::metadata(folder.path().join("passeur.db")).unwrap();
    assert_eq!(database.permissions().mode() & 0o777, 0o600);
    assert!(passeur(&["user", "list"], &config));
    assert!(passeur(&["user", "deactivate", "alice"], &config));
    assert!(
        !passeur(&["user", "deactivate", "alice"], &config),
        "it is over already"
    );
    assert!(passeur(
        &[
            "registration-token",
            "create",
            "--token",
            "guest",
            "--uses",
            "3",
            "--expires-in",
            "24"
        ],
        &config
    ));
    assert!(
        !passeur(
            &["registration-token", "create", "--token", "guest"],
            &config
        ),
        "it exists"
    );
    assert!(passeur(&["registration-token", "list"], &config));
    assert!(passeur(&["registration-token", "revoke", "guest"], &config));
    assert!(
        !passeur(&["registration-token", "revoke", "guest"], &config),
        "it is gone"
    );
}

#[test]
fn init_keeps_the_keys_of_what_expires_apart_from_the_data() {
    let folder = data_folder();
    init("example.org", &folder.path()).unwrap();
    let keys = folder.0.path().join("data-keys");
    let mode = fs::metadata(&keys).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let file = folder.path().join("passeur.toml");
    let config = Config::load(&file, []).unwrap();
    assert_eq!(
        config.expiry.key_store.as_deref(),
        fs::canonicalize(keys).ok().as_deref()
    );
    let inside = InitWith(&folder.path().join("keys")).run(&folder.0.path().join("data"));
    let inside = inside.unwrap_err().to_string();
    assert!(inside.contains("lies in the data folder"), "{inside}");
    let elsewhere = folder.0.path().join("else where");
    InitWith(&elsewhere)
        .run(&folder.0.path().join("other"))
        .unwrap();
    let other = folder.0.path().join("other/passeur.toml");
    let config = Config::load(&other, []).unwrap();
    assert_eq!(config.expiry.key_store.as_deref(), Some(&*elsewhere));
    assert!(elsewhere.is_dir() && passeur(&["check-config"], &other));
}

/// `init` with a key store.
struct InitWith<'a>(&'a Path);

impl InitWith<'_> {
    fn run(&self, data: &Path) -> Result<(), Failure> {
        init::run(
            &init::InitArgs {
                server_name: ruma::server_name!("example.org").to_owned(),
                data: data.to_owned(),
                key_store: Some(self.0.to_owned()),
            },
            &SeededRng::new(1),
        )
    }
}

#[test]
fn expiry_status_succeeds_while_nothing_is_overdue() {
    let folder = data_folder();
    init("example.org", &folder.path()).unwrap();
    let config = folder.path().join("passeur.toml");
    assert!(passeur(&["expiry", "status"], &config));
}

#[test]
fn every_command_has_help_and_no_password_argument() {
    use clap::CommandFactory;
    fn check(command: &clap::Command) {
        assert!(
            command.get_about().is_some(),
            "{} has no help",
            command.get_name()
        );
        for argument in command.get_arguments() {
            assert!(
                argument.get_help().is_some(),
                "{} of {} has no help",
                argument.get_id(),
                command.get_name()
            );
            assert_ne!(argument.get_long(), Some("password"));
        }
        command.get_subcommands().for_each(check);
    }
    let command = Cli::command();
    command.clone().debug_assert();
    check(&command);
}
