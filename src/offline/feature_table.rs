//! Feature tables: what a backfill computes, by view, version and day.
//!
//! Promises: a run's rows exist once its manifest does, which names its files, and not before. Several runs may cover
//! the same instants: a reader takes the files of one manifest.

use std::collections::BTreeMap;

use arrow::array::{AsArray, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::TimestampMicrosecondType;
use arrow::record_batch::RecordBatch;
use serde::{Deserialize, Serialize};

use crate::kernel::name::Name;
use crate::kernel::plan::Fingerprint;
use crate::kernel::time::{EventTime, Micros};
use crate::offline::archive::{date, write_parquet};
use crate::offline::folder::Created;
use crate::offline::{Error, Folder};

/// Rows that wait in memory before they become files.
const BUFFERED_ROWS: usize = 500_000;

/// What one run made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub rows: usize,
    /// Within the project's folder.
    pub files: Vec<String>,
    /// What was asked, and what it was computed from, as the job says it.
    pub details: serde_json::Value,
}

/// The table of one version of a view.
#[derive(Clone, Debug)]
pub struct FeatureTable {
    folder: Folder,
    path: String,
}

impl FeatureTable {
    pub fn new(folder: Folder, view: &Name, version: Fingerprint) -> FeatureTable {
        FeatureTable { folder, path: format!("features/{view}/v={version}") }
    }

    /// Begins a run. Its batches have the instant of each row in the column `as_of`, in microseconds and never null.
    pub fn begin(&self, as_of: &str) -> Run {
        let buffered = BTreeMap::new();
        Run { table: self.clone(), as_of: as_of.to_owned(), buffered, buffered_rows: 0, files: Vec::new(), rows: 0 }
    }

    pub fn manifest(&self, run: &str) -> Result<Option<Manifest>, Error> {
        let path = self.manifest_path(run);
        let json = self.folder.get(&path)?;
        json.map(|json| serde_json::from_slice(&json).map_err(|error| Error::damaged(&path, error))).transpose()
    }

    fn manifest_path(&self, run: &str) -> String {
        format!("{}/_manifests/{run}.json", self.path)
    }
}

/// A run that is being written. Dropping it leaves files that no manifest names.
pub struct Run {
    table: FeatureTable,
    as_of: String,
    buffered: BTreeMap<EventTime, Vec<RecordBatch>>,
    buffered_rows: usize,
    files: Vec<String>,
    rows: usize,
}

impl Run {
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        let instants = batch.column_by_name(&self.as_of).expect("each row of a feature table has an instant");
        let mut days: BTreeMap<EventTime, Vec<u32>> = BTreeMap::new();
        for (row, micros) in instants.as_primitive::<TimestampMicrosecondType>().values().iter().enumerate() {
            let row = u32::try_from(row).expect("a batch has fewer than 2^32 rows");
            days.entry(EventTime::unchecked(*micros).floor(Micros::DAY)).or_default().push(row);
        }
        for (day, rows) in days {
            let of_day = take_record_batch(batch, &UInt32Array::from(rows)).expect("the indices are rows of the batch");
            self.buffered.entry(day).or_default().push(of_day);
        }
        self.rows += batch.num_rows();
        self.buffered_rows += batch.num_rows();
        if self.buffered_rows < BUFFERED_ROWS { Ok(()) } else { self.flush() }
    }

    /// Makes the run's rows exist, under a name that no other run of the table has.
    pub fn publish(mut self, run: &str, details: serde_json::Value) -> Result<Manifest, Error> {
        self.flush()?;
        let manifest = Manifest { rows: self.rows, files: self.files, details };
        let path = self.table.manifest_path(run);
        let json = serde_json::to_vec_pretty(&manifest).expect("a manifest is plain JSON");
        match self.table.folder.create(&path, &json)? {
            Created::Done => Ok(manifest),
            Created::AlreadyExists => Err(Error::damaged(path, "another run has this name")),
        }
    }

    fn flush(&mut self) -> Result<(), Error> {
        for (day, batches) in std::mem::take(&mut self.buffered) {
            let folder = &self.table.folder;
            let path = format!("{}/dt={}/{}.parquet", self.table.path, date(day), folder.unique());
            let rows = concat_batches(&batches[0].schema(), &batches).expect("batches of a run have one schema");
            write_parquet(folder, &path, &rows)?;
            self.files.push(path);
        }
        self.buffered_rows = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, TimestampMicrosecondArray};

    use super::*;
    use crate::offline::folder::tests::project;
    use crate::offline::parquet_file;

    fn rows(instants: &[&str]) -> RecordBatch {
        let micros = instants.iter().map(|it| it.parse::<EventTime>().expect("a time").micros());
        let as_of = TimestampMicrosecondArray::from_iter_values(micros).with_timezone("UTC");
        let views = Int64Array::from_iter_values(0..instants.len() as i64);
        RecordBatch::try_from_iter([("as_of", Arc::new(as_of) as ArrayRef), ("views", Arc::new(views))])
            .expect("a batch")
    }

    #[test]
    fn a_run_exists_with_its_manifest_and_stands_under_its_days() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = project(root.path());
        let table = FeatureTable::new(folder.clone(), &"clicks".parse().expect("a name"), Fingerprint(1));
        let mut run = table.begin("as_of");
        run.write(&rows(&["2026-11-20T23:00:00Z", "2026-11-21T00:00:00Z"])).expect("written");
        run.write(&rows(&["2026-11-20T22:00:00Z"])).expect("written");
        assert_eq!(table.manifest("job-1").expect("read"), None);
        let manifest = run.publish("job-1", serde_json::json!({"every": "1h"})).expect("published");
        assert_eq!(table.manifest("job-1").expect("read"), Some(manifest.clone()));
        assert_eq!((manifest.rows, manifest.files.len()), (3, 2));
        let first_day = &manifest.files[0];
        assert!(first_day.starts_with("features/clicks/v=0000000000000001/dt=2026-11-20/"), "{first_day}");
        let read = parquet_file::read(folder.read(first_day).expect("read")).expect("a file");
        assert_eq!(read.map(|batch| batch.expect("read").num_rows()).sum::<usize>(), 2);
    }

    #[test]
    fn a_second_run_does_not_take_the_name_of_the_first() {
        let root = tempfile::tempdir().expect("a folder");
        let table = FeatureTable::new(project(root.path()), &"clicks".parse().expect("a name"), Fingerprint(1));
        table.begin("as_of").publish("job-1", serde_json::Value::Null).expect("published");
        let again = table.begin("as_of").publish("job-1", serde_json::json!(2)).expect_err("the name is taken");
        assert!(again.to_string().contains("another run has this name"), "{again}");
        assert_eq!(table.manifest("job-1").expect("read").expect("the first").details, serde_json::Value::Null);
    }
}
