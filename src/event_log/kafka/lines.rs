//! What librdkafka says on its own, on its way into our log: each kind of line once in a while, however often it
//! is said. A broker that is away would otherwise fill a disk.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::time::Instant;

/// Between two lines of one kind.
const QUIET: Duration = Duration::from_secs(30);

/// The context of our clients. `role` tells their lines apart.
pub(super) struct Lines {
    role: &'static str,
    /// By facility, what librdkafka calls the kind of a line: when one was let through, and how many were not since.
    said: Mutex<BTreeMap<String, (Instant, u64)>>,
    refusal: Mutex<Option<String>>,
}

impl Lines {
    pub fn of(role: &'static str) -> Lines {
        Lines { role, said: Mutex::default(), refusal: Mutex::default() }
    }

    /// Where and why a broker refused who we said we are, if one did.
    pub fn refusal(&self) -> Option<String> {
        self.refusal.lock().expect("nothing panics while it notes a refusal").clone()
    }

    /// Levels are those of syslog: 3 is an error, 4 a warning.
    pub fn say(&self, level: i32, facility: &str, text: &str) {
        let Some(held_back) = self.admit(facility, Instant::now()) else { return };
        let role = self.role;
        match level {
            ..=3 => tracing::error!(role, facility, held_back, "kafka: {text}"),
            4 => tracing::warn!(role, facility, held_back, "kafka: {text}"),
            5 | 6 => tracing::info!(role, facility, held_back, "kafka: {text}"),
            _ => tracing::debug!(role, facility, held_back, "kafka: {text}"),
        }
    }

    /// Whether a line may be said now: how many of its kind were held back before it.
    fn admit(&self, facility: &str, now: Instant) -> Option<u64> {
        let mut said = self.said.lock().expect("nothing panics while it counts lines");
        match said.get_mut(facility) {
            Some((at, held_back)) if now.duration_since(*at) < QUIET => {
                *held_back += 1;
                None
            }
            known => {
                let held_back = known.map_or(0, |(_, held_back)| *held_back);
                said.insert(facility.to_owned(), (now, 0));
                Some(held_back)
            }
        }
    }
}

impl ClientContext for Lines {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.say(level as i32, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code();
        if code == Some(RDKafkaErrorCode::Authentication) && !is_cut(reason) {
            *self.refusal.lock().expect("nothing panics while it notes a refusal") = Some(reason.to_owned());
        }
        self.say(4, &code.map_or_else(|| "ERROR".to_owned(), |code| format!("{code:?}")), reason);
    }
}

impl ConsumerContext for Lines {}

/// A broker that goes while it is told who we are does not refuse us, but librdkafka gives that the same code.
fn is_cut(reason: &str) -> bool {
    ["Local: Broker transport failure", "Local: Timed out"].iter().any(|cause| reason.contains(cause))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_said_once_in_a_while_and_tells_how_many_were_not() {
        let lines = Lines::of("test");
        let start = Instant::now();
        assert_eq!(lines.admit("FAIL", start), Some(0));
        assert_eq!(lines.admit("FAIL", start + QUIET / 2), None);
        assert_eq!(lines.admit("CONNECT", start + QUIET / 2), Some(0), "another kind is not the same line");
        assert_eq!(lines.admit("FAIL", start + QUIET / 2), None);
        assert_eq!(lines.admit("FAIL", start + QUIET), Some(2));
        assert_eq!(lines.admit("FAIL", start + QUIET * 2), Some(0));
    }

    #[test]
    fn a_broker_that_goes_while_it_asks_who_we_are_has_refused_nobody() {
        let lines = Lines::of("test");
        let code = KafkaError::Global(RDKafkaErrorCode::Authentication);
        lines.error(code.clone(), "SASL PLAIN mechanism handshake failed: Local: Broker transport failure");
        assert_eq!(lines.refusal(), None);
        lines.error(code, "SASL authentication error: Authentication failed");
        assert_eq!(lines.refusal().as_deref(), Some("SASL authentication error: Authentication failed"));
    }
}
