//! A batch of a table by origin, opened for folding as the stream folds: each part's events in the order of their offsets,
//! copies among them.

use arrow::array::{Array, AsArray, BinaryArray, Int64Array};
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;

use super::{EVENT_ID, EVENT_TIME, Entrants, INGESTION_TIME, ORDER};
use crate::kernel::engine::column::Inputs;
use crate::kernel::engine::{Part, order};
use crate::kernel::event::Envelope;
use crate::kernel::key::Origin;
use crate::kernel::plan::ViewPlan;
use crate::kernel::time::EventTime;

pub struct Recorded {
    orders: BinaryArray,
    event_times: Int64Array,
    ingested: Int64Array,
    ids: BinaryArray,
    inputs: Inputs,
}

impl Recorded {
    /// Of entrants as served, of which none is late.
    pub fn new(entrants: &Entrants, batch: &RecordBatch) -> Recorded {
        let column = |name| batch.column_by_name(name).expect("the table is by origin");
        let times = |name| column(name).as_primitive::<Int64Type>().clone();
        Recorded {
            orders: column(ORDER).as_binary().clone(),
            event_times: times(EVENT_TIME),
            ingested: times(INGESTION_TIME),
            ids: column(EVENT_ID).as_binary().clone(),
            inputs: entrants.inputs_of(batch),
        }
    }

    pub fn rows(&self) -> usize {
        self.event_times.len()
    }

    /// The entity of a row, as [`order::key`] takes it, and where its event came from.
    pub fn place(&self, row: usize) -> (&[u8], Origin) {
        order::origin(self.orders.value(row))
    }

    /// Folds a row into its part, which had all before it, unless it is a copy. Whether it was none.
    pub fn fold(&self, row: usize, view: &ViewPlan, part: &mut Part) -> bool {
        let time = |times: &Int64Array| EventTime::unchecked(times.value(row));
        let (event_time, ingestion_time) = (time(&self.event_times), time(&self.ingested));
        let event = Envelope { origin: self.place(row).1, event_time, ingestion_time, clamped: false };
        let id = self.ids.is_valid(row).then(|| self.ids.value(row));
        part.take(view, &self.inputs, row, &event, id)
    }
}
