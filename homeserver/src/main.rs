//! The program `passeur`; everything is in the library, so that tests run the very same.

fn main() -> std::process::ExitCode {
    passeur_homeserver::cli::main()
}
