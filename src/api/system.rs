//! `/v1/status`, `/healthz`, `/readyz`, `/metrics`, and the measuring of every request.

use axum::Json;
use axum::extract::{MatchedPath, Request, State as Shared};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::api::State;
use crate::api::problem::Problem;
use crate::event_log::TopicPartition;
use crate::kernel::engine::Counts;
use crate::registry::VersionState;
use crate::registry::catalogue::Version;
use crate::stream::Progress;
use crate::telemetry::metrics::Scrape;

/// How the service is doing.
#[derive(Serialize, ToSchema)]
pub(super) struct Status {
    /// Of the definitions; 0 before the first apply.
    revision: u64,
    project: String,
    partitions: Vec<PartitionStatus>,
    views: Vec<ViewStatus>,
}

/// One partition of a source's topic.
#[derive(Serialize, ToSchema)]
struct PartitionStatus {
    source: String,
    topic: String,
    partition: u32,
    /// First offset that the log holds, and the next that it will give.
    log_start: u64,
    log_end: u64,
    /// What lookups see: everything below is in the online store.
    folded_to: Option<u64>,
    /// Records that lookups do not see yet.
    lag: Option<u64>,
    /// Everything below is in the archive.
    archived_to: Option<u64>,
    /// Newest event time that was folded.
    newest_event_time: Option<String>,
    /// Why it is not read, where it is not.
    stopped: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct ViewStatus {
    view: String,
    version: String,
    /// `live`, or `building` until it has caught up with the log.
    state: &'static str,
    applied: u64,
    late: u64,
    duplicate: u64,
    null_key: u64,
    /// Left out by `where`.
    filtered: u64,
    expression_failed: u64,
    nan_skipped: u64,
    too_long_skipped: u64,
}

/// How far each source is, and what became of its events
#[utoipa::path(get, operation_id = "show_status", path = "/v1/status", tag = "system",
    responses(
        (status = 200, description = "Sources and views", body = Status),
        (status = 503, description = "The log is away", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn status(Shared(state): Shared<State>) -> Result<Json<Status>, Problem> {
    let catalogue = state.catalogues.current();
    let progress = state.stream.borrow().clone();
    let mut partitions = Vec::new();
    for source in &catalogue.plan.sources {
        let archived = state.archived_offsets(&source.name);
        for (partition, held) in (0..).zip(state.log.bounds(&source.topic).await?) {
            let key = TopicPartition { topic: source.topic.clone(), partition };
            let folded = progress.partitions.get(&key);
            partitions.push(PartitionStatus {
                source: source.name.to_string(),
                topic: source.topic.clone(),
                partition,
                log_start: held.start,
                log_end: held.end,
                folded_to: folded.map(|it| it.flushed),
                lag: folded.map(|it| held.end.saturating_sub(it.flushed)),
                archived_to: archived.get(&partition).copied(),
                newest_event_time: folded.and_then(|it| it.newest_event_time).map(|it| it.to_string()),
                stopped: folded.and_then(|it| it.stopped.clone()),
            });
        }
    }
    let views = catalogue.versions.iter().map(|version| view_status(version, counts_of(&progress, version)));
    Ok(Json(Status {
        revision: catalogue.revision,
        project: state.project.to_string(),
        partitions,
        views: views.collect(),
    }))
}

fn view_status(version: &Version, counts: Counts) -> ViewStatus {
    ViewStatus {
        view: version.view.name.to_string(),
        version: version.view.fingerprint.to_string(),
        state: version.state.as_str(),
        applied: counts.applied,
        late: counts.late,
        duplicate: counts.duplicate,
        null_key: counts.null_key,
        filtered: counts.filtered,
        expression_failed: counts.expression_failed,
        nan_skipped: counts.nan_skipped,
        too_long_skipped: counts.too_long_skipped,
    }
}

/// Whether the process is alive
#[utoipa::path(get, operation_id = "check_health", path = "/healthz", tag = "system", responses((status = 200, description = "It is", body = String)))]
pub(super) async fn healthz() -> &'static str {
    "ok"
}

/// Whether lookups are answered: the registry was read, and every live version has its rows
#[utoipa::path(get, operation_id = "check_readiness", path = "/readyz", tag = "system", responses(
    (status = 200, description = "They are", body = String),
    (status = 503, description = "Not yet, and why", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn readyz(Shared(state): Shared<State>) -> Result<&'static str, Problem> {
    let catalogue = state.catalogues.current();
    for version in
        catalogue.versions.iter().filter(|version| version.state == VersionState::Live && version.view.online)
    {
        if state.online.offsets(version.view.fingerprint).await?.is_empty() {
            let detail = format_args!("view `{}` has no rows yet", version.view.name).to_string();
            return Err(Problem::unavailable("NOT_READY", detail));
        }
    }
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
    let (catalogue, progress) = (state.catalogues.current(), state.stream.borrow().clone());
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
        if let Some(newest) = it.newest_event_time {
            scrape.newest_event_time_ms.with_label_values(&labels).set(newest.floor_to_millis().micros() / 1_000);
        }
    }
    let none: [&str; 0] = [];
    scrape.lookups_unlogged.with_label_values(&none).inc_by(state.serving.sampler.dropped());
    scrape
}

fn counts_of(progress: &Progress, version: &Version) -> Counts {
    progress.versions.get(&version.view.fingerprint).map(|it| it.counts).unwrap_or_default()
}

fn outcomes(counts: Counts) -> [(&'static str, u64); 8] {
    [
        ("applied", counts.applied),
        ("late", counts.late),
        ("duplicate", counts.duplicate),
        ("null_key", counts.null_key),
        ("filtered", counts.filtered),
        ("expression_failed", counts.expression_failed),
        ("nan_skipped", counts.nan_skipped),
        ("too_long_skipped", counts.too_long_skipped),
    ]
}

/// Times every request, by the route that it matched and not by its path, so that there are few of them.
pub(super) async fn measure(Shared(state): Shared<State>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let began = Instant::now();
    let response = next.run(request).await;
    let status = response.status();
    let seconds = state.metrics.request_seconds.with_label_values(&[route.as_str(), status.as_str()]);
    seconds.observe(began.elapsed().as_secs_f64());
    if status == StatusCode::INTERNAL_SERVER_ERROR {
        tracing::error!(route, "answered with an internal error");
    }
    response
}
