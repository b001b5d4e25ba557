//! The calls of Feast's Python feature server, on the same port: a program that uses Feast's client reads from Freshet
//! without a change, once its `online_store` is `type: remote` with Freshet's address.
//!
//! * `POST /get-online-features`: a lookup; the same values as `/v1/online-features` in Feast's shape.
//! * `POST /push`, `POST /write-to-online-store`: rows of a table that become events of a source.
//! * `GET /health`: what balancers of a Feast deployment ask.
//!
//! Errors are Feast's own ([`failure`]), and bodies are read as JSON whatever their content type says, for Feast's
//! documentation sends them as forms. Where the two stores differ, it is because Freshet computes features from
//! events: values cannot be written, but what happened can.

mod answer;
mod failure;
mod frame;
mod keys;
mod lookup;
mod push;
mod write;

use axum::body::Bytes;
use axum::extract::State as Shared;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use axum::middleware::from_fn;
use serde::de::DeserializeOwned;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::compress;
use crate::api::gate::Gate;
use crate::api::limits::Lane;
use crate::api::object::Object;
use crate::api::problem::Problem;
use crate::api::{State, readiness};
use crate::registry::access::Scope;

use failure::Failure;

pub(super) fn routes(state: Option<&State>) -> OpenApiRouter<State> {
    let lookups = OpenApiRouter::new().routes(routes!(lookup::lookup)).route_layer(from_fn(compress::on_request));
    let events = OpenApiRouter::new().routes(routes!(push::push)).routes(routes!(write::write));
    let lookups = Gate::new(Scope::Read, Lane::Lookup).in_form(failure::FORM).before(lookups, state);
    let events = Gate::new(Scope::Ingest, Lane::Ingest).in_form(failure::FORM).before(events, state);
    lookups.merge(events).routes(routes!(health))
}

/// Whether the process does its work, as Feast's server is asked
#[utoipa::path(get, operation_id = "check_feast_health", path = "/health", tag = "feast", responses(
    (status = 200, description = "It does"),
    (status = 503, description = "Not now: `/readyz` says why")))]
async fn health(Shared(state): Shared<State>) -> StatusCode {
    if readiness::check(&state).await.is_ok() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

fn parse<T: DeserializeOwned>(body: Result<Bytes, BytesRejection>) -> Result<T, Failure> {
    let body = body.map_err(Problem::from)?;
    let parsed: serde_json::Result<Object<T>> = serde_json::from_slice(&body);
    parsed
        .map(|Object(parsed)| parsed)
        .map_err(|error| Failure::unprocessable(format!("the body is not what this call takes: {error}")))
}
