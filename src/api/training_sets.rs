//! `/v1/training-sets`: point-in-time joins, as jobs.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Query, State as Shared};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use futures::FutureExt;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::api::State;
use crate::api::access::Caller;
use crate::api::blocking;
use crate::api::jobs::{Handle, JobList, JobView, Work};
use crate::api::path::Path;
use crate::api::problem::Problem;
use crate::offline::{Format, KeptSpine};
use crate::registry;

use again::Earlier;
use cut::{Asked, Recorded, forget};
use spine::SpineName;

mod again;
mod cut;
mod rows;
mod spine;

pub(super) const KIND: &str = "training_set";

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct TrainingSetQuery {
    /// A feature service: its features become columns, in its order. Needed unless `again` is given.
    service: Option<String>,
    /// The column of the spine with the label time; `event_timestamp` unless given.
    label_time: Option<String>,
    /// What a row may know; `as_served` unless given.
    #[param(inline)]
    knowledge: Option<KnowledgeName>,
    /// The id of a training set that is done: it is cut again, from the same events to the same bytes, whatever has come
    /// since. The spine has to be the same, and stands alone: all else is as it was.
    again: Option<String>,
    /// A file of the service in place of a body: below its input roots, or the URL of an object there; by the end of its
    /// name Parquet, Arrow, CSV or JSON. Not for keys that are limited to some services.
    spine: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum KnowledgeName {
    /// What a lookup would have known at the label time.
    #[default]
    AsServed,
    /// All events before the label time, whenever they came.
    EventTime,
    /// As `as_served`, with a report of how many values `event_time` would change, and why.
    Both,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct DataQuery {
    #[serde(default)]
    #[param(inline)]
    format: FormatName,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum FormatName {
    #[default]
    Parquet,
    Csv,
    Arrow,
}

/// Cut a training set: the spine is the body, or a file of the service
#[utoipa::path(post, operation_id = "create_training_set", path = "/v1/training-sets", tag = "training sets", params(TrainingSetQuery),
    request_body(description = "Rows with the keys and a label time; other columns pass through",
        content(("application/vnd.apache.parquet"), (String = "text/csv"), ("application/vnd.apache.arrow.file"),
            (Vec<serde_json::Map<String, serde_json::Value>> = "application/json"))),
    responses(
        (status = 202, description = "The job, begun", body = JobView),
        (status = 400, description = "The spine or the request is wrong", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such service, or no such training set to repeat", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The training set to repeat is not done, or the spine or the definitions are others", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The spine is too large for a request", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "The spine has another format", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many jobs wait", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn create(
    Shared(state): Shared<State>,
    caller: Caller,
    query: Result<Query<TrainingSetQuery>, QueryRejection>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<JobView>), Problem> {
    let Query(query) = query?;
    let file = query.spine.clone();
    let format = file.as_deref().map_or_else(|| SpineName::of_body(&headers), SpineName::of_file)?;
    let recorded = recorded(&state, &caller, query, format).await?;
    let request = serde_json::to_value(&recorded).expect("a request is plain data");
    let asked = Asked::new(&state, recorded)?;
    let spine = match file {
        Some(path) => spine::read_file(&state, &caller, path).await?,
        None => body?,
    };
    asked.check_spine(&spine)?;
    let id = state.jobs.new_id(KIND);
    let kept = Arc::new(KeptSpine::of(&state.folder, &id));
    let keeping = kept.clone();
    blocking(move || keeping.keep(&spine)).await?;
    let (job_state, job_id) = (state.clone(), id.clone());
    let started = state.jobs.start(id, KIND, request, |handle| asked.work(job_state, job_id, handle).boxed()).await;
    if started.is_err() {
        forget(&kept).await;
    }
    Ok((StatusCode::ACCEPTED, Json(started?)))
}

/// What is asked for, by somebody who may.
async fn recorded(
    state: &State,
    caller: &Caller,
    query: TrainingSetQuery,
    spine: SpineName,
) -> Result<Recorded, Problem> {
    if let Some(earlier) = &query.again {
        return again(state, caller, earlier, &query, spine).await;
    }
    let missing =
        || Problem::bad_request("INVALID_QUERY", "`service` is missing: name one, or with `again` a training set");
    let service = query.service.ok_or_else(missing)?;
    caller.require_service(&service)?;
    Ok(Recorded {
        service,
        label_time: query.label_time.unwrap_or_else(|| "event_timestamp".to_owned()),
        knowledge: query.knowledge.unwrap_or_default(),
        spine,
        again: None,
    })
}

/// All that was asked of an earlier job, asked again.
async fn again(
    state: &State,
    caller: &Caller,
    earlier: &str,
    query: &TrainingSetQuery,
    spine: SpineName,
) -> Result<Recorded, Problem> {
    if query.service.is_some() || query.label_time.is_some() || query.knowledge.is_some() {
        let detail =
            "`again` stands alone: `service`, `label_time` and `knowledge` are those of the training set it names";
        return Err(Problem::bad_request("INVALID_QUERY", detail));
    }
    let job = state.job(KIND, earlier, caller).await?;
    let made = job.result().and_then(|result| serde_json::from_value(result.clone()).ok());
    let not_done = || {
        let detail = format!("training set `{earlier}` cannot be cut again: it is not done, or of an earlier release");
        Problem::new(StatusCode::CONFLICT, "NOT_DONE", detail)
    };
    let made = made.ok_or_else(not_done)?;
    let asked: Recorded = serde_json::from_value(job.request().clone()).map_err(|error| Problem::internal(&error))?;
    Ok(Recorded { spine, again: Some(Earlier { job: earlier.to_owned(), made }), ..asked })
}

/// Goes on with a job that was recorded here or elsewhere: from the start, by the definitions of now.
pub(super) fn take_up(state: &State, job: &registry::Job, handle: Handle) -> Work {
    let recorded = serde_json::from_value(job.request.clone()).map_err(|error| error.to_string());
    let asked = recorded.and_then(|recorded| Asked::new(state, recorded).map_err(|problem| problem.detail));
    let (state, id) = (state.clone(), job.id.clone());
    let work = async move {
        match asked {
            Ok(asked) => asked.work(state, id, handle).await,
            Err(detail) => {
                forget(&Arc::new(KeptSpine::of(&state.folder, &id))).await;
                Err(detail)
            }
        }
    };
    work.boxed()
}

/// Ends a job that no process has lived through.
pub(super) fn give_up(state: &State, job: &registry::Job, deaths: u64) -> Work {
    let kept = Arc::new(KeptSpine::of(&state.folder, &job.id));
    let detail = format!(
        "{deaths} processes were lost while they cut it, and it is not tried again: look into their logs and their memory, \
         or hand the spine in as several"
    );
    let work = async move {
        forget(&kept).await;
        Err(detail)
    };
    work.boxed()
}

/// List training sets
#[utoipa::path(get, operation_id = "list_training_sets", path = "/v1/training-sets", tag = "training sets",
    responses((status = 200, description = "The newest first; for a limited key, of its services", body = JobList)))]
pub(super) async fn list(Shared(state): Shared<State>, caller: Caller) -> Result<Json<JobList>, Problem> {
    Ok(Json(state.jobs(KIND, &caller).await?))
}

/// Show one training set
#[utoipa::path(get, operation_id = "show_training_set", path = "/v1/training-sets/{id}", tag = "training sets", params(("id" = String, Path)), responses(
    (status = 200, description = "The job", body = JobView),
    (status = 404, description = "No such job", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn show(
    Shared(state): Shared<State>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<JobView>, Problem> {
    Ok(Json(state.job(KIND, &id, &caller).await?))
}

/// Cancel a training set
#[utoipa::path(delete, operation_id = "cancel_training_set", path = "/v1/training-sets/{id}", tag = "training sets", params(("id" = String, Path)), responses(
    (status = 200, description = "The job, asked to stop", body = JobView),
    (status = 404, description = "No such job", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn cancel(
    Shared(state): Shared<State>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<JobView>, Problem> {
    Ok(Json(state.cancel_job(KIND, &id, &caller).await?))
}

/// Get the rows of a training set
#[utoipa::path(get, operation_id = "get_training_set_data", path = "/v1/training-sets/{id}/data", tag = "training sets", params(("id" = String, Path), DataQuery), responses(
    (status = 200, description = "The spine's rows with their features",
        content((Vec<u8> = "application/vnd.apache.parquet"), (String = "text/csv"), (Vec<u8> = "application/vnd.apache.arrow.file"))),
    (status = 400, description = "No such format", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "No such training set, or not done", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn data(
    Shared(state): Shared<State>,
    caller: Caller,
    Path(id): Path<String>,
    query: Result<Query<DataQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query?;
    // Also keeps the id from naming any other file.
    let job = state.job(KIND, &id, &caller).await?;
    if !job.is_done() {
        return Err(Problem::not_found("NOT_DONE", format_args!("training set `{id}` has no rows: it is not done")));
    }
    rows::answer(&state, &id, query.format).await
}

fn stored_path(id: &str, format: FormatName) -> String {
    format!("training_sets/{id}.{}", format.extension())
}

impl FormatName {
    fn format(self) -> Format {
        match self {
            FormatName::Parquet => Format::Parquet,
            FormatName::Csv => Format::Csv,
            FormatName::Arrow => Format::Arrow,
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            FormatName::Parquet => "application/vnd.apache.parquet",
            FormatName::Csv => "text/csv",
            FormatName::Arrow => "application/vnd.apache.arrow.file",
        }
    }

    fn extension(self) -> &'static str {
        match self {
            FormatName::Parquet => "parquet",
            FormatName::Csv => "csv",
            FormatName::Arrow => "arrow",
        }
    }
}
