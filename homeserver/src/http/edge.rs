//! The layers around all routes of a listener, in one place and one order.
//!
//! Invariant: observed outermost, so that refused requests are seen too; CORS next, so that a browser may read a refusal; then the
//! limits, before any handler does work.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    Router,
    middleware::{from_fn, from_fn_with_state},
};

use super::{
    cors::allow_any_origin,
    metrics::{self, Metrics},
    observe::{Observer, observe},
    rate_limit::{RateLimiter, admit},
};
use crate::{
    clock::{Clock, Rng},
    config::{RateLimitsConfig, Resource},
    outbound::Sender,
    store::ExpiryMeter,
};

/// What the layers share.
#[derive(Debug, Clone)]
pub struct Edge {
    /// How often requests may come.
    pub limiter: Arc<RateLimiter>,
    /// What counts and measures.
    observer: Observer,
}

impl Edge {
    /// Layers with the limits of a configuration and counters at zero.
    #[must_use]
    pub fn new(limits: &RateLimitsConfig, clock: &Arc<dyn Clock>, rng: &Arc<dyn Rng>) -> Self {
        let limiter = Arc::new(RateLimiter::new(limits, Arc::clone(clock), Arc::clone(rng)));
        Self {
            limiter,
            observer: Observer {
                clock: Arc::clone(clock),
                metrics: Arc::new(Metrics::default()),
            },
        }
    }

    /// Tells of a store's purge in the metrics.
    pub fn watch_expiry(&self, meter: &Arc<ExpiryMeter>) {
        self.observer.metrics.watch_expiry(meter);
    }

    /// Has `/metrics` tell of what is sent to other servers as well.
    pub fn watch(&self, sender: Sender) {
        self.observer.metrics.watch(sender);
    }

    /// Lays the layers around the routes of a listener, and adds `/metrics` if that is among its resources.
    pub fn wrap(&self, routes: Router, resources: &BTreeSet<Resource>) -> Router {
        let routes = if resources.contains(&Resource::Metrics) {
            routes.merge(metrics::router(
                Arc::clone(&self.observer.metrics),
                Arc::clone(&self.limiter),
            ))
        } else {
            routes
        };
        let limited = routes.layer(from_fn_with_state(Arc::clone(&self.limiter), admit));
        let for_browsers =
            resources.contains(&Resource::Client) || resources.contains(&Resource::Media);
        let readable = if for_browsers {
            limited.layer(from_fn(allow_any_origin))
        } else {
            limited
        };
        readable.layer(from_fn_with_state(self.observer.clone(), observe))
    }
}

#[cfg(test)]
mod tests;
