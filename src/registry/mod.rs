//! The registry: what is applied, in which versions, and which jobs ran. Rows carry the project.
//!
//! # Contract
//!
//! * Each call is one transaction, durable when it returns.
//! * Revisions of a project are numbered from 1 without gaps. [`Registry::apply`] names the revision it was planned
//!   against; if another came first nothing is written and [`Error::Conflict`] says so.
//! * Projects do not see each other, and a key of one is nothing in another.
//! * Several processes may share a registry. Each holds a lease while it lives, measured by the registry's own clock;
//!   what runs under a lease that ran out has been left behind.
//!
//! `conformance.rs` holds every registry to this; `catalogue.rs` compiles what is applied.

pub mod access;
pub mod catalogue;
#[cfg(test)]
mod conformance;
pub mod postgres;
mod sql;
pub mod sqlite;

use std::collections::BTreeMap;

use async_trait::async_trait;

use crate::kernel::definition::SourceText;
use crate::kernel::name::Name;
use crate::kernel::plan::Fingerprint;
use crate::kernel::time::{EventTime, Micros};

use access::{ApiKey, AuditEntry};

/// What is applied: the files as they were written. An apply replaces the whole of a project's definitions.
#[derive(Clone, Debug, PartialEq)]
pub struct Revision {
    pub number: u64,
    pub files: Vec<SourceText>,
    pub applied_at: EventTime,
    pub applied_by: String,
}

/// One version of a view that is, or was, computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewVersion {
    pub view: Name,
    pub fingerprint: Fingerprint,
    pub state: VersionState,
    pub since: EventTime,
    /// The newest revision whose files define it.
    pub revision: u64,
    /// Which copy of its rows is built, or served once it is live.
    pub generation: u32,
    /// The copy that is built beside a live one, to take its place.
    pub rebuilding: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionState {
    /// Written by the stream, not served: it has not caught up with the log of when it was applied.
    Building,
    /// Written and served.
    Live,
    /// Written and not served: the version before, which a rollback serves again at once; or after one, the version that
    /// was rolled back.
    Retained,
    /// No longer written or served; its rows may be gone.
    Dropped,
}

impl VersionState {
    /// As rows and answers carry it.
    pub fn as_str(self) -> &'static str {
        match self {
            VersionState::Building => "building",
            VersionState::Live => "live",
            VersionState::Retained => "retained",
            VersionState::Dropped => "dropped",
        }
    }
}

/// An offset for each of some partitions of a topic.
pub type Offsets = BTreeMap<u32, u64>;

/// How the rows of a generation begin. It goes forward only: until it is done nobody but seedings may write them, and
/// the stream may from then on; so neither can meet what the other has half of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Seed {
    /// Nobody has looked yet how far the archive is.
    #[default]
    Undecided,
    /// What is below these offsets is being folded in bulk, from the archive.
    Begun(Offsets),
    /// What is below these offsets is in the rows; nothing is named where the stream folds everything.
    Done(Offsets),
}

/// How long jobs count as running after their process was last heard of.
pub const LEASE: Micros = Micros::new(30_000_000);

/// By version and generation.
pub type Seeds = BTreeMap<(Fingerprint, u32), Seed>;

/// A backfill, a training set or the like.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    pub id: String,
    pub kind: String,
    pub state: JobState,
    /// From 0 to 1.
    pub progress: f64,
    /// What was asked, as JSON.
    pub request: serde_json::Value,
    /// What came of it, as JSON: rows, files, pinned commits, fingerprints.
    pub result: Option<serde_json::Value>,
    pub error: Option<String>,
    pub created_at: EventTime,
    pub finished_at: Option<EventTime>,
    /// The process that runs it, as it calls itself in [`Registry::renew`].
    pub owner: String,
}

/// Which jobs are asked for; all, unless it says more.
#[derive(Clone, Copy, Debug, Default)]
pub struct JobFilter<'a> {
    pub kind: Option<&'a str>,
    pub state: Option<JobState>,
    /// Those that a list has below the one that began then and has this id.
    pub below: Option<(EventTime, &'a str)>,
}

/// A job that another process ran before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Abandoned {
    pub id: String,
    /// How many processes were lost while they worked on it; one that released it is none of them.
    pub deaths: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobState {
    Running,
    Done,
    Failed,
    Cancelled,
}

impl JobState {
    /// As rows and answers carry it.
    pub fn as_str(self) -> &'static str {
        match self {
            JobState::Running => "running",
            JobState::Done => "done",
            JobState::Failed => "failed",
            JobState::Cancelled => "cancelled",
        }
    }
}

/// What became of a call to revoke a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revocation {
    Done,
    /// By somebody else, or by an earlier call.
    DoneBefore,
    Unknown,
}

/// A view that was rolled back: from the version that was served to the one that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollback {
    pub view: Name,
    pub from: Fingerprint,
    pub to: Fingerprint,
    pub at: EventTime,
    pub by: String,
}

/// Dead letters of a source that were decoded again, and taken into its views where they could be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    pub source: Name,
    /// The mark of the schema that they were decoded by.
    pub decoding: Fingerprint,
    /// Of each partition, history's among them, the offset that they are below.
    pub ends: Offsets,
    pub at: EventTime,
    pub by: String,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("revision {expected} is no longer the newest: revision {found} was applied meanwhile")]
    Conflict { expected: u64, found: u64 },
    #[error("the registry is not available: {0}")]
    Unavailable(String),
    #[error("the registry at {place} lets nobody in: {detail}")]
    Refused { place: String, detail: String },
    #[error("the registry at {place} is damaged or of a later release: {detail}")]
    Damaged { place: String, detail: String },
}

impl Error {
    pub fn is_transient(&self) -> bool {
        matches!(self, Error::Unavailable(_))
    }
}

/// The registry of one project.
#[async_trait]
pub trait Registry: Send + Sync {
    /// How many shards the project was created with; creates it with `shards` on the first call.
    async fn shards(&self, shards: u16) -> Result<u16, Error>;

    /// A number that grows whenever something is applied, seeded or promoted, or a key is added or revoked: for those who
    /// ask often.
    async fn changes(&self) -> Result<u64, Error>;

    /// The newest revision, or `None` before the first apply.
    async fn revision(&self) -> Result<Option<Revision>, Error>;

    /// One revision of the past.
    async fn revision_numbered(&self, number: u64) -> Result<Option<Revision>, Error>;

    /// Writes revision `expected + 1` (0: none yet). `versions` are all of its views: those not known yet, or dropped
    /// before, begin as Building, and so does a Retained one that the revision before does not name. Building ones that
    /// it does not name are Dropped, and all of views that it no longer has; a Live one whose view got another version
    /// stays until that is promoted.
    async fn apply(
        &self,
        expected: u64,
        files: &[SourceText],
        by: &str,
        versions: &[(Name, Fingerprint)],
        now: EventTime,
    ) -> Result<u64, Error>;

    /// All versions that are not dropped.
    async fn versions(&self) -> Result<Vec<ViewVersion>, Error>;

    /// All versions that a view ever had, those that entered their state last first.
    async fn versions_of(&self, view: &Name) -> Result<Vec<ViewVersion>, Error>;

    /// Serves a generation that was built: of a Building version, which becomes Live, while the one that was live before
    /// is Retained, and the one that was retained before is Dropped; or beside the one of a Live version, whose place it
    /// takes. In one step; a generation that was given up meanwhile stays so: nothing happens.
    async fn promote(&self, fingerprint: Fingerprint, generation: u32, now: EventTime) -> Result<(), Error>;

    /// Serves the Retained version of a view again and retains the Live one, in one step: twice is back where it was.
    /// `None` where the view has not both, and then nothing happens.
    async fn roll_back(&self, view: &Name, by: &str, now: EventTime) -> Result<Option<Rollback>, Error>;

    /// The newest first.
    async fn rollbacks(&self, limit: usize) -> Result<Vec<Rollback>, Error>;

    /// Drops what is Retained since before `before`, but for what the newest revision declares: that was rolled back, and
    /// waits for another definition. Answers which they are.
    async fn drop_retained(&self, before: EventTime, now: EventTime) -> Result<Vec<(Name, Fingerprint)>, Error>;

    /// Begins a new generation of each version that is not dropped: beside the one that serves, or in place of one that
    /// is not served. Numbers of generations are never used again.
    async fn rebuild(&self, versions: &[Fingerprint], now: EventTime) -> Result<(), Error>;

    /// Begins a new generation, whose rows begin as `seed` says, in place of one whose own can never be whole: as
    /// [`Registry::rebuild`] does, but only while that generation is in use still and none is built to take its place. So of
    /// several who notice at once one begins it; answers whether this call did.
    async fn replace_rows(
        &self,
        fingerprint: Fingerprint,
        generation: u32,
        seed: &Seed,
        now: EventTime,
    ) -> Result<bool, Error>;

    /// Gives up what is built beside the generations that serve.
    async fn stop_rebuild(&self, versions: &[Fingerprint], now: EventTime) -> Result<(), Error>;

    /// How the rows of each generation that may be in the online store begin.
    async fn seeds(&self) -> Result<Seeds, Error>;

    /// Decides up to where the archive gives the rows of a generation, unless that is decided. Answers what stands:
    /// however often and by however many it is asked, the same; `None` where there is no such generation any more.
    async fn begin_seed(
        &self,
        fingerprint: Fingerprint,
        generation: u32,
        cut: &Offsets,
    ) -> Result<Option<Offsets>, Error>;

    /// Notes that the rows are there up to where that was decided; nothing before it is.
    async fn end_seed(&self, fingerprint: Fingerprint, generation: u32) -> Result<(), Error>;

    /// Generations that nobody has written or served since `before`, and whose rows may still be in the online store:
    /// until [`Registry::rows_removed`] says otherwise.
    async fn retired(&self, before: EventTime) -> Result<Vec<(Fingerprint, u32)>, Error>;

    async fn rows_removed(&self, fingerprint: Fingerprint, generation: u32) -> Result<(), Error>;

    /// Notes that dead letters were decoded again; the newest of a source and mark counts.
    async fn put_replay(&self, replay: &Replay) -> Result<(), Error>;

    async fn replay(&self, source: &Name, decoding: Fingerprint) -> Result<Option<Replay>, Error>;

    /// Writes a job, or what became of it: all but its id, kind, request, start and owner may change. One that somebody else
    /// has taken up stays as it is; answers whether it is the caller's still.
    async fn put_job(&self, job: &Job) -> Result<bool, Error>;

    /// Begins a job, or begins it again where it has ended: its kind, request and start stay then. False where it runs, and
    /// nothing happens: so of several who begin it at once one does.
    async fn begin_job(&self, job: &Job) -> Result<bool, Error>;

    async fn job(&self, id: &str) -> Result<Option<Job>, Error>;

    /// The newest first.
    async fn jobs(&self, filter: JobFilter<'_>, limit: usize) -> Result<Vec<Job>, Error>;

    /// Asks the owner of a running job to stop it. One that has ended stays as it ended.
    async fn ask_to_stop(&self, job: &str) -> Result<(), Error>;

    /// Tells that `owner` is alive for a `lease` from now, and how far its running jobs are. Answers which of them are
    /// to stop.
    async fn renew(&self, owner: &str, lease: Micros, progress: &[(String, f64)]) -> Result<Vec<String>, Error>;

    /// Notes that `owner` works on a job of its own from now on: a process that is lost before has not died of it.
    async fn began(&self, job: &str, owner: &str) -> Result<(), Error>;

    /// Ends the lease of `owner`, who leaves its running jobs to whoever takes them up.
    async fn release(&self, owner: &str) -> Result<(), Error>;

    /// Makes `owner` that of the running jobs of a kind whose owners have no lease, and answers which they are. Of several
    /// who ask at once each job has one.
    async fn take_abandoned(&self, kind: &str, owner: &str) -> Result<Vec<Abandoned>, Error>;

    /// Marks the running jobs of owners without a lease as failed, and answers which they are.
    async fn fail_abandoned(&self, error: &str, now: EventTime) -> Result<Vec<String>, Error>;

    /// Adds a key, whose id is new.
    async fn add_key(&self, key: &ApiKey) -> Result<(), Error>;

    /// The newest first, those that were revoked among them.
    async fn keys(&self) -> Result<Vec<ApiKey>, Error>;

    /// Ends a key for good. The first call counts.
    async fn revoke_key(&self, id: &str, by: &str, now: EventTime) -> Result<Revocation, Error>;

    /// Writes down what somebody is about to do.
    async fn begin_audit(&self, entry: &AuditEntry) -> Result<(), Error>;

    /// Writes down what became of it.
    async fn end_audit(&self, id: &str, outcome: &str) -> Result<(), Error>;

    /// The newest first.
    async fn audit(&self, limit: usize) -> Result<Vec<AuditEntry>, Error>;
}
