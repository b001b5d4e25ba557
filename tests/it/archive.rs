//! The archiver on the embedded log: every record once, whoever archives and however often it is stopped.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use expect_test::expect;
use freshet::archive::{Archiver, Error, Progress, Reached, Settings, WaitError, run};
use freshet::event_log::embedded::EmbeddedLog;
use freshet::event_log::{EventLog, NewRecord};
use freshet::kernel::definition::{Source, SourceText, parse};
use freshet::kernel::key::Origin;
use freshet::kernel::time::Micros;
use freshet::offline::{Archive, Compaction, Filter, Folder, Scope};

/// Far longer than any of it takes: a test that reaches it has failed.
const LIMIT: Duration = Duration::from_secs(60);
const PARTITIONS: u32 = 2;

fn source(name: &str) -> Arc<Source> {
    let text = format!(
        "kind: source\nname: {name}\nevent_time: {{ field: at, unit: rfc3339 }}\nschema:\n  version: 1\n  \
         compatibility: backward\n  fields:\n    - {{ name: at, type: timestamp, required: true }}\n    \
         - {{ name: n, type: int64 }}\n"
    );
    let definitions = parse(&[SourceText { path: "clicks.yaml".to_owned(), text }]).expect("a definition");
    definitions.sources[0].clone()
}

struct Project {
    folder: tempfile::TempDir,
    log: Arc<EmbeddedLog>,
    sources: Mutex<Vec<Arc<Source>>>,
    compaction: Compaction,
}

impl Project {
    async fn new(sources: &[&Arc<Source>]) -> Project {
        let folder = tempfile::tempdir().expect("a folder");
        let log = Arc::new(EmbeddedLog::open(&folder.path().join("log")).expect("a log"));
        for source in sources {
            log.create_topic(&source.topic, PARTITIONS).await.expect("created");
        }
        let sources = Mutex::new(sources.iter().map(|it| Arc::clone(it)).collect());
        Project { folder, log, sources, compaction: Compaction::USUAL }
    }

    fn archive(&self) -> Archive {
        Archive::new(Folder::on_disk(self.folder.path(), &"default".parse().expect("a name")))
    }

    /// Every third record is broken.
    async fn append(&self, source: &Source, count: usize) {
        let at = "2026-11-21T10:00:00Z";
        let value = |n: usize| if n % 3 == 2 { "broken".to_owned() } else { format!(r#"{{"at":"{at}","n":{n}}}"#) };
        let record = |n: usize| NewRecord {
            key: Some(Bytes::from(n.to_string())),
            value: value(n).into(),
            ingestion_time: at.parse().expect("a time"),
        };
        self.log.append(&source.topic, (0..count).map(record).collect()).await.expect("appended");
    }

    async fn ends(&self, source: &Source) -> BTreeMap<u32, u64> {
        let bounds = self.log.bounds(&source.topic).await.expect("bounds");
        (0..).zip(bounds).map(|(partition, held)| (partition, held.end)).collect()
    }

    /// Commits only when somebody waits, in pieces of a few events.
    async fn archive_while<T>(&self, group: &str, act: impl AsyncFnOnce(&Reached) -> T) -> (Result<(), Error>, T) {
        let progress = Progress::default();
        let archiver = Archiver {
            log: self.log.clone(),
            archive: self.archive(),
            sources: || self.sources.lock().expect("no panic").clone(),
            settings: Settings {
                events_max: 7,
                interval: Micros::DAY,
                compaction: self.compaction,
                ..Settings::new(group)
            },
            progress: progress.clone(),
        };
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let acting = async {
            let answer = act(&Reached::new(progress, self.archive())).await;
            drop(stop);
            answer
        };
        tokio::join!(
            run(archiver, async {
                let _ = stopped.await;
            }),
            acting
        )
    }

    async fn archive_all(&self, group: &str, source: &Arc<Source>) {
        let ends = self.ends(source).await;
        let wait = async |reached: &Reached| reached.wait_until(source, &ends, LIMIT).await;
        let (ran, waited) = self.archive_while(group, wait).await;
        ran.expect("stopped in order");
        waited.expect("archived in time");
    }

    /// Offsets of all events and dead letters of each partition, in order.
    fn archived(&self, source: &Arc<Source>) -> BTreeMap<u32, Vec<u64>> {
        let archive = self.archive();
        let pinned = archive.pin(source).expect("pinned");
        let mut offsets: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
        for events in archive.read(source, &pinned, &Scope::default()) {
            for (origin, _) in events.expect("read").positions {
                let Origin::Log { partition, offset } = origin else { panic!("only the log is archived") };
                offsets.entry(partition).or_default().push(offset);
            }
        }
        for letter in archive.dead_letters(source, Filter { reason: None, limit: usize::MAX }).expect("listed") {
            offsets.entry(letter.partition).or_default().push(letter.offset);
        }
        offsets.values_mut().for_each(|offsets| offsets.sort_unstable());
        offsets
    }

    async fn everything(&self, source: &Source) -> BTreeMap<u32, Vec<u64>> {
        self.ends(source).await.into_iter().map(|(partition, end)| (partition, (0..end).collect())).collect()
    }
}

#[tokio::test]
async fn every_record_is_archived_once_or_is_a_dead_letter_across_restarts() {
    let clicks = source("clicks");
    let project = Project::new(&[&clicks]).await;
    for count in [40, 1, 90] {
        project.append(&clicks, count).await;
        project.archive_all("archive", &clicks).await;
        assert_eq!(project.archived(&clicks), project.everything(&clicks).await);
    }
}

#[tokio::test]
async fn archivers_that_do_not_know_of_each_other_double_nothing() {
    let clicks = source("clicks");
    let project = Project::new(&[&clicks]).await;
    project.append(&clicks, 200).await;
    tokio::join!(
        project.archive_all("one", &clicks),
        project.archive_all("two", &clicks),
        project.archive_all("three", &clicks)
    );
    assert_eq!(project.archived(&clicks), project.everything(&clicks).await);
}

#[tokio::test]
async fn small_commits_are_compacted_while_records_are_archived() {
    let clicks = source("clicks");
    let mut project = Project::new(&[&clicks]).await;
    project.compaction = Compaction { commits_max: 3, records_max: 1_000, bytes_max: 1 << 20 };
    project.append(&clicks, 200).await;
    let compacted = project.folder.path().join("default/compacted/clicks/_commits");
    let compact = async |reached: &Reached| {
        reached.wait_until(&clicks, &project.ends(&clicks).await, LIMIT).await.expect("archived in time");
        while !compacted.is_dir() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let archived = tokio::time::timeout(LIMIT, project.archive_while("archive", compact)).await;
    archived.expect("compacted in time").0.expect("stopped in order");
    assert_eq!(project.archived(&clicks), project.everything(&clicks).await);
}

#[tokio::test]
async fn a_source_that_appears_is_archived_too() {
    let (clicks, taps) = (source("clicks"), source("taps"));
    let project = Project::new(&[&clicks]).await;
    project.append(&clicks, 10).await;
    let appear = async |reached: &Reached| {
        reached.wait_until(&clicks, &project.ends(&clicks).await, LIMIT).await.expect("archived in time");
        // Known before its topic exists, as between an apply and the topic's creation.
        project.sources.lock().expect("no panic").push(taps.clone());
        project.log.create_topic(&taps.topic, PARTITIONS).await.expect("created");
        project.append(&taps, 10).await;
        reached.wait_until(&taps, &project.ends(&taps).await, LIMIT).await.expect("archived in time");
    };
    project.archive_while("archive", appear).await.0.expect("stopped in order");
    assert_eq!(project.archived(&clicks), project.everything(&clicks).await);
    assert_eq!(project.archived(&taps), project.everything(&taps).await);
}

#[tokio::test]
async fn a_broken_archive_stops_its_partition_and_tells_who_waits() {
    let clicks = source("clicks");
    let project = Project::new(&[&clicks]).await;
    project.append(&clicks, 60).await;
    project.archive_all("archive", &clicks).await;
    remove_second_commit(project.folder.path());
    project.append(&clicks, 60).await;
    let ends = project.ends(&clicks).await;
    let both = async |reached: &Reached| {
        let of = async |partition: u32| {
            let end = BTreeMap::from([(partition, ends[&partition])]);
            reached.wait_until(&clicks, &end, LIMIT).await
        };
        (of(0).await, of(1).await)
    };
    let (ran, (broken, whole)) = project.archive_while("archive", both).await;
    ran.expect("stopped in order");
    whole.expect("the other partition goes on");
    let WaitError::Stopped { partition: 0, reason, .. } = broken.expect_err("the chain is broken") else {
        panic!("it should have stopped");
    };
    expect![[r#"the archive of source `clicks` is broken in partition 0: a commit ends at offset 7, and the next one starts at 14; restore the missing commits, or move the archive of this source away"#]]
    .assert_eq(&reason);
}

fn remove_second_commit(root: &Path) {
    let folder = root.join("default/events/clicks/_commits/0");
    let mut commits: Vec<_> = folder.read_dir().expect("listed").map(|entry| entry.expect("an entry").path()).collect();
    commits.sort_unstable();
    std::fs::remove_file(&commits[1]).expect("removed");
}
