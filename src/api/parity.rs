//! `POST /v1/parity`: sampled lookups against what the archive says of them, bit for bit.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State as Shared};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::api::State;
use crate::api::jobs;
use crate::api::problem::Problem;
use crate::kernel::name::FeatureRef;
use crate::kernel::plan::ViewPlan;
use crate::kernel::time::{EventTime, Micros};
use crate::offline::{Archive, Lookups};
use crate::parity::{self, Report, Tally};
use crate::telemetry::Watch;
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
    (status = 503, description = "The archive is behind", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn check(
    Shared(state): Shared<State>,
    query: Result<Query<ParityQuery>, QueryRejection>,
) -> Result<Json<ParityReport>, Problem> {
    let Query(query) = query?;
    let since = match query.last {
        None => EventTime::MIN,
        Some(last) => {
            let last: Micros =
                last.parse().map_err(|error| Problem::bad_request("INVALID_QUERY", format_args!("`last`: {error}")))?;
            state.clock.now() - last
        }
    };
    state.serving.sampler.flush().await;
    let catalogue = state.catalogues.current();
    for source in &catalogue.plan.sources {
        jobs::archived_until_now(&state, source)
            .await
            .map_err(|detail| Problem::unavailable("ARCHIVE_BEHIND", detail))?;
    }
    let views: Vec<Arc<ViewPlan>> = catalogue.versions.iter().map(|version| version.view.clone()).collect();
    let folder = state.folder.clone();
    let checked = tokio::task::spawn_blocking(move || {
        let (archive, lookups) = (Archive::new(folder.clone()), Lookups::new(folder));
        let watch = Watch::new(&|_| {}, &|| false);
        parity::check(&archive, &lookups, since, &views, parity::HELD, watch)
    });
    let report = checked.await.expect("parity does not panic").map_err(|error| Problem::internal(&error))?;
    tell(&report, &state.metrics);
    Ok(Json(view(&report)))
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
