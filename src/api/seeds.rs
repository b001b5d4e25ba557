//! `/v1/seeds`: what was archived on its way to the online store, of the log or of history files. Workers begin these jobs by
//! themselves, when a version is built, and begin them again where they fail: here they are only looked at.

use axum::Json;
use axum::extract::State as Shared;

use crate::api::State;
use crate::api::access::Caller;
use crate::api::jobs::{JobList, JobView};
use crate::api::path::Path;
use crate::api::problem::Problem;

/// As the registry has it.
pub const KIND: &str = "seed";

/// List seeds
#[utoipa::path(get, operation_id = "list_seeds", path = "/v1/seeds", tag = "backfills",
    responses((status = 200, description = "The newest first; for a limited key, of views that its services read", body = JobList)))]
pub(super) async fn list(Shared(state): Shared<State>, caller: Caller) -> Result<Json<JobList>, Problem> {
    Ok(Json(state.jobs(KIND, &caller).await?))
}

/// Show one seed
#[utoipa::path(get, operation_id = "show_seed", path = "/v1/seeds/{id}", tag = "backfills", params(("id" = String, Path)), responses(
    (status = 200, description = "The job", body = JobView),
    (status = 404, description = "No such job", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn show(
    Shared(state): Shared<State>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<JobView>, Problem> {
    Ok(Json(state.job(KIND, &id, &caller).await?))
}
