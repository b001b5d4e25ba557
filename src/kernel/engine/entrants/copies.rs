//! From a table in the order of offsets to one in the order of time, without the copies.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryBuilder, UInt32Array};
use arrow::compute::take_arrays;
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;

use super::{EVENT_ID, EVENT_TIME, Entrants, INGESTION_TIME, LATE, ORDER, Origins, SHARD};
use crate::kernel::engine::order::{self, Scratch};
use crate::kernel::engine::{Asked, RecentIds};
use crate::kernel::event::Envelope;
use crate::kernel::key::{Origin, PartId};
use crate::kernel::time::EventTime;

/// Goes through a sorted table batch by batch, and knows one part of one entity at a time.
pub struct Copies {
    entrants: Entrants,
    asked: Arc<Asked>,
    entity: Vec<u8>,
    part: Option<PartId>,
    ids: RecentIds,
}

impl Copies {
    pub fn new(entrants: Entrants, asked: Arc<Asked>) -> Copies {
        Copies { entrants, asked, entity: Vec::new(), part: None, ids: RecentIds::default() }
    }

    /// The rows that are no copies, and that some instant may see.
    pub fn drop(&mut self, batch: &RecordBatch) -> RecordBatch {
        let column = |name| batch.column_by_name(name).expect("the table is by origin");
        let orders = column(ORDER).as_binary::<i32>();
        let (event_times, ingested) = (column(EVENT_TIME).as_primitive::<Int64Type>(), column(INGESTION_TIME));
        let (ingested, late) = (ingested.as_primitive::<Int64Type>(), column(LATE).as_boolean());
        let ids = column(EVENT_ID).as_binary::<i32>();
        let (mut rows, mut by_time, mut scratch) = (Vec::new(), BinaryBuilder::new(), Scratch::default());
        let mut origins = Origins::new(self.entrants.reads_origin);
        for row in 0..batch.num_rows() {
            let (entity, origin) = order::origin(orders.value(row));
            let (event_time, ingestion_time) =
                (EventTime::unchecked(event_times.value(row)), EventTime::unchecked(ingested.value(row)));
            let id = ids.is_valid(row).then(|| ids.value(row));
            self.go_on_to(entity, origin);
            let is_new = late.value(row) || self.ids.accept_id(&self.entrants.view, ingestion_time, id);
            let event = Envelope { origin, event_time, ingestion_time, clamped: false };
            let visible_from = self.entrants.knowledge.visible_from(&event);
            if is_new && self.asked.may_see(order::hash(orders.value(row)), visible_from, event_time) {
                scratch.entity_of(orders.value(row));
                by_time.append_value(scratch.at(visible_from));
                origins.add(origin);
                rows.push(row as u32);
            }
        }
        self.finish(batch, rows, Arc::new(by_time.finish()), origins)
    }

    fn go_on_to(&mut self, entity: &[u8], origin: Origin) {
        let part = Some(origin.part());
        if self.entity != entity || self.part != part {
            self.entity.clear();
            self.entity.extend(entity);
            self.part = part;
            self.ids = RecentIds::default();
        }
    }

    fn finish(&self, batch: &RecordBatch, rows: Vec<u32>, orders: ArrayRef, origins: Origins) -> RecordBatch {
        let inputs = batch.num_columns() - self.entrants.inputs.len();
        let column = |name| batch.column_by_name(name).expect("the table is by origin").clone();
        let kept: Vec<ArrayRef> =
            [column(SHARD), column(EVENT_TIME)].into_iter().chain(batch.columns()[inputs..].iter().cloned()).collect();
        let mut kept = take_arrays(&kept, &UInt32Array::from(rows), None).expect("the rows are of the batch");
        let inputs = kept.split_off(2);
        let columns = std::iter::once(orders).chain(kept).chain(origins.finish()).chain(inputs).collect();
        RecordBatch::try_new(self.entrants.schema_by_time(), columns).expect("each kept row has all columns")
    }
}
