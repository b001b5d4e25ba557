//! `POST /v1/parity`: sampled lookups against what the archive says of them, bit for bit.
//!
//! The samples are of all services, so a key that is limited to some may not ask. A process checks once at a time, and
//! no longer than somebody waits for the report.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State as Shared};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::api::State;
use crate::api::access::Caller;
use crate::api::blocking;
use crate::api::jobs::{self, Handle};
use crate::api::problem::Problem;
use crate::api::turns::Turn;
use crate::kernel::name::FeatureRef;
use crate::kernel::plan::ViewPlan;
use crate::kernel::time::{EventTime, Micros};
use crate::offline::{Archive, Folder, Lookups};
use crate::parity::{self, Report, Tally};
use crate::telemetry::metrics::Metrics;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ParityQuery {
    /// Only lookups of that long ago at most: `24h`. All, unless given.
    last: Option<String>,
}

/// Served values against recomputed ones.
#[derive(Serialize, ToSchema)]
pub(super) struct ParityReport {
    /// Looked-up rows that were sampled.
    lookups: usize,
    /// Values.
    compared: usize,
    /// Of those compared; expected: 0.
    different: usize,
    /// Values that cannot be compared, not counted as equal.
    unchecked: usize,
    features: Vec<FeatureParity>,
    /// Why rows are unchecked.
    reasons: Vec<UncheckedRows>,
    /// Some of the differences, in words.
    examples: Vec<String>,
}

#[derive(Serialize, ToSchema)]
struct FeatureParity {
    feature: String,
    compared: usize,
    different: usize,
    unchecked: usize,
}

#[derive(Serialize, ToSchema)]
struct UncheckedRows {
    view: String,
    reason: String,
    rows: usize,
}

/// Recompute sampled lookups from the archive and compare bits
#[utoipa::path(post, operation_id = "check_parity", path = "/v1/parity", tag = "parity", params(ParityQuery), responses(
    (status = 200, description = "The report", body = ParityReport),
    (status = 400, description = "`last` is no duration", body = Problem, content_type = "application/problem+json"),
    (status = 429, description = "A check is under way in this process", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "The archive is behind", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn check(
    Shared(state): Shared<State>,
    caller: Caller,
    query: Result<Query<ParityQuery>, QueryRejection>,
) -> Result<Json<ParityReport>, Problem> {
    caller.require_every_service("a parity check")?;
    let Query(query) = query?;
    let since = query.since(state.clock.now())?;
    let turn = state.turns.parity()?;
    state.serving.sampler.flush().await;
    let catalogue = state.catalogues.current();
    for source in &catalogue.plan.sources {
        jobs::archived_until_now(&state, source)
            .await
            .map_err(|detail| Problem::unavailable("ARCHIVE_BEHIND", detail))?;
    }
    let views: Vec<Arc<ViewPlan>> = catalogue.versions.iter().map(|version| version.view.clone()).collect();
    let report = checked(state.folder.clone(), since, views, turn).await?;
    tell(&report, &state.metrics);
    Ok(Json(view(&report)))
}

impl ParityQuery {
    fn since(&self, now: EventTime) -> Result<EventTime, Problem> {
        let Some(last) = &self.last else { return Ok(EventTime::MIN) };
        let last: Micros =
            last.parse().map_err(|error| Problem::bad_request("INVALID_QUERY", format_args!("`last`: {error}")))?;
        Ok(now - last)
    }
}

/// Checks on a thread of its own, which stops and gives the turn back soon after this is dropped.
async fn checked(
    folder: Folder,
    since: EventTime,
    views: Vec<Arc<ViewPlan>>,
    turn: Turn,
) -> Result<Report, parity::Error> {
    let handle = Handle::default();
    let _waiting = handle.waiting();
    blocking(move || {
        let _turn = turn;
        let (archive, lookups) = (Archive::new(folder.clone()), Lookups::new(folder));
        handle.watched(|watch| parity::check(&archive, &lookups, since, &views, parity::HELD, watch))
    })
    .await
}

/// Of features that are no longer there nothing stays behind.
fn tell(report: &Report, metrics: &Metrics) {
    metrics.parity_values.reset();
    for (feature, tally) in &report.features {
        let outcomes = [
            ("equal", tally.compared - tally.different),
            ("different", tally.different),
            ("unchecked", tally.unchecked),
        ];
        for (outcome, values) in outcomes {
            metrics.parity_values.with_label_values(&[feature.to_string().as_str(), outcome]).set(values as i64);
        }
    }
}

fn view(report: &Report) -> ParityReport {
    let feature = |(name, tally): (&FeatureRef, &Tally)| FeatureParity {
        feature: name.to_string(),
        compared: tally.compared,
        different: tally.different,
        unchecked: tally.unchecked,
    };
    let reasons = report.unchecked.iter().map(|((view, reason), rows)| UncheckedRows {
        view: view.to_string(),
        reason: reason.to_string(),
        rows: *rows,
    });
    ParityReport {
        lookups: report.lookups,
        compared: report.values.compared,
        different: report.values.different,
        unchecked: report.values.unchecked,
        features: report.features.iter().map(feature).collect(),
        reasons: reasons.collect(),
        examples: report.examples.iter().map(ToString::to_string).collect(),
    }
}
