//! `/v1/status`: how far each partition is, what became of its events, and which jobs run. What is asked first when
//! something is wrong does not fail where a server does: what that one knows is null, and it is said why.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::State as Shared;
use futures::future::join_all;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::State;
use crate::api::access::Caller;
use crate::api::jobs::JobView;
use crate::api::problem::chain;
use crate::api::seeds;
use crate::config::Role;
use crate::event_log::TopicPartition;
use crate::kernel::definition::Source;
use crate::kernel::engine::Counts;
use crate::kernel::time::EventTime;
use crate::online;
use crate::registry::catalogue::{Catalogue, Pass, Version};
use crate::stream::{PartitionProgress, Progress};

/// How the service is doing.
#[derive(Serialize, ToSchema)]
pub(super) struct Status {
    /// Of the definitions; 0 before the first apply.
    revision: u64,
    project: String,
    /// Of this process; counts of sources and views are its own too.
    roles: Vec<&'static str>,
    partitions: Vec<PartitionStatus>,
    sources: Vec<SourceStatus>,
    views: Vec<ViewStatus>,
    /// Those that run or wait, whichever process has them; for a limited key, of its services. Null where the registry
    /// does not answer.
    jobs: Option<Vec<JobView>>,
    /// What did not answer, so that something is null, or partitions of which this process knows nothing are left out.
    unavailable: Vec<String>,
}

/// One partition of a source's topic.
#[derive(Serialize, ToSchema)]
struct PartitionStatus {
    source: String,
    topic: String,
    partition: u32,
    /// First offset that the log holds, and the next that it will give. Null where the log does not answer.
    log_start: Option<u64>,
    log_end: Option<u64>,
    /// What lookups see: everything below is in the online store.
    folded_to: Option<u64>,
    /// Records that lookups do not see yet.
    lag: Option<u64>,
    /// How long ago the oldest of them was ingested, about. Null where another process folds the partition, and for a moment
    /// while records have just come.
    lag_seconds: Option<f64>,
    /// Everything below is in the archive.
    archived_to: Option<u64>,
    /// Newest event time that was folded.
    newest_event_time: Option<String>,
    /// Why it is not read, where it is not.
    stopped: Option<String>,
}

/// What became of a source's records before any view saw them.
#[derive(Serialize, ToSchema)]
struct SourceStatus {
    source: String,
    /// By reason; each is a dead letter.
    rejected: BTreeMap<&'static str, u64>,
    /// Events ahead of their ingestion, which count as of it.
    clamped: u64,
}

#[derive(Serialize, ToSchema)]
struct ViewStatus {
    view: String,
    version: String,
    /// Of its rows; while they are rebuilt, the version is here twice.
    generation: u32,
    /// `live`; `building` until it has caught up with the log; `retained` for a rollback, written and not served.
    state: &'static str,
    /// Why it gets no further while it is built beside what is served, or before the archive has given its first rows.
    stopped: Option<String>,
    applied: u64,
    late: u64,
    duplicate: u64,
    null_key: u64,
    /// Left out by `where`.
    filtered: u64,
    expression_failed: u64,
    nan_skipped: u64,
    too_long_skipped: u64,
    /// Events of the log from a time of which the source's history has the events.
    before_log: u64,
}

/// How far each source is, and what became of its events
#[utoipa::path(get, operation_id = "show_status", path = "/v1/status", tag = "system",
    responses((status = 200, description = "Partitions, sources, views and jobs", body = Status)))]
pub(super) async fn status(Shared(state): Shared<State>, caller: Caller) -> Json<Status> {
    let catalogue = state.catalogues.current();
    let progress = state.stream.progress();
    let sources = catalogue.plan.sources.iter();
    // At once: each may have to wait for the same server, which is away.
    let told = join_all(sources.clone().map(|source| partitions_of(&state, &catalogue, &progress, source))).await;
    let mut missing = Missing::default();
    let mut partitions = Vec::new();
    for (of_source, unknown) in told {
        partitions.extend(of_source);
        missing.0.extend(unknown.0);
    }
    let jobs = missing.unless(state.running_jobs(&caller).await);
    let mut views = Vec::with_capacity(catalogue.versions.len());
    for version in &catalogue.versions {
        let unseeded = seeds::failure(&state, version).await;
        views.push(view_status(&state, version, counts_of(&progress, version), unseeded));
    }
    Json(Status {
        revision: catalogue.revision,
        project: state.project.to_string(),
        roles: state.roles.iter().map(Role::as_str).collect(),
        partitions,
        sources: sources.map(|source| source_status(&progress, source)).collect(),
        views,
        jobs,
        unavailable: missing.0.into_iter().collect(),
    })
}

/// Why something is not known, each reason once.
#[derive(Default)]
struct Missing(BTreeSet<String>);

impl Missing {
    fn unless<T, E: std::error::Error>(&mut self, answer: Result<T, E>) -> Option<T> {
        let told = |error: &E| {
            tracing::warn!(%error, "the status is told in part");
            self.0.insert(chain(error));
        };
        answer.inspect_err(told).ok()
    }
}

async fn partitions_of(
    state: &State,
    catalogue: &Catalogue,
    progress: &Progress,
    source: &Arc<Source>,
) -> (Vec<PartitionStatus>, Missing) {
    let mut missing = Missing::default();
    let held = missing.unless(state.log.bounds(&source.topic).await);
    let ours = progress.partitions.keys().filter(|place| place.topic == source.topic).map(|place| place.partition);
    let partitions: BTreeSet<u32> = match &held {
        Some(held) => (0..held.len() as u32).collect(),
        None => ours.clone().collect(),
    };
    let archived = state.archived.offsets(source, partitions.iter().copied()).await;
    let archived = missing.unless(archived).unwrap_or_default();
    let folded = match ours.count() == partitions.len() {
        true => BTreeMap::new(),
        false => missing.unless(folded_by_others(state, catalogue, source).await).unwrap_or_default(),
    };
    let now = state.clock.now();
    let of = |partition: u32| {
        let place = TopicPartition { topic: source.topic.clone(), partition };
        let held = held.as_ref().map(|held| held[partition as usize].clone());
        let ours = progress.partitions.get(&place);
        let folded_to = ours.map(|it| it.flushed).or_else(|| folded.get(&partition).copied());
        let log_end = held.as_ref().map(|held| held.end);
        let empty_at = held.as_ref().filter(|held| held.is_empty()).map(|held| held.start);
        PartitionStatus {
            source: source.name.to_string(),
            log_start: held.as_ref().map(|held| held.start),
            log_end,
            folded_to,
            lag: folded_to.zip(log_end).map(|(folded_to, log_end)| log_end.saturating_sub(folded_to)),
            lag_seconds: ours.zip(log_end).and_then(|(it, log_end)| lag_seconds(it, log_end, now)),
            archived_to: archived.get(&partition).copied().or(empty_at),
            newest_event_time: ours.and_then(|it| it.newest_event_time).map(|it| it.to_string()),
            stopped: ours.and_then(|it| it.stopped.clone()),
            topic: place.topic,
            partition,
        }
    };
    (partitions.into_iter().map(of).collect(), missing)
}

fn lag_seconds(ours: &PartitionProgress, log_end: u64, now: EventTime) -> Option<f64> {
    if ours.flushed >= log_end {
        return Some(0.0);
    }
    // Of records that the worker has not heard of it does not know the time.
    (ours.flushed < ours.log_end).then(|| now.since(ours.record_time).get().max(0) as f64 / 1e6)
}

/// What the store has of each partition, for every version and in every shard: so partitions are seen that another
/// process folds. One of which a version has nothing yet is left out.
async fn folded_by_others(
    state: &State,
    catalogue: &Catalogue,
    source: &Source,
) -> Result<BTreeMap<u32, u64>, online::Error> {
    let mut folded: BTreeMap<u32, u64> = BTreeMap::new();
    for view in catalogue.written(Pass::Serving).iter().filter(|view| view.source.topic == source.topic) {
        let offsets = state.online.offsets(view.rows).await?.into_iter();
        // What a store lost of seeded rows stands still until the view is built anew.
        for (_, partition, offset) in offsets.filter(|(_, partition, offset)| *offset >= view.folded_from(*partition)) {
            folded.entry(partition).and_modify(|least| *least = offset.min(*least)).or_insert(offset);
        }
    }
    Ok(folded)
}

fn source_status(progress: &Progress, source: &Source) -> SourceStatus {
    let told = progress.sources.get(&source.name).cloned().unwrap_or_default();
    SourceStatus {
        source: source.name.to_string(),
        rejected: told.rejected.iter().map(|(reason, count)| (reason.as_str(), *count)).collect(),
        clamped: told.clamped,
    }
}

fn view_status(state: &State, version: &Version, counts: Counts, unseeded: Option<String>) -> ViewStatus {
    let is_beside = version.written_by == Pass::Building;
    let stopped = || is_beside.then(|| state.stream.building_stopped(&version.view.source.topic)).flatten();
    let stopped = unseeded.or_else(stopped);
    ViewStatus {
        view: version.view.name.to_string(),
        version: version.view.fingerprint.to_string(),
        generation: version.generation,
        state: version.state.as_str(),
        stopped,
        applied: counts.applied,
        late: counts.late,
        duplicate: counts.duplicate,
        null_key: counts.null_key,
        filtered: counts.filtered,
        expression_failed: counts.expression_failed,
        nan_skipped: counts.nan_skipped,
        too_long_skipped: counts.too_long_skipped,
        before_log: counts.before_log,
    }
}

/// Of the partitions that the worker of this process holds.
pub(super) fn counts_of(progress: &Progress, version: &Version) -> Counts {
    progress.versions.get(&version.view.rows).map(|it| it.counts).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lag_in_seconds_is_the_age_of_what_is_not_flushed_yet() {
        let at = |second: i64| EventTime::unchecked(second * 1_000_000);
        let ours = |flushed, log_end| PartitionProgress {
            folded: log_end,
            flushed,
            log_end,
            record_time: at(90),
            newest_event_time: None,
            stopped: None,
        };
        assert_eq!(lag_seconds(&ours(7, 9), 9, at(100)), Some(10.0));
        assert_eq!(lag_seconds(&ours(9, 9), 9, at(100)), Some(0.0));
        assert_eq!(lag_seconds(&ours(7, 7), 9, at(100)), None, "the worker has not heard of the last two");
        assert_eq!(lag_seconds(&ours(7, 9), 9, at(80)), Some(0.0), "a producer's clock may be ahead");
    }
}
