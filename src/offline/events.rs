//! Reading archived events back, commit by commit, as the source decodes them now: their columns where it decodes as
//! it did when they were archived, else their raw bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, make_array, new_null_array};
use arrow::compute::{concat_batches, filter_record_batch, sort_to_indices, take_record_batch};
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema, SchemaRef, TimestampMicrosecondType};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use crate::kernel::definition::Source;
use crate::kernel::event::{self, EventBatch, decoding_mark};
use crate::kernel::key::{HISTORY, Origin};
use crate::kernel::time::EventTime;
use crate::kernel::value::ValueType;
use crate::offline::archive::{INGESTION_TIME, OFFSET, PARTITION, Pinned};
use crate::offline::commit::{Commit, EventFile};
use crate::offline::{Error, Folder, history, parquet_file, records};

/// Which of the pinned events to read.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Of each partition the records below an offset, and nothing of a partition that is not named. `None`: all.
    pub below: Option<BTreeMap<u32, u64>>,
    /// Where in event time the reader looks. A saving, not a filter: events outside it may come too, and if the
    /// source has an event id all do, for which of two copies counts is decided before anything is cut.
    pub event_time: Option<Range<EventTime>>,
    /// The fields that the reader looks at, by their places in the source. A saving too: the others may come empty or 0.
    /// `None`: all.
    pub fields: Option<BTreeSet<usize>>,
}

impl Scope {
    /// The event times outside which files are left out. `None`: none is.
    pub fn event_time_of_files(&self, source: &Source) -> Option<&Range<EventTime>> {
        self.event_time.as_ref().filter(|_| source.event_id.is_none())
    }
}

impl Pinned {
    /// How many of the files of events are read for a scope.
    pub fn files_read(&self, source: &Source, scope: &Scope) -> usize {
        let mark = decoding_mark(source).to_string();
        let commits = self.partitions.values().flatten();
        let files = commits.filter_map(|commit| match stored(source, &mark, commit, scope)? {
            Stored::Columns(files) => Some(files.len()),
            Stored::Records(commit) => Some(commit.files.len()),
        });
        files.sum()
    }
}

/// Events of the archive: what [`crate::kernel::event::admit`] decides on.
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
    /// What is read of files: of the source's fields those that are looked at, then our own three.
    schema: SchemaRef,
    rest: std::vec::IntoIter<Piece>,
}

/// What is to be read of one commit.
struct Piece {
    partition: u32,
    from: Stored,
    /// The offset to stay below.
    below: u64,
}

enum Stored {
    /// The source decodes as it did then: columns of these files, none of which is empty.
    Columns(Vec<EventFile>),
    /// It does not: raw bytes of all records, rejected ones too.
    Records(Commit),
}

impl Events {
    pub(super) fn new(folder: Folder, source: Arc<Source>, pinned: &Pinned, scope: &Scope) -> Events {
        let mark = decoding_mark(&source).to_string();
        let mut rest = Vec::new();
        for (&partition, chain) in &pinned.partitions {
            let below = scope.below.as_ref().map_or(u64::MAX, |below| below.get(&partition).copied().unwrap_or(0));
            let begun = chain.iter().filter(|commit| commit.from < below);
            let stored = begun.filter_map(|commit| stored(&source, &mark, commit, scope));
            rest.extend(stored.map(|from| Piece { partition, from, below }));
        }
        let schema = archived_schema(&source.schema(), scope);
        Events { folder, source, schema, rest: rest.into_iter() }
    }

    fn read(&self, piece: &Piece) -> Result<ArchivedEvents, Error> {
        match &piece.from {
            Stored::Columns(files) => self.read_columns(files, piece.below),
            Stored::Records(commit) => self.decode_anew(commit, piece),
        }
    }

    fn decode_anew(&self, commit: &Commit, piece: &Piece) -> Result<ArchivedEvents, Error> {
        let mut records = records::of_commit(&self.folder, piece.partition, commit)?;
        records.truncate(records.partition_point(|record| record.offset < piece.below));
        let events = match piece.partition {
            HISTORY => history::decode_anew(&self.source, records),
            _ => event::decode(&self.source, &records).events,
        };
        let positions = events.events.iter().map(|event| (event.origin, event.ingestion_time)).collect();
        Ok(ArchivedEvents { fields: events.fields, positions })
    }

    fn read_columns(&self, files: &[EventFile], below: u64) -> Result<ArchivedEvents, Error> {
        let mut batches = Vec::new();
        for file in files {
            self.read_file(file, below, &mut batches)?;
        }
        let all = concat_batches(&self.schema, &batches).expect("every batch has the schema");
        let all = in_order_of_offsets(&all).expect("offsets sort");
        Ok(ArchivedEvents { positions: positions(&all), fields: self.fields_of(&all) })
    }

    fn read_file(&self, file: &EventFile, below: u64, into: &mut Vec<RecordBatch>) -> Result<(), Error> {
        let damaged = |error: ArrowError| Error::damaged(&file.path, error);
        let mut rows = 0;
        let wanted: Vec<&str> = self.schema.fields().iter().map(|field| field.name().as_str()).collect();
        for batch in parquet_file::read_columns(self.folder.read(&file.path)?, &wanted).map_err(damaged)? {
            let batch = self.ordered(&batch.map_err(damaged)?).map_err(damaged)?;
            rows += batch.num_rows();
            into.push(filter_record_batch(&batch, &offsets_below(&batch, below)).map_err(damaged)?);
        }
        file.check_rows(rows)
    }

    /// The columns in the source's order, which may have changed. Equal marks have equal types.
    fn ordered(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let held = batch.schema();
        let places = self.schema.fields().iter().map(|field| held.index_of(field.name()));
        let batch = batch.project(&places.collect::<Result<Vec<_>, _>>()?)?;
        RecordBatch::try_new(self.schema.clone(), batch.columns().to_vec())
    }

    fn fields_of(&self, batch: &RecordBatch) -> RecordBatch {
        let fields = self.source.schema();
        let column = |field: &Arc<Field>| match batch.column_by_name(field.name()) {
            Some(column) => column.clone(),
            None => blank(field.data_type(), batch.num_rows()),
        };
        let columns = fields.fields().iter().map(column).collect();
        RecordBatch::try_new(fields, columns).expect("a blank stands for what was not read")
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
            let piece = self.rest.next()?;
            match self.read(&piece) {
                Ok(events) if events.positions.is_empty() => {}
                events => return Some(events),
            }
        }
    }
}

/// What of a commit may hold events of the scope, if anything does. Files and their times tell nothing where the source
/// decodes otherwise now.
fn stored(source: &Source, mark: &str, commit: &Commit, scope: &Scope) -> Option<Stored> {
    if commit.decoded_under != mark {
        return Some(Stored::Records(commit.clone()));
    }
    let range = scope.event_time_of_files(source);
    let overlaps = |file: &&EventFile| {
        let (oldest, newest) = file.event_times;
        range.is_none_or(|range| range.start.micros() <= newest && oldest < range.end.micros())
    };
    let files: Vec<EventFile> = commit.files.iter().filter(overlaps).cloned().collect();
    (!files.is_empty()).then_some(Stored::Columns(files))
}

/// In place of a field that nobody looks at: zeros or empty strings, and not null, for the field may be required.
fn blank(data_type: &DataType, rows: usize) -> ArrayRef {
    let nulls = new_null_array(data_type, rows).to_data();
    make_array(nulls.into_builder().nulls(None).build().expect("an array of zeros"))
}

fn archived_schema(fields: &Schema, scope: &Scope) -> SchemaRef {
    let own = [(PARTITION, ValueType::Int32), (OFFSET, ValueType::Int64), (INGESTION_TIME, ValueType::Timestamp)];
    let own = own.map(|(name, value_type)| Arc::new(Field::new(name, value_type.to_arrow(), false)));
    let wanted = |place: &usize| scope.fields.as_ref().is_none_or(|fields| fields.contains(place));
    let fields = fields.fields().iter().enumerate().filter(|(place, _)| wanted(place));
    Arc::new(Schema::new(fields.map(|(_, field)| field.clone()).chain(own).collect::<Vec<_>>()))
}

fn offsets_below(batch: &RecordBatch, below: u64) -> BooleanArray {
    let offsets = batch.column_by_name(OFFSET).expect("it was asked for").as_primitive::<Int64Type>();
    BooleanArray::from_unary(offsets, |offset| (offset as u64) < below)
}

/// A commit's files are cut by day: their rows come together in the order of the log again.
fn in_order_of_offsets(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let offsets = batch.column_by_name(OFFSET).expect("it was asked for");
    if offsets.as_primitive::<Int64Type>().values().is_sorted() {
        return Ok(batch.clone());
    }
    take_record_batch(batch, &sort_to_indices(offsets, None, None)?)
}

fn positions(batch: &RecordBatch) -> Vec<(Origin, EventTime)> {
    let column = |name| batch.column_by_name(name).expect("it was asked for");
    let partitions = column(PARTITION).as_primitive::<Int32Type>().values();
    let offsets = column(OFFSET).as_primitive::<Int64Type>().values();
    let ingested = column(INGESTION_TIME).as_primitive::<TimestampMicrosecondType>().values();
    let position = |row: usize| {
        let origin = Origin::at(partitions[row] as u32, offsets[row] as u64);
        (origin, EventTime::unchecked(ingested[row]))
    };
    (0..batch.num_rows()).map(position).collect()
}
