//! Every metric of the service, with its unit in its name. One registry for each service, so that two of them in
//! one process (as tests have) do not add up.

use prometheus::{Encoder, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder};

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
    /// `source`, `reason`: events refused by HTTP ingest, or sent to the dead letters.
    pub events_rejected: IntCounterVec,
    /// `view`, `outcome`: applied, late, duplicate, null_key, filtered, and what was skipped.
    pub events_folded: IntCounterVec,
    /// `topic`, `partition`: records behind the end of the log.
    pub lag_records: IntGaugeVec,
    /// `topic`: newest event time that the store holds, milliseconds since 1970.
    pub newest_event_time_ms: IntGaugeVec,
    /// `outcome`: kept, dropped (the queue was full).
    pub lookups_logged: IntCounterVec,
}

impl Metrics {
    pub fn new() -> Metrics {
        let registry = Registry::new();
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let counter = IntCounterVec::new(Opts::new(name, help), labels).expect("names and labels are constants");
            registry.register(Box::new(counter.clone())).expect("each metric is registered once");
            counter
        };
        let gauge = |name: &str, help: &str, labels: &[&str]| {
            let gauge = IntGaugeVec::new(Opts::new(name, help), labels).expect("names and labels are constants");
            registry.register(Box::new(gauge.clone())).expect("each metric is registered once");
            gauge
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
            events_folded: counter(
                "freshet_events_folded_total",
                "What became of events in a view",
                &["view", "outcome"],
            ),
            lag_records: gauge("freshet_lag_records", "Records behind the end of the log", &["topic", "partition"]),
            newest_event_time_ms: gauge("freshet_newest_event_time_ms", "Newest event time that is served", &["topic"]),
            lookups_logged: counter("freshet_lookups_logged_total", "Lookups sampled for parity", &["outcome"]),
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
