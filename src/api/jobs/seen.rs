//! Jobs as callers get at them: of a key that is limited to some services, those of its services alone. Nothing else
//! of the API reaches a job, so no call can forget to ask who wants it.

use crate::api::State;
use crate::api::access::Caller;
use crate::api::jobs::{JobList, JobView};
use crate::api::problem::Problem;
use crate::registry;

impl State {
    pub(in crate::api) async fn job(&self, kind: &str, id: &str, caller: &Caller) -> Result<JobView, Problem> {
        let job = self.jobs.get(kind, id).await?;
        caller.require_job(&self.catalogues.current().served, &job)?;
        Ok(job)
    }

    /// The newest first.
    pub(in crate::api) async fn jobs(&self, kind: &str, caller: &Caller) -> Result<JobList, Problem> {
        let catalogue = self.catalogues.current();
        let is_seen = |job: &JobView| caller.require_job(&catalogue.served, job).is_ok();
        Ok(JobList { jobs: self.jobs.list(kind, is_seen).await? })
    }

    /// Those that run or wait, of all kinds.
    pub(in crate::api) async fn running_jobs(&self, caller: &Caller) -> Result<Vec<JobView>, registry::Error> {
        let catalogue = self.catalogues.current();
        self.jobs.running(|job| caller.require_job(&catalogue.served, job).is_ok()).await
    }

    /// Asks a running job to stop; one that has ended stays as it ended.
    pub(in crate::api) async fn cancel_job(&self, kind: &str, id: &str, caller: &Caller) -> Result<JobView, Problem> {
        let job = self.job(kind, id, caller).await?;
        self.jobs.cancel(id).await?;
        Ok(job)
    }
}
