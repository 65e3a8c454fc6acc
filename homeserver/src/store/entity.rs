//! One table a file, as SeaORM entities. The tables themselves are made by `passeur-migrations`.

pub mod log;
