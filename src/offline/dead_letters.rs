//! Rejected records, as they came in and with the reason: one for each topic, partition and offset of a source.
//!
//! They are written by the same commit as the events around them, so none is lost or listed twice. They tell what was
//! decided on the day: a source that changed since may decode one as an event, or reject one that was none.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Int32Array, Int64Array, StringArray};
use arrow::array::{RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{Field, Int32Type, Int64Type, Schema, TimestampMicrosecondType};
use arrow::error::ArrowError;
use bytes::Bytes;

use crate::kernel::definition::Source;
use crate::kernel::event::{self, RawRecord, Rejection};
use crate::kernel::time::{EventTime, Micros};
use crate::kernel::value::ValueType;
use crate::offline::archive::{Span, date, file_name, write_parquet};
use crate::offline::commit::DeadLetterFile;
use crate::offline::{Archive, Error, Folder, Pinned, parquet_file};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    pub topic: String,
    pub partition: u32,
    pub offset: u64,
    pub ingestion_time: EventTime,
    /// The version of the source's schema that it was decoded by.
    pub schema_version: u32,
    /// The stable code of the rejection.
    pub reason: String,
    pub field: Option<String>,
    pub detail: String,
    /// The record's bytes, as they are in the log.
    pub raw: Bytes,
}

impl DeadLetter {
    pub fn new(source: &Source, record: &RawRecord, rejection: &Rejection) -> DeadLetter {
        DeadLetter {
            topic: source.topic.clone(),
            partition: record.partition,
            offset: record.offset,
            ingestion_time: record.ingestion_time,
            schema_version: source.schema_version,
            reason: rejection.reason.as_str().to_owned(),
            field: rejection.field.clone(),
            detail: rejection.detail.clone(),
            raw: record.value.clone(),
        }
    }

    /// Whether the source, as it is by now, takes the record.
    pub fn is_taken_by(&self, source: &Source) -> bool {
        event::decode(source, &[self.record()]).rejections.is_empty()
    }

    fn record(&self) -> RawRecord {
        let DeadLetter { partition, offset, ingestion_time, .. } = *self;
        RawRecord { partition, offset, ingestion_time, value: self.raw.clone() }
    }
}

/// What a source, as it is by now, makes of the dead letters that it was not asked about before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Redecoded {
    pub taken: u64,
    pub rejected: u64,
}

/// Which dead letters of a source to list.
#[derive(Clone, Copy, Debug)]
pub struct Filter<'a> {
    /// The code of a reason; `None`: any.
    pub reason: Option<&'a str>,
    pub limit: usize,
}

impl Archive {
    /// The newest first, by ingestion time.
    pub fn dead_letters(&self, source: &Source, filter: Filter<'_>) -> Result<Vec<DeadLetter>, Error> {
        let mut files = dead_letter_files(&self.pin(source)?);
        files.sort_by_key(|file| std::cmp::Reverse(file.ingestion_times.1));
        let mut newest: Vec<DeadLetter> = Vec::new();
        for file in files {
            // Files may overlap in time, so one is left out only if all of it is older than all that is found.
            let oldest_found = newest.last().map(|letter| letter.ingestion_time.micros());
            if newest.len() >= filter.limit && oldest_found.is_none_or(|oldest| file.ingestion_times.1 < oldest) {
                break;
            }
            let letters = read_file(self.folder(), &file)?;
            newest.extend(letters.into_iter().filter(|it| filter.reason.is_none_or(|reason| it.reason == reason)));
            newest.sort_by_key(|it| std::cmp::Reverse((it.ingestion_time, it.partition, it.offset)));
            newest.truncate(filter.limit);
        }
        Ok(newest)
    }

    /// Decodes again what is not below the offset that `done` has for its partition.
    pub fn decode_again(&self, source: &Source, done: &BTreeMap<u32, u64>) -> Result<Redecoded, Error> {
        let mut outcome = Redecoded::default();
        for file in dead_letter_files(&self.pin(source)?) {
            let letters = read_file(self.folder(), &file)?.into_iter();
            let is_new = |it: &DeadLetter| done.get(&it.partition).is_none_or(|done| it.offset >= *done);
            let records: Vec<RawRecord> = letters.filter(is_new).map(|letter| letter.record()).collect();
            let rejected = event::decode(source, &records).rejections.len();
            outcome.taken += (records.len() - rejected) as u64;
            outcome.rejected += rejected as u64;
        }
        Ok(outcome)
    }

    /// The one at an offset, or `None` where there was no such rejection.
    pub fn dead_letter(&self, source: &Source, partition: u32, offset: u64) -> Result<Option<DeadLetter>, Error> {
        let commit = self.commit_holding(source, partition, offset)?;
        let Some(file) = commit.and_then(|commit| commit.dead_letters) else { return Ok(None) };
        Ok(read_file(self.folder(), &file)?.into_iter().find(|letter| letter.offset == offset))
    }
}

/// Writes the letters of one commit; no file without any.
pub(super) fn write(
    folder: &Folder,
    under: &str,
    span: &Span,
    letters: &[DeadLetter],
) -> Result<Option<DeadLetterFile>, Error> {
    let times = letters.iter().map(|letter| letter.ingestion_time);
    let (Some(oldest), Some(newest)) = (times.clone().min(), times.max()) else { return Ok(None) };
    let day = date(newest.floor(Micros::DAY));
    let path = format!("{under}/dt={day}/{}", file_name(span, folder));
    write_parquet(folder, &path, &to_rows(letters))?;
    Ok(Some(DeadLetterFile { path, rows: letters.len(), ingestion_times: (oldest.micros(), newest.micros()) }))
}

fn dead_letter_files(pinned: &Pinned) -> Vec<DeadLetterFile> {
    let commits = pinned.partitions.values().flatten();
    commits.filter_map(|commit| commit.dead_letters.clone()).collect()
}

pub(super) fn read_file(folder: &Folder, file: &DeadLetterFile) -> Result<Vec<DeadLetter>, Error> {
    let damaged = |error: ArrowError| Error::damaged(&file.path, error);
    let mut letters = Vec::with_capacity(file.rows);
    for rows in parquet_file::read(folder.read(&file.path)?).map_err(damaged)? {
        let rows = rows.map_err(damaged)?;
        if rows.schema().fields() != schema().fields() {
            return Err(Error::damaged(&file.path, "its columns are not those of dead letters"));
        }
        letters.extend((0..rows.num_rows()).map(|row| from_row(&rows, row)));
    }
    Ok(letters)
}

fn schema() -> Schema {
    let required = |name: &str, value_type: ValueType| Field::new(name, value_type.to_arrow(), false);
    Schema::new(vec![
        required("topic", ValueType::String),
        required("partition", ValueType::Int32),
        required("offset", ValueType::Int64),
        required("ingestion_time", ValueType::Timestamp),
        required("schema_version", ValueType::Int32),
        required("reason", ValueType::String),
        Field::new("field", ValueType::String.to_arrow(), true),
        required("detail", ValueType::String),
        required("raw", ValueType::Bytes),
    ])
}

fn to_rows(letters: &[DeadLetter]) -> RecordBatch {
    let ingested = letters.iter().map(|it| it.ingestion_time.micros());
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(letters.iter().map(|it| &it.topic))),
        Arc::new(Int32Array::from_iter_values(letters.iter().map(|it| it.partition as i32))),
        Arc::new(Int64Array::from_iter_values(letters.iter().map(|it| it.offset as i64))),
        Arc::new(TimestampMicrosecondArray::from_iter_values(ingested).with_timezone("UTC")),
        Arc::new(Int32Array::from_iter_values(letters.iter().map(|it| it.schema_version as i32))),
        Arc::new(StringArray::from_iter_values(letters.iter().map(|it| &it.reason))),
        Arc::new(StringArray::from_iter(letters.iter().map(|it| it.field.as_ref()))),
        Arc::new(StringArray::from_iter_values(letters.iter().map(|it| &it.detail))),
        Arc::new(BinaryArray::from_iter_values(letters.iter().map(|it| &it.raw))),
    ];
    RecordBatch::try_new(Arc::new(schema()), columns).expect("the columns are those of the schema")
}

/// For rows whose schema was compared.
fn from_row(rows: &RecordBatch, row: usize) -> DeadLetter {
    let text = |column: usize| rows.column(column).as_string::<i32>().value(row).to_owned();
    let int32 = |column: usize| rows.column(column).as_primitive::<Int32Type>().value(row) as u32;
    DeadLetter {
        topic: text(0),
        partition: int32(1),
        offset: rows.column(2).as_primitive::<Int64Type>().value(row) as u64,
        ingestion_time: EventTime::unchecked(rows.column(3).as_primitive::<TimestampMicrosecondType>().value(row)),
        schema_version: int32(4),
        reason: text(5),
        field: rows.column(6).is_valid(row).then(|| text(6)),
        detail: text(7),
        raw: Bytes::copy_from_slice(rows.column(8).as_binary::<i32>().value(row)),
    }
}
