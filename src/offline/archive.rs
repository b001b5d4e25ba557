//! The archive: a copy of the log, record by record. Those that decode are kept as fields beside their raw bytes, late,
//! clamped and duplicate ones too, without flags, for those are computed from record and definition when it is read;
//! the others as dead letters. A source that decodes otherwise since then reads the raw bytes (`events.rs`).
//!
//! Promises: the records of a partition are in it once each and without a gap, whatever dies when, and however
//! many archivers write. A batch is committed by one exclusive create of `_commits/<partition>/<from>`, which names
//! its files; **files that no commit names do not exist**, so what is left of a dead or overtaken archiver is never
//! read. A commit never changes, so readers that pin the commits of an instant see the same events again.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Int32Array, Int64Array, TimestampMicrosecondArray, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use serde::{Deserialize, Serialize};

use crate::kernel::definition::Source;
use crate::kernel::event::{Decoded, Envelope, EventBatch, RawRecord, Rejection, decode};
use crate::kernel::key::HISTORY;
use crate::kernel::time::{EventTime, Micros};
use crate::kernel::value::ValueType;
use crate::offline::commit::{self, Commit, EventFile};
use crate::offline::dead_letters::{self, DeadLetter};
use crate::offline::folder::Created;
use crate::offline::{Error, Events, Folder, Scope, parquet_file};

mod chain;
mod compaction;

pub use compaction::Compaction;

pub(super) const PARTITION: &str = "_partition";
pub(super) const OFFSET: &str = "_offset";
pub(super) const INGESTION_TIME: &str = "_ingestion_time";
pub(super) const RAW: &str = "_raw";

/// One project's archive. Clones share it.
#[derive(Clone, Debug)]
pub struct Archive {
    folder: Folder,
}

/// Records `offsets` of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    pub partition: u32,
    pub offsets: Range<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Committed {
    Done,
    /// Another commit starts at the same offset, this call's own among them if its answer was lost, or the one before
    /// ends elsewhere. Nothing of what was given is in the archive; go on from `to`.
    AlreadyCommitted {
        to: u64,
    },
}

/// The commits of a source at one instant: plain data that can be kept or sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pinned {
    pub(super) partitions: BTreeMap<u32, Vec<Commit>>,
}

impl Pinned {
    /// The same commits in as many parts, to be read at once: about equally many of each partition.
    pub fn deal(&self, parts: usize) -> Vec<Pinned> {
        let mut dealt = vec![Pinned::default(); parts];
        let commits =
            self.partitions.iter().flat_map(|(partition, chain)| chain.iter().map(move |it| (*partition, it)));
        for (index, (partition, commit)) in commits.enumerate() {
            dealt[index % parts].partitions.entry(partition).or_default().push(commit.clone());
        }
        dealt
    }

    /// Of history files alone.
    pub fn of_history(mut self) -> Pinned {
        self.partitions.retain(|partition, _| *partition == HISTORY);
        self
    }

    pub fn commits(&self) -> usize {
        self.partitions.values().map(Vec::len).sum()
    }

    /// How many files of events the commits name.
    pub fn files(&self) -> usize {
        self.partitions.values().flatten().map(|commit| commit.files.len()).sum()
    }

    /// Up to where each partition was archived. Commits never change, so [`Archive::pin_at`] with these offsets pins
    /// the same events again.
    pub fn offsets(&self) -> BTreeMap<u32, u64> {
        let end = |(partition, chain): (&u32, &Vec<Commit>)| Some((*partition, chain.last()?.to));
        self.partitions.iter().filter_map(end).collect()
    }
}

impl Archive {
    pub fn new(folder: Folder) -> Archive {
        Archive { folder }
    }

    pub(super) fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Archives the records of `span`, each as the event or the dead letter that the source makes of it; all of them
    /// or none. They are in the order of their offsets; the span starts where the last commit ends, or is the first.
    pub fn commit(&self, source: &Source, span: &Span, records: &[RawRecord]) -> Result<Committed, Error> {
        let chain = commit::chain(source, span.partition);
        if let Some(commit) = self.commit_at(source, span.partition, &chain, span.offsets.start)? {
            return Ok(Committed::AlreadyCommitted { to: commit.to });
        }
        let commit = self.write(source, &Files::committed(source), span, records)?;
        match self.folder.create(&commit::path(&chain, commit.from), &commit.encode())? {
            Created::Done => Ok(Committed::Done),
            Created::AlreadyExists => self.give_way(source, span, &commit),
        }
    }

    /// As [`Archive::commit`], for who takes the commit that starts at `behind` for the one before this. Where that one
    /// ends elsewhere, another archiver's is there instead, and the chain goes on from its end.
    pub fn commit_behind(
        &self,
        source: &Source,
        behind: Option<u64>,
        span: &Span,
        records: &[RawRecord],
    ) -> Result<Committed, Error> {
        let chain = commit::chain(source, span.partition);
        let before = behind.map(|from| self.commit_at(source, span.partition, &chain, from)).transpose()?.flatten();
        match before {
            Some(before) if before.to != span.offsets.start => Ok(Committed::AlreadyCommitted { to: before.to }),
            // It is the first, or the archive was moved away meanwhile.
            _ => self.commit(source, span, records),
        }
    }

    /// The commits as they are now, their chains verified.
    pub fn pin(&self, source: &Source) -> Result<Pinned, Error> {
        let mut partitions = BTreeMap::new();
        for name in self.folder.list(&commit::folder(source))? {
            let unknown = || Error::damaged(commit::folder(source), format!("`{name}` is no partition"));
            // Of the chains of history the source's own is read, and none that other files made.
            if !name.starts_with(commit::HISTORY_CHAIN) {
                let partition = name.parse().map_err(|_| unknown())?;
                partitions.insert(partition, self.chain(source, partition, u64::MAX)?);
            }
        }
        if !source.history.is_empty() {
            partitions.insert(HISTORY, self.chain(source, HISTORY, u64::MAX)?);
        }
        Ok(Pinned { partitions })
    }

    /// The same events as an earlier [`Pinned`] with these offsets, however their commits were compacted since; an error
    /// where no commit ends there any more.
    pub fn pin_at(&self, source: &Source, offsets: &BTreeMap<u32, u64>) -> Result<Pinned, Error> {
        let mut partitions = BTreeMap::new();
        for (&partition, &wanted) in offsets {
            let chain = self.chain(source, partition, wanted)?;
            if chain.last().is_none_or(|last| last.to != wanted) {
                return Err(Error::PinGone { dataset: source.name.to_string(), partition, wanted });
            }
            partitions.insert(partition, chain);
        }
        Ok(Pinned { partitions })
    }

    /// The pinned events in scope: a batch or none for each commit, partition by partition, each in the order of its
    /// offsets. They are what `source` decodes now, whatever it was when they were archived.
    pub fn read(&self, source: &Arc<Source>, pinned: &Pinned, scope: &Scope) -> Events {
        Events::new(self.folder.clone(), source.clone(), pinned, scope)
    }

    /// Another archiver came first: what was written for this commit is removed, though nobody would read it.
    fn give_way(&self, source: &Source, span: &Span, lost: &Commit) -> Result<Committed, Error> {
        self.remove_files(lost)?;
        let chain = commit::chain(source, span.partition);
        let winner = self.commit_at(source, span.partition, &chain, span.offsets.start)?;
        Ok(Committed::AlreadyCommitted { to: winner.expect("the create met this commit").to })
    }

    fn remove_files(&self, lost: &Commit) -> Result<(), Error> {
        let files = lost.files.iter().map(|file| &file.path).chain(lost.dead_letters.iter().map(|file| &file.path));
        files.into_iter().try_for_each(|path| self.folder.delete(path))
    }

    /// Writes the files of a commit, which do not exist until something names it.
    fn write(&self, source: &Source, under: &Files, span: &Span, records: &[RawRecord]) -> Result<Commit, Error> {
        let decoded = decode(source, records);
        let letter = |rejection: &Rejection| DeadLetter::new(source, &records[rejection.index], rejection);
        let letters: Vec<DeadLetter> = decoded.rejections.iter().map(letter).collect();
        let mut commit = Commit::new(source, span.offsets.start, span.offsets.end);
        commit.files = self.write_events(&under.events, span, &decoded, records)?;
        commit.dead_letters = dead_letters::write(&self.folder, &under.dead_letters, span, &letters)?;
        Ok(commit)
    }

    /// One file for each day that the events happened on.
    fn write_events(
        &self,
        under: &str,
        span: &Span,
        decoded: &Decoded,
        records: &[RawRecord],
    ) -> Result<Vec<EventFile>, Error> {
        let events = &decoded.events;
        let mut days: BTreeMap<EventTime, Vec<u32>> = BTreeMap::new();
        for (row, event) in events.events.iter().enumerate() {
            let row = u32::try_from(row).expect("a commit has fewer than 2^32 rows");
            days.entry(event.event_time.floor(Micros::DAY)).or_default().push(row);
        }
        let rows = with_records(events, &raw(decoded, records));
        let write = |(day, of_day): (EventTime, Vec<u32>)| {
            let times = of_day.iter().map(|row| events.events[*row as usize].event_time.micros());
            let event_times = (times.clone().min().expect("a day has events"), times.max().expect("a day has events"));
            let path = format!("{under}/dt={}/{}", date(day), file_name(span, &self.folder));
            let kept = of_day.len();
            let rows = if kept == rows.num_rows() { rows.clone() } else { pick(&rows, of_day) };
            write_parquet(&self.folder, &path, &rows)?;
            Ok(EventFile { path, rows: kept, event_times })
        };
        days.into_iter().map(write).collect()
    }
}

/// The folders of a commit's files.
struct Files {
    events: String,
    dead_letters: String,
}

impl Files {
    fn committed(source: &Source) -> Files {
        let name = &source.name;
        Files { events: format!("events/{name}"), dead_letters: format!("dead_letters/{name}") }
    }

    /// Beside them, for whoever reads all files of a folder must not meet an event twice.
    fn compacted(source: &Source) -> Files {
        let folder = commit::compacted_folder(source);
        Files { dead_letters: format!("{folder}/dead_letters"), events: folder }
    }
}

/// The day of an instant, as paths carry it: `2026-11-21`.
pub(super) fn date(instant: EventTime) -> String {
    instant.to_string().chars().take_while(|c| *c != 'T').collect()
}

/// Tells people where a file is from; its commit alone says what it is.
pub(super) fn file_name(span: &Span, folder: &Folder) -> String {
    format!("{:05}-{:020}-{}.parquet", span.partition, span.offsets.start, folder.unique())
}

pub(super) fn write_parquet(folder: &Folder, path: &str, rows: &RecordBatch) -> Result<(), Error> {
    let bytes = parquet_file::encode(rows).map_err(|error| Error::damaged(path, error))?;
    match folder.create(path, &bytes)? {
        Created::Done => Ok(()),
        Created::AlreadyExists => Err(Error::damaged(path, "another writer chose the same name")),
    }
}

fn pick(rows: &RecordBatch, of_day: Vec<u32>) -> RecordBatch {
    take_record_batch(rows, &UInt32Array::from(of_day)).expect("the indices are rows of the batch")
}

/// The raw bytes of each event, in the order of the events.
fn raw(decoded: &Decoded, records: &[RawRecord]) -> BinaryArray {
    let mut rejected = decoded.rejections.iter().map(|rejection| rejection.index).peekable();
    let accepted = records.iter().enumerate().filter(|(index, _)| rejected.next_if_eq(index).is_none());
    BinaryArray::from_iter_values(accepted.map(|(_, record)| &record.value))
}

/// The fields, then where and when each record came in and what it was: what readers other than Freshet see as columns.
fn with_records(events: &EventBatch, raw: &BinaryArray) -> RecordBatch {
    let position = |event: &Envelope| {
        let (partition, offset) = event.origin.place();
        (partition as i32, offset as i64)
    };
    let (partitions, offsets): (Vec<i32>, Vec<i64>) = events.events.iter().map(position).unzip();
    let ingested = events.events.iter().map(|event| event.ingestion_time.micros());
    let mut columns = events.fields.columns().to_vec();
    columns.push(Arc::new(Int32Array::from(partitions)) as ArrayRef);
    columns.push(Arc::new(Int64Array::from(offsets)));
    columns.push(Arc::new(TimestampMicrosecondArray::from_iter_values(ingested).with_timezone("UTC")));
    columns.push(Arc::new(raw.clone()));
    RecordBatch::try_new(archived_schema(&events.fields.schema()), columns).expect("each event has an envelope")
}

fn archived_schema(fields: &Schema) -> SchemaRef {
    let own = [
        (PARTITION, ValueType::Int32),
        (OFFSET, ValueType::Int64),
        (INGESTION_TIME, ValueType::Timestamp),
        (RAW, ValueType::Bytes),
    ];
    let own = own.map(|(name, value_type)| Arc::new(Field::new(name, value_type.to_arrow(), false)));
    Arc::new(Schema::new(fields.fields().iter().cloned().chain(own).collect::<Vec<_>>()))
}

#[cfg(test)]
pub(crate) mod tests;
