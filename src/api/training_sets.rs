//! `/v1/training-sets`: point-in-time joins, as jobs.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Query, State as Shared};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use crate::api::State;
use crate::api::access::Caller;
use crate::api::jobs::{self, Handle, JobList, JobView};
use crate::api::path::Path;
use crate::api::problem::{Problem, chain};
use crate::kernel::definition::FeatureService;
use crate::kernel::engine::Knowledge;
use crate::kernel::name::{FeatureRef, Name};
use crate::kernel::plan::Plan;
use crate::kernel::value::ValueType;
use crate::offline::{Archive, Folder, Format, Limits, ResultWriter, SpineColumns, convert, spine};
use crate::telemetry::Watch;
use crate::training::{self, Differences, Job};

const KIND: &str = "training_set";

/// Of a spine that comes in a request.
const SPINE_LIMITS: Limits = Limits { rows: 10_000_000, bytes: 1 << 30 };

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct TrainingSetQuery {
    /// A feature service: its features become columns, in its order.
    service: String,
    /// The column of the spine with the label time; `event_timestamp` unless given.
    label_time: Option<String>,
    /// What a row may know.
    #[serde(default)]
    #[param(inline)]
    knowledge: KnowledgeName,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
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
    format: ResultFormat,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum ResultFormat {
    #[default]
    Parquet,
    Csv,
    Arrow,
}

/// Cut a training set: the body is the spine
#[utoipa::path(post, operation_id = "create_training_set", path = "/v1/training-sets", tag = "training sets", params(TrainingSetQuery),
    request_body(description = "Rows with the keys and a label time; other columns pass through",
        content(("application/vnd.apache.parquet"), (String = "text/csv"), ("application/vnd.apache.arrow.file"))),
    responses(
        (status = 202, description = "The job, begun", body = JobView),
        (status = 400, description = "The spine or the request is wrong", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such service", body = Problem, content_type = "application/problem+json"),
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
    caller.require_service(&query.service)?;
    let format = spine_format(&headers)?;
    let catalogue = state.catalogues.current();
    let service = catalogue.served.service(&query.service).cloned();
    let service = service.ok_or_else(|| {
        Problem::not_found("UNKNOWN_SERVICE", format_args!("feature service `{}` is not defined", query.service))
    })?;
    let label_time = query.label_time.unwrap_or_else(|| "event_timestamp".to_owned());
    let request =
        json!({ "service": query.service, "label_time": label_time, "knowledge": knowledge_text(query.knowledge) });
    let asked =
        Asked { plan: catalogue.served.clone(), service, label_time, knowledge: query.knowledge, spine: body?, format };
    let work_state = state.clone();
    let work = move |id: String, handle: Handle| async move {
        for source in asked.sources() {
            jobs::archived_until_now(&work_state, &source).await?;
        }
        jobs::blocking(move || asked.cut(&work_state, &id, &handle)).await
    };
    Ok((StatusCode::ACCEPTED, Json(state.jobs.start(KIND, request, work).await?)))
}

/// List training sets
#[utoipa::path(get, operation_id = "list_training_sets", path = "/v1/training-sets", tag = "training sets",
    responses((status = 200, description = "The newest first", body = JobList)))]
pub(super) async fn list(Shared(state): Shared<State>) -> Result<Json<JobList>, Problem> {
    Ok(Json(state.jobs.list(KIND).await?))
}

/// Show one training set
#[utoipa::path(get, operation_id = "show_training_set", path = "/v1/training-sets/{id}", tag = "training sets", params(("id" = String, Path)), responses(
    (status = 200, description = "The job", body = JobView),
    (status = 404, description = "No such job", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn show(Shared(state): Shared<State>, Path(id): Path<String>) -> Result<Json<JobView>, Problem> {
    Ok(Json(state.jobs.get(KIND, &id).await?))
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
    caller.require_service(state.jobs.get(KIND, &id).await?.service())?;
    Ok(Json(state.jobs.cancel(KIND, &id).await?))
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
    let job = state.jobs.get(KIND, &id).await?;
    caller.require_service(job.service())?;
    if !job.is_done() {
        return Err(Problem::not_found("NOT_DONE", format_args!("training set `{id}` has no rows: it is not done")));
    }
    let stored = stored_path(&id);
    let read = tokio::task::spawn_blocking(move || rendered(&state.folder, &stored, query.format)).await;
    let bytes = read
        .expect("reading a training set does not panic")
        .map_err(|detail| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", detail))?;
    let content_type = match query.format {
        ResultFormat::Parquet => "application/vnd.apache.parquet",
        ResultFormat::Csv => "text/csv",
        ResultFormat::Arrow => "application/vnd.apache.arrow.file",
    };
    Ok(([(header::CONTENT_TYPE, content_type)], Body::from(bytes)).into_response())
}

/// Everything that a cut needs, so that it can run on a thread of its own.
struct Asked {
    plan: Arc<Plan>,
    service: Arc<FeatureService>,
    label_time: String,
    knowledge: KnowledgeName,
    spine: Bytes,
    format: Format,
}

impl Asked {
    fn sources(&self) -> Vec<Arc<crate::kernel::definition::Source>> {
        let views = self.service.features.iter().filter_map(|feature| self.plan.view(feature.view.as_str()));
        let mut sources: Vec<_> = views.map(|view| view.source.clone()).collect();
        sources.sort_by(|a, b| a.name.cmp(&b.name));
        sources.dedup_by(|a, b| a.name == b.name);
        sources
    }

    fn keys(&self) -> Vec<(Name, ValueType)> {
        let views = self.service.features.iter().filter_map(|feature| self.plan.view(feature.view.as_str()));
        let mut keys: Vec<(Name, ValueType)> = Vec::new();
        for key in views.flat_map(|view| &view.entity.keys) {
            if !keys.contains(key) {
                keys.push(key.clone());
            }
        }
        keys
    }

    fn cut(self, state: &State, id: &str, handle: &Handle) -> Result<Value, String> {
        let columns = SpineColumns { keys: &self.keys(), label_time: &self.label_time };
        let spine =
            spine::read(self.spine.clone(), self.format, columns, SPINE_LIMITS).map_err(|error| error.to_string())?;
        let knowledge = match self.knowledge {
            KnowledgeName::AsServed | KnowledgeName::Both => Knowledge::AsServed,
            KnowledgeName::EventTime => Knowledge::EventTime,
        };
        let features = &self.service.features;
        let request = training::Request { features, spine: &spine, label_time: &self.label_time, knowledge };
        let archive = Archive::new(state.folder.clone());
        let job = Job::begin(&archive, &self.plan, &request, state.job_resources).map_err(|error| chain(&error))?;
        let is_compared = matches!(self.knowledge, KnowledgeName::Both);
        let differences = handle.watched(|watch| run(&job, state, id, is_compared, watch));
        let differences = differences.map_err(|error| chain(&error))?;
        let mut result = json!({
            "rows": job.rows, "features": features.len(),
            "archived_to": job.pins.iter().map(|(source, offsets)| (source.to_string(), json!(offsets))).collect::<serde_json::Map<_, _>>(),
            "versions": job.fingerprints.iter().map(|(view, it)| (view.to_string(), json!(it.to_string()))).collect::<serde_json::Map<_, _>>(),
        });
        if let Some(differences) = differences {
            result["differences"] = features.iter().zip(differences).map(rendered_differences).collect();
        }
        Ok(result)
    }
}

fn run(
    job: &Job,
    state: &State,
    id: &str,
    is_compared: bool,
    watch: Watch<'_>,
) -> Result<Option<Vec<Differences>>, training::Error> {
    let mut writer = ResultWriter::create(&state.folder, &stored_path(id), Format::Parquet, job.schema.clone())?;
    let mut sink = |batch: RecordBatch| {
        watch.count(batch.num_rows());
        writer.write(&batch)
    };
    let differences = match is_compared {
        true => Some(job.run_compared(watch, &mut sink)?),
        false => job.run(watch, &mut sink).map(|()| None)?,
    };
    writer.publish()?;
    Ok(differences)
}

fn rendered_differences((feature, found): (&FeatureRef, Differences)) -> Value {
    json!({
        "feature": feature.to_string(), "compared": found.compared, "different": found.different,
        "not_yet_arrived": found.not_yet_arrived, "late": found.late,
    })
}

fn stored_path(id: &str) -> String {
    format!("training_sets/{id}.parquet")
}

/// The stored Parquet as it is, or written once more in another format and kept beside it.
fn rendered(folder: &Folder, stored: &str, format: ResultFormat) -> Result<Bytes, String> {
    let (format, extension) = match format {
        ResultFormat::Parquet => (None, "parquet"),
        ResultFormat::Csv => (Some(Format::Csv), "csv"),
        ResultFormat::Arrow => (Some(Format::Arrow), "arrow"),
    };
    let wanted = stored.replace(".parquet", &format!(".{extension}"));
    let read = || folder.get(&wanted).map_err(|error| chain(&error));
    if let (Some(format), None) = (format, read()?) {
        convert(folder, stored, &wanted, format).map_err(|error| chain(&error))?;
    }
    read()?.ok_or_else(|| format!("the training set is gone from {}", folder.place_of(&wanted)))
}

fn spine_format(headers: &HeaderMap) -> Result<Format, Problem> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match content_type.split(';').next().unwrap_or_default().trim() {
        "text/csv" => Ok(Format::Csv),
        "application/vnd.apache.parquet" => Ok(Format::Parquet),
        "application/vnd.apache.arrow.file" | "application/vnd.apache.arrow.stream" => Ok(Format::Arrow),
        other => {
            let detail = format!(
                "a spine is text/csv, application/vnd.apache.parquet or application/vnd.apache.arrow.file, not `{other}`"
            );
            Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "SPINE_FORMAT", detail))
        }
    }
}

fn knowledge_text(knowledge: KnowledgeName) -> &'static str {
    match knowledge {
        KnowledgeName::AsServed => "as_served",
        KnowledgeName::EventTime => "event_time",
        KnowledgeName::Both => "both",
    }
}
