//! HTTP: a file for each resource. A handler parses, calls one function of a driver or a store, and renders; the
//! rules stay below. Every route carries its OpenAPI description, and `openapi.yaml` is generated from them.

mod backfills;
mod dead_letters;
mod definitions;
mod docs;
mod events;
mod feast;
mod jobs;
mod json;
mod online_features;
mod parity;
mod path;
mod problem;
mod readiness;
mod rebuilds;
mod state;
mod status;
mod system;
mod training_sets;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::trace::TraceLayer;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt};
use utoipa_axum::routes;

use crate::config::Role;

pub use events::{EventRejection, IngestAnswer, accept};
pub use jobs::{Jobs, run_jobs};
pub use readiness::{Phase, starting};
pub use state::{Limits, State};

/// Everything that a process answers: without the `api` role its probes, status and metrics.
pub fn router(state: State) -> Router {
    let limit = state.limits.body_bytes;
    let router = if state.roles.has(Role::Api) {
        let (router, description) = described(state.limits).split_for_parts();
        router.merge(docs::routes(description))
    } else {
        probes().split_for_parts().0
    };
    router
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(axum::middleware::from_fn_with_state(state.clone(), system::measure))
        .layer(CatchPanicLayer::custom(problem::panicked))
        .layer(DefaultBodyLimit::max(limit))
        .layer(TraceLayer::new_for_http())
        .with_state(state)
}

/// The description of [`router`], as `openapi.yaml` has it.
pub fn openapi() -> OpenApi {
    described(Limits::default()).into_openapi()
}

fn described(limits: Limits) -> OpenApiRouter<State> {
    OpenApiRouter::with_openapi(docs::head())
        .routes(routes!(online_features::lookup))
        .routes(routes!(online_features::lookup_one))
        .routes(routes!(events::ingest))
        .routes(routes!(definitions::list))
        .routes(routes!(definitions::show))
        .routes(routes!(definitions::plan))
        .routes(routes!(definitions::apply))
        .routes(routes!(training_sets::create).layer(DefaultBodyLimit::max(limits.spine_bytes)))
        .routes(routes!(training_sets::list))
        .routes(routes!(training_sets::show))
        .routes(routes!(training_sets::cancel))
        .routes(routes!(training_sets::data))
        .routes(routes!(backfills::create))
        .routes(routes!(backfills::list))
        .routes(routes!(backfills::show))
        .routes(routes!(backfills::cancel))
        .routes(routes!(rebuilds::create))
        .routes(routes!(rebuilds::list))
        .routes(routes!(rebuilds::cancel))
        .routes(routes!(parity::check))
        .routes(routes!(dead_letters::list))
        .routes(routes!(dead_letters::show))
        .merge(feast::routes())
        .merge(probes())
}

fn probes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(status::status))
        .routes(routes!(system::healthz))
        .routes(routes!(system::readyz))
        .routes(routes!(system::metrics))
}
