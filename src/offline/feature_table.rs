//! Feature tables: what a backfill computes, by view, version and day.
//!
//! ```text
//! features/<view>/v=<version>/dt=<day>/<run>-<lane>-<step>.parquet    sorted by key and instant
//!                             _runs/<run>/plan                        what the run stands on
//!                             _runs/<run>/<lane>/<step>               which files a step wrote, and how far it reached
//!                             _manifests/<run>.json                   the files of the whole run
//! ```
//!
//! Promises: a run's rows exist once its manifest does, which names its files, and not before. Several runs may cover
//! the same instants: a reader takes the files of one manifest. A step is there whole or not at all; a run that died goes
//! on behind its last steps, and, given the same rows, ends in the same files byte for byte. Two processes that are at
//! one run write the same files, so neither harms the other. A run that is given up leaves no file.

use std::collections::BTreeMap;

use arrow::array::{ArrayRef, AsArray, UInt32Array};
use arrow::compute::{SortColumn, lexsort_to_indices, take_record_batch};
use arrow::datatypes::TimestampMicrosecondType;
use arrow::record_batch::RecordBatch;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::kernel::name::Name;
use crate::kernel::plan::Fingerprint;
use crate::kernel::time::{EventTime, Micros};
use crate::offline::archive::date;
use crate::offline::folder::Created;
use crate::offline::{Error, Folder, parquet_file};

/// The column of instants: in microseconds and never null, behind the columns of the key.
pub const AS_OF: &str = "as_of";

/// Beside the lanes of a run.
const PLAN: &str = "plan";

/// What one run made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub rows: usize,
    /// Within the project's folder.
    pub files: Vec<String>,
    /// What was asked, and what it was computed from, as the job says it.
    pub details: serde_json::Value,
}

/// What a lane of a run wrote at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    pub rows: usize,
    pub files: Vec<String>,
    /// Where the lane goes on, as the job says it.
    pub reached: Vec<u8>,
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

    /// Begins the run of that name with what `plan` says, unless it was begun before.
    pub fn begin<P: Serialize>(&self, run: &str, plan: impl FnOnce() -> Result<P, Error>) -> Result<Run, Error> {
        let run = Run { table: self.clone(), name: run.to_owned() };
        if self.folder.get(&run.plan_path())?.is_none() {
            let json = serde_json::to_vec(&plan()?).expect("a plan is plain JSON");
            // Of two that begin at once the first one's plan counts.
            self.folder.create(&run.plan_path(), &json)?;
        }
        Ok(run)
    }

    pub fn manifest(&self, run: &str) -> Result<Option<Manifest>, Error> {
        self.json(&self.manifest_path(run))
    }

    /// Removes what a run wrote that nobody goes on with, unless it is published. Should this be cut off, the run may
    /// still be gone on with: the steps that are left are its first, and all of their files are there.
    pub fn discard(&self, run: &str) -> Result<(), Error> {
        if self.manifest(run)?.is_some() {
            return Ok(());
        }
        let run = Run { table: self.clone(), name: run.to_owned() };
        run.remove_steps()?;
        let days = self.folder.list(&self.path)?.into_iter().filter(|day| day.starts_with("dt="));
        for day in days.map(|day| format!("{}/{day}", self.path)) {
            let files = self.folder.list(&day)?.into_iter().filter(|file| run.is_named_in(file));
            files.into_iter().try_for_each(|file| self.folder.delete(&format!("{day}/{file}")))?;
        }
        self.folder.delete(&run.plan_path())
    }

    fn manifest_path(&self, run: &str) -> String {
        format!("{}/_manifests/{run}.json", self.path)
    }

    fn json<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, Error> {
        let json = self.folder.get(path)?;
        json.map(|json| serde_json::from_slice(&json).map_err(|error| Error::damaged(path, error))).transpose()
    }
}

/// A run that is being written, in lanes that know nothing of each other. Clones share it.
#[derive(Clone, Debug)]
pub struct Run {
    table: FeatureTable,
    name: String,
}

impl Run {
    /// What the run stands on, whoever began it.
    pub fn plan<P: DeserializeOwned>(&self) -> Result<P, Error> {
        let path = self.plan_path();
        self.table.json(&path)?.ok_or_else(|| Error::damaged(&path, "it is gone"))
    }

    /// What a lane wrote, in order.
    pub fn steps(&self, lane: usize) -> Result<Vec<Step>, Error> {
        let folder = self.lane_path(lane);
        let step = |name: String| {
            let path = format!("{folder}/{name}");
            self.table.json(&path)?.ok_or_else(|| Error::damaged(&path, "it is gone"))
        };
        self.table.folder.list(&folder)?.into_iter().map(step).collect()
    }

    /// Writes step `number` of a lane: a file for each day, in which rows stand by key and instant.
    pub fn write(&self, lane: usize, number: usize, rows: &RecordBatch, reached: &[u8]) -> Result<(), Error> {
        let mut files = Vec::new();
        let (sorted, sorted_by) = by_key_and_instant(rows);
        for (day, of_day) in by_day(&sorted) {
            let Run { table, name } = self;
            let path = format!("{}/dt={}/{name}-{lane:03}-{number:06}.parquet", table.path, date(day));
            let bytes =
                parquet_file::encode_sorted(&of_day, sorted_by).map_err(|error| Error::damaged(&path, error))?;
            // Where there is one already, somebody died between this file and the step: the same rows, in the same bytes.
            table.folder.create(&path, &bytes)?;
            files.push(path);
        }
        let step = Step { rows: rows.num_rows(), files, reached: reached.to_vec() };
        let json = serde_json::to_vec(&step).expect("a step is plain JSON");
        self.table.folder.create(&format!("{}/{number:06}", self.lane_path(lane)), &json).map(drop)
    }

    /// Makes the rows of all lanes exist, under a name that no other run of the table has.
    pub fn publish(&self, lanes: usize, details: serde_json::Value) -> Result<Manifest, Error> {
        let mut manifest = Manifest { rows: 0, files: Vec::new(), details };
        for lane in 0..lanes {
            for step in self.steps(lane)? {
                manifest.rows += step.rows;
                manifest.files.extend(step.files);
            }
        }
        let path = self.table.manifest_path(&self.name);
        let json = serde_json::to_vec_pretty(&manifest).expect("a manifest is plain JSON");
        match self.table.folder.create(&path, &json)? {
            Created::AlreadyExists if self.table.manifest(&self.name)?.as_ref() != Some(&manifest) => {
                Err(Error::damaged(path, "another run has this name"))
            }
            Created::Done | Created::AlreadyExists => Ok(manifest),
        }
    }

    /// Removes what only a run under way needs.
    pub fn tidy(&self) -> Result<(), Error> {
        self.remove_steps()?;
        self.table.folder.delete(&self.plan_path())
    }

    /// The last ones first, so that at any moment those that are left follow each other.
    fn remove_steps(&self) -> Result<(), Error> {
        let folder = &self.table.folder;
        let lanes = folder.list(&self.path())?.into_iter().filter(|lane| lane != PLAN);
        for lane in lanes.map(|lane| format!("{}/{lane}", self.path())) {
            let steps = folder.list(&lane)?.into_iter().rev();
            steps.into_iter().try_for_each(|step| folder.delete(&format!("{lane}/{step}")))?;
        }
        Ok(())
    }

    /// Whether a file of a day is the run's: its name, a lane and a step.
    fn is_named_in(&self, file: &str) -> bool {
        let rest = file.strip_prefix(&self.name).and_then(|rest| rest.strip_prefix('-'));
        let numbers = rest.and_then(|rest| rest.strip_suffix(".parquet")?.split_once('-'));
        numbers.is_some_and(|(lane, step)| [lane, step].iter().all(|it| it.bytes().all(|byte| byte.is_ascii_digit())))
    }

    fn plan_path(&self) -> String {
        format!("{}/{PLAN}", self.path())
    }

    fn lane_path(&self, lane: usize) -> String {
        format!("{}/{lane:03}", self.path())
    }

    fn path(&self) -> String {
        format!("{}/_runs/{}", self.table.path, self.name)
    }
}

/// The rows in order, and how many columns that is an order of.
fn by_key_and_instant(rows: &RecordBatch) -> (RecordBatch, usize) {
    let instants = rows.schema().index_of(AS_OF).expect("each row of a feature table has an instant");
    let columns = rows.columns()[..=instants].iter();
    let columns: Vec<SortColumn> = columns.map(|values| SortColumn { values: values.clone(), options: None }).collect();
    let order = lexsort_to_indices(&columns, None).expect("keys and instants can be sorted");
    (take_record_batch(rows, &order).expect("the indices are rows of the batch"), instants + 1)
}

fn by_day(rows: &RecordBatch) -> BTreeMap<EventTime, RecordBatch> {
    let instants: &ArrayRef = rows.column_by_name(AS_OF).expect("each row of a feature table has an instant");
    let mut days: BTreeMap<EventTime, Vec<u32>> = BTreeMap::new();
    for (row, micros) in instants.as_primitive::<TimestampMicrosecondType>().values().iter().enumerate() {
        let row = u32::try_from(row).expect("a step has fewer than 2^32 rows");
        days.entry(EventTime::unchecked(*micros).floor(Micros::DAY)).or_default().push(row);
    }
    let pick = |of_day| take_record_batch(rows, &UInt32Array::from(of_day)).expect("the indices are rows of the batch");
    days.into_iter().map(|(day, of_day)| (day, pick(of_day))).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray, TimestampMicrosecondArray};
    use serde_json::json;

    use super::*;
    use crate::offline::folder::tests::project;

    fn rows(rows: &[(&str, &str)]) -> RecordBatch {
        let micros = rows.iter().map(|(_, at)| at.parse::<EventTime>().expect("a time").micros());
        let as_of = TimestampMicrosecondArray::from_iter_values(micros).with_timezone("UTC");
        let users = StringArray::from_iter_values(rows.iter().map(|(user, _)| user));
        let views = Int64Array::from_iter_values(0..rows.len() as i64);
        let columns: [(&str, ArrayRef); 3] =
            [("user_id", Arc::new(users)), (AS_OF, Arc::new(as_of)), ("views", Arc::new(views))];
        RecordBatch::try_from_iter(columns).expect("a batch")
    }

    fn table(folder: &Folder) -> FeatureTable {
        FeatureTable::new(folder.clone(), &"clicks".parse().expect("a name"), Fingerprint(1))
    }

    fn begin(folder: &Folder, plan: u32) -> Run {
        table(folder).begin("job-1", || Ok(plan)).expect("begun")
    }

    #[test]
    fn a_run_exists_with_its_manifest_and_stands_by_day_and_key() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = project(root.path());
        let run = begin(&folder, 7);
        let first = [("b", "2026-11-20T23:00:00Z"), ("a", "2026-11-21T00:00:00Z"), ("a", "2026-11-20T01:00:00Z")];
        run.write(0, 0, &rows(&first), b"b").expect("written");
        run.write(1, 0, &rows(&[("c", "2026-11-20T22:00:00Z")]), b"c").expect("written");
        assert_eq!(table(&folder).manifest("job-1").expect("read"), None);
        let manifest = run.publish(2, json!({"every": "1h"})).expect("published");
        run.tidy().expect("tidied");
        assert_eq!(table(&folder).manifest("job-1").expect("read"), Some(manifest.clone()));
        let files =
            ["dt=2026-11-20/job-1-000-000000", "dt=2026-11-21/job-1-000-000000", "dt=2026-11-20/job-1-001-000000"];
        let files = files.map(|file| format!("features/clicks/v=0000000000000001/{file}.parquet"));
        assert_eq!((manifest.rows, manifest.files.as_slice()), (4, &files[..]));
        let read = parquet_file::read(folder.read(&files[0]).expect("read")).expect("a file");
        let views =
            read.map(|batch| batch.expect("read").column(2).as_primitive::<arrow::datatypes::Int64Type>().clone());
        assert_eq!(views.flat_map(|views| views.values().to_vec()).collect::<Vec<_>>(), [2, 0], "of `a`, then of `b`");
        assert_eq!(folder.list("features/clicks/v=0000000000000001/_runs/job-1/000").expect("listed"), [""; 0]);
    }

    #[test]
    fn a_run_that_died_stands_on_its_first_plan_and_goes_on_behind_its_last_step() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = project(root.path());
        begin(&folder, 7).write(0, 0, &rows(&[("a", "2026-11-20T00:00:00Z")]), b"a").expect("written");
        let again = begin(&folder, 8);
        assert_eq!(again.plan::<u32>().expect("read"), 7);
        let steps = again.steps(0).expect("read");
        assert_eq!(steps.iter().map(|step| (step.rows, &step.reached[..])).collect::<Vec<_>>(), [(1, &b"a"[..])]);
        assert_eq!(again.steps(1).expect("read"), []);
    }

    /// All that lies below the table's folder, by its path there.
    fn files(root: &std::path::Path) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            for path in std::fs::read_dir(folder).expect("listed").map(|entry| entry.expect("listed").path()) {
                match path.is_dir() {
                    true => folders.push(path),
                    false => found.push(path.display().to_string()),
                }
            }
        }
        found
    }

    #[test]
    fn a_run_that_is_given_up_leaves_no_file_and_those_of_others_stay() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = project(root.path());
        let (days, other) = ([("a", "2026-11-20T00:00:00Z"), ("b", "2026-11-21T00:00:00Z")], "job-1-2");
        let published = table(&folder).begin(other, || Ok(7)).expect("begun");
        published.write(0, 0, &rows(&days), b"b").expect("written");
        published.publish(1, json!(1)).expect("published");
        published.tidy().expect("tidied");
        let before = files(root.path());
        let run = begin(&folder, 7);
        run.write(0, 0, &rows(&days), b"b").expect("written");
        run.write(12, 0, &rows(&days), b"b").expect("written");
        folder.delete(&format!("{}/000000", run.lane_path(0))).expect("as if it had died before the step");
        table(&folder).discard("job-1").expect("discarded");
        table(&folder).discard(other).expect("left alone");
        assert_eq!(files(root.path()), before);
    }

    #[test]
    fn a_run_that_was_discarded_in_part_can_be_gone_on_with() {
        let root = tempfile::tempdir().expect("a folder");
        for operations in 0.. {
            let folder = project(&root.path().join(operations.to_string()));
            let run = begin(&folder, 7);
            for (step, user) in ["a", "b", "c"].iter().enumerate() {
                run.write(0, step, &rows(&[(*user, "2026-11-20T00:00:00Z")]), user.as_bytes()).expect("written");
            }
            let dying = project(&root.path().join(operations.to_string()));
            dying.kill_after(operations);
            let is_whole = table(&dying).discard("job-1").is_ok();
            let left = begin(&folder, 7).steps(0).expect("read");
            let reached: Vec<u8> = left.iter().flat_map(|step| step.reached.clone()).collect();
            assert!(b"abc".starts_with(&reached), "after {operations} operations: {left:?}");
            let is_there = |file: &String| folder.get(file).expect("read").is_some();
            assert!(left.iter().flat_map(|step| &step.files).all(is_there), "after {operations} operations: {left:?}");
            if is_whole {
                return;
            }
        }
    }

    #[test]
    fn a_second_run_does_not_take_the_name_of_the_first() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = project(root.path());
        let run = begin(&folder, 7);
        let first = run.publish(0, json!(1)).expect("published");
        assert_eq!(run.publish(0, json!(1)).expect("an answer that was lost"), first);
        let other = run.publish(0, json!(2)).expect_err("the name is taken");
        assert!(other.to_string().contains("another run has this name"), "{other}");
    }
}
