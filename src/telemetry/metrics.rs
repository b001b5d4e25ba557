//! Every metric of the service, with its unit in its name. One registry for each service, so that two of them in
//! one process (as tests have) do not add up.

use prometheus::{Encoder, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry, TextEncoder};

/// Upper bounds in seconds, from 100 µs to 10 s.
const SECONDS: [f64; 16] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    /// `route`, `status`.
    pub request_seconds: HistogramVec,
    /// `view`, `status`: values served.
    pub values_served: IntCounterVec,
    /// `source`: events acknowledged by HTTP ingest.
    pub events_accepted: IntCounterVec,
    /// `source`, `reason`: events refused by HTTP ingest.
    pub events_rejected: IntCounterVec,
}

impl Metrics {
    pub fn new() -> Metrics {
        let registry = Registry::new();
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let counter = IntCounterVec::new(Opts::new(name, help), labels).expect("names and labels are constants");
            registry.register(Box::new(counter.clone())).expect("each metric is registered once");
            counter
        };
        let histogram = |name: &str, help: &str, labels: &[&str]| {
            let options = HistogramOpts::new(name, help).buckets(SECONDS.to_vec());
            let histogram = HistogramVec::new(options, labels).expect("names and labels are constants");
            registry.register(Box::new(histogram.clone())).expect("each metric is registered once");
            histogram
        };
        Metrics {
            request_seconds: histogram("freshet_request_seconds", "Time to answer a request", &["route", "status"]),
            values_served: counter("freshet_values_served_total", "Feature values served", &["view", "status"]),
            events_accepted: counter(
                "freshet_events_accepted_total",
                "Events acknowledged by HTTP ingest",
                &["source"],
            ),
            events_rejected: counter("freshet_events_rejected_total", "Events rejected", &["source", "reason"]),
            registry,
        }
    }

    /// In Prometheus' text format.
    pub fn text(&self) -> String {
        let mut buffer = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut buffer).expect("writing to memory does not fail");
        String::from_utf8(buffer).expect("the text format is UTF-8")
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}
