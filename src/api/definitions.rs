//! `/v1/definitions`: what is applied, what a change would do, and applying it.

mod render;

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
use crate::kernel::plan::{Change, Diff, Effect};
use crate::registry::catalogue::{self, ApplyError, Catalogue, Planned};

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
    /// Of a view: `live`, or `building` until it has caught up with the log.
    state: Option<&'static str>,
    owner: Option<String>,
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

/// What an apply would change, or has changed.
#[derive(Serialize, ToSchema)]
pub(super) struct Changes {
    /// Planned against, or made.
    revision: u64,
    changes: Vec<ChangeRow>,
}

#[derive(Serialize, ToSchema)]
struct ChangeRow {
    /// `new`, `recomputed` (values change), `changed` (without a backfill), `described` (no effect on values) or
    /// `removed`.
    change: &'static str,
    kind: &'static str,
    name: String,
    detail: String,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ApplyQuery {
    /// The revision that was planned against: refused if another came first. Without it, the newest.
    revision: Option<u64>,
    /// Who applies it, for the history; beside the name of the key, where there is one.
    by: Option<String>,
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
    let found = render::one(&state.catalogues.current(), &kind, &name);
    found
        .map(Json)
        .ok_or_else(|| Problem::not_found("UNKNOWN_DEFINITION", format_args!("no `{kind}` is called `{name}`")))
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
    Ok(Json(changes(catalogue.revision, &planned.diff)))
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
    let catalogue = state.catalogues.current();
    let expected = query.revision.unwrap_or(catalogue.revision);
    let planned = planned(&catalogue, &files)?;
    // Topics first: a view that is applied must find its log.
    for source in &planned.plan.sources {
        state.log.create_topic(&source.topic, state.partitions).await?;
    }
    let by = caller.name(query.by.as_deref());
    let revision = catalogue::apply(&*state.registry, &planned, expected, &files, &by, state.clock.now()).await?;
    state.catalogues.refresh(&*state.registry).await.map_err(|error| Problem::internal(&error))?;
    let changes = changes(revision, &planned.diff);
    let done = Done(format!("revision {revision}, {} changes", changes.changes.len()));
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
    let planned = catalogue::plan(catalogue, files).map_err(apply_problem)?;
    let plan = &planned.plan;
    if plan.entities.is_empty() && plan.sources.is_empty() && plan.views.is_empty() && plan.services.is_empty() {
        let detail = "the body defines nothing: send all definitions of the project, for what is left out is removed";
        return Err(Problem::bad_request("NO_DEFINITIONS", detail));
    }
    Ok(planned)
}

fn apply_problem(error: ApplyError) -> Problem {
    match error {
        ApplyError::Mistakes(diagnostics) => Problem::definitions(diagnostics),
        ApplyError::Refused(refusals) => {
            let detail = "the change breaks a compatibility rule of a schema";
            let mut problem = Problem::new(StatusCode::CONFLICT, "INCOMPATIBLE_SCHEMA", detail);
            problem.errors = refusals
                .into_iter()
                .map(|refusal| Mistake {
                    place: format!("source `{}`", refusal.source),
                    line: None,
                    column: None,
                    detail: refusal.what,
                    help: Some(refusal.help),
                })
                .collect();
            problem
        }
    }
}

fn changes(revision: u64, diff: &Diff) -> Changes {
    Changes { revision, changes: diff.changes.iter().map(change_row).collect() }
}

fn change_row(change: &Change) -> ChangeRow {
    let (word, detail) = match &change.effect {
        Effect::New => ("new", String::new()),
        Effect::Recomputed { reasons, .. } => ("recomputed", reasons.join(", ")),
        Effect::Changed { reasons } | Effect::Altered { reasons } => ("changed", reasons.join(", ")),
        Effect::Described => ("described", "no effect on values".to_owned()),
        Effect::Removed => ("removed", String::new()),
    };
    ChangeRow { change: word, kind: change.kind, name: change.name.to_string(), detail }
}
