//! The driver of backfills: a view's features at regular instants of an interval, as a feature table of Parquet
//! files.
//!
//! ```text
//! archive ─► events by (entity, time), in lanes ─► lane: walk from instant to instant ─► steps of rows ─► manifest
//! ```
//!
//! Promises: a row for each instant and each entity that is not NOT_FOUND at it, with the key's columns, `as_of`, and
//! the features by their names. The table has all rows of a run or none of them; equal runs over equal archives hold
//! equal rows. A run that was killed goes on under its name: from the commits that it pinned when it began, behind the
//! steps that each lane has written, to the same files byte for byte; a definition by which they would be others goes on
//! with none. One that nobody goes on with is its caller's to discard. Memory is bounded by [`Resources`], whatever the
//! archive holds and however many instants there are.
//!
//! It waits for nothing: that the archive has every event which the job shall see is its caller's concern. It blocks.

use std::ops::Range;
use std::sync::Arc;

use crate::batch::{self, Resources};
use crate::kernel::engine::Knowledge;
use crate::kernel::plan::ViewPlan;
use crate::kernel::time::{EventTime, Micros};
use crate::offline::{self, Archive, FeatureTable, Manifest, Run};
use crate::online;
use crate::telemetry::{Cancelled, Watch};

use plan::Plan;

mod lane;
mod lanes;
mod plan;
mod rows;
pub mod seed;

#[derive(Clone, Debug)]
pub struct Request {
    pub view: Arc<ViewPlan>,
    /// The instants are its start, and then one `every` so long before its end.
    pub interval: Range<EventTime>,
    pub every: Micros,
    pub knowledge: Knowledge,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "no instant lies in an interval from {from} to {to} by steps of {every}: name a later end, and a step above 0"
    )]
    NoInstants { from: EventTime, to: EventTime, every: Micros },
    #[error(
        "the table would have two columns `{0}`: a feature, and a key or the instant; name the feature differently"
    )]
    NameTaken(String),
    #[error(
        "run `{0}` was begun for another interval, by other steps, or by another definition of its view: take another name"
    )]
    OtherRequest(String),
    #[error("the backfill cannot read the archive, or write its table")]
    Files(#[from] offline::Error),
    #[error(transparent)]
    Batch(#[from] batch::Error),
    #[error("the online store cannot be seeded")]
    Online(#[from] online::Error),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// Computes the rows from what was archived when the run of that name first began, and publishes them in `table`. A run
/// that is published already stays as it is.
pub fn run(
    archive: &Archive,
    table: &FeatureTable,
    name: &str,
    request: &Request,
    resources: Resources,
    watch: Watch<'_>,
) -> Result<Manifest, Error> {
    request.check()?;
    if let Some(manifest) = table.manifest(name)? {
        return Ok(manifest);
    }
    let begun = table.begin(name, || Plan::new(archive, request, resources))?;
    let plan: Plan = begun.plan()?;
    if !plan.is_of(request) {
        return Err(Error::OtherRequest(name.to_owned()));
    }
    lanes::run(archive, &begun, &plan, request, resources, watch)?;
    publish(&begun, &plan)
}

fn publish(run: &Run, plan: &Plan) -> Result<Manifest, Error> {
    let manifest = run.publish(plan.lanes, plan.details())?;
    run.tidy()?;
    Ok(manifest)
}

impl Request {
    fn check(&self) -> Result<(), Error> {
        if self.interval.is_empty() || self.every <= Micros::ZERO {
            let Range { start: from, end: to } = self.interval;
            return Err(Error::NoInstants { from, to, every: self.every });
        }
        let mut names: Vec<&str> = rows::columns(&self.view).map(|(name, _, _)| name).collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(Error::NameTaken(pair[0].to_owned())),
            None => Ok(()),
        }
    }

    /// The first instant at or after `time`.
    fn instant_from(&self, time: EventTime) -> EventTime {
        let past = time.since(self.interval.start).get().max(0);
        let steps = past.div_euclid(self.every.get()) + i64::from(past % self.every.get() != 0);
        self.interval.start + Micros::new(steps.saturating_mul(self.every.get()))
    }
}
