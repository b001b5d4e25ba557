//! Every metric of the service, with its unit in its name: what is counted as it happens ([`Metrics`]), and what is
//! asked for at each scrape ([`Scrape`]). One registry for each service, so that two of them in one process (as tests
//! have) do not add up.

use prometheus::core::Collector;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};

/// Upper bounds in seconds, from 100 µs to 10 s.
const SECONDS: [f64; 16] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Counted as it happens. Clones share it.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    /// `route`, `status`.
    pub request_seconds: HistogramVec,
    /// `view`, `status`: values served.
    pub values_served: IntCounterVec,
    /// `view`: values read that are null because they did not fit their type.
    pub values_overflowed: IntCounterVec,
    /// `source`: events acknowledged by HTTP ingest.
    pub events_accepted: IntCounterVec,
    /// `source`, `reason`: events refused by HTTP ingest.
    pub events_rejected: IntCounterVec,
    pub connections: IntGauge,
    /// `lane`.
    pub requests_in_flight: IntGaugeVec,
    /// `lane`: refused, for as many were being answered as are.
    pub requests_shed: IntCounterVec,
    /// `lane`: given up, for they took too long.
    pub requests_timed_out: IntCounterVec,
    /// `code`: refused for want of a key that allows them.
    pub requests_refused: IntCounterVec,
    /// `feature`, `outcome`: values of the last parity check of this process.
    pub parity_values: IntGaugeVec,
}

impl Metrics {
    pub fn new() -> Metrics {
        let registry = Registry::new();
        let options = HistogramOpts::new("freshet_request_seconds", "Time to answer a request");
        let request_seconds = HistogramVec::new(options.buckets(SECONDS.to_vec()), &["route", "status"]);
        let overflowed = "Values read that are null because they did not fit their type";
        let accepted = "Events acknowledged by HTTP ingest";
        let rejected = "Events refused by HTTP ingest";
        let connections = IntGauge::new("freshet_connections", "Open HTTP connections");
        let shed = "Requests refused because too many were being answered";
        let timed_out = "Requests given up because they took too long";
        let refused = "Requests refused for want of a key that allows them";
        let parity = "Values of the last parity check: equal, different or unchecked";
        Metrics {
            request_seconds: registered(&registry, request_seconds),
            values_served: counter(
                &registry,
                "freshet_values_served_total",
                "Feature values served",
                &["view", "status"],
            ),
            values_overflowed: counter(&registry, "freshet_values_overflowed_total", overflowed, &["view"]),
            events_accepted: counter(&registry, "freshet_events_accepted_total", accepted, &["source"]),
            events_rejected: counter(&registry, "freshet_events_rejected_total", rejected, &["source", "reason"]),
            connections: registered(&registry, connections),
            requests_in_flight: gauge(
                &registry,
                "freshet_requests_in_flight",
                "Requests that are being answered",
                &["lane"],
            ),
            requests_shed: counter(&registry, "freshet_requests_shed_total", shed, &["lane"]),
            requests_timed_out: counter(&registry, "freshet_requests_timed_out_total", timed_out, &["lane"]),
            requests_refused: counter(&registry, "freshet_requests_refused_total", refused, &["code"]),
            parity_values: gauge(&registry, "freshet_parity_values", parity, &["feature", "outcome"]),
            registry,
        }
    }

    /// Both kinds in Prometheus' text format.
    pub fn text(&self, scrape: &Scrape) -> String {
        let families = [self.registry.gather(), scrape.registry.gather()].concat();
        TextEncoder::new().encode_to_string(&families).expect("names, labels and values are well formed")
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

/// Asked for at one scrape, and new for each, so that a view or partition that is gone leaves no last value behind.
pub struct Scrape {
    registry: Registry,
    /// `view`, `version`, `outcome`: what became of events in a view since the stream worker started.
    pub events_folded: IntCounterVec,
    /// `source`, `reason`: records that went to the dead letters since then.
    pub records_rejected: IntCounterVec,
    /// `source`: events that were ahead of their ingestion within the allowed skew.
    pub events_clamped: IntCounterVec,
    /// `reason`: flushes of which the store wrote nothing.
    pub flushes_refused: IntCounterVec,
    /// `topic`, `partition`: records of the log that lookups do not see yet.
    pub lag_records: IntGaugeVec,
    /// `topic`, `partition`: 1 where reading has stopped for good, rather than skip something.
    pub partition_stopped: IntGaugeVec,
    /// `topic`, `partition`: milliseconds since 1970.
    pub newest_event_time_ms: IntGaugeVec,
    /// `source`, `partition`: records below are archived.
    pub archived_offset: IntGaugeVec,
    /// `source`, `partition`: 1 where archiving has stopped for good, rather than skip something.
    pub archive_stopped: IntGaugeVec,
    /// Looked-up rows that parity misses, for too many came at once.
    pub lookups_unlogged: IntCounterVec,
    /// `reason`: reads of the online store for lookups that had no answer.
    pub store_reads_failed: IntCounterVec,
    /// 1 while lookups are refused because the online store has been failing.
    pub store_circuit_open: IntGaugeVec,
}

impl Scrape {
    pub fn new() -> Scrape {
        let registry = Registry::new();
        let folded = "What became of events in a view";
        let rejected = "Records of the log that entered no view";
        let clamped = "Events ahead of their ingestion within the allowed skew";
        let stopped = "1 where reading has stopped, rather than skip something";
        let newest = "Newest event time that was folded";
        let refused = "Flushes of which the online store wrote nothing";
        let archived = "Records below are archived";
        let archive_stopped = "1 where archiving has stopped, rather than skip something";
        let unlogged = "Lookups that were to be kept for parity and were not";
        let failed = "Reads of the online store for lookups that had no answer";
        let circuit = "1 while lookups are refused because the online store has been failing";
        let partition = ["topic", "partition"];
        Scrape {
            events_folded: counter(&registry, "freshet_events_folded_total", folded, &["view", "version", "outcome"]),
            records_rejected: counter(&registry, "freshet_records_rejected_total", rejected, &["source", "reason"]),
            events_clamped: counter(&registry, "freshet_events_clamped_total", clamped, &["source"]),
            flushes_refused: counter(&registry, "freshet_flushes_refused_total", refused, &["reason"]),
            lag_records: gauge(&registry, "freshet_lag_records", "Records that lookups do not see yet", &partition),
            partition_stopped: gauge(&registry, "freshet_partition_stopped", stopped, &partition),
            newest_event_time_ms: gauge(&registry, "freshet_newest_event_time_ms", newest, &partition),
            archived_offset: gauge(&registry, "freshet_archived_offset", archived, &["source", "partition"]),
            archive_stopped: gauge(&registry, "freshet_archive_stopped", archive_stopped, &["source", "partition"]),
            lookups_unlogged: counter(&registry, "freshet_lookups_unlogged_total", unlogged, &[]),
            store_reads_failed: counter(&registry, "freshet_store_reads_failed_total", failed, &["reason"]),
            store_circuit_open: gauge(&registry, "freshet_store_circuit_open", circuit, &[]),
            registry,
        }
    }
}

impl Default for Scrape {
    fn default() -> Scrape {
        Scrape::new()
    }
}

fn counter(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    registered(registry, IntCounterVec::new(Opts::new(name, help), labels))
}

fn gauge(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    registered(registry, IntGaugeVec::new(Opts::new(name, help), labels))
}

fn registered<M: Collector + Clone + 'static>(registry: &Registry, metric: prometheus::Result<M>) -> M {
    let metric = metric.expect("names and labels are constants");
    registry.register(Box::new(metric.clone())).expect("each metric is registered once");
    metric
}
