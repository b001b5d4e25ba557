//! Jobs as answers have them.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::api::jobs::Handle;
use crate::kernel::time::EventTime;
use crate::registry::{Job, JobState};

/// A backfill, a training set, or what was archived on its way to the online store.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct JobView {
    id: String,
    /// `training_set`, `backfill` or `seed`.
    kind: String,
    /// `running`, `done`, `failed` or `cancelled`.
    state: &'static str,
    /// From 0 to 1.
    progress: f64,
    /// Rows that the process which was asked has made, while the job runs there.
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rows_per_second: Option<f64>,
    /// If it goes on as it went so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds_left: Option<f64>,
    /// What was asked.
    request: Value,
    /// What came of it: rows, files, the archive's offsets, versions.
    result: Option<Value>,
    error: Option<String>,
    created_at: String,
    finished_at: Option<String>,
}

/// The newest jobs of one kind.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct JobList {
    pub(super) jobs: Vec<JobView>,
}

impl JobView {
    pub(super) fn new(job: Job, handle: Option<&Handle>, now: EventTime) -> JobView {
        // Of one that has ended the registry may have heard a moment before its handle went.
        let handle = handle.filter(|_| job.state == JobState::Running);
        let pace = handle.and_then(|handle| handle.pace(now));
        JobView {
            rows: pace.map(|pace| pace.rows),
            rows_per_second: pace.map(|pace| pace.rows_per_second),
            seconds_left: pace.and_then(|pace| pace.seconds_left),
            id: job.id,
            kind: job.kind,
            state: job.state.as_str(),
            progress: handle.map_or(job.progress, Handle::progress),
            request: job.request,
            result: job.result,
            error: job.error,
            created_at: job.created_at.to_string(),
            finished_at: job.finished_at.map(|at| at.to_string()),
        }
    }

    /// The feature service that it is of, where it has one.
    pub(in crate::api) fn service(&self) -> Option<&str> {
        self.request["service"].as_str()
    }

    pub(in crate::api) fn request(&self) -> &Value {
        &self.request
    }

    /// Of a job that is done.
    pub(in crate::api) fn result(&self) -> Option<&Value> {
        self.result.as_ref()
    }

    /// The feature view that it is of, where it has one.
    pub(in crate::api) fn view(&self) -> Option<&str> {
        self.request["view"].as_str()
    }

    pub(in crate::api) fn is_done(&self) -> bool {
        self.state == JobState::Done.as_str()
    }
}
