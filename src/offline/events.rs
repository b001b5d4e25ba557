//! Reading archived events back, commit by commit, under the source's present schema.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, new_null_array};
use arrow::compute::{cast, concat_batches, filter_record_batch, sort_to_indices, take_record_batch};
use arrow::datatypes::{Field, Int32Type, Int64Type, Schema, SchemaRef, TimestampMicrosecondType};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use crate::kernel::definition::Source;
use crate::kernel::event::{self, EventBatch};
use crate::kernel::key::Origin;
use crate::kernel::time::EventTime;
use crate::kernel::value::ValueType;
use crate::offline::archive::{INGESTION_TIME, OFFSET, PARTITION, Pinned};
use crate::offline::commit::{Commit, EventFile};
use crate::offline::{Error, Folder, parquet_file};

/// Which of the pinned events to read.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Of each partition the records below an offset, and nothing of a partition that is not named. `None`: all.
    pub below: Option<BTreeMap<u32, u64>>,
    /// Where in event time the reader looks. A saving, not a filter: events outside it may come too, and if the
    /// source has an event id all do, for which of two copies counts is decided before anything is cut.
    pub event_time: Option<Range<EventTime>>,
}

/// Events as they were archived: what [`crate::kernel::event::admit`] decides on.
#[derive(Clone, Debug)]
pub struct ArchivedEvents {
    /// The source's fields, in its order and types.
    pub fields: RecordBatch,
    /// Of each row: where it came from, and its ingestion time.
    pub positions: Vec<(Origin, EventTime)>,
}

impl ArchivedEvents {
    /// By the source's present rules: what they reject enters no view.
    pub fn admit(self, source: &Source) -> EventBatch {
        event::admit(source, self.fields, &self.positions).events
    }
}

/// The events of a scope. Holds those of one commit at a time.
pub struct Events {
    folder: Folder,
    source: Arc<Source>,
    fields: SchemaRef,
    /// Files of one commit each, with the offset to stay below.
    rest: std::vec::IntoIter<(Vec<EventFile>, u64)>,
}

impl Events {
    pub(super) fn new(folder: Folder, source: Arc<Source>, pinned: &Pinned, scope: &Scope) -> Events {
        let mut rest = Vec::new();
        for (partition, chain) in &pinned.partitions {
            let below = scope.below.as_ref().map_or(u64::MAX, |below| below.get(partition).copied().unwrap_or(0));
            let begun = chain.iter().filter(|commit| commit.from < below);
            rest.extend(begun.map(|commit| (files_in_range(&source, commit, scope), below)));
        }
        rest.retain(|(files, _)| !files.is_empty());
        let fields = source.schema();
        Events { folder, source, fields, rest: rest.into_iter() }
    }

    fn read(&self, files: &[EventFile], below: u64) -> Result<ArchivedEvents, Error> {
        let mut batches = Vec::new();
        for file in files {
            self.read_file(file, below, &mut batches)?;
        }
        let all = concat_batches(&self.aligned_schema(), &batches).expect("every batch was aligned to the schema");
        let all = in_order_of_offsets(&all).expect("offsets sort");
        Ok(ArchivedEvents { positions: positions(&all), fields: self.fields_of(&all) })
    }

    fn read_file(&self, file: &EventFile, below: u64, into: &mut Vec<RecordBatch>) -> Result<(), Error> {
        let damaged = |error: ArrowError| Error::damaged(&file.path, error);
        let mut rows = 0;
        for batch in parquet_file::read(self.folder.open_file(&file.path)?).map_err(damaged)? {
            let batch = self.align(&batch.map_err(damaged)?, file)?;
            rows += batch.num_rows();
            into.push(filter_record_batch(&batch, &offsets_below(&batch, below)).map_err(damaged)?);
        }
        if rows != file.rows {
            return Err(Error::damaged(&file.path, format!("it has {rows} rows, and its commit names {}", file.rows)));
        }
        Ok(())
    }

    /// The columns of a file as the source's present fields and our own three.
    fn align(&self, batch: &RecordBatch, file: &EventFile) -> Result<RecordBatch, Error> {
        let schema = self.aligned_schema();
        let own = schema.fields().len() - self.fields.fields().len();
        let mut columns = Vec::with_capacity(schema.fields().len());
        for (index, wanted) in schema.fields().iter().enumerate() {
            let is_own = index + own >= schema.fields().len();
            columns.push(match batch.column_by_name(wanted.name()) {
                Some(held) => widen(held, wanted).ok_or_else(|| self.other_type(wanted, held, file))?,
                None if is_own => return Err(Error::damaged(&file.path, format!("no column `{}`", wanted.name()))),
                None => new_null_array(wanted.data_type(), batch.num_rows()),
            });
        }
        RecordBatch::try_new(schema, columns).map_err(|error| Error::damaged(&file.path, error))
    }

    fn other_type(&self, wanted: &Field, held: &ArrayRef, file: &EventFile) -> Error {
        Error::OtherType {
            dataset: self.source.name.to_string(),
            field: wanted.name().clone(),
            wanted: named(wanted.data_type()),
            held: named(held.data_type()),
            path: file.path.clone(),
        }
    }

    fn aligned_schema(&self) -> SchemaRef {
        let own = [(PARTITION, ValueType::Int32), (OFFSET, ValueType::Int64), (INGESTION_TIME, ValueType::Timestamp)];
        let own = own.map(|(name, value_type)| Arc::new(Field::new(name, value_type.to_arrow(), false)));
        Arc::new(Schema::new(self.fields.fields().iter().cloned().chain(own).collect::<Vec<_>>()))
    }

    fn fields_of(&self, batch: &RecordBatch) -> RecordBatch {
        let columns = batch.columns()[..self.fields.fields().len()].to_vec();
        RecordBatch::try_new(self.fields.clone(), columns).expect("a source has fields, and the batch is aligned")
    }
}

impl Iterator for Events {
    type Item = Result<ArchivedEvents, Error>;

    /// At most the commits that were not read yet.
    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.rest.len()))
    }

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (files, below) = self.rest.next()?;
            match self.read(&files, below) {
                Ok(events) if events.positions.is_empty() => {}
                events => return Some(events),
            }
        }
    }
}

/// Files that may hold events of the range. Without doubt only if the commit tells the times of the field that the
/// source goes by now.
fn files_in_range(source: &Source, commit: &Commit, scope: &Scope) -> Vec<EventFile> {
    let same_field = source.fields[source.event_time].name == *commit.event_time_field;
    let range = scope.event_time.as_ref().filter(|_| same_field && source.event_id.is_none());
    let overlaps = |file: &&EventFile| {
        let (oldest, newest) = file.event_times;
        range.is_none_or(|range| range.start.micros() <= newest && oldest < range.end.micros())
    };
    commit.files.iter().filter(overlaps).cloned().collect()
}

/// `None`: the type would not hold every value that the file may have.
fn widen(held: &ArrayRef, wanted: &Field) -> Option<ArrayRef> {
    if held.data_type() == wanted.data_type() {
        return Some(held.clone());
    }
    let (from, to) = (ValueType::from_arrow(held.data_type())?, ValueType::from_arrow(wanted.data_type())?);
    let widens = matches!(
        (from, to),
        (ValueType::Int32, ValueType::Int64 | ValueType::Float64) | (ValueType::Float32, ValueType::Float64)
    );
    widens.then(|| cast(held, wanted.data_type()).expect("a number widens"))
}

fn named(data_type: &arrow::datatypes::DataType) -> String {
    ValueType::from_arrow(data_type).map_or_else(|| data_type.to_string(), |value_type| value_type.to_string())
}

fn offsets_below(batch: &RecordBatch, below: u64) -> BooleanArray {
    let offsets = batch.column_by_name(OFFSET).expect("aligned").as_primitive::<Int64Type>();
    BooleanArray::from_unary(offsets, |offset| (offset as u64) < below)
}

/// A commit's files are cut by day: their rows come together in the order of the log again.
fn in_order_of_offsets(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let offsets = batch.column_by_name(OFFSET).expect("aligned");
    if offsets.as_primitive::<Int64Type>().values().is_sorted() {
        return Ok(batch.clone());
    }
    take_record_batch(batch, &sort_to_indices(offsets, None, None)?)
}

fn positions(batch: &RecordBatch) -> Vec<(Origin, EventTime)> {
    let column = |name| batch.column_by_name(name).expect("aligned");
    let partitions = column(PARTITION).as_primitive::<Int32Type>().values();
    let offsets = column(OFFSET).as_primitive::<Int64Type>().values();
    let ingested = column(INGESTION_TIME).as_primitive::<TimestampMicrosecondType>().values();
    let position = |row: usize| {
        let origin = Origin::Log { partition: partitions[row] as u32, offset: offsets[row] as u64 };
        (origin, EventTime::unchecked(ingested[row]))
    };
    (0..batch.num_rows()).map(position).collect()
}
