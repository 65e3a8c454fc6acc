//! The program `passeur`; everything is in the library, so that tests run the very same.

/// The C library's allocator keeps most of what was free at any time; this one gives it back, and takes less time.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    passeur_homeserver::cli::main()
}
