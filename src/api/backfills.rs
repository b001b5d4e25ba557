//! `/v1/backfills`: a view's features at regular instants, as jobs.

use axum::Json;
use axum::extract::State as Shared;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
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
use crate::registry::Job;

pub(super) const KIND: &str = "backfill";

/// In what is recorded of a request, beside its body: the version of the view that it was begun for.
const VERSION: &str = "version";

type Work = BoxFuture<'static, Result<Value, String>>;

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
    let request = body.request(&state)?;
    let mut asked = serde_json::to_value(&body).expect("a body is plain data");
    asked[VERSION] = json!(request.view.fingerprint.to_string());
    Ok((StatusCode::ACCEPTED, Json(state.jobs.start(KIND, asked, work(&state, request)).await?)))
}

/// Goes on with a job that was recorded here or elsewhere; `None`: its view has another version by now.
pub(super) fn work_of(state: &State, job: &Job) -> Option<impl FnOnce(String, Handle) -> Work + use<>> {
    let mut asked = job.request.clone();
    let version = asked.as_object_mut()?.remove(VERSION)?;
    let request = serde_json::from_value::<BackfillBody>(asked).ok()?.request(state).ok()?;
    (version == request.view.fingerprint.to_string()).then(|| work(state, request))
}

impl BackfillBody {
    fn request(&self, state: &State) -> Result<Request, Problem> {
        let view = state.catalogues.current().plan.view(&self.view).cloned();
        let view = view.ok_or_else(|| {
            Problem::not_found("UNKNOWN_VIEW", format_args!("feature view `{}` is not defined", self.view))
        })?;
        let instant = |name: &str, text: &str| {
            text.parse::<EventTime>()
                .map_err(|error| Problem::bad_request("INVALID_BODY", format_args!("`{name}`: {error}")))
        };
        let interval = instant("from", &self.from)?..instant("to", &self.to)?;
        let every: Micros = self
            .every
            .parse()
            .map_err(|error| Problem::bad_request("INVALID_BODY", format_args!("`every`: {error}")))?;
        Ok(Request { view, interval, every, knowledge: Knowledge::AsServed })
    }
}

fn work(state: &State, request: Request) -> impl FnOnce(String, Handle) -> Work + use<> {
    let state = state.clone();
    move |id: String, handle: Handle| {
        let work = async move {
            jobs::archived_until_now(&state, &request.view.source).await?;
            jobs::blocking(move || run(&state, &id, &request, &handle).map_err(|error| chain(&error))).await
        };
        work.boxed()
    }
}

fn run(state: &State, id: &str, request: &Request, handle: &Handle) -> Result<Value, backfill::Error> {
    let (archive, folder) = (Archive::new(state.folder.clone()), &state.folder);
    let view = &request.view;
    let table = FeatureTable::new(folder.clone(), &view.name, view.fingerprint);
    let manifest = handle.watched(|watch| backfill::run(&archive, &table, id, request, state.job_resources, watch))?;
    let place = folder.place_of(&format!("features/{}/v={}", view.name, view.fingerprint));
    Ok(json!({ "rows": manifest.rows, "files": manifest.files, "folder": place }))
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
