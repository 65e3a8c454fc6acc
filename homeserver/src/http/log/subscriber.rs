//! Writes events as lines: time, level, module, message, fields.
//!
//! Invariant: only this crate's events are written, each as one line, every text in it scrubbed. Spans are not kept.

use std::{
    fmt::{self, Write as _},
    io::Write,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::{Map, Value};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span,
    subscriber::Interest,
};

use super::scrub::scrub;
use crate::{
    clock::Clock,
    config::{LogConfig, LogFormat, LogLevel},
};

/// What the names of our crates' modules begin with.
const OWN_TARGETS: &str = "passeur";

/// The levels, least first, at the index that [`LineSubscriber::level`] holds.
const LEVELS: [LevelFilter; 6] = [
    LevelFilter::OFF,
    LevelFilter::ERROR,
    LevelFilter::WARN,
    LevelFilter::INFO,
    LevelFilter::DEBUG,
    LevelFilter::TRACE,
];

/// See the file's header.
pub(super) struct LineSubscriber {
    /// Index of the present level in [`LEVELS`].
    level: AtomicUsize,
    /// Shape of a line.
    format: LogFormat,
    /// What stamps a line.
    clock: Arc<dyn Clock>,
    /// Where lines go.
    sink: Mutex<Box<dyn Write + Send>>,
}

/// What an event says.
#[derive(Default)]
struct Fields {
    /// The sentence.
    message: String,
    /// The rest, in the order written.
    others: Vec<(&'static str, Value)>,
}

impl LineSubscriber {
    pub(super) fn new(
        config: LogConfig,
        clock: Arc<dyn Clock>,
        sink: Box<dyn Write + Send>,
    ) -> Self {
        let level = AtomicUsize::new(config.level as usize);
        Self {
            level,
            format: config.format,
            clock,
            sink: Mutex::new(sink),
        }
    }

    pub(super) fn set_level(&self, level: LogLevel) {
        self.level.store(level as usize, Ordering::Relaxed);
        tracing::callsite::rebuild_interest_cache();
    }

    fn filter(&self) -> LevelFilter {
        LEVELS
            .get(self.level.load(Ordering::Relaxed))
            .copied()
            .unwrap_or(LevelFilter::OFF)
    }

    /// One event as a line for people.
    fn text(time: &str, level: Level, target: &str, fields: &Fields) -> String {
        let mut line = format!("{time} {level:>5} {target}: {}", fields.message);
        for (name, value) in &fields.others {
            // Writing to a string does not fail.
            let _ = match value {
                Value::String(value) if !value.contains([' ', '"']) && !value.is_empty() => {
                    write!(line, " {name}={value}")
                }
                value => write!(line, " {name}={value}"),
            };
        }
        line
    }

    /// One event as a JSON object.
    fn json(time: &str, level: Level, target: &str, fields: Fields) -> String {
        let mut object: Map<String, Value> = fields
            .others
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        for (name, value) in [
            ("time", time),
            ("level", level.as_str()),
            ("target", target),
            ("message", &fields.message),
        ] {
            object.insert(name.to_owned(), value.into());
        }
        Value::Object(object).to_string()
    }
}

impl Subscriber for LineSubscriber {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.enabled(metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event()
            && metadata.target().starts_with(OWN_TARGETS)
            && *metadata.level() <= self.filter()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.filter())
    }

    fn new_span(&self, _span: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _span: &span::Id, _values: &span::Record<'_>) {}

    fn record_follows_from(&self, _span: &span::Id, _follows: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let time = rfc3339(self.clock.now_ms());
        let (level, target) = (*event.metadata().level(), event.metadata().target());
        let mut line = match self.format {
            LogFormat::Text => Self::text(&time, level, target, &fields),
            LogFormat::Json => Self::json(&time, level, target, fields),
        };
        line.push('\n');
        let mut sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
        // If the log cannot be written there is nowhere to say so.
        let _ = sink.write_all(line.as_bytes());
    }

    fn enter(&self, _span: &span::Id) {}

    fn exit(&self, _span: &span::Id) {}
}

impl Fields {
    fn add_text(&mut self, field: &Field, text: &str) {
        // A line stays one line, whatever it says.
        let text = scrub(text).replace(char::is_control, " ");
        if field.name() == "message" {
            self.message = text;
        } else {
            self.others.push((field.name(), Value::String(text)));
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add_text(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add_text(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.others.push((field.name(), value.into()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.others.push((field.name(), value.into()));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.others.push((field.name(), value.into()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.others.push((field.name(), value.into()));
    }
}

/// A time in UTC, to the millisecond.
fn rfc3339(ms: i64) -> String {
    let (days, of_day) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    // Civil from days, counted in eras of 400 years that begin on 1 March, so that the leap day is the last of its year.
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3_600_000, of_day / 60_000 % 60, of_day / 1000 % 60);
    format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z",
        of_day % 1000
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::log::{Hashed, captured::Captured};

    /// What is logged while `work` runs.
    fn capture(format: LogFormat, work: impl FnOnce(&LineSubscriber)) -> String {
        let captured = Captured::default();
        let subscriber = captured.subscriber(LogConfig {
            level: LogLevel::Info,
            format,
        });
        tracing::subscriber::with_default(Arc::clone(&subscriber), || work(&subscriber));
        captured.text()
    }

    #[test]
    fn a_line_has_a_time_a_level_and_scrubbed_fields() {
        let user = Hashed::new("@alice:example.org");
        let said = capture(LogFormat::Text, |_| {
            tracing::info!(status = 200, ms = 1.5, %user, error = "no @alice:example.org\nhere", "request from {}", "192.0.2.1");
        });
        let target = module_path!();
        let expected = format!(
            "2030-01-01T00:00:00.000Z  INFO {target}: request from ‹withheld› status=200 ms=1.5 user={user} error=\"no ‹withheld› here\"\n"
        );
        assert_eq!(said, expected);
    }

    #[test]
    fn json_is_one_object_a_line() {
        let said = capture(LogFormat::Json, |_| tracing::warn!(count = 3, "careful"));
        let value: Value = serde_json::from_str(said.trim_end()).unwrap();
        assert_eq!(
            (&value["level"], &value["message"], &value["count"]),
            (&"WARN".into(), &"careful".into(), &3.into())
        );
    }

    #[test]
    fn other_crates_and_lesser_levels_are_not_written_until_the_level_changes() {
        let said = capture(LogFormat::Text, |subscriber| {
            tracing::error!(target: "sqlx::query", "bound @alice:example.org");
            tracing::debug!("hidden");
            subscriber.set_level(LogLevel::Debug);
            tracing::debug!("shown");
            subscriber.set_level(LogLevel::Off);
            tracing::error!("hidden too");
        });
        assert!(
            said.ends_with("shown\n") && said.lines().count() == 1,
            "{said}"
        );
    }

    #[test]
    fn times_are_written_as_the_calendar_has_them() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(951_782_399_999), "2000-02-28T23:59:59.999Z");
        assert_eq!(rfc3339(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(rfc3339(4_107_542_400_000), "2100-03-01T00:00:00.000Z");
        assert_eq!(rfc3339(-1), "1969-12-31T23:59:59.999Z");
    }
}
