//! The two functions that every driver calls: **fold**, an event into the tiles of its entity, and **read**, tiles
//! at an as-of into a row of features.
//!
//! ```text
//! EventBatch ─► prepare(view) ─► Prepared ─► Part::fold ─► Part ─► read(parts, as_of) ─► Reading
//! ```

use crate::kernel::event::{Envelope, EventBatch};
use crate::kernel::key::EntityKey;
use crate::kernel::plan::ViewPlan;
use crate::kernel::time::EventTime;
use crate::kernel::value::Value;

pub use part::{Flushed, Part};

mod part;

/// The rows of a batch that enter one view, with the columns that its slots read.
pub struct Prepared {
    /// In the order of the batch.
    pub entrants: Vec<Entrant>,
    /// Why the others did not enter, and what failed on the way.
    pub counts: Counts,
    pub(crate) columns: arrow::record_batch::RecordBatch,
}

/// One event that enters a view.
#[derive(Clone, Debug)]
pub struct Entrant {
    /// Row of [`Prepared`]'s columns.
    pub row: usize,
    pub key: EntityKey,
    pub event: Envelope,
    /// Canonical bytes of the event id, where the source names one and the event has one.
    pub event_id: Option<Box<[u8]>>,
}

/// What happened to events on their way into a view, to be added up and shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub applied: u64,
    pub late: u64,
    pub duplicate: u64,
    pub null_key: u64,
    /// Not selected by `where`.
    pub filtered: u64,
    /// Expressions that failed on a row.
    pub expression_failed: u64,
    pub nan_skipped: u64,
    pub too_long_skipped: u64,
}

/// Which events of a batch enter the view, and with which values: joins and derived columns, `where`, entity key,
/// lateness. A function of the events and the plan alone.
pub fn prepare(view: &ViewPlan, batch: &EventBatch) -> Prepared {
    todo!("{view:?} {batch:?}")
}

/// A view's features for one entity at one instant.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// In the order of [`ViewPlan::features`]; `None` is null.
    pub values: Vec<Option<Value>>,
    pub presence: Presence,
    /// The entity's newest event time, whether or not any window still holds that event.
    pub newest: Option<EventTime>,
    /// Values that are null because they did not fit their type.
    pub overflowed: usize,
}

/// What is known of the entity as a whole (semantics §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    NotFound,
    OutsideMaxAge,
    Known,
}

/// The status of one value, as answers carry it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Present,
    NullValue,
    NotFound,
    OutsideMaxAge,
}

impl Status {
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Present => "PRESENT",
            Status::NullValue => "NULL_VALUE",
            Status::NotFound => "NOT_FOUND",
            Status::OutsideMaxAge => "OUTSIDE_MAX_AGE",
        }
    }
}

impl Reading {
    pub fn status(&self, feature: usize) -> Status {
        match (self.presence, &self.values[feature]) {
            (Presence::NotFound, _) => Status::NotFound,
            (Presence::OutsideMaxAge, _) => Status::OutsideMaxAge,
            (Presence::Known, None) => Status::NullValue,
            (Presence::Known, Some(_)) => Status::Present,
        }
    }
}

/// Merges the parts of one row as of `as_of`. No parts: the entity was never seen.
pub fn read(view: &ViewPlan, parts: &[&Part], as_of: EventTime) -> Reading {
    todo!("{view:?} {parts:?} {as_of}")
}
