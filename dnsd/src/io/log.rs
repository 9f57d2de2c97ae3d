//! The log on standard error: one line an event, as text or as JSON.

use crate::setting::{LogFormat, LogLevel};
use crate::time_text::utc;
use std::fmt::{self, Write};
use std::io;
use std::time::{SystemTime, UNIX_EPOCH};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, reload};

/// Our own crates; of all others only warnings are of use to an operator.
const OWN: [&str; 4] = ["dnsd", "overlay", "replication", "zones"];

/// Changes what the running log lets through.
#[derive(Clone, Debug)]
pub struct LogHandle(reload::Handle<Targets, Registry>);

impl LogHandle {
    /// Lets events of this level and graver ones through from now on.
    pub fn set_level(&self, level: LogLevel) {
        self.0
            .reload(targets(level))
            .expect("the log lives as long as the process");
    }
}

/// Starts the log of this process.
///
/// # Panics
///
/// If it has been started before.
pub fn start(format: LogFormat, level: LogLevel) -> LogHandle {
    let (filter, handle) = reload::Layer::new(targets(level));
    let registry = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    match format {
        LogFormat::Text => registry.with(lines.event_format(Line)).init(),
        LogFormat::Json => registry
            .with(
                lines
                    .json()
                    .flatten_event(true)
                    .with_current_span(false)
                    .with_span_list(false),
            )
            .init(),
    }
    LogHandle(handle)
}

fn targets(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_targets(OWN.map(|name| (name, level)))
}

/// `2026-11-24T14:00:00.123Z INFO  message key=value`.
struct Line;

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'l> LookupSpan<'l>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let mut fields = Fields::default();
        event.record(&mut fields);
        let level = event.metadata().level();
        writeln!(
            out,
            "{} {level:<5} {}{}",
            utc(wall),
            fields.message,
            fields.rest
        )
    }
}

/// The message of an event, and its other fields as text.
#[derive(Default)]
struct Fields {
    message: String,
    rest: String,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field.name(), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field.name(), &format!("{value:?}"));
    }
}

impl Fields {
    fn add(&mut self, name: &str, value: &str) {
        if name == "message" {
            self.message = one_line(value);
            return;
        }
        let needs_quotes = value.is_empty() || value.contains([' ', '"', '=']);
        let value = one_line(value);
        let value = if needs_quotes {
            format!("\"{}\"", value.replace('"', "\\\""))
        } else {
            value
        };
        write!(self.rest, " {name}={value}").expect("a string takes all text");
    }
}

/// Text of others, such as a peer's name, must not look like a line of its own.
fn one_line(text: &str) -> String {
    if !text.contains(char::is_control) {
        return text.to_owned();
    }
    text.chars()
        .flat_map(|c| {
            let (escaped, kept) = if c.is_control() {
                (Some(c.escape_default()), None)
            } else {
                (None, Some(c))
            };
            escaped.into_iter().flatten().chain(kept)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_event_is_one_readable_line() {
        let kept = Kept::default();
        let writer = kept.clone();
        let subscriber = tracing_subscriber::registry()
            .with(targets(LogLevel::Info))
            .with(
                tracing_subscriber::fmt::layer()
                    .with_writer(move || writer.clone())
                    .event_format(Line),
            );
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(zone = "example.test.", records = 3, "zone imported");
            tracing::warn!(peer = %"two\nlines", name = "a b", "odd");
            tracing::debug!("left out");
            tracing::info!(target: "quinn", "left out");
            tracing::warn!(target: "quinn", "kept");
        });
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<&str> = text.lines().map(|line| &line[25..]).collect();
        assert_eq!(
            lines,
            [
                "INFO  zone imported zone=example.test. records=3",
                "WARN  odd peer=two\\nlines name=\"a b\"",
                "WARN  kept",
            ]
        );
        let time = &text[..24];
        assert!(
            time.starts_with("20") && time.ends_with('Z') && time.contains('T'),
            "{time}"
        );
    }
}
