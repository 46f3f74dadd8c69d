//! The log of long-running commands: lines on standard error.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Prints events up to a level; ignores spans.
#[derive(Debug)]
struct Lines {
    level: Level,
}

/// Starts the log: errors, warnings and information, or up to the level in `NEXIN_LOG` (`debug`, `trace`).
pub(crate) fn start() {
    let level = std::env::var("NEXIN_LOG").ok().and_then(|level| level.parse().ok());
    let lines = Lines { level: level.unwrap_or(Level::INFO) };
    tracing::subscriber::set_global_default(lines).expect("a command starts to log once");
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // The client of the API server warns of what its kubeconfig asks for, with every connection.
        let is_clients = metadata.target().starts_with("kube_client");
        *metadata.level() <= if is_clients { self.level.min(Level::ERROR) } else { self.level }
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let level = event.metadata().level().as_str().to_lowercase();
        // A failure to write the log cannot be reported anywhere else.
        let _ = writeln!(std::io::stderr(), "{level}: {}{}", line.message, line.fields);
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}
    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}
    fn enter(&self, _span: &Id) {}
    fn exit(&self, _span: &Id) {}
}

/// The message of an event, and its other fields after it.
#[derive(Debug, Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string does not fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value}"),
            name => write!(self.fields, " {name}={value}"),
        };
    }
}
