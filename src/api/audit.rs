//! The audit log: which calls changed something, who sent them, when, and what came of it. A call is written down
//! before it is done, and is not done where that fails; so nothing changes without a line, however the process ends.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State as Shared};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::api::State;
use crate::api::access::Caller;
use crate::api::problem::Problem;
use crate::clock::Clock;
use crate::registry::access::AuditEntry;
use crate::registry::{self, Registry};

/// Of a call as it is kept: a query may be as long as its sender likes.
const LONGEST: usize = 500;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct AuditQuery {
    /// How many at most; 100 unless given.
    limit: Option<usize>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct AuditLog {
    /// The newest first.
    entries: Vec<AuditView>,
}

/// A call that was sent to change something.
#[derive(Serialize, ToSchema)]
pub(super) struct AuditView {
    at: String,
    /// A key by its id and name, and what the call said of its sender.
    by: String,
    #[schema(example = "POST /v1/definitions/apply?revision=3")]
    call: String,
    /// Its status, and what was done. Null: under way, or its process ended first.
    #[schema(example = "200: revision 4")]
    outcome: Option<String>,
}

/// Show who changed what
#[utoipa::path(get, operation_id = "show_audit_log", path = "/v1/audit", tag = "access", params(AuditQuery), responses(
    (status = 200, description = "The newest first", body = AuditLog),
    (status = 400, description = "The request is wrong", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list(
    Shared(state): Shared<State>,
    query: Result<Query<AuditQuery>, QueryRejection>,
) -> Result<Json<AuditLog>, Problem> {
    let Query(query) = query?;
    let entries = state.registry.audit(query.limit.unwrap_or(100).min(10_000)).await?;
    let view = |AuditEntry { at, by, call, outcome, .. }| AuditView { at: at.to_string(), by, call, outcome };
    Ok(Json(AuditLog { entries: entries.into_iter().map(view).collect() }))
}

/// What a handler tells of what it did: an extension of its answer.
#[derive(Clone, Debug)]
pub(super) struct Done(pub String);

/// Answers a call that may change something.
pub(super) async fn answer(state: &State, caller: &Caller, request: Request, next: Next) -> Response {
    let path = request.uri().path_and_query().map_or_else(|| request.uri().path(), |whole| whole.as_str());
    let call = format!("{} {path}", request.method()).chars().take(LONGEST).collect();
    let begun = Begun::begin(&*state.registry, &state.clock, caller.name(None), call).await;
    let begun = match begun {
        Ok(begun) => begun,
        Err(error) => return Problem::from(error).into_response(),
    };
    let response = next.run(request).await;
    let status = response.status().as_u16();
    let outcome = match response.extensions().get::<Done>() {
        Some(Done(what)) => format!("{status}: {what}"),
        None => status.to_string(),
    };
    begun.end(&*state.registry, &outcome).await;
    response
}

/// An entry that waits for its outcome.
pub struct Begun(AuditEntry);

impl Begun {
    pub async fn begin(
        registry: &dyn Registry,
        clock: &Clock,
        by: String,
        call: String,
    ) -> Result<Begun, registry::Error> {
        let random = getrandom::u64().map_err(|error| registry::Error::Unavailable(error.to_string()))?;
        let entry = AuditEntry { id: format!("{random:016x}"), at: clock.now(), by, call, outcome: None };
        registry.begin_audit(&entry).await?;
        Ok(Begun(entry))
    }

    /// The change is made by now: where its outcome cannot be kept, the log has it.
    pub async fn end(self, registry: &dyn Registry, outcome: &str) {
        let AuditEntry { id, by, call, .. } = self.0;
        tracing::info!(target: "freshet::audit", by, call, outcome, "changed");
        if let Err(error) = registry.end_audit(&id, outcome).await {
            tracing::error!(%error, by, call, outcome, "the outcome of a change could not be kept in the audit log");
        }
    }
}
