//! `/v1/backfills`: a view's features at regular instants, as jobs.

use axum::Json;
use axum::extract::State as Shared;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use futures::FutureExt;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::api::State;
use crate::api::access::Caller;
use crate::api::blocking;
use crate::api::jobs::{self, Handle, JobList, JobView, Work};
use crate::api::object::Object;
use crate::api::path::Path;
use crate::api::problem::{Problem, chain};
use crate::backfill::{self, Request};
use crate::kernel::engine::Knowledge;
use crate::kernel::name::Name;
use crate::kernel::plan::Fingerprint;
use crate::kernel::time::{EventTime, Micros};
use crate::offline::{Archive, FeatureTable};
use crate::registry::Job;

pub(super) const KIND: &str = "backfill";

/// In what is recorded of a request, beside its body: the version of the view that it was begun for.
const VERSION: &str = "version";

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
    let id = state.jobs.new_id(KIND);
    let run = Run { state: state.clone(), id: id.clone() };
    let work = |handle| run.work(request, handle).boxed();
    Ok((StatusCode::ACCEPTED, Json(state.jobs.start(id, KIND, asked, work).await?)))
}

/// Goes on with a job that was recorded here or elsewhere.
pub(super) fn take_up(state: &State, job: &Job, handle: Handle) -> Work {
    let run = Run { state: state.clone(), id: job.id.clone() };
    match recorded(state, &job.request) {
        Some(request) => run.work(request, handle).boxed(),
        None => run.end(job.request.clone()).boxed(),
    }
}

/// What was asked for; `None`: the view has another version by now.
fn recorded(state: &State, request: &Value) -> Option<Request> {
    let mut asked = request.clone();
    let version = asked.as_object_mut()?.remove(VERSION)?;
    let request = serde_json::from_value::<BackfillBody>(asked).ok()?.request(state).ok()?;
    (version == request.view.fingerprint.to_string()).then_some(request)
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

/// One job.
struct Run {
    state: State,
    id: String,
}

impl Run {
    /// What a run that comes to nothing wrote is removed, unless another process goes on with it.
    async fn work(self, request: Request, handle: Handle) -> Result<Value, String> {
        let table = self.table(&request.view.name, request.view.fingerprint);
        let outcome = self.rows(&table, request, &handle).await;
        if outcome.is_err() && self.state.jobs.is_over(&self.id, &handle).await {
            self.discard(table).await;
        }
        outcome
    }

    async fn rows(&self, table: &FeatureTable, request: Request, handle: &Handle) -> Result<Value, String> {
        handle.check()?;
        jobs::archived_until_now(&self.state, &request.view.source).await?;
        let (state, id, table, handle) = (self.state.clone(), self.id.clone(), table.clone(), handle.clone());
        jobs::blocking(move || run(&state, &id, &table, &request, &handle).map_err(|error| chain(&error))).await
    }

    /// Of a version that is none any more.
    async fn end(self, request: Value) -> Result<Value, String> {
        let view = request["view"].as_str().and_then(|view| view.parse().ok());
        let version = request[VERSION].as_str().and_then(|version| u64::from_str_radix(version, 16).ok());
        if let (Some(view), Some(version)) = (view, version) {
            self.discard(self.table(&view, Fingerprint(version))).await;
        }
        Err("its view has another version by now: ask for it again".to_owned())
    }

    fn table(&self, view: &Name, version: Fingerprint) -> FeatureTable {
        FeatureTable::new(self.state.folder.clone(), view, version)
    }

    async fn discard(&self, table: FeatureTable) {
        let id = self.id.clone();
        if let Err(error) = blocking(move || table.discard(&id)).await {
            tracing::warn!(%error, job = self.id, "what a backfill wrote that came to nothing could not be removed");
        }
    }
}

fn run(
    state: &State,
    id: &str,
    table: &FeatureTable,
    request: &Request,
    handle: &Handle,
) -> Result<Value, backfill::Error> {
    let archive = Archive::new(state.folder.clone());
    let view = &request.view;
    let manifest = handle.watched(|watch| backfill::run(&archive, table, id, request, state.job_resources, watch))?;
    let place = state.folder.place_of(&format!("features/{}/v={}", view.name, view.fingerprint));
    Ok(json!({ "rows": manifest.rows, "files": manifest.files, "folder": place }))
}

/// List backfills
#[utoipa::path(get, operation_id = "list_backfills", path = "/v1/backfills", tag = "backfills",
    responses((status = 200, description = "The newest first; for a limited key, of views that its services read", body = JobList)))]
pub(super) async fn list(Shared(state): Shared<State>, caller: Caller) -> Result<Json<JobList>, Problem> {
    Ok(Json(state.jobs(KIND, &caller).await?))
}

/// Show one backfill
#[utoipa::path(get, operation_id = "show_backfill", path = "/v1/backfills/{id}", tag = "backfills", params(("id" = String, Path)), responses(
    (status = 200, description = "The job", body = JobView),
    (status = 404, description = "No such job", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn show(
    Shared(state): Shared<State>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<JobView>, Problem> {
    Ok(Json(state.job(KIND, &id, &caller).await?))
}

/// Cancel a backfill
#[utoipa::path(delete, operation_id = "cancel_backfill", path = "/v1/backfills/{id}", tag = "backfills", params(("id" = String, Path)), responses(
    (status = 200, description = "The job, asked to stop", body = JobView),
    (status = 404, description = "No such job", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn cancel(
    Shared(state): Shared<State>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<JobView>, Problem> {
    Ok(Json(state.cancel_job(KIND, &id, &caller).await?))
}
