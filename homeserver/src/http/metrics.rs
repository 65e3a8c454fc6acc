//! Counters for the operator, in the text format of Prometheus.
//!
//! Invariant: labels are route templates, methods, status codes and names of classes, so their number is bounded by the program, and
//! no number tells of one user.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{Router, extract::State, routing::get};
use http::header;

use super::rate_limit::RateLimiter;
use crate::{config::RateClass, outbound::Sender, store::ExpiryMeter};

/// The format's name.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Size of a page of memory, in bytes, on the machines that this runs on.
const PAGE_BYTES: u64 = 4096;

/// Counters since the start of the process.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Answered requests, by route, then by method and status.
    requests: Mutex<BTreeMap<String, Kinds>>,
    /// Requests being answered.
    in_flight: AtomicU64,
    /// What the purge has done.
    expiry: OnceLock<Arc<ExpiryMeter>>,
    /// What is sent to other servers, once that has begun.
    sender: OnceLock<Sender>,
}

/// Requests of one route, by method and status.
type Kinds = BTreeMap<(&'static str, u16), Requests>;

/// Requests of one kind.
#[derive(Debug, Default, Clone, Copy)]
struct Requests {
    /// How many.
    count: u64,
    /// How long they took in all.
    took: Duration,
}

/// A request that is being answered, as long as this lives.
#[derive(Debug)]
pub struct InFlight<'a>(&'a AtomicU64);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    /// Tells from now on of what is sent to other servers as well.
    pub fn watch(&self, sender: Sender) {
        // It is told once, at the start.
        let _ = self.sender.set(sender);
    }

    fn write_sender(&self, out: &mut String) -> fmt::Result {
        let Some(sender) = self.sender.get() else {
            return Ok(());
        };
        let waiting = sender.active();
        let lag_seconds = sender.lag_ms() / 1000;
        write!(
            out,
            "# HELP passeur_destinations_waiting Servers to whom something is owed.\n# TYPE passeur_destinations_waiting gauge\n\
             passeur_destinations_waiting {waiting}\n\
             # HELP passeur_destination_lag_seconds Longest time for which a server has not taken what it is owed.\n\
             # TYPE passeur_destination_lag_seconds gauge\npasseur_destination_lag_seconds {lag_seconds}\n"
        )
    }

    /// Counts a request as being answered.
    pub fn enter(&self) -> InFlight<'_> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(&self.in_flight)
    }

    /// Tells of a store's purge as well.
    pub fn watch_expiry(&self, meter: &Arc<ExpiryMeter>) {
        // There is one store a process; a second one is not told of.
        let _ = self.expiry.set(Arc::clone(meter));
    }

    /// Counts an answered request.
    pub fn count(&self, method: &'static str, route: &str, status: u16, took: Duration) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        // Only the first request of a route pays for its name.
        if !requests.contains_key(route) {
            requests.insert(route.to_owned(), BTreeMap::new());
        }
        if let Some(of_route) = requests.get_mut(route) {
            let counted = of_route.entry((method, status)).or_default();
            counted.count += 1;
            counted.took += took;
        }
    }

    /// All counters as text.
    ///
    /// # Errors
    /// None in truth: writing to a string does not fail.
    fn write(&self, limiter: &RateLimiter, out: &mut String) -> fmt::Result {
        let requests = self
            .requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let series = || {
            requests.iter().flat_map(|(route, kinds)| {
                kinds
                    .iter()
                    .map(move |(kind, counted)| (route, kind, counted))
            })
        };
        writeln!(
            out,
            "# HELP passeur_requests_total Requests answered.\n# TYPE passeur_requests_total counter"
        )?;
        for (route, (method, status), counted) in series() {
            let count = counted.count;
            writeln!(
                out,
                "passeur_requests_total{{method=\"{method}\",route=\"{route}\",status=\"{status}\"}} {count}"
            )?;
        }
        writeln!(
            out,
            "# HELP passeur_request_seconds_total Time taken to answer.\n# TYPE passeur_request_seconds_total counter"
        )?;
        for (route, (method, status), counted) in series() {
            let seconds = counted.took.as_secs_f64();
            writeln!(
                out,
                "passeur_request_seconds_total{{method=\"{method}\",route=\"{route}\",status=\"{status}\"}} {seconds}"
            )?;
        }
        writeln!(
            out,
            "# HELP passeur_requests_in_flight Requests being answered.\n# TYPE passeur_requests_in_flight gauge"
        )?;
        writeln!(
            out,
            "passeur_requests_in_flight {}",
            self.in_flight.load(Ordering::Relaxed)
        )?;
        writeln!(
            out,
            "# HELP passeur_rate_limited_total Requests refused as too many.\n# TYPE passeur_rate_limited_total counter"
        )?;
        for class in RateClass::ALL {
            writeln!(
                out,
                "passeur_rate_limited_total{{class=\"{}\"}} {}",
                class.name(),
                limiter.refused(class)
            )?;
        }
        if let Some(meter) = self.expiry.get() {
            write_expiry(meter, out)?;
        }
        self.write_sender(out)?;
        if let Some(bytes) = resident_bytes() {
            writeln!(
                out,
                "# HELP process_resident_memory_bytes Memory in use.\n# TYPE process_resident_memory_bytes gauge"
            )?;
            writeln!(out, "process_resident_memory_bytes {bytes}")?;
        }
        Ok(())
    }
}

/// What the purge has done.
fn write_expiry(meter: &ExpiryMeter, out: &mut String) -> fmt::Result {
    let seconds = |ms: i64| ms as f64 / 1000.0;
    writeln!(
        out,
        "# HELP passeur_expiry_destroyed_total Messages whose content was destroyed.\n# TYPE passeur_expiry_destroyed_total counter\n\
         passeur_expiry_destroyed_total {}",
        meter.destroyed()
    )?;
    writeln!(
        out,
        "# HELP passeur_expiry_lag_seconds For how long the oldest content has been due that may still be on disk.\n\
         # TYPE passeur_expiry_lag_seconds gauge\npasseur_expiry_lag_seconds {}",
        seconds(meter.lag_ms())
    )?;
    writeln!(
        out,
        "# HELP passeur_expiry_last_pass_timestamp_seconds When the last pass of the purge ended.\n\
         # TYPE passeur_expiry_last_pass_timestamp_seconds gauge\npasseur_expiry_last_pass_timestamp_seconds {}",
        seconds(meter.passed_ms())
    )?;
    writeln!(
        out,
        "# HELP passeur_expiry_buckets Groups of buckets that have a key.\n# TYPE passeur_expiry_buckets gauge\n\
         passeur_expiry_buckets {}",
        meter.buckets()
    )
}

/// Memory of this process that is resident, where the system tells.
fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    statm
        .split(' ')
        .nth(1)?
        .parse::<u64>()
        .ok()?
        .checked_mul(PAGE_BYTES)
}

/// `GET /metrics`.
pub fn router(metrics: Arc<Metrics>, limiter: Arc<RateLimiter>) -> Router {
    let answer = async |State((metrics, limiter)): State<(Arc<Metrics>, Arc<RateLimiter>)>| {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = metrics.write(&limiter, &mut text);
        ([(header::CONTENT_TYPE, CONTENT_TYPE)], text)
    };
    Router::new()
        .route("/metrics", get(answer))
        .with_state((metrics, limiter))
}
