//! The archive of events from history files: a chain of commits like a partition's, and whether it is complete.
//!
//! Promises: what jobs read of history is all of it or none, for it counts once its last file has been read; and it is
//! always the same, for it was copied. Files that change afterwards change nothing. While they are read, a file that comes,
//! goes, or has another size is noticed if whoever reads them begins again; of a bucket names alone are looked at. One that
//! is rewritten in place with as many bytes is not: then rows at the seam may be lost or there twice.

use std::collections::BTreeMap;

use arrow::array::BooleanArray;
use arrow::compute::filter_record_batch;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::kernel::definition::Source;
use crate::kernel::event::{self, Envelope, EventBatch, RawRecord};
use crate::kernel::plan::Fingerprint;
use crate::kernel::time::{EventTime, Micros};
use crate::offline::{Archive, Error, InputFile};

/// How long before its `until` a row is kept of which no time is known.
pub const LAST_MILLI: Micros = Micros::from_millis(1);

/// What is said at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// Rows that were archived, as events or as dead letters.
    pub rows: u64,
    /// Rows from after their `until`.
    pub left_out: u64,
}

impl Archive {
    /// What history gave, once all of it is archived. `None`: not yet.
    pub fn history(&self, source: &Source) -> Result<Option<History>, Error> {
        let path = path(source, "complete");
        let json = self.folder().get(&path)?;
        json.map(|json| serde_json::from_slice(&json).map_err(|error| Error::damaged(&path, error))).transpose()
    }

    /// Notes which files are read, or compares them with those that were noted when somebody began.
    pub fn begin_history(&self, source: &Source, files: &[InputFile]) -> Result<(), Error> {
        let path = path(source, "files");
        let found: Vec<(String, Option<u64>)> =
            files.iter().map(|file| (file.name().to_owned(), file.size())).collect();
        let json = serde_json::to_vec(&found).expect("names are plain JSON");
        self.folder().create(&path, &json)?;
        match self.folder().read(&path)? == json {
            true => Ok(()),
            false => {
                let detail = "they are others than when it was begun to read them: restore those, or change `history` of \
                              the source, so that all are read anew";
                Err(Error::Input {
                    path: format!("history files of source {}", source.name),
                    detail: detail.to_owned(),
                })
            }
        }
    }

    pub fn finish_history(&self, source: &Source, history: History) -> Result<(), Error> {
        let json = serde_json::to_vec(&history).expect("numbers are plain JSON");
        self.folder().create(&path(source, "complete"), &json).map(drop)
    }
}

/// Rejected rows were kept with the last millisecond before their `until`, the others with the times that they had then:
/// the event times of now are what counts. From after its `until` a row is the log's.
pub(super) fn decode_anew(source: &Source, mut records: Vec<RawRecord>) -> EventBatch {
    let kept: BTreeMap<u64, EventTime> = records.iter().map(|it| (it.offset, it.ingestion_time)).collect();
    records.iter_mut().for_each(|record| record.ingestion_time = EventTime::MAX.floor_to_millis());
    let mut decoded = event::decode(source, &records).events;
    let untils = || source.history.iter().map(|files| files.until);
    let until = |kept: EventTime| untils().find(|until| *until - LAST_MILLI == kept).or(untils().max());
    let is_past = |event: &Envelope| until(kept[&event.origin.place().1]).is_none_or(|until| event.event_time < until);
    let past: Vec<bool> = decoded.events.iter().map(is_past).collect();
    decoded.fields =
        filter_record_batch(&decoded.fields, &BooleanArray::from(past.clone())).expect("a bit for each row");
    let mut past = past.into_iter();
    decoded.events.retain(|_| past.next().expect("a bit for each row"));
    decoded.events.iter_mut().for_each(|event| event.ingestion_time = event.event_time.floor_to_millis());
    decoded
}

fn path(source: &Source, what: &str) -> String {
    format!("events/{}/_history/{}/{what}", source.name, history_mark(source))
}

/// Of what the source says of its history: under another mark other files are read, or up to another instant.
pub(super) fn history_mark(source: &Source) -> Fingerprint {
    let files = source.history.iter();
    let text = files.map(|it| format!("{} {} {}\n", it.path, it.format.as_str(), it.until));
    Fingerprint(xxh3_64(text.collect::<String>().as_bytes()))
}
