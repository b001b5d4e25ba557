//! Jobs: work that outlasts a request. A job is recorded in the registry when it starts and when it ends. It is run
//! by the process that was asked, which tells the registry every few seconds that it lives, how far its jobs are, and
//! hears which of them others want stopped. Jobs of a process that is no longer heard of are taken up by whoever notices:
//! a backfill goes on where it was, a training set is cut from the start, and fails where process after process dies with it.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::api::State;
use crate::api::problem::Problem;
use crate::api::{backfills, training_sets};
use crate::clock::Clock;
use crate::kernel::definition::Source;
use crate::kernel::time::EventTime;
use crate::registry::{self, Abandoned, Job, JobFilter, JobState, Registry};

pub use handle::Handle;
pub use view::{JobList, JobView};

mod handle;
mod seen;
mod view;

/// Jobs that wait to start; one more is refused.
const WAITING: usize = 64;

/// Jobs that run at once: each may use a core and much memory.
const RUNNING: usize = 2;

/// The newest jobs, in a list.
const LISTED: usize = 100;

/// The newest jobs among which a list's are looked for.
const SEARCHED: usize = 10_000;

/// After so many processes that were lost while they cut it, a training set is given up: it may be what they died of, and
/// would end each that tries. A backfill goes on where it was, and whatever its views hold, others hold as well.
const MOST_DEATHS: u64 = 3;

/// Also how long a job runs on at most after another process was asked to cancel it.
const RENEW_EVERY: Duration = Duration::from_secs(2);

/// A job's work, which ends with its result, or with why there is none.
pub(super) type Work = BoxFuture<'static, Result<Value, String>>;

/// Starts jobs and knows the running ones. Clones share them.
#[derive(Clone)]
pub struct Jobs {
    queue: mpsc::Sender<BoxFuture<'static, ()>>,
    running: Arc<Mutex<HashMap<String, Handle>>>,
    registry: Arc<dyn Registry>,
    clock: Clock,
    started: Arc<AtomicU64>,
    /// What this process calls itself in the registry: drawn at random.
    owner: Arc<str>,
}

impl Jobs {
    /// The second half is for [`run_jobs`].
    pub fn new(registry: Arc<dyn Registry>, clock: Clock) -> (Jobs, mpsc::Receiver<BoxFuture<'static, ()>>) {
        let (queue, receiver) = mpsc::channel(WAITING);
        let owner = format!("{:016x}", RandomState::new().hash_one(clock.now())).into();
        (Jobs { queue, running: Arc::default(), registry, clock, started: Arc::default(), owner }, receiver)
    }

    /// What no other job is called.
    pub(super) fn new_id(&self, kind: &str) -> String {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        format!("{kind}-{:x}-{}-{number}", self.clock.now().micros(), &self.owner[..4])
    }

    /// Records the job and queues it.
    pub(super) async fn start(
        &self,
        id: String,
        kind: &str,
        request: Value,
        work: impl FnOnce(Handle) -> Work,
    ) -> Result<JobView, Problem> {
        let job = Job {
            id,
            kind: kind.to_owned(),
            state: JobState::Running,
            progress: 0.0,
            request,
            result: None,
            error: None,
            created_at: self.clock.now(),
            finished_at: None,
            owner: self.owner.to_string(),
        };
        let place = self.queue.try_reserve().map_err(|_| {
            let detail = format!("{WAITING} jobs wait already: try again when some have ended");
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_JOBS", detail)
        })?;
        // A job whose owner holds no lease would count as left behind.
        self.registry.renew(&self.owner, registry::LEASE, &[]).await?;
        self.registry.put_job(&job).await?;
        let handle = self.handle(&job);
        let work = work(handle.clone());
        place.send(Box::pin(self.clone().finish(job.clone(), handle.clone(), work)));
        Ok(self.view(job, Some(&handle)))
    }

    /// Goes on with jobs that their processes left behind. Their ids and requests stay.
    async fn take_up(&self, state: &State) -> Result<Vec<BoxFuture<'static, ()>>, registry::Error> {
        let mut taken = Vec::new();
        for kind in [backfills::KIND, training_sets::KIND] {
            for Abandoned { id, deaths } in self.registry.take_abandoned(kind, &self.owner).await? {
                let Some(job) = self.registry.job(&id).await? else { continue };
                tracing::info!(job = id, deaths, "goes on with a job whose process is gone");
                let handle = self.handle(&job);
                let work = match kind {
                    backfills::KIND => backfills::take_up(state, &job, handle.clone()),
                    _ if deaths >= MOST_DEATHS => training_sets::give_up(state, &job, deaths),
                    _ => training_sets::take_up(state, &job, handle.clone()),
                };
                taken.push(self.clone().finish(job, handle, work).boxed());
            }
        }
        Ok(taken)
    }

    fn handle(&self, job: &Job) -> Handle {
        let handle = Handle::default();
        self.lock().insert(job.id.clone(), handle.clone());
        handle
    }

    async fn finish(self, mut job: Job, handle: Handle, work: Work) {
        if let Err(error) = self.registry.began(&job.id, &self.owner).await {
            tracing::warn!(%error, job = job.id, "if this process dies of the job, nobody will know");
        }
        handle.begin(self.clock.now());
        let outcome = work.await;
        if outcome.is_err() && !self.is_over(&job.id, &handle).await {
            self.lock().remove(&job.id);
            return;
        }
        job.finished_at = Some(self.clock.now());
        match outcome {
            Ok(result) => (job.state, job.progress, job.result) = (JobState::Done, 1.0, Some(result)),
            Err(_) if handle.is_cancelled() => job.state = JobState::Cancelled,
            Err(error) => (job.state, job.error) = (JobState::Failed, Some(error)),
        }
        if let Err(error) = self.registry.put_job(&job).await {
            tracing::error!(%error, job = job.id, "the end of a job could not be recorded");
        }
        self.lock().remove(&job.id);
    }

    /// Of a job that came to nothing here: whether nobody else goes on with it, or is at it since we lost our lease.
    pub(super) async fn is_over(&self, id: &str, handle: &Handle) -> bool {
        if handle.is_left() {
            return false;
        }
        let job = self.registry.job(id).await.inspect_err(|error| {
            tracing::error!(%error, job = id, "the end of a job could not be recorded");
        });
        job.is_ok_and(|job| job.is_some_and(|job| job.owner == *self.owner))
    }

    async fn get(&self, kind: &str, id: &str) -> Result<JobView, Problem> {
        let job = self.registry.job(id).await?.filter(|job| job.kind == kind);
        let job = job.ok_or_else(|| Problem::not_found("UNKNOWN_JOB", format_args!("no {kind} is called `{id}`")))?;
        let handle = self.lock().get(id).cloned();
        Ok(self.view(job, handle.as_ref()))
    }

    /// The newest of a kind that the caller sees, as many as a list has.
    async fn list(&self, kind: &str, is_seen: impl Fn(&JobView) -> bool) -> Result<Vec<JobView>, registry::Error> {
        self.newest(JobFilter { kind: Some(kind), ..JobFilter::default() }, LISTED, is_seen).await
    }

    async fn running(&self, is_seen: impl Fn(&JobView) -> bool) -> Result<Vec<JobView>, registry::Error> {
        let running = JobFilter { state: Some(JobState::Running), ..JobFilter::default() };
        self.newest(running, SEARCHED, is_seen).await
    }

    /// A page at a time: many that the caller does not see may stand between those that they do.
    async fn newest(
        &self,
        filter: JobFilter<'_>,
        limit: usize,
        is_seen: impl Fn(&JobView) -> bool,
    ) -> Result<Vec<JobView>, registry::Error> {
        let mut found = Vec::new();
        let mut last: Option<(EventTime, String)> = None;
        for _ in 0..SEARCHED / LISTED {
            let below = last.as_ref().map(|(began, id)| (*began, id.as_str()));
            let page = self.registry.jobs(JobFilter { below, ..filter }, LISTED).await?;
            let is_last = page.len() < LISTED;
            last = page.last().map(|job| (job.created_at, job.id.clone()));
            found.extend(self.views(page.into_iter()).into_iter().filter(&is_seen));
            if is_last || found.len() >= limit {
                break;
            }
        }
        found.truncate(limit);
        Ok(found)
    }

    async fn cancel(&self, id: &str) -> Result<(), registry::Error> {
        let handle = self.lock().get(id).cloned();
        match handle {
            Some(handle) => handle.cancel(),
            None => self.registry.ask_to_stop(id).await?,
        }
        Ok(())
    }

    /// Answers the jobs that are ours from now on.
    async fn keep_alive(&self, state: &State) -> Result<Vec<BoxFuture<'static, ()>>, registry::Error> {
        let progress: Vec<_> = self.lock().iter().map(|(id, handle)| (id.clone(), handle.progress())).collect();
        for id in self.registry.renew(&self.owner, registry::LEASE, &progress).await? {
            self.lock().get(&id).into_iter().for_each(Handle::cancel);
        }
        // Seedings, which are begun again by who notices.
        let error = "the process that ran it ended";
        let taken = self.take_up(state).await?;
        for id in self.registry.fail_abandoned(error, self.clock.now()).await? {
            tracing::warn!(job = id, "a job failed: its process is gone");
        }
        Ok(taken)
    }

    fn views(&self, jobs: impl Iterator<Item = Job>) -> Vec<JobView> {
        let running = self.lock().clone();
        let view = |job: Job| {
            let handle = running.get(&job.id);
            self.view(job, handle)
        };
        jobs.map(view).collect()
    }

    fn view(&self, job: Job, handle: Option<&Handle>) -> JobView {
        JobView::new(job, handle, self.clock.now())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Handle>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs queued jobs, a few at a time, until `closing`; those under way are then stopped, waited for, and left to whoever
/// comes next.
pub async fn run_jobs(
    state: State,
    mut queue: mpsc::Receiver<BoxFuture<'static, ()>>,
    closing: impl Future<Output = ()>,
) {
    let jobs = &state.jobs;
    let mut taken = VecDeque::new();
    let mut closing = std::pin::pin!(closing);
    // The first is due at once.
    let mut renewals = tokio::time::interval(RENEW_EVERY);
    renewals.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut running = FuturesUnordered::new();
    loop {
        while running.len() < RUNNING
            && let Some(job) = taken.pop_front()
        {
            running.push(job);
        }
        tokio::select! {
            () = &mut closing => break,
            Some(job) = queue.recv(), if running.len() < RUNNING => running.push(job),
            Some(()) = running.next() => {}
            _ = renewals.tick() => match jobs.keep_alive(&state).await {
                Ok(more) => taken.extend(more),
                Err(error) => {
                    tracing::warn!(%error, "the registry did not hear that jobs of this process are running");
                }
            }
        }
    }
    jobs.lock().values().for_each(Handle::leave);
    running.extend(taken);
    queue.close();
    while let Some(job) = queue.recv().await {
        running.push(job);
    }
    while running.next().await.is_some() {}
    // Nobody has to wait for the lease to run out.
    if let Err(error) = jobs.registry.release(&jobs.owner).await {
        tracing::warn!(%error, "jobs of this process stand still until its lease has run out");
    }
}

/// Runs what blocks on a thread of its own; a panic there fails this job alone.
pub(super) async fn blocking(work: impl FnOnce() -> Result<Value, String> + Send + 'static) -> Result<Value, String> {
    let died = "the job met a mistake in Freshet itself; the log of the service has it";
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(died.to_owned()))
}

/// Waits until everything that the log held when the job was asked for is archived: a job sees every event that was
/// acknowledged before.
pub(super) async fn archived_until_now(state: &State, source: &Arc<Source>) -> Result<(), String> {
    let ends = state.log.bounds(&source.topic).await.map_err(|error| error.to_string())?;
    // Of a partition that holds nothing there is nothing to wait for, and may never be a commit.
    let held = (0..).zip(ends).filter(|(_, held)| !held.is_empty());
    let ends = held.map(|(partition, held)| (partition, held.end)).collect();
    let limit = Duration::from_secs(60);
    state.archived.wait_until(source, &ends, limit).await.map_err(|error| error.to_string())?;
    state.archived.wait_for_history(source, limit).await.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::sqlite::SqliteRegistry;

    fn job(number: usize, kind: &str, state: JobState, request: Value) -> Job {
        Job {
            id: format!("{kind}-{number:04}"),
            kind: kind.to_owned(),
            state,
            progress: 0.0,
            request,
            result: None,
            error: None,
            created_at: EventTime::from_micros(number as i64).expect("in range"),
            finished_at: None,
            owner: "ada".to_owned(),
        }
    }

    #[tokio::test]
    async fn what_runs_and_what_is_ones_own_is_listed_however_much_of_others_came_since() {
        let folder = tempfile::tempdir().expect("a folder");
        let project = "shop".parse().expect("a name");
        let registry = SqliteRegistry::open(&folder.path().join("registry.db"), &project).await.expect("opens");
        let (jobs, _queue) = Jobs::new(Arc::new(registry), Clock::System);
        let put = async |job: Job| jobs.registry.put_job(&job).await.expect("written");
        put(job(0, "backfill", JobState::Running, json!({ "view": "spend" }))).await;
        put(job(1, "training_set", JobState::Done, json!({ "service": "ours" }))).await;
        for number in 2..=LISTED + 2 {
            put(job(number, "training_set", JobState::Done, json!({ "service": "theirs" }))).await;
        }
        let ids = |views: Vec<JobView>| {
            let id = |view: &JobView| serde_json::to_value(view).expect("plain data")["id"].clone();
            views.iter().map(id).collect::<Vec<_>>()
        };
        assert_eq!(ids(jobs.running(|_| true).await.expect("answers")), ["backfill-0000"]);
        let ours = |view: &JobView| view.service() == Some("ours");
        assert_eq!(ids(jobs.list("training_set", ours).await.expect("answers")), ["training_set-0001"]);
        let all = jobs.list("training_set", |_| true).await.expect("answers");
        assert_eq!((all.len(), ids(all)[0].clone()), (LISTED, json!(format!("training_set-{:04}", LISTED + 2))));
    }
}
