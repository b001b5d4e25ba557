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
        Ok(JobList { jobs: self.seen_by(caller, self.jobs.list(kind).await?) })
    }

    /// Those of the newest that run or wait, of all kinds.
    pub(in crate::api) async fn running_jobs(&self, caller: &Caller) -> Result<Vec<JobView>, registry::Error> {
        Ok(self.seen_by(caller, self.jobs.running().await?))
    }

    /// Asks a running job to stop; one that has ended stays as it ended.
    pub(in crate::api) async fn cancel_job(&self, kind: &str, id: &str, caller: &Caller) -> Result<JobView, Problem> {
        let job = self.job(kind, id, caller).await?;
        self.jobs.cancel(id).await?;
        Ok(job)
    }

    fn seen_by(&self, caller: &Caller, mut jobs: Vec<JobView>) -> Vec<JobView> {
        let catalogue = self.catalogues.current();
        jobs.retain(|job| caller.require_job(&catalogue.served, job).is_ok());
        jobs
    }
}
