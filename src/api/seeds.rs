//! `/v1/seeds`: what was archived on its way to the online store, of the log or of history files. Workers begin these jobs by
//! themselves, when a version is built, and begin them again where they fail, later each time: here they are only looked at.

use axum::Json;
use axum::extract::State as Shared;

use crate::api::State;
use crate::api::access::Caller;
use crate::api::jobs::{JobList, JobView};
use crate::api::path::Path;
use crate::api::problem::{Problem, chain};
use crate::backfill;
use crate::kernel::plan::Fingerprint;
use crate::registry::catalogue::Version;
use crate::registry::{JobState, Seed, VersionState};

/// As the registry has it.
pub const KIND: &str = "seed";

/// What the rows of a generation are seeded from: the archive of the log, or that of history files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Archived {
    Log,
    History,
}

impl Archived {
    pub fn as_str(self) -> &'static str {
        match self {
            Archived::Log => "archive",
            Archived::History => "history",
        }
    }
}

/// Of the one job that there is, however often it is begun.
pub fn id(rows: Fingerprint, from: Archived) -> String {
    format!("{KIND}-{rows}-{}", from.as_str())
}

/// Why one failed, with all that it says to mend it.
pub fn reason(error: &backfill::Error) -> String {
    chain(error)
}

/// Why the rows of a version get no further: its seeding failed, and waits to be begun again.
pub(super) async fn failure(state: &State, version: &Version) -> Option<String> {
    let waits_for = match &version.seed {
        Seed::Begun(cut) if !cut.is_empty() => Archived::Log,
        _ if version.state == VersionState::Building && !version.view.source.history.is_empty() => Archived::History,
        _ => return None,
    };
    let job = state.registry.job(&id(version.view.rows, waits_for)).await.ok()??;
    (job.state == JobState::Failed).then_some(job.error).flatten()
}

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
