//! Entrants of a view as a table, for a batch engine to sort, spill and send: what folding needs of each event and
//! nothing else.
//!
//! ```text
//! EventBatch ─► by_origin ─(sort)─► Copies::drop ─┐        where the source has an event id
//! EventBatch ─► by_time ──────────────────────────┴─(sort)─► Sorted ─► Walk::fold
//! EventBatch ─► by_origin ─(sort)─► Recorded ─► Part       as the stream folds them
//! ```
//!
//! The first column is the order ([`crate::kernel::engine::order`]) that the table is to be sorted by: in offset order to
//! find copies, and then by the instant from which a row may see the event.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryBuilder, BooleanBuilder, Int64Builder, UInt16Builder, UInt32Array, UInt64Builder};
use arrow::compute::take_arrays;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;

use crate::kernel::engine::column::{Column, Inputs};
use crate::kernel::engine::order::Scratch;
use crate::kernel::engine::prepare::{derive, id_bytes, is_before_log, is_late, push_key, selected, selects};
use crate::kernel::engine::{Asked, Counts, Knowledge};
use crate::kernel::event::EventBatch;
use crate::kernel::key::{Origin, SHARDS, Shard};
use crate::kernel::plan::ViewPlan;
use crate::kernel::time::EventTime;

pub use copies::Copies;
pub use questions::questions;
pub use recorded::Recorded;
pub use sorted::Sorted;

mod copies;
mod questions;
mod recorded;
mod sorted;

/// The order that a table is to be sorted by.
pub const ORDER: &str = "_order";
/// By the entity's hash, one of as many as a project has shards by default: rows of one go to one place.
pub const SHARD: &str = "_shard";

const EVENT_TIME: &str = "_event_time";
/// Of [`Origin::to_words`], where an aggregate looks at it.
const PLACE: &str = "_place";
const POSITION: &str = "_position";
/// What tells copies.
const INGESTION_TIME: &str = "_ingestion_time";
const LATE: &str = "_late";
const EVENT_ID: &str = "_event_id";

/// How a view's entrants are written as tables, and read.
#[derive(Clone, Debug)]
pub struct Entrants {
    view: Arc<ViewPlan>,
    knowledge: Knowledge,
    /// Columns of the view's schema that its slots read.
    inputs: Vec<usize>,
    reads_origin: bool,
}

impl Entrants {
    pub fn new(view: Arc<ViewPlan>, knowledge: Knowledge) -> Entrants {
        let inputs = Inputs::columns(&view).into_iter().collect();
        let mut slots = view.grids.iter().flat_map(|grid| &grid.slots);
        let reads_origin = slots.any(|slot| slot.identity.reads_origin());
        Entrants { view, knowledge, inputs, reads_origin }
    }

    pub fn view(&self) -> &Arc<ViewPlan> {
        &self.view
    }

    pub fn knowledge(&self) -> Knowledge {
        self.knowledge
    }

    /// Whether copies have to be looked for, in a table by origin.
    pub fn may_have_copies(&self) -> bool {
        self.view.source.event_id.is_some()
    }

    pub fn schema_by_origin(&self) -> SchemaRef {
        let own = [(INGESTION_TIME, DataType::Int64), (LATE, DataType::Boolean), (EVENT_ID, DataType::Binary)];
        self.schema(&own)
    }

    pub fn schema_by_time(&self) -> SchemaRef {
        let own = [(PLACE, DataType::UInt64), (POSITION, DataType::UInt64)];
        self.schema(if self.reads_origin { &own } else { &[] })
    }

    /// Entrants that some instant may see, or that are needed to tell whether one that it may see is a copy.
    pub fn by_origin(&self, events: &EventBatch, asked: &Asked) -> RecordBatch {
        let columns = derive(&self.view, events, &mut Counts::default());
        let ids = self.view.source.event_id.map(|field| Column::of(columns.column(field)));
        let (mut ingested, mut late, mut event_ids) =
            (Int64Builder::new(), BooleanBuilder::new(), BinaryBuilder::new());
        let table = self.collect(events, &columns, |row, hash, scratch| {
            let event = &events.events[row];
            let visible_from = self.knowledge.visible_from(event);
            let is_wanted = match self.may_have_copies() {
                true => asked.contains(hash),
                false => asked.may_see(hash, visible_from, event.event_time),
            };
            is_wanted.then(|| {
                ingested.append_value(event.ingestion_time.micros());
                late.append_value(is_late(&self.view, event));
                event_ids.append_option(ids.as_ref().and_then(|ids| id_bytes(ids, row, &mut Counts::default())));
                scratch.from(event.origin)
            })
        });
        let own: [ArrayRef; 3] = [Arc::new(ingested.finish()), Arc::new(late.finish()), Arc::new(event_ids.finish())];
        table.finish(self, self.schema_by_origin(), own, &columns)
    }

    /// Entrants that some instant may see, of a source without event ids.
    pub fn by_time(&self, events: &EventBatch, asked: &Asked) -> RecordBatch {
        let columns = derive(&self.view, events, &mut Counts::default());
        let mut origins = Origins::new(self.reads_origin);
        let table = self.collect(events, &columns, |row, hash, scratch| {
            let event = &events.events[row];
            let visible_from = self.knowledge.visible_from(event);
            asked.may_see(hash, visible_from, event.event_time).then(|| {
                origins.add(event.origin);
                scratch.at(visible_from)
            })
        });
        table.finish(self, self.schema_by_time(), origins.finish(), &columns)
    }

    /// The columns of a table that the view's slots read.
    fn inputs_of(&self, table: &RecordBatch) -> Inputs {
        let first = table.num_columns() - self.inputs.len();
        Inputs::new(&self.view, |column| {
            let at = self.inputs.binary_search(&column).expect("the table has what slots read");
            table.column(first + at).clone()
        })
    }

    fn schema(&self, own: &[(&str, DataType)]) -> SchemaRef {
        let first = [(ORDER, DataType::Binary), (SHARD, DataType::UInt16), (EVENT_TIME, DataType::Int64)];
        let first = first.iter().chain(own).map(|(name, held)| Field::new(*name, held.clone(), *name == EVENT_ID));
        let input = |(index, column): (usize, &usize)| {
            Field::new(format!("input_{index}"), self.view.schema.field(*column).data_type().clone(), true)
        };
        Arc::new(Schema::new(first.chain(self.inputs.iter().enumerate().map(input)).collect::<Vec<_>>()))
    }

    /// `order` finishes the order of a row, of which the entity is there, or leaves the row out.
    fn collect(
        &self,
        events: &EventBatch,
        columns: &RecordBatch,
        mut order: impl for<'a> FnMut(usize, u64, &'a mut Scratch) -> Option<&'a [u8]>,
    ) -> Table {
        let selected = selected(&self.view, columns, &mut Counts::default());
        let keys: Vec<Column> = self.view.key_fields.iter().map(|field| Column::of(columns.column(*field))).collect();
        let log_from = self.view.source.log_from();
        let mut table = Table::default();
        let mut scratch = Scratch::default();
        for (row, event) in events.events.iter().enumerate() {
            let enters = selected.as_ref().is_none_or(|selected| selects(selected, row));
            let is_known = self.knowledge == Knowledge::EventTime || !is_late(&self.view, event);
            if !enters || !is_known || is_before_log(log_from, event) {
                continue;
            }
            let Some(hash) = scratch.entity(|bytes| push_key(&keys, row, bytes)) else { continue };
            if let Some(order) = order(row, hash, &mut scratch) {
                table.add(row, order, hash, event.event_time);
            }
        }
        table
    }
}

/// Rows that were kept of a batch.
#[derive(Default)]
struct Table {
    rows: Vec<u32>,
    orders: BinaryBuilder,
    shards: UInt16Builder,
    event_times: Int64Builder,
}

impl Table {
    fn add(&mut self, row: usize, order: &[u8], hash: u64, event_time: EventTime) {
        self.rows.push(u32::try_from(row).expect("a batch has fewer than 2^32 rows"));
        self.orders.append_value(order);
        self.shards.append_value(Shard::of_hash(hash, SHARDS).0);
        self.event_times.append_value(event_time.micros());
    }

    /// `own`: the columns between the first three and the inputs.
    fn finish(
        mut self,
        entrants: &Entrants,
        schema: SchemaRef,
        own: impl IntoIterator<Item = ArrayRef>,
        columns: &RecordBatch,
    ) -> RecordBatch {
        let first: [ArrayRef; 3] =
            [Arc::new(self.orders.finish()), Arc::new(self.shards.finish()), Arc::new(self.event_times.finish())];
        let inputs: Vec<ArrayRef> = entrants.inputs.iter().map(|column| columns.column(*column).clone()).collect();
        let inputs = match self.rows.len() == columns.num_rows() {
            true => inputs,
            false => take_arrays(&inputs, &UInt32Array::from(self.rows), None).expect("the rows are of the batch"),
        };
        let columns = first.into_iter().chain(own).chain(inputs).collect();
        RecordBatch::try_new(schema, columns).expect("each kept row has all columns")
    }
}

/// The columns of origins, where an aggregate looks at them.
struct Origins(Option<(UInt64Builder, UInt64Builder)>);

impl Origins {
    fn new(wanted: bool) -> Origins {
        Origins(wanted.then(Default::default))
    }

    fn add(&mut self, origin: Origin) {
        if let Some((places, positions)) = &mut self.0 {
            let (place, position) = origin.to_words();
            places.append_value(place);
            positions.append_value(position);
        }
    }

    fn finish(self) -> Vec<ArrayRef> {
        let columns = self
            .0
            .map(|(mut places, mut positions)| [Arc::new(places.finish()) as ArrayRef, Arc::new(positions.finish())]);
        columns.into_iter().flatten().collect()
    }
}
