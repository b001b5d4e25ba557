//! One part of a row: what one origin contributed to one entity of one view version. It has one writer.

use bytes::Bytes;

use crate::kernel::codec::{self, Image};
use crate::kernel::engine::{Counts, Prepared};
use crate::kernel::plan::ViewPlan;
use crate::kernel::time::EventTime;

/// In memory: the head decoded (tiles touched since the last seal, newest times), the body as bytes until a read
/// or a seal wants it. A tile may stand in both, for merging puts it together again: so a late event is a small
/// tile in the head, and never a rewritten body.
#[derive(Clone, Debug)]
pub struct Part {}

/// What a flush writes of a part; `None` leaves stored bytes as they are.
pub struct Flushed {
    pub head: Bytes,
    pub body: Option<Bytes>,
    pub ids: Option<Bytes>,
    /// When the row may be dropped: one hour after its reach; `None`: never.
    pub expires_at: Option<EventTime>,
}

impl Part {
    pub fn new(view: &ViewPlan) -> Part {
        todo!("{view:?}")
    }

    pub fn decode(view: &ViewPlan, image: &Image) -> Result<Part, codec::Error> {
        todo!("{view:?} {image:?}")
    }

    /// Folds one entrant: drops it where it is a duplicate, else updates its tile of each grid.
    pub fn fold(&mut self, view: &ViewPlan, prepared: &Prepared, entrant: usize, counts: &mut Counts) {
        let _ = (view, prepared, entrant, counts);
        todo!()
    }

    /// The bytes to store. Seals the head into the body when it is full, dropping tiles whose reach passed more
    /// than an hour before `now`, the smaller of worker clock and record time.
    pub fn flush(&mut self, view: &ViewPlan, now: EventTime) -> Flushed {
        todo!("{view:?} {now}")
    }

    /// Rough size in memory.
    pub fn bytes(&self) -> usize {
        todo!()
    }
}
