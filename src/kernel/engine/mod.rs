//! The two functions that every driver calls: **fold**, an event into the tiles of its entity, and **read**, tiles
//! at an as-of into a row of features.
//!
//! ```text
//! EventBatch ─► prepare(view) ─► Prepared ─► Part::fold ─► Part ─► read(parts, as_of) ─► Reading
//! ```
//!
//! A stream folds each partition in offset order into parts that are flushed and decoded again. A batch first lets
//! [`RecentIds`] decide which events are copies, in offset order as well, and may then [`Part::apply`] the others
//! in the order of [`Knowledge::visible_from`], reading between. Both end in the same bits, for a tile does not
//! depend on the order of its events.

mod asked;
mod column;
pub mod entrants;
mod explain;
pub mod order;
mod part;
mod point_in_time;
mod prepare;
mod read;
mod recent_ids;
mod running;
mod selection;
mod tiles;
mod total;
mod walk;

pub use asked::Asked;
pub use explain::{ExplainedTile, Explanation, Place, explain};
pub use part::{Flushed, Part};
pub use point_in_time::{Folded, History, Known};
pub use prepare::{Entrant, Prepared, entity_keys, prepare, prepare_with_late};
pub use read::{Presence, Read, Reading, Status, read};
pub use recent_ids::RecentIds;
pub(crate) use tiles::Tile;
pub use walk::Walk;

use crate::kernel::aggregate::Stamp;
use crate::kernel::event::Envelope;
use crate::kernel::time::{EventTime, Micros};

/// What happened to events on their way into a view, to be added up and shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub applied: u64,
    pub late: u64,
    pub duplicate: u64,
    /// Without an entity: a part of the key is null, or too long to be kept.
    pub null_key: u64,
    /// Of the log, though history has the events of their time.
    pub before_log: u64,
    /// Not selected by `where`.
    pub filtered: u64,
    /// Expressions that failed on a row.
    pub expression_failed: u64,
    /// Values of applied events, once for each column that aggregates read.
    pub nan_skipped: u64,
    /// Event ids that are too long to be kept, too.
    pub too_long_skipped: u64,
}

impl Envelope {
    /// When and where the event happened, as aggregates order events.
    pub fn stamp(&self) -> Stamp {
        Stamp { event_time: self.event_time, origin: self.origin }
    }
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.applied += other.applied;
        self.late += other.late;
        self.duplicate += other.duplicate;
        self.null_key += other.null_key;
        self.before_log += other.before_log;
        self.filtered += other.filtered;
        self.expression_failed += other.expression_failed;
        self.nan_skipped += other.nan_skipped;
        self.too_long_skipped += other.too_long_skipped;
    }
}

/// Which events a row of a training set may see (semantics §5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Knowledge {
    /// What a lookup would have known: not late, and ingested at or before the label time.
    #[default]
    AsServed,
    /// What a lookup would have known, had every event come at once: not late, whenever it came.
    NotLate,
    /// What really happened: late events too ([`prepare_with_late`]), whenever they came.
    EventTime,
}

impl Knowledge {
    pub const ALL: [Knowledge; 3] = [Knowledge::AsServed, Knowledge::NotLate, Knowledge::EventTime];

    pub fn as_str(self) -> &'static str {
        match self {
            Knowledge::AsServed => "as_served",
            Knowledge::NotLate => "not_late",
            Knowledge::EventTime => "event_time",
        }
    }

    /// The first label time whose row sees the event: the event itself is before it, and, as served, was ingested
    /// at or before it.
    pub fn visible_from(self, event: &Envelope) -> EventTime {
        let after = event.event_time + Micros::new(1);
        match self {
            Knowledge::AsServed => after.max(event.ingestion_time),
            Knowledge::NotLate | Knowledge::EventTime => after,
        }
    }
}
