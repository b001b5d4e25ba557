//! What Freshet says about itself: log lines through `tracing`, the names of its metrics, the spans of its requests, and
//! how far a job is. Rooms below the drivers return facts; whoever called them logs and counts here.

pub mod metrics;
pub mod traces;
mod watch;

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

pub use watch::{Cancelled, Watch};

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line, for collectors.
    Json,
}

/// Sends log lines to standard error. `FRESHET_LOG` holds directives such as `info,freshet::stream=debug`;
/// `otherwise` is used without it. A second call does nothing.
pub fn init(format: LogFormat, otherwise: &str) {
    let filter = EnvFilter::try_from_env("FRESHET_LOG").unwrap_or_else(|_| EnvFilter::new(otherwise));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let outcome = match format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).with_target(false).try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    if outcome.is_err() {
        tracing::debug!("logging was set up before");
    }
}
