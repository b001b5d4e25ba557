//! The log of sampled lookups, which parity recomputes: what was asked, what was answered, and how far the stream had
//! folded each partition of the row's shard when it was read.
//!
//! Whole files are appended, each at once. A file stands under the day of its newest as-of.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Int32Builder, Int64Builder, ListBuilder};
use arrow::array::{RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{Field, Int32Type, Int64Type, Schema, TimestampMicrosecondType};
use arrow::error::ArrowError;
use bytes::Bytes;

use crate::kernel::key::EntityKey;
use crate::kernel::name::Name;
use crate::kernel::plan::Fingerprint;
use crate::kernel::time::{EventTime, Micros};
use crate::kernel::value::ValueType;
use crate::offline::archive::{date, write_parquet};
use crate::offline::{Error, Folder, parquet_file};

const FOLDER: &str = "lookups";

/// The place of the column.
const DECODING: usize = 8;

/// One row of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedLookup {
    pub as_of: EventTime,
    pub view: Name,
    pub version: Fingerprint,
    /// [`crate::kernel::plan::ViewPlan::answers`] of the plan that answered.
    pub answers: Fingerprint,
    /// [`crate::kernel::event::decoding_mark`] of its source; `None` in files from before it was noted.
    pub decoding: Option<Fingerprint>,
    pub entity: EntityKey,
    /// The values as the kernel's codec writes them: equal bytes are equal bits.
    pub values: Bytes,
    /// (partition, offset of the next record to fold) of the row's shard, read together with the row.
    pub offsets: Vec<(u32, u64)>,
}

/// One project's log of lookups. Clones share it.
#[derive(Clone, Debug)]
pub struct Lookups {
    folder: Folder,
}

impl Lookups {
    pub fn new(folder: Folder) -> Lookups {
        Lookups { folder }
    }

    /// Durable when it returns: all of them, or after an error perhaps none.
    pub fn append(&self, lookups: &[LoggedLookup]) -> Result<(), Error> {
        let Some(newest) = lookups.iter().map(|lookup| lookup.as_of).max() else { return Ok(()) };
        let day = date(newest.floor(Micros::DAY));
        let path = format!("{FOLDER}/dt={day}/{}.parquet", self.folder.unique());
        write_parquet(&self.folder, &path, &to_rows(lookups))
    }

    /// Those with an as-of of `since` or later, file by file. Files that appear after the call are not among them.
    pub fn read(&self, since: EventTime) -> Result<LookupFiles, Error> {
        let oldest_day = format!("dt={}", date(since.floor(Micros::DAY)));
        let mut paths = Vec::new();
        for day in self.folder.list(FOLDER)?.into_iter().filter(|day| *day >= oldest_day) {
            let files = self.folder.list(&format!("{FOLDER}/{day}"))?;
            paths.extend(files.into_iter().map(|file| format!("{FOLDER}/{day}/{file}")));
        }
        Ok(LookupFiles { folder: self.folder.clone(), since, rest: paths.into_iter() })
    }
}

/// The lookups of one file at a time. A clone reads the same files again.
#[derive(Clone, Debug)]
pub struct LookupFiles {
    folder: Folder,
    since: EventTime,
    rest: std::vec::IntoIter<String>,
}

impl Iterator for LookupFiles {
    type Item = Result<Vec<LoggedLookup>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let path = self.rest.next()?;
        Some(read_file(&self.folder, &path).map(|mut lookups| {
            lookups.retain(|lookup| lookup.as_of >= self.since);
            lookups
        }))
    }
}

fn read_file(folder: &Folder, path: &str) -> Result<Vec<LoggedLookup>, Error> {
    let damaged = |error: ArrowError| Error::damaged(path, error);
    let mut lookups = Vec::new();
    for rows in parquet_file::read(folder.read(path)?).map_err(damaged)? {
        let rows = rows.map_err(damaged)?;
        if !is_of_lookups(&rows) {
            return Err(Error::damaged(path, "its columns are not those of logged lookups"));
        }
        for row in 0..rows.num_rows() {
            lookups.push(from_row(&rows, row).map_err(|detail| Error::damaged(path, detail))?);
        }
    }
    Ok(lookups)
}

fn schema() -> Schema {
    let column = |name: &str, value_type: ValueType| Field::new(name, value_type.to_arrow(), false);
    Schema::new(vec![
        column("as_of", ValueType::Timestamp),
        column("view", ValueType::String),
        column("version", ValueType::String),
        column("answers", ValueType::String),
        column("entity", ValueType::Bytes),
        column("values", ValueType::Bytes),
        column("partitions", ValueType::List(Box::new(ValueType::Int32))),
        column("offsets", ValueType::List(Box::new(ValueType::Int64))),
        Field::new("decoding", ValueType::String.to_arrow(), true),
    ])
}

/// Files from before it was noted lack the last column.
fn is_of_lookups(rows: &RecordBatch) -> bool {
    let (found, now) = (rows.schema(), schema());
    found.fields() == now.fields() || found.fields()[..] == now.fields()[..DECODING]
}

fn to_rows(lookups: &[LoggedLookup]) -> RecordBatch {
    let mut partitions = ListBuilder::new(Int32Builder::new());
    let mut offsets = ListBuilder::new(Int64Builder::new());
    for lookup in lookups {
        partitions.append_value(lookup.offsets.iter().map(|(partition, _)| Some(*partition as i32)));
        offsets.append_value(lookup.offsets.iter().map(|(_, offset)| Some(*offset as i64)));
    }
    let as_of = lookups.iter().map(|it| it.as_of.micros());
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMicrosecondArray::from_iter_values(as_of).with_timezone("UTC")),
        Arc::new(StringArray::from_iter_values(lookups.iter().map(|it| it.view.as_str()))),
        Arc::new(StringArray::from_iter_values(lookups.iter().map(|it| it.version.to_string()))),
        Arc::new(StringArray::from_iter_values(lookups.iter().map(|it| it.answers.to_string()))),
        Arc::new(BinaryArray::from_iter_values(lookups.iter().map(|it| it.entity.as_bytes()))),
        Arc::new(BinaryArray::from_iter_values(lookups.iter().map(|it| &it.values))),
        Arc::new(partitions.finish()),
        Arc::new(offsets.finish()),
        Arc::new(StringArray::from_iter(lookups.iter().map(|it| it.decoding.map(|mark| mark.to_string())))),
    ];
    RecordBatch::try_new(Arc::new(schema()), columns).expect("the columns are those of the schema")
}

/// For rows whose schema was compared.
fn from_row(rows: &RecordBatch, row: usize) -> Result<LoggedLookup, String> {
    let text = |column: usize| rows.column(column).as_string::<i32>().value(row);
    let bytes = |column: usize| rows.column(column).as_binary::<i32>().value(row);
    let list = |column: usize| rows.column(column).as_list::<i32>().value(row);
    let (partitions, offsets) = (list(6), list(7));
    let (partitions, offsets) = (partitions.as_primitive::<Int32Type>(), offsets.as_primitive::<Int64Type>());
    if partitions.len() != offsets.len() {
        return Err(format!("row {row} has {} partitions and {} offsets", partitions.len(), offsets.len()));
    }
    let offsets = partitions.values().iter().zip(offsets.values()).map(|(part, at)| (*part as u32, *at as u64));
    let is_noted = rows.num_columns() > DECODING && rows.column(DECODING).is_valid(row);
    let fingerprint = |column: usize| {
        let hex = u64::from_str_radix(text(column), 16);
        hex.map(Fingerprint).map_err(|_| format!("`{}` is no fingerprint", text(column)))
    };
    Ok(LoggedLookup {
        as_of: EventTime::unchecked(rows.column(0).as_primitive::<TimestampMicrosecondType>().value(row)),
        view: text(1).parse()?,
        version: fingerprint(2)?,
        answers: fingerprint(3)?,
        decoding: if is_noted { Some(fingerprint(DECODING)?) } else { None },
        entity: EntityKey::from_bytes(bytes(4)),
        values: Bytes::copy_from_slice(bytes(5)),
        offsets: offsets.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offline::folder::tests::project;

    fn lookup(as_of: &str, values: &'static [u8], offsets: &[(u32, u64)]) -> LoggedLookup {
        LoggedLookup {
            as_of: as_of.parse().expect("a time"),
            view: "clicks".parse().expect("a name"),
            version: Fingerprint(0xfeed),
            answers: Fingerprint(7),
            decoding: Some(Fingerprint(8)),
            entity: EntityKey::from_bytes(b"u\0\xff"),
            values: Bytes::from_static(values),
            offsets: offsets.to_vec(),
        }
    }

    #[test]
    fn lookups_read_back_from_their_as_of_on() {
        let root = tempfile::tempdir().expect("a folder");
        let log = Lookups::new(project(root.path()));
        let (old, new) = (lookup("2026-11-20T23:59:59Z", b"", &[]), lookup("2026-11-21T00:00:01Z", b"\0v", &[(3, 7)]));
        log.append(&[old.clone(), new.clone()]).expect("appended");
        log.append(&[]).expect("nothing to append");
        let read = |since: &str| {
            let files = log.read(since.parse().expect("a time")).expect("listed");
            files.collect::<Result<Vec<_>, _>>().expect("read").concat()
        };
        assert_eq!(read("2026-11-20T00:00:00Z"), [old, new.clone()]);
        assert_eq!(read("2026-11-21T00:00:01Z"), [new]);
        assert_eq!(read("2026-11-22T00:00:00Z"), []);
    }

    #[test]
    fn files_from_before_the_decoding_was_noted_are_read() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = project(root.path());
        let noted = lookup("2026-11-21T00:00:00Z", b"v", &[(3, 7)]);
        let rows = to_rows(std::slice::from_ref(&noted));
        let earlier = rows.project(&(0..DECODING).collect::<Vec<_>>()).expect("a column less");
        write_parquet(&folder, &format!("{FOLDER}/dt=2026-11-21/earlier.parquet"), &earlier).expect("written");
        let mut files = Lookups::new(folder).read(EventTime::MIN).expect("listed");
        let read = files.next().expect("a file").expect("read");
        assert_eq!(read, [LoggedLookup { decoding: None, ..noted }]);
    }

    #[test]
    fn a_kill_while_appending_leaves_all_of_a_call_or_nothing() {
        for operations in 0.. {
            let root = tempfile::tempdir().expect("a folder");
            let dying = project(root.path());
            dying.kill_after(operations);
            let both = [lookup("2026-11-21T00:00:00Z", b"a", &[]), lookup("2026-11-21T00:00:00Z", b"b", &[])];
            let outcome = Lookups::new(dying).append(&both);
            let files = Lookups::new(project(root.path())).read(EventTime::MIN).expect("listed");
            let found = files.collect::<Result<Vec<_>, _>>().expect("read").concat();
            assert!(found.is_empty() && outcome.is_err() || found == both, "after {operations} operations");
            if outcome.is_ok() {
                return;
            }
        }
    }
}
