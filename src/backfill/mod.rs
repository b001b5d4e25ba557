//! The driver of backfills: a view's features at regular instants of an interval, as a feature table of Parquet
//! files.
//!
//! Promises: a row for each instant and each entity that is not NOT_FOUND at it, with the key's columns, `as_of`, and
//! the features by their names. The table has all rows of a run or none of them; equal runs over equal archives hold
//! equal rows.
//!
//! It waits for nothing: that the archive has every event which the job shall see is its caller's concern. It blocks,
//! and holds the view's events in memory.

use std::ops::Range;
use std::sync::Arc;

use crate::kernel::engine::{History, Knowledge, Presence};
use crate::kernel::key::EntityKey;
use crate::kernel::plan::ViewPlan;
use crate::kernel::time::{EventTime, Micros};
use crate::offline::{self, Archive, FeatureTable, Manifest, Pinned, Run, Scope};
use crate::telemetry::{Cancelled, Watch};

use rows::Rows;

mod rows;

/// The column of instants.
pub const AS_OF: &str = "as_of";

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
    #[error("the backfill cannot read the archive, or write its table")]
    Files(#[from] offline::Error),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// Computes the rows from what is archived now, and publishes them in `table` under the name `run`.
pub fn run(
    archive: &Archive,
    table: &FeatureTable,
    run: &str,
    request: &Request,
    watch: Watch<'_>,
) -> Result<Manifest, Error> {
    request.check()?;
    let pinned = archive.pin(&request.view.source)?;
    let history = read(archive, request, &pinned, watch.part(0.0, 0.5))?;
    let written = write(&history, request, table.begin(AS_OF), watch.part(0.5, 1.0))?;
    Ok(written.publish(run, details(request, &pinned))?)
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

fn read(archive: &Archive, request: &Request, pinned: &Pinned, watch: Watch<'_>) -> Result<History, Error> {
    let view = &request.view;
    let mut history = History::of_all(view.clone());
    let found_for = view.reach.map(|reach| reach.max(view.max_age.unwrap_or(reach)));
    let event_time = found_for.map(|found_for| request.interval.start - found_for..request.interval.end);
    let mut events =
        archive.read(&view.source, pinned, &Scope { below: None, event_time, fields: Some(view.fields()) });
    let commits = events.size_hint().1.unwrap_or(0);
    while let Some(archived) = events.next() {
        history.add(&archived?.admit(&view.source));
        watch.at(commits - events.size_hint().1.unwrap_or(0), commits)?;
    }
    Ok(history)
}

fn write(history: &History, request: &Request, run: Run, watch: Watch<'_>) -> Result<Run, Error> {
    let mut rows = Rows::new(&request.view, run);
    let entities = history.entities();
    for (index, entity) in entities.iter().enumerate() {
        watch.at(index, entities.len())?;
        walk(history, entity, request, &mut rows)?;
    }
    watch.at(entities.len(), entities.len())?;
    Ok(rows.finish()?)
}

/// From instant to instant, and over those at which the entity cannot be found.
fn walk(history: &History, entity: &EntityKey, request: &Request, rows: &mut Rows<'_>) -> Result<(), Error> {
    let mut walk = history.known(entity, request.knowledge);
    let mut as_of = request.interval.start;
    while as_of < request.interval.end {
        let reading = walk.at(as_of);
        as_of = if reading.presence == Presence::NotFound {
            let Some(change) = walk.next_change() else { return Ok(()) };
            request.instant_from(change)
        } else {
            rows.add(entity, as_of, &reading)?;
            as_of + request.every
        };
    }
    Ok(())
}

/// What was asked, and what it was computed from.
fn details(request: &Request, pinned: &Pinned) -> serde_json::Value {
    serde_json::json!({
        "from": request.interval.start.to_string(),
        "to": request.interval.end.to_string(),
        "every": request.every.to_string(),
        "knowledge": request.knowledge.as_str(),
        "source": request.view.source.name.as_str(),
        "archived_to": pinned.offsets(),
    })
}
