//! The program `passeur` itself, built together with the tests so that they always run the newest.

fn main() -> std::process::ExitCode {
    passeur_homeserver::cli::main()
}
