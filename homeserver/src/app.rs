//! Every part of the server, built once, from the bottom up.
//!
//! Invariant: a part is given only parts that were built before it, so that it can reach nothing
//! above itself. Handlers reach the parts through [`App`]; nothing else does.

use std::{ops::Deref, sync::Arc};

use crate::store::Store;

/// The parts of a running server. Cheap to clone; every handler gets it as axum's state.
#[derive(Clone, Debug)]
pub struct App(Arc<Parts>);

/// What an [`App`] holds, from the bottom up.
#[derive(Debug)]
pub struct Parts {
    /// The database.
    pub store: Arc<Store>,
}

impl App {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}
