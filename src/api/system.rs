//! `/healthz`, `/readyz`, `/metrics`.

use axum::extract::State as Shared;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use crate::api::State;
use crate::api::problem::Problem;
use crate::api::readiness;
use crate::api::status::counts_of;
use crate::event_log::TopicPartition;
use crate::kernel::engine::Counts;
use crate::telemetry::metrics::Scrape;

/// Whether the process is alive
#[utoipa::path(get, operation_id = "check_health", path = "/healthz", tag = "system", responses((status = 200, description = "It is", body = String)))]
pub(super) async fn healthz() -> &'static str {
    "ok"
}

/// Whether the process does what its roles promise
#[utoipa::path(get, operation_id = "check_readiness", path = "/readyz", tag = "system", responses(
    (status = 200, description = "It does", body = String),
    (status = 503, description = "Not now, and why", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn readyz(Shared(state): Shared<State>) -> Result<&'static str, Problem> {
    readiness::check(&state).await?;
    Ok("ready")
}

/// Metrics in Prometheus' text format
#[utoipa::path(get, operation_id = "get_metrics", path = "/metrics", tag = "system", responses((status = 200, description = "The metrics", body = String)))]
pub(super) async fn metrics(Shared(state): Shared<State>) -> Response {
    let text = state.metrics.text(&scrape(&state));
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

/// What the stream worker and the sampler know now.
fn scrape(state: &State) -> Scrape {
    let (catalogue, progress) = (state.catalogues.current(), state.stream.progress());
    let scrape = Scrape::new();
    for (version, counts) in catalogue.versions.iter().map(|version| (version, counts_of(&progress, version))) {
        let fingerprint = version.view.fingerprint.to_string();
        for (outcome, count) in outcomes(counts) {
            let labels = [version.view.name.as_str(), &fingerprint, outcome];
            scrape.events_folded.with_label_values(&labels).inc_by(count);
        }
    }
    for (source, it) in &progress.sources {
        scrape.events_clamped.with_label_values(&[source.as_str()]).inc_by(it.clamped);
        for (reason, count) in &it.rejected {
            scrape.records_rejected.with_label_values(&[source.as_str(), reason.as_str()]).inc_by(*count);
        }
    }
    for (reason, count) in &progress.refused_flushes {
        scrape.flushes_refused.with_label_values(&[reason.as_str()]).inc_by(*count);
    }
    for (TopicPartition { topic, partition }, it) in &progress.partitions {
        let labels = [topic.as_str(), &partition.to_string()];
        let lag = it.log_end.saturating_sub(it.flushed);
        scrape.lag_records.with_label_values(&labels).set(i64::try_from(lag).unwrap_or(i64::MAX));
        scrape.partition_stopped.with_label_values(&labels).set(i64::from(it.stopped.is_some()));
        if let Some(newest) = it.newest_event_time {
            scrape.newest_event_time_ms.with_label_values(&labels).set(newest.floor_to_millis().micros() / 1_000);
        }
    }
    for ((source, partition), it) in state.archived.here() {
        let labels = [source.as_str(), &partition.to_string()];
        scrape.archived_offset.with_label_values(&labels).set(i64::try_from(it.archived_to).unwrap_or(i64::MAX));
        scrape.archive_stopped.with_label_values(&labels).set(i64::from(it.stopped.is_some()));
    }
    let none: [&str; 0] = [];
    scrape.lookups_unlogged.with_label_values(&none).inc_by(state.serving.sampler.dropped());
    for (failure, count) in state.serving.store.failures() {
        scrape.store_reads_failed.with_label_values(&[failure.as_str()]).inc_by(count);
    }
    scrape.store_circuit_open.with_label_values(&none).set(i64::from(state.serving.store.is_circuit_open()));
    scrape
}

fn outcomes(counts: Counts) -> [(&'static str, u64); 9] {
    [
        ("applied", counts.applied),
        ("late", counts.late),
        ("duplicate", counts.duplicate),
        ("null_key", counts.null_key),
        ("filtered", counts.filtered),
        ("expression_failed", counts.expression_failed),
        ("nan_skipped", counts.nan_skipped),
        ("before_log", counts.before_log),
        ("too_long_skipped", counts.too_long_skipped),
    ]
}
