//! Puts a handler at every path that ruma knows for its request.
//!
//! Invariant: method and paths come from the request type, so that a handler cannot stand at a
//! path whose request it does not take.

use axum::{
    Router,
    handler::Handler,
    routing::{MethodFilter, on},
};
use ruma::api::{IncomingRequest, path_builder::PathBuilder};

/// A router under construction, to which endpoints are added one a line.
pub trait RouteExt<S>: Sized {
    /// Adds `handler` at all paths of the endpoint `T`, its older versions included.
    fn endpoint<T, H, M>(self, handler: H) -> Self
    where
        T: IncomingRequest,
        H: Handler<M, S>,
        M: 'static;
}

impl<S> RouteExt<S> for Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    fn endpoint<T, H, M>(mut self, handler: H) -> Self
    where
        T: IncomingRequest,
        H: Handler<M, S>,
        M: 'static,
    {
        let Ok(method) = MethodFilter::try_from(T::METHOD) else {
            return self;
        };
        for path in T::PATH_BUILDER.all_paths() {
            #[cfg(test)]
            table::note(&T::METHOD, path);
            self = self.route(path, on(method, handler.clone()));
        }
        self
    }
}

/// The table as it was built, for tests that ask every endpoint.
#[cfg(test)]
pub(crate) mod table {
    use std::cell::RefCell;

    use http::Method;

    thread_local! {
        static NOTED: RefCell<Vec<(Method, &'static str)>> = const { RefCell::new(Vec::new()) };
    }

    pub(super) fn note(method: &Method, path: &'static str) {
        NOTED.with_borrow_mut(|noted| noted.push((method.clone(), path)));
    }

    /// The methods and paths of all tables that this thread has built.
    pub(crate) fn noted() -> Vec<(Method, &'static str)> {
        NOTED.with_borrow(Clone::clone)
    }
}
