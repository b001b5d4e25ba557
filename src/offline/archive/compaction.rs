//! Compaction: many small commits once more as one large one, so that what a job lists and reads does not grow with how
//! often records were committed.
//!
//! ```text
//! events/<source>/_commits/<partition>/     ─┬─┬─┬─┬─┬─┬─┬─┬─┬─►     as they were committed, for good
//! compacted/<source>/_commits/<partition>/  ──────┬───────┬             the same records in larger commits
//! ```
//!
//! Promises: a compacted commit holds the records of those that it stands for, decoded alike; it is created whole and
//! never changed, and of several that compact at once one wins. The small commits stay, so an offset where one of them
//! ended can be pinned for good. Nothing but time is lost with the folder `compacted`: it is made again.

use std::ops::Range;

use crate::kernel::definition::Source;
use crate::kernel::event::{RawRecord, decoding_mark};
use crate::offline::archive::Files;
use crate::offline::commit::{self, Commit};
use crate::offline::folder::Created;
use crate::offline::{Archive, Error, Span, records};

/// How large a compacted commit may become, and how many small ones may wait to be one.
#[derive(Clone, Copy, Debug)]
pub struct Compaction {
    pub commits_max: usize,
    pub records_max: usize,
    /// Of raw bytes.
    pub bytes_max: usize,
}

impl Compaction {
    pub const USUAL: Compaction = Compaction { commits_max: 1_000, records_max: 100_000, bytes_max: 16 << 20 };

    /// Of commits that follow each other, as many of the first as become one; `None`: too few yet.
    fn run<'c>(&self, mark: &str, commits: &'c [Commit]) -> Option<&'c [Commit]> {
        let mut records = 0;
        let fits = |commit: &&Commit| {
            records += commit.records();
            records <= self.records_max && commit.decoded_under == mark
        };
        let count = commits.iter().take(self.commits_max).take_while(fits).count();
        // One that is large by itself, or was decoded otherwise, stands for itself.
        let is_full = count < commits.len() || count == self.commits_max;
        is_full.then(|| &commits[..count.max(1)])
    }
}

impl Archive {
    /// Compacts the first commits of a partition that are not yet; answers the offsets that one commit stands for since.
    /// `None`: too few wait, or somebody else was first.
    pub fn compact(
        &self,
        source: &Source,
        partition: u32,
        compaction: &Compaction,
    ) -> Result<Option<Range<u64>>, Error> {
        let from = self.last_compacted(source, partition)?.map_or(0, |commit| commit.to);
        let commits = self.first_commits(&commit::chain(source, partition), from, compaction.commits_max + 1)?;
        commit::verify(source, partition, &commits)?;
        let Some(run) = compaction.run(&decoding_mark(source).to_string(), &commits) else { return Ok(None) };
        let compacted = self.compacted(source, partition, run, compaction)?;
        let path = commit::path(&commit::compacted_chain(source, partition), compacted.from);
        match self.folder.create(&path, &compacted.encode())? {
            Created::Done => Ok(Some(compacted.from..compacted.to)),
            // One that stands for itself has the files of the commit that it is.
            Created::AlreadyExists if commits.contains(&compacted) => Ok(None),
            Created::AlreadyExists => self.remove_files(&compacted).map(|()| None),
        }
    }

    /// One commit for as many of the run as it may hold.
    fn compacted(
        &self,
        source: &Source,
        partition: u32,
        run: &[Commit],
        compaction: &Compaction,
    ) -> Result<Commit, Error> {
        if let [alone] = run {
            return Ok(alone.clone());
        }
        let (count, records) = self.records_of(partition, run, compaction.bytes_max)?;
        let span = Span { partition, offsets: run[0].from..run[count - 1].to };
        match count {
            1 => Ok(run[0].clone()),
            _ => self.write(source, &Files::compacted(source), &span, &records),
        }
    }

    /// The records of as many commits as stay within so many bytes, and how many these are: one at least.
    fn records_of(&self, partition: u32, run: &[Commit], bytes_max: usize) -> Result<(usize, Vec<RawRecord>), Error> {
        let (mut all, mut bytes) = (Vec::new(), 0);
        for (count, commit) in run.iter().enumerate() {
            let records = records::of_commit(&self.folder, partition, commit)?;
            bytes += records.iter().map(|record| record.value.len()).sum::<usize>();
            if count > 0 && bytes > bytes_max {
                return Ok((count, all));
            }
            all.extend(records);
        }
        Ok((run.len(), all))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::{Arc, Barrier};

    use super::*;
    use crate::kernel::key::Origin;
    use crate::offline::archive::tests::{record, source};
    use crate::offline::folder::tests::project;
    use crate::offline::{ArchivedRecords, Committed, Filter, Pinned, Scope};

    const FEW: Compaction = Compaction { commits_max: 4, records_max: 20, bytes_max: 1 << 20 };

    fn clicks() -> Arc<Source> {
        source(&[("user", "string")])
    }

    /// Of each three records one is broken, and every second commit ends in a gap of the log.
    fn archive(commits: u64) -> (tempfile::TempDir, Archive) {
        let root = tempfile::tempdir().expect("a folder");
        let archive = Archive::new(project(root.path()));
        for from in (0..commits).map(|number| number * 3) {
            let text = |offset: u64| match offset % 3 {
                1 => "broken".to_owned(),
                _ => format!(r#"{{"at": "2026-11-{:02}T10:00:00Z", "user": "u{offset}"}}"#, 18 + offset % 4),
            };
            let held = if from % 2 == 0 { from..from + 3 } else { from..from + 2 };
            let records: Vec<RawRecord> = held.map(|offset| record(0, offset, &text(offset))).collect();
            let span = Span { partition: 0, offsets: from..from + 3 };
            assert_eq!(archive.commit(&clicks(), &span, &records).expect("committed"), Committed::Done);
        }
        (root, archive)
    }

    fn compact_all(archive: &Archive) -> Vec<Range<u64>> {
        std::iter::from_fn(|| archive.compact(&clicks(), 0, &FEW).expect("compacted")).collect()
    }

    /// Every event with its place and fields, as text.
    fn events(archive: &Archive, pinned: &Pinned) -> Vec<(Origin, String)> {
        let read = archive.read(&clicks(), pinned, &Scope::default()).map(|events| events.expect("read"));
        let rows = |events: crate::offline::ArchivedEvents| {
            let row = |row: usize| (events.positions[row].0, format!("{:?}", events.fields.slice(row, 1).columns()));
            (0..events.positions.len()).map(row).collect::<Vec<_>>()
        };
        read.flat_map(rows).collect()
    }

    /// All that is read of an archive, from every offset and up to every one where a commit ended.
    fn told(archive: &Archive, commits: u64) -> String {
        let mut told = String::new();
        for end in 0..=commits {
            let pins = if end == 0 { BTreeMap::new() } else { BTreeMap::from([(0, end * 3)]) };
            let pinned = archive.pin_at(&clicks(), &pins).expect("pinned");
            assert_eq!(pinned.offsets(), pins);
            told += &format!("{end}: {:?}\n", events(archive, &pinned));
        }
        let letters = archive.dead_letters(&clicks(), Filter { reason: None, limit: 1_000 }).expect("listed");
        let shown = archive.dead_letter(&clicks(), 0, 4).expect("read");
        let ends = (archive.start(&clicks(), 0).expect("read"), archive.position(&clicks(), 0).expect("read"));
        told + &format!("{letters:?}\n{shown:?}\n{ends:?}\n")
    }

    /// From each offset to the end.
    fn log(archive: &Archive, mut from: u64) -> Vec<RawRecord> {
        let mut all = Vec::new();
        while let Some(ArchivedRecords { records, next }) = archive.records(&clicks(), 0, from).expect("read") {
            all.extend(records);
            from = next;
        }
        all
    }

    #[test]
    fn what_is_read_is_the_same_before_and_after_at_every_offset() {
        let (_root, archive) = archive(11);
        let logs = |archive: &Archive| (0..34).map(|from| log(archive, from)).collect::<Vec<_>>();
        let (told_before, logs_before) = (told(&archive, 11), logs(&archive));
        let pinned = archive.pin(&clicks()).expect("pinned");
        assert_eq!(compact_all(&archive), [0..12, 12..24]);
        assert_eq!(told(&archive, 11), told_before);
        assert_eq!(logs(&archive), logs_before);
        let compacted = archive.pin(&clicks()).expect("pinned");
        assert_eq!((pinned.commits(), compacted.commits()), (11, 5), "two of four each, and three that wait");
        assert_eq!(compacted.offsets(), pinned.offsets());
        assert_eq!(events(&archive, &pinned), events(&archive, &compacted), "an earlier pin reads what it pinned");
    }

    #[test]
    fn an_offset_where_no_commit_ended_cannot_be_pinned() {
        let (_root, archive) = archive(8);
        compact_all(&archive);
        for wanted in [1, 13, 25] {
            let refused = archive.pin_at(&clicks(), &BTreeMap::from([(0, wanted)])).expect_err("no commit ends there");
            assert!(refused.to_string().contains(&format!("no commit that ends at offset {wanted}")), "{refused}");
        }
    }

    #[test]
    fn what_was_decoded_otherwise_stands_for_itself() {
        let (_root, archive) = archive(6);
        let other = source(&[("user", "string"), ("price", "float64")]);
        assert_eq!(archive.compact(&other, 0, &FEW).expect("compacted"), Some(0..3));
        assert_eq!(archive.compact(&clicks(), 0, &FEW).expect("compacted"), Some(3..15));
        assert_eq!(archive.compact(&clicks(), 0, &FEW).expect("compacted"), None, "one waits for more");
        assert_eq!(archive.pin(&clicks()).expect("pinned").offsets(), BTreeMap::from([(0, 18)]));
    }

    #[test]
    fn a_commit_stays_within_its_bounds() {
        let (_root, archive) = archive(9);
        let bytes = Compaction { bytes_max: 100, ..FEW };
        let records = Compaction { records_max: 5, commits_max: 100, ..FEW };
        let spans = [bytes, records].map(|bounds| archive.compact(&clicks(), 0, &bounds).expect("compacted"));
        assert_eq!(spans, [Some(0..3), Some(3..9)]);
    }

    #[test]
    fn of_those_that_compact_at_once_one_wins_and_the_others_leave_no_file() {
        for round in 0..10 {
            let (root, archive) = archive(5);
            let start = Barrier::new(4);
            let race = || {
                start.wait();
                Archive::new(project(root.path())).compact(&clicks(), 0, &FEW).expect("compacted")
            };
            let outcomes: Vec<_> = std::thread::scope(|scope| {
                let racers: Vec<_> = (0..4).map(|_| scope.spawn(race)).collect();
                racers.into_iter().map(|racer| racer.join().expect("no panic")).collect()
            });
            let won: Vec<Range<u64>> = outcomes.into_iter().flatten().collect();
            assert_eq!((won.len(), &won[0]), (1, &(0..12)), "round {round}");
            let named = archive.pin(&clicks()).expect("pinned").partitions[&0][0].files.len();
            let days = archive.folder.list("compacted/clicks").expect("listed").into_iter();
            let files = days.filter(|name| name.starts_with("dt=")).map(|day| format!("compacted/clicks/{day}"));
            let files = files.map(|day| archive.folder.list(&day).expect("listed").len()).sum::<usize>();
            assert_eq!(files, named, "round {round}");
        }
    }

    #[test]
    fn a_kill_between_any_two_operations_changes_nothing_that_is_read() {
        let (_root, whole) = archive(5);
        let expected = told(&whole, 5);
        for operations in 0.. {
            let (root, survivor) = archive(5);
            let dying = project(root.path());
            dying.kill_after(operations);
            let outcome = Archive::new(dying).compact(&clicks(), 0, &FEW);
            assert_eq!(told(&survivor, 5), expected, "after {operations} operations");
            compact_all(&survivor);
            assert_eq!(told(&survivor, 5), expected, "after {operations} operations");
            assert_eq!(survivor.pin(&clicks()).expect("pinned").commits(), 2);
            if outcome.is_ok() {
                assert!(operations > 10, "it lists, reads and writes");
                return;
            }
        }
    }
}
