//! The records of a commit as the log had them: raw bytes, offsets and ingestion times, those of events and of dead
//! letters together. What makes the archive a copy of the log, whatever its source became since.

use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;

use crate::kernel::definition::Source;
use crate::kernel::event::RawRecord;
use crate::kernel::time::EventTime;
use crate::offline::archive::{INGESTION_TIME, OFFSET, RAW};
use crate::offline::commit::{Commit, EventFile};
use crate::offline::{Archive, Error, Folder, dead_letters, parquet_file};

/// A stretch of one partition, as archived.
#[derive(Clone, Debug, PartialEq)]
pub struct ArchivedRecords {
    pub records: Vec<RawRecord>,
    /// The offset to read on from: offsets of the log may have gaps, at the end too.
    pub next: u64,
}

impl Archive {
    /// The records of the commit that holds `from`, from there on; `None` where there is no such commit.
    pub fn records(&self, source: &Source, partition: u32, from: u64) -> Result<Option<ArchivedRecords>, Error> {
        let Some(commit) = self.commit_holding(source, partition, from)? else { return Ok(None) };
        let mut records = of_commit(self.folder(), partition, &commit)?;
        records.drain(..records.partition_point(|record| record.offset < from));
        Ok(Some(ArchivedRecords { records, next: commit.to }))
    }

    /// The last record below `end` of the commit that holds what is before it. `None`: there is a gap, or no commit.
    pub fn last_record(&self, source: &Source, partition: u32, end: u64) -> Result<Option<RawRecord>, Error> {
        let Some(before) = end.checked_sub(1) else { return Ok(None) };
        let Some(commit) = self.commit_holding(source, partition, before)? else { return Ok(None) };
        let records = of_commit(self.folder(), partition, &commit)?.into_iter();
        Ok(records.rev().find(|record| record.offset < end))
    }
}

/// In the order of their offsets.
pub(super) fn of_commit(folder: &Folder, partition: u32, commit: &Commit) -> Result<Vec<RawRecord>, Error> {
    let mut records = Vec::new();
    for file in &commit.files {
        of_file(folder, partition, file, &mut records)?;
    }
    if let Some(file) = &commit.dead_letters {
        let letters = dead_letters::read_file(folder, file)?.into_iter();
        records.extend(letters.map(|letter| RawRecord {
            partition,
            offset: letter.offset,
            ingestion_time: letter.ingestion_time,
            value: letter.raw,
        }));
    }
    records.sort_unstable_by_key(|record| record.offset);
    Ok(records)
}

fn of_file(folder: &Folder, partition: u32, file: &EventFile, into: &mut Vec<RawRecord>) -> Result<(), Error> {
    let damaged = |error: ArrowError| Error::damaged(&file.path, error);
    let before = into.len();
    let wanted = [OFFSET, INGESTION_TIME, RAW];
    for batch in parquet_file::read_columns(folder.read(&file.path)?, &wanted).map_err(damaged)? {
        let batch = batch.map_err(damaged)?;
        let records = of_batch(partition, &batch).ok_or_else(|| Error::damaged(&file.path, "it lacks a column"))?;
        into.extend(records);
    }
    file.check_rows(into.len() - before)
}

/// `None`: a column is missing or of another type. The records share one copy of the batch's bytes.
fn of_batch(partition: u32, batch: &RecordBatch) -> Option<impl Iterator<Item = RawRecord>> {
    let offsets = batch.column_by_name(OFFSET)?.as_primitive_opt::<Int64Type>()?.clone();
    let ingested = batch.column_by_name(INGESTION_TIME)?.as_primitive_opt::<TimestampMicrosecondType>()?.clone();
    let raw = batch.column_by_name(RAW)?.as_binary_opt::<i32>()?;
    let values = Bytes::copy_from_slice(raw.value_data());
    let ends = raw.offsets().clone();
    Some((0..batch.num_rows()).map(move |row| RawRecord {
        partition,
        offset: offsets.value(row) as u64,
        ingestion_time: EventTime::unchecked(ingested.value(row)),
        value: values.slice(ends[row] as usize..ends[row + 1] as usize),
    }))
}
