//! `/v1/rebuilds`: rows of the online store built anew from archive and log, beside those that serve meanwhile.
//!
//! A rebuild is noted in the registry and done by whichever streams run: it outlives the call, and the process that
//! took it. Once it has caught up with the log, lookups read the new rows, and the old ones are removed.

use std::collections::BTreeMap;
use std::ops::Range;

use axum::Json;
use axum::extract::State as Shared;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::State;
use crate::api::object::Object;
use crate::api::path::Path;
use crate::api::problem::Problem;
use crate::kernel::plan::{Fingerprint, ViewPlan};
use crate::registry::VersionState;
use crate::registry::catalogue::{Catalogue, Version};

/// What to build anew.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RebuildBody {
    /// Feature views; none: all that are kept online.
    #[serde(default)]
    views: Vec<String>,
}

/// The rebuilds under way, and versions that are built for the first time.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Rebuilds {
    rebuilds: Vec<Rebuild>,
}

/// One generation of a version's rows that is being built.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct Rebuild {
    view: String,
    version: String,
    /// Counts the times that the version's rows were begun, from 0.
    generation: u32,
    /// Whether older rows of the view are served meanwhile; where not, its lookups answer 503 `REBUILDING`.
    served: bool,
    /// From 0 to 1: how much of the log is in the rows. Null where the log or the store does not answer.
    progress: Option<f64>,
}

/// Build rows of the online store anew, from archive and log
#[utoipa::path(post, operation_id = "create_rebuild", path = "/v1/rebuilds", tag = "rebuilds", request_body = RebuildBody, responses(
    (status = 202, description = "All rebuilds under way, these among them", body = Rebuilds),
    (status = 400, description = "The request is wrong", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "No such view", body = Problem, content_type = "application/problem+json"),
    (status = 415, description = "The body is not declared as JSON", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn create(
    Shared(state): Shared<State>,
    body: Result<Json<Object<RebuildBody>>, JsonRejection>,
) -> Result<(StatusCode, Json<Rebuilds>), Problem> {
    let Json(Object(body)) = body?;
    let versions = versions_of(&state.catalogues.current(), &body.views)?;
    state.registry.rebuild(&versions, state.clock.now()).await?;
    state.follow_definitions().await;
    Ok((StatusCode::ACCEPTED, Json(under_way(&state).await)))
}

/// List the rebuilds that are under way
#[utoipa::path(get, operation_id = "list_rebuilds", path = "/v1/rebuilds", tag = "rebuilds", responses(
    (status = 200, description = "By view", body = Rebuilds)))]
pub(super) async fn list(Shared(state): Shared<State>) -> Json<Rebuilds> {
    Json(under_way(&state).await)
}

/// Give up the rebuild of a view, which goes on being served from the rows that it has
#[utoipa::path(delete, operation_id = "cancel_rebuild", path = "/v1/rebuilds/{view}", tag = "rebuilds", params(("view" = String, Path)), responses(
    (status = 200, description = "The rebuilds that are left", body = Rebuilds),
    (status = 404, description = "No such view", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn cancel(Shared(state): Shared<State>, Path(view): Path<String>) -> Result<Json<Rebuilds>, Problem> {
    let versions = versions_of(&state.catalogues.current(), &[view])?;
    state.registry.stop_rebuild(&versions, state.clock.now()).await?;
    state.follow_definitions().await;
    Ok(Json(under_way(&state).await))
}

/// The versions with rows of the named views, or of all.
fn versions_of(catalogue: &Catalogue, views: &[String]) -> Result<Vec<Fingerprint>, Problem> {
    for name in views {
        let online = catalogue.versions.iter().find(|it| it.view.name == *name.as_str()).map(|it| it.view.online);
        match online {
            Some(true) => {}
            Some(false) => {
                let detail = format_args!("view `{name}` is declared with `online: false`: it has no rows");
                return Err(Problem::bad_request("NOT_ONLINE", detail));
            }
            None => {
                return Err(Problem::not_found("UNKNOWN_VIEW", format_args!("feature view `{name}` is not defined")));
            }
        }
    }
    let wanted = |it: &&Version| views.is_empty() || views.iter().any(|name| it.view.name == *name.as_str());
    let mut versions: Vec<Fingerprint> =
        catalogue.versions.iter().filter(wanted).filter(|it| it.view.online).map(|it| it.view.fingerprint).collect();
    versions.dedup();
    Ok(versions)
}

async fn under_way(state: &State) -> Rebuilds {
    let catalogue = state.catalogues.current();
    let mut rebuilds = Vec::new();
    let building = catalogue.versions.iter().filter(|it| it.state == VersionState::Building && it.view.online);
    for Version { view, generation, .. } in building {
        rebuilds.push(Rebuild {
            view: view.name.to_string(),
            version: view.fingerprint.to_string(),
            generation: *generation,
            served: catalogue.serving(view.name.as_str()).is_some(),
            progress: progress_of(state, view).await,
        });
    }
    Rebuilds { rebuilds }
}

async fn progress_of(state: &State, view: &ViewPlan) -> Option<f64> {
    let offsets = state.online.offsets(view.rows).await.ok()?;
    let bounds = state.log.bounds(&view.source.topic).await.ok()?;
    Some(progress(offsets.iter().map(|(_, partition, offset)| (*partition, *offset)), &bounds))
}

/// Of all partitions together, each as far as its slowest shard.
fn progress(offsets: impl Iterator<Item = (u32, u64)>, bounds: &[Range<u64>]) -> f64 {
    let mut slowest: BTreeMap<u32, u64> = BTreeMap::new();
    for (partition, offset) in offsets {
        let known = slowest.entry(partition).or_insert(offset);
        *known = offset.min(*known);
    }
    let done = (0..).zip(bounds).map(|(partition, held)| {
        let reached = slowest.get(&partition).copied().unwrap_or(0).clamp(held.start, held.end);
        reached - held.start
    });
    let all: u64 = bounds.iter().map(|held| held.end - held.start).sum();
    done.sum::<u64>() as f64 / all.max(1) as f64
}
