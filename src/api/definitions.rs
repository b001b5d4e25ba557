//! `/v1/definitions`: what is applied and was, what a change would do, and applying it.

mod changes;
mod history;
mod lineage;
mod render;

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Query, State as Shared};
use axum::http::{HeaderMap, StatusCode, header};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::api::State;
use crate::api::access::Caller;
use crate::api::audit::Done;
use crate::api::object::Object;
use crate::api::path::Path;
use crate::api::problem::{Mistake, Problem};
use crate::kernel::definition::SourceText;
use crate::kernel::plan::Refusal;
use crate::registry::catalogue::{self, Catalogue, Planned};

use changes::Changes;
use history::History;

/// All that is applied.
#[derive(Serialize, ToSchema)]
pub(super) struct Listing {
    /// 0 before the first apply.
    revision: u64,
    definitions: Vec<Listed>,
}

#[derive(Serialize, ToSchema)]
struct Listed {
    /// `entity`, `source`, `feature_view` or `feature_service`.
    kind: &'static str,
    name: String,
    /// Of a view: `live`; `building` until it has caught up with the log; `rolled_back` where the version before is served.
    state: Option<&'static str>,
    owner: Option<String>,
    tags: BTreeMap<String, String>,
    /// What to use instead, where it is not to be used any more.
    deprecated: Option<String>,
    description: Option<String>,
}

/// Definition files. A body that is not JSON is one file of YAML.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Files {
    #[schema(value_type = Vec<File>)]
    files: Vec<Object<File>>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct File {
    /// Named in messages.
    path: String,
    /// YAML.
    text: String,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ApplyQuery {
    /// The revision that was planned against: refused if another came first. Without it, the newest.
    revision: Option<u64>,
    /// Who applies it, for the history; beside the name of the key, where there is one.
    by: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct HistoryQuery {
    /// How many; 20 unless given, and 100 at most.
    limit: Option<usize>,
}

/// List what is applied
#[utoipa::path(get, operation_id = "list_definitions", path = "/v1/definitions", tag = "definitions",
    responses((status = 200, description = "All that is applied", body = Listing)))]
pub(super) async fn list(Shared(state): Shared<State>) -> Json<Listing> {
    let catalogue = state.catalogues.current();
    let definitions = render::all(&catalogue).into_iter().map(|(kind, name, about)| Listed {
        kind,
        name: name.to_string(),
        state: (kind == "feature_view").then(|| render::view_state(&catalogue, name.as_str())),
        owner: about.owner.clone(),
        tags: about.tags.clone(),
        deprecated: about.deprecated.clone(),
        description: about.description.clone(),
    });
    Json(Listing { revision: catalogue.revision, definitions: definitions.collect() })
}

/// Show one definition, with its lineage
#[utoipa::path(get, operation_id = "show_definition", path = "/v1/definitions/{kind}/{name}", tag = "definitions",
    params(("kind" = String, Path, description = "entity, source, feature_view or feature_service"),
           ("name" = String, Path, description = "Its name")),
    responses(
        (status = 200, description = "The definition", body = Value),
        (status = 404, description = "No such definition", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn show(
    Shared(state): Shared<State>,
    Path((kind, name)): Path<(String, String)>,
) -> Result<Json<Value>, Problem> {
    let catalogue = state.catalogues.current();
    let found = render::one(&catalogue, &kind, &name);
    let mut found = found
        .ok_or_else(|| Problem::not_found("UNKNOWN_DEFINITION", format_args!("no `{kind}` is called `{name}`")))?;
    found["lineage"] = lineage::of(&catalogue.plan, &kind, &name);
    if let Some(view) = catalogue.plan.view(&name).filter(|_| kind == "feature_view") {
        found["versions"] = render::versions(&state.registry.versions_of(&view.name).await?);
    }
    Ok(Json(found))
}

/// Show who applied what and when, and who rolled back what
#[utoipa::path(get, operation_id = "show_history", path = "/v1/definitions/history", tag = "definitions", params(HistoryQuery), responses(
    (status = 200, description = "The newest first", body = History),
    (status = 400, description = "The request is wrong", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn history(
    Shared(state): Shared<State>,
    query: Result<Query<HistoryQuery>, QueryRejection>,
) -> Result<Json<History>, Problem> {
    let Query(query) = query?;
    Ok(Json(history::of(&*state.registry, query.limit.unwrap_or(20).min(100)).await?))
}

/// Say what an apply would change
#[utoipa::path(post, operation_id = "plan_definitions", path = "/v1/definitions/plan", tag = "definitions",
    request_body(content((Files = "application/json"), (String = "application/yaml"))),
    responses(
        (status = 200, description = "The changes", body = Changes),
        (status = 400, description = "Mistakes, each with its place", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn plan(
    Shared(state): Shared<State>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Changes>, Problem> {
    let files = files(&headers, &body?)?;
    let catalogue = state.catalogues.current();
    let planned = planned(&catalogue, &files)?;
    Ok(Json(Changes::of(&state, &catalogue, &planned).await))
}

/// Make definitions what is served: the body holds all of the project's
#[utoipa::path(post, operation_id = "apply_definitions", path = "/v1/definitions/apply", tag = "definitions", params(ApplyQuery),
    request_body(content((Files = "application/json"), (String = "application/yaml"))),
    responses(
        (status = 200, description = "What changed", body = Changes),
        (status = 400, description = "Mistakes, each with its place", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Another apply came first: plan again", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The registry or the log is away", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn apply(
    Shared(state): Shared<State>,
    caller: Caller,
    query: Result<Query<ApplyQuery>, QueryRejection>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<(Extension<Done>, Json<Changes>), Problem> {
    let Query(query) = query?;
    let files = files(&headers, &body?)?;
    let (registry, now) = (&*state.registry, state.clock.now());
    let catalogue = match query.revision {
        Some(revision) => state.catalogues.of_revision(registry, revision).await?,
        None => state.catalogues.current(),
    };
    let planned = planned(&catalogue, &files)?;
    refuse_incompatible(&planned.diff.refusals)?;
    let mut changes = Changes::of(&state, &catalogue, &planned).await;
    // Topics first: a view that is applied must find its log.
    for source in &planned.plan.sources {
        state.log.create_topic(&source.topic, state.partitions).await?;
    }
    let by = caller.name(query.by.as_deref());
    changes.revision = catalogue::apply(registry, &planned, catalogue.revision, &files, &by, now).await?;
    state.follow_definitions().await;
    let done = Done(format!("revision {}, {} changes", changes.revision, changes.changes.len()));
    Ok((Extension(done), Json(changes)))
}

fn files(headers: &HeaderMap, body: &Bytes) -> Result<Vec<SourceText>, Problem> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if content_type.starts_with("application/json") {
        let Object(body): Object<Files> =
            serde_json::from_slice(body).map_err(|error| Problem::bad_request("INVALID_BODY", error))?;
        return Ok(body.files.into_iter().map(|Object(File { path, text })| SourceText { path, text }).collect());
    }
    let text = std::str::from_utf8(body)
        .map_err(|error| Problem::bad_request("INVALID_BODY", format_args!("the YAML is not UTF-8: {error}")))?;
    Ok(vec![SourceText { path: "body".to_owned(), text: text.to_owned() }])
}

/// Nothing at all would remove everything: nobody means that by a body that got lost.
fn planned(catalogue: &Catalogue, files: &[SourceText]) -> Result<Planned, Problem> {
    let planned = catalogue::plan(catalogue, files).map_err(Problem::definitions)?;
    let plan = &planned.plan;
    if plan.entities.is_empty() && plan.sources.is_empty() && plan.views.is_empty() && plan.services.is_empty() {
        let detail = "the body defines nothing: send all definitions of the project, for what is left out is removed";
        return Err(Problem::bad_request("NO_DEFINITIONS", detail));
    }
    Ok(planned)
}

fn refuse_incompatible(refusals: &[Refusal]) -> Result<(), Problem> {
    if refusals.is_empty() {
        return Ok(());
    }
    let detail = "the change breaks a compatibility rule of a schema";
    let mut problem = Problem::new(StatusCode::CONFLICT, "INCOMPATIBLE_SCHEMA", detail);
    let mistake = |refusal: &Refusal| Mistake {
        place: format!("source `{}`", refusal.source),
        code: None,
        line: None,
        column: None,
        detail: refusal.what.clone(),
        help: Some(refusal.help.clone()),
    };
    problem.errors = refusals.iter().map(mistake).collect();
    Err(problem)
}
