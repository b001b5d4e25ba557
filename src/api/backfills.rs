//! `/v1/backfills`: a view's features at regular instants, as jobs.

use axum::Json;
use axum::extract::State as Shared;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use crate::api::State;
use crate::api::jobs::{self, Handle, JobList, JobView};
use crate::api::object::Object;
use crate::api::path::Path;
use crate::api::problem::{Problem, chain};
use crate::backfill::{self, Request};
use crate::kernel::engine::Knowledge;
use crate::kernel::time::{EventTime, Micros};
use crate::offline::{Archive, FeatureTable};
use crate::telemetry::Watch;

const KIND: &str = "backfill";

/// Which instants of which view.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BackfillBody {
    view: String,
    /// The first instant, RFC 3339.
    #[schema(example = "2026-10-01T00:00:00Z")]
    from: String,
    /// The instants end before this one, RFC 3339.
    #[schema(example = "2026-11-01T00:00:00Z")]
    to: String,
    /// From one instant to the next: `1h`, `1d`.
    #[schema(example = "1d")]
    every: String,
}

/// Write a view's features at regular instants
#[utoipa::path(post, operation_id = "create_backfill", path = "/v1/backfills", tag = "backfills", request_body = BackfillBody, responses(
    (status = 202, description = "The job, begun", body = JobView),
    (status = 400, description = "The request is wrong", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "No such view", body = Problem, content_type = "application/problem+json"),
    (status = 415, description = "The body is not declared as JSON", body = Problem, content_type = "application/problem+json"),
    (status = 429, description = "Too many jobs wait", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn create(
    Shared(state): Shared<State>,
    body: Result<Json<Object<BackfillBody>>, JsonRejection>,
) -> Result<(StatusCode, Json<JobView>), Problem> {
    let Json(Object(body)) = body?;
    let view = state.catalogues.current().plan.view(&body.view).cloned();
    let view = view.ok_or_else(|| {
        Problem::not_found("UNKNOWN_VIEW", format_args!("feature view `{}` is not defined", body.view))
    })?;
    let instant = |name: &str, text: &str| {
        text.parse::<EventTime>()
            .map_err(|error| Problem::bad_request("INVALID_BODY", format_args!("`{name}`: {error}")))
    };
    let interval = instant("from", &body.from)?..instant("to", &body.to)?;
    let every: Micros =
        body.every.parse().map_err(|error| Problem::bad_request("INVALID_BODY", format_args!("`every`: {error}")))?;
    let request = Request { view: view.clone(), interval, every, knowledge: Knowledge::AsServed };
    let work_state = state.clone();
    let work = move |id: String, handle: Handle| async move {
        jobs::archived_until_now(&work_state, &view.source).await?;
        jobs::blocking(move || {
            let (archive, folder) = (Archive::new(work_state.folder.clone()), work_state.folder.clone());
            let table = FeatureTable::new(folder.clone(), &view.name, view.fingerprint);
            let (progress, cancelled) = (|done| handle.report(done), || handle.is_cancelled());
            let manifest = backfill::run(&archive, &table, &id, &request, Watch::new(&progress, &cancelled))
                .map_err(|error| chain(&error))?;
            let place = folder.place_of(&format!("features/{}/v={}", view.name, view.fingerprint));
            Ok(json!({ "rows": manifest.rows, "files": manifest.files, "folder": place }))
        })
        .await
    };
    let asked = serde_json::to_value(&body).expect("a body is plain data");
    Ok((StatusCode::ACCEPTED, Json(state.jobs.start(KIND, asked, work).await?)))
}

/// List backfills
#[utoipa::path(get, operation_id = "list_backfills", path = "/v1/backfills", tag = "backfills",
    responses((status = 200, description = "The newest first", body = JobList)))]
pub(super) async fn list(Shared(state): Shared<State>) -> Result<Json<JobList>, Problem> {
    Ok(Json(state.jobs.list(KIND).await?))
}

/// Show one backfill
#[utoipa::path(get, operation_id = "show_backfill", path = "/v1/backfills/{id}", tag = "backfills", params(("id" = String, Path)), responses(
    (status = 200, description = "The job", body = JobView),
    (status = 404, description = "No such job", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn show(Shared(state): Shared<State>, Path(id): Path<String>) -> Result<Json<JobView>, Problem> {
    Ok(Json(state.jobs.get(KIND, &id).await?))
}

/// Cancel a backfill
#[utoipa::path(delete, operation_id = "cancel_backfill", path = "/v1/backfills/{id}", tag = "backfills", params(("id" = String, Path)), responses(
    (status = 200, description = "The job, asked to stop", body = JobView),
    (status = 404, description = "No such job", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn cancel(Shared(state): Shared<State>, Path(id): Path<String>) -> Result<Json<JobView>, Problem> {
    Ok(Json(state.jobs.cancel(KIND, &id).await?))
}
