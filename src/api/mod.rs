//! HTTP: a file for each resource. A handler parses, calls one function of a driver or a store, and renders; the
//! rules stay below. Every route carries its OpenAPI description, and `openapi.yaml` is generated from them.

mod access;
mod audit;
mod backfills;
mod compress;
mod dead_letters;
mod definitions;
mod docs;
mod events;
mod explain;
mod feast;
mod gate;
mod held;
mod jobs;
mod json;
pub mod keys;
mod limits;
mod negotiate;
mod object;
mod online_features;
mod origin;
mod paced;
mod parity;
mod path;
mod problem;
mod readiness;
mod rebuilds;
mod requests;
mod rollbacks;
pub mod seeds;
mod state;
mod status;
mod system;
mod training_sets;
mod turns;
mod unavailable;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt};
use utoipa_axum::routes;

use crate::config::Role;
use crate::registry::access::Scope;

pub use access::Access;
pub use audit::Begun;
pub use events::{EventRejection, IngestAnswer, accept};
pub use jobs::{Jobs, run_jobs};
pub use limits::{Lanes, Limits};
pub use problem::Problem;
pub use readiness::{Phase, starting};
pub use state::{Parts, State};
pub use turns::Turns;

use gate::Gate;
use limits::Lane;

/// Everything that a process answers: without the `api` role its probes, status and metrics.
pub fn router(state: State) -> Router {
    let router = if state.roles.has(Role::Api) {
        let (router, description) = described(state.limits, Some(&state)).split_for_parts();
        router.merge(docs::routes(description))
    } else {
        seen(Some(&state)).merge(probes()).split_for_parts().0
    };
    router
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(CatchPanicLayer::custom(problem::panicked))
        .layer(DefaultBodyLimit::max(state.limits.body_bytes))
        .layer(from_fn_with_state(state.clone(), requests::follow))
        .with_state(state)
}

/// The description of [`router`], as `openapi.yaml` has it.
pub fn openapi() -> OpenApi {
    described(Limits::default(), None).into_openapi()
}

/// Every call is behind the gate that it is listed under; probes, metrics and the description are behind none, for they
/// say nothing of values.
fn described(limits: Limits, state: Option<&State>) -> OpenApiRouter<State> {
    OpenApiRouter::with_openapi(docs::head())
        .merge(lookups(state))
        .merge(ingest(state))
        .merge(seen(state))
        .merge(training_sets(limits, state))
        .merge(changes(state))
        .merge(administration(state))
        .merge(feast::routes(state))
        .merge(probes())
}

fn lookups(state: Option<&State>) -> OpenApiRouter<State> {
    let calls = OpenApiRouter::new()
        .routes(routes!(online_features::lookup))
        .routes(routes!(online_features::lookup_one))
        .routes(routes!(explain::explain));
    Gate::new(Scope::Read, Lane::Lookup).before(calls.route_layer(from_fn(compress::on_request)), state)
}

fn ingest(state: Option<&State>) -> OpenApiRouter<State> {
    let events = OpenApiRouter::new().routes(routes!(events::ingest));
    let dead_letters = OpenApiRouter::new().routes(routes!(dead_letters::list)).routes(routes!(dead_letters::show));
    let events = Gate::new(Scope::Ingest, Lane::Ingest).before(events, state);
    events.merge(Gate::new(Scope::Ingest, Lane::Work).before(dead_letters, state))
}

/// What changes nothing and has no values.
fn seen(state: Option<&State>) -> OpenApiRouter<State> {
    let is_api = state.is_none_or(|state| state.roles.has(Role::Api));
    let mut calls = OpenApiRouter::new().routes(routes!(status::status));
    if is_api {
        calls = calls
            .routes(routes!(definitions::list))
            .routes(routes!(definitions::show))
            .routes(routes!(definitions::history))
            .routes(routes!(definitions::plan))
            .routes(routes!(backfills::list))
            .routes(routes!(backfills::show))
            .routes(routes!(rebuilds::list))
            .routes(routes!(seeds::list))
            .routes(routes!(seeds::show))
            .routes(routes!(parity::check));
    }
    Gate::new(Scope::Read, Lane::Work).before(calls, state)
}

fn training_sets(limits: Limits, state: Option<&State>) -> OpenApiRouter<State> {
    let calls = OpenApiRouter::new()
        .routes(routes!(training_sets::create).layer(DefaultBodyLimit::max(limits.spine_bytes)))
        .routes(routes!(training_sets::list))
        .routes(routes!(training_sets::show))
        .routes(routes!(training_sets::cancel))
        .routes(routes!(training_sets::data));
    Gate::new(Scope::Read, Lane::Table).before(calls, state)
}

fn changes(state: Option<&State>) -> OpenApiRouter<State> {
    let calls = OpenApiRouter::new()
        .routes(routes!(definitions::apply))
        .routes(routes!(rollbacks::create))
        .routes(routes!(dead_letters::replay))
        .routes(routes!(backfills::create))
        .routes(routes!(backfills::cancel))
        .routes(routes!(rebuilds::create))
        .routes(routes!(rebuilds::cancel))
        .routes(routes!(keys::create))
        .routes(routes!(keys::revoke));
    Gate::new(Scope::Admin, Lane::Admin).audited().before(calls, state)
}

fn administration(state: Option<&State>) -> OpenApiRouter<State> {
    let calls = OpenApiRouter::new().routes(routes!(keys::list)).routes(routes!(audit::list));
    Gate::new(Scope::Admin, Lane::Admin).before(calls, state)
}

fn probes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(system::healthz))
        .routes(routes!(system::readyz))
        .routes(routes!(system::metrics))
}

/// Does what waits for files, on a thread that may.
async fn blocking<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(act).await.expect("what is done for a call does not panic")
}
