//! `POST /get-online-features`.

use std::collections::{BTreeSet, HashSet};

use axum::body::Bytes;
use axum::extract::State as Shared;
use axum::extract::rejection::BytesRejection;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::api::State;
use crate::api::access::Caller;
use crate::api::online_features::count;
use crate::kernel::name::{FeatureRef, Name};
use crate::kernel::plan::Plan;
use crate::serving::{Request, Wanted, refuse_too_many_features};

use super::answer::{FeastAnswer, KeyValues};
use super::failure::{Class, Failure, FeastFailure};
use super::keys::Keys;
use super::parse;

/// What Feast's client asks for.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct FeastLookup {
    /// A list for each join key; all lists are as long. What is no key of any entity is left out.
    #[schema(value_type = std::collections::BTreeMap<String, Vec<Value>>, example = json!({"user_id": ["u1", "u2"]}))]
    entities: Map<String, Value>,
    /// A feature service; `features` does not matter beside it.
    #[schema(example = "recommender")]
    feature_service: Option<String>,
    /// `view:feature` each.
    #[schema(example = json!(["user_activity:views_1h"]))]
    #[serde(default)]
    features: Vec<String>,
    /// Whether features are called `view__feature` in the answer, or `feature`.
    #[serde(default)]
    full_feature_names: bool,
    /// Whether the answer names the views that it read.
    #[serde(default)]
    include_feature_view_version_metadata: bool,
}

impl FeastLookup {
    /// An empty name is none, as in Python.
    fn service(&self) -> Option<&str> {
        self.feature_service.as_deref().filter(|name| !name.is_empty())
    }
}

/// Look up features as Feast's client does
#[utoipa::path(
    post, operation_id = "get_online_features", path = "/get-online-features", tag = "feast", request_body = FeastLookup,
    responses(
        (status = 200, description = "The values, all as of one instant", body = FeastAnswer),
        (status = 400, description = "The request is wrong", body = FeastFailure, content_type = "application/json"),
        (status = 404, description = "No such service, view or feature", body = FeastFailure, content_type = "application/json"),
        (status = 413, description = "Too large, or too many rows", body = FeastFailure, content_type = "application/json"),
        (status = 422, description = "The body is of another shape", body = FeastFailure, content_type = "application/json"),
        (status = 503, description = "Being rebuilt, or the store is away", body = FeastFailure, content_type = "application/json"),
    )
)]
pub(super) async fn lookup(
    Shared(state): Shared<State>,
    caller: Caller,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Failure> {
    let asked: FeastLookup = parse(body)?;
    match asked.service() {
        Some(service) => caller.require_service(service)?,
        None => caller.require_any_feature()?,
    }
    let catalogue = state.catalogues.current();
    let features = wanted(&catalogue.served, &state.project, &asked)?;
    let names = names(&features, asked.full_feature_names)?;
    let keys = Keys::parse(&catalogue.served, &features, asked.entities)?;
    let wanted = Wanted::Features(features.iter().map(FeatureRef::to_string).collect());
    let request = Request { wanted, entities: keys.read };
    let answer = state.serving.lookup(&catalogue, &request).await?;
    count(&state, &answer);

    let mut columns: Vec<KeyValues> = request.entities.iter().map(KeyValues::of).collect();
    for (place, column) in &keys.repeated {
        columns.insert(*place, KeyValues::of(column));
    }
    let views = asked.include_feature_view_version_metadata.then(|| views(&features));
    let body = FeastAnswer::new(&columns, &names, views, answer.columns());
    let body = serde_json::to_vec(&body).expect("an answer is plain data");
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

fn wanted(plan: &Plan, project: &Name, asked: &FeastLookup) -> Result<Vec<FeatureRef>, Failure> {
    if let Some(name) = asked.service() {
        let missing = || {
            let message = format!("Feature service {name} does not exist in project {project}");
            Failure::not_found(Class::FeatureServiceNotFound, message)
        };
        return Ok(plan.service(name).ok_or_else(missing)?.features.clone());
    }
    if asked.features.is_empty() {
        return Err(Failure::bad_request("No features specified for retrieval: give `feature_service` or `features`"));
    }
    refuse_too_many_features(asked.features.len())?;
    asked.features.iter().map(|text| feature(plan, project, text)).collect()
}

fn feature(plan: &Plan, project: &Name, text: &str) -> Result<FeatureRef, Failure> {
    let Some((view_name, name)) = text.split_once(':') else {
        let message = format!("Invalid feature reference '{text}'. Expected format: '<feature_view>:<feature>'");
        return Err(Failure::bad_request(message));
    };
    let view = plan.view(view_name).ok_or_else(|| Failure::no_view(view_name, project))?;
    let Some(feature) = view.features.iter().find(|feature| feature.name == *name) else {
        let message = format!("Feature {name} does not exist in feature view {view_name}");
        return Err(Failure::not_found(Class::ObjectNotFound, message));
    };
    Ok(FeatureRef { view: view.name.clone(), feature: feature.name.clone() })
}

/// What the features are called in the answer, each by a name of its own.
fn names(features: &[FeatureRef], full: bool) -> Result<Vec<String>, Failure> {
    let name = |it: &FeatureRef| if full { format!("{}__{}", it.view, it.feature) } else { it.feature.to_string() };
    let names: Vec<String> = features.iter().map(name).collect();
    let mut seen = HashSet::new();
    let twice: BTreeSet<&str> = names.iter().map(String::as_str).filter(|name| !seen.insert(*name)).collect();
    if twice.is_empty() {
        return Ok(names);
    }
    let twice = twice.into_iter().collect::<Vec<_>>().join(", ");
    let mend = if full { "ask for each feature once" } else { "ask for each once, or with `full_feature_names`" };
    let message = format!("Duplicate features named {twice} found: {mend}");
    Err(Failure::new(StatusCode::BAD_REQUEST, Class::FeatureNameCollision, message))
}

fn views(features: &[FeatureRef]) -> Vec<&Name> {
    let mut views: Vec<&Name> = Vec::new();
    for feature in features {
        if !views.contains(&&feature.view) {
            views.push(&feature.view);
        }
    }
    views
}
