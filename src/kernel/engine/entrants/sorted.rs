//! A batch of a table in the order of time, opened for folding.

use arrow::array::{AsArray, BinaryArray, Int64Array, UInt64Array};
use arrow::datatypes::{Int64Type, UInt64Type};
use arrow::record_batch::RecordBatch;

use super::{EVENT_TIME, Entrants, ORDER, PLACE, POSITION};
use crate::kernel::aggregate::Stamp;
use crate::kernel::engine::Walk;
use crate::kernel::engine::column::Inputs;
use crate::kernel::key::Origin;
use crate::kernel::time::EventTime;

pub struct Sorted {
    orders: BinaryArray,
    event_times: Int64Array,
    origins: Option<(UInt64Array, UInt64Array)>,
    inputs: Inputs,
}

/// In place of an origin that no aggregate of the view looks at.
const ANYWHERE: Origin = Origin::History { file: 0, row: 0 };

impl Sorted {
    pub fn new(entrants: &Entrants, batch: &RecordBatch) -> Sorted {
        let column = |name| batch.column_by_name(name).expect("the table is by time");
        let words = |name| column(name).as_primitive::<UInt64Type>().clone();
        Sorted {
            orders: column(ORDER).as_binary().clone(),
            event_times: column(EVENT_TIME).as_primitive::<Int64Type>().clone(),
            origins: entrants.reads_origin.then(|| (words(PLACE), words(POSITION))),
            inputs: entrants.inputs_of(batch),
        }
    }

    pub fn rows(&self) -> usize {
        self.event_times.len()
    }

    pub fn order(&self, row: usize) -> &[u8] {
        self.orders.value(row)
    }

    /// Folds a row into the walk of its entity, which reads no earlier than `as_of` next.
    pub fn fold(&self, row: usize, walk: &mut Walk, as_of: EventTime) {
        walk.fold(&self.inputs, row, self.stamp(row), as_of);
    }

    fn stamp(&self, row: usize) -> Stamp {
        let event_time = EventTime::unchecked(self.event_times.value(row));
        let origin = match &self.origins {
            Some((places, positions)) => Origin::of_words(places.value(row), positions.value(row)),
            None => ANYWHERE,
        };
        Stamp { event_time, origin }
    }
}
