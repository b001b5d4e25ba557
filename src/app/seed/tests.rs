//! Seedings that fail, and processes that notice the same thing at once; on embedded parts, by a clock that stands still.

use std::ops::Range;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use tempfile::TempDir;

use super::*;
use crate::app::shop;
use crate::event_log::conformance::held_from;
use crate::event_log::embedded::EmbeddedLog;
use crate::event_log::{Consumer, NewRecord};
use crate::kernel::time::{EventTime, Micros};
use crate::offline::{Folder, Span};
use crate::online::Memory;
use crate::registry::{Job, JobFilter};

const RECORDS: u64 = 300;
const BEGIN: i64 = 1_700_000_000;

/// One view, of which everything is archived.
struct Shop {
    seeder: Seeder,
    folder: TempDir,
}

impl Shop {
    /// Up to where the archive gives the rows is decided.
    async fn decided() -> Shop {
        let folder = tempfile::tempdir().expect("a folder");
        let (registry, catalogues) = shop::applied(folder.path(), at(0)).await;
        let log: Arc<dyn EventLog> = Arc::new(EmbeddedLog::open(&folder.path().join("log")).expect("opens"));
        let archive = Archive::new(Folder::on_disk(folder.path(), &shop::project()));
        fill(&*log, &archive, &catalogues).await;
        let seeder = Seeder {
            log: log.clone(),
            event_log: log,
            online: Arc::new(Memory::new(4)),
            registry: Arc::new(registry),
            catalogues,
            archive,
            clock: Clock::fixed(at(1_000)),
            resources: Resources::default(),
            least_records: 1,
            owner: "one".to_owned(),
        };
        let shop = Shop { seeder, folder };
        shop.seeder.decide(&shop.version()).await.expect("decided");
        assert_eq!(shop.version().seed, Seed::Begun(Offsets::from([(0, RECORDS)])));
        shop
    }

    /// The newest generation.
    fn version(&self) -> Version {
        self.seeder.catalogues.current().versions.last().expect("there is one").clone()
    }

    async fn look(&self) {
        self.seeder.look_at(&self.version()).await.expect("a failure is noted, and no error");
    }

    /// Looks again when it is time to.
    async fn look_after(&self, seconds: i64) {
        self.seeder.clock.advance(Micros::new(seconds * 1_000_000 - 1));
        let before = self.jobs().await;
        self.look().await;
        assert_eq!(self.jobs().await, before, "before its time it is not begun again");
        self.seeder.clock.advance(Micros::new(1));
        self.look().await;
    }

    async fn jobs(&self) -> Vec<Job> {
        self.seeder.registry.jobs(JobFilter::default(), 1_000).await.expect("answers")
    }

    /// Of the one seeding that there is.
    async fn told(&self) -> (JobState, u64) {
        let [job] = &self.jobs().await[..] else { panic!("there is one job") };
        (job.state, job.result.as_ref().expect("it was begun")["failures"].as_u64().unwrap_or(0))
    }

    /// Breaks the archive's file of events; answers which, and what it held.
    fn damage(&self) -> (PathBuf, Vec<u8>) {
        let file = parquet_below(self.folder.path()).expect("something is archived");
        let bytes = std::fs::read(&file).expect("read");
        std::fs::write(&file, b"PAR1 it was longer once PAR1").expect("written");
        (file, bytes)
    }
}

async fn fill(log: &dyn EventLog, archive: &Archive, catalogues: &Catalogues) {
    log.create_topic("buys", 1).await.expect("created");
    let record = |number: u64| NewRecord {
        key: None,
        value: Bytes::from(format!(r#"{{"at": {}, "user_id": "u{}"}}"#, BEGIN, number % 30)),
        ingestion_time: at(1),
    };
    log.append("buys", (0..RECORDS).map(record).collect()).await.expect("appended");
    let records = held_from(log, "buys", 0, 0).await;
    let span = Span { partition: 0, offsets: 0..RECORDS };
    archive.commit(&catalogues.current().plan.sources[0], &span, &records).expect("committed");
}

fn parquet_below(folder: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("listed").map(|entry| entry.expect("listed").path());
    let mut found = entries.filter_map(|path| match path.is_dir() {
        true => parquet_below(&path),
        false => path.extension().is_some_and(|it| it == "parquet").then_some(path),
    });
    found.next()
}

fn at(seconds: i64) -> EventTime {
    EventTime::unchecked((BEGIN + seconds) * 1_000_000)
}

/// A log whose first records are gone.
struct Forgetful {
    log: Arc<dyn EventLog>,
    start: u64,
}

#[async_trait]
impl EventLog for Forgetful {
    async fn create_topic(&self, topic: &str, partitions: u32) -> Result<(), event_log::Error> {
        self.log.create_topic(topic, partitions).await
    }

    async fn bounds(&self, topic: &str) -> Result<Vec<Range<u64>>, event_log::Error> {
        let bounds = self.log.bounds(topic).await?;
        Ok(bounds.into_iter().map(|held| held.start.max(self.start)..held.end).collect())
    }

    async fn append(&self, topic: &str, records: Vec<NewRecord>) -> Result<Vec<(u32, u64)>, event_log::Error> {
        self.log.append(topic, records).await
    }

    async fn consumer(&self, group: &str, topics: &[String]) -> Result<Box<dyn Consumer>, event_log::Error> {
        self.log.consumer(group, topics).await
    }

    async fn takes_replay(&self, topic: &str) -> Result<(), event_log::Error> {
        self.log.takes_replay(topic).await
    }
}

#[tokio::test]
async fn rows_that_the_archive_does_not_give_are_folded_from_the_log_after_a_few_attempts() {
    let shop = Shop::decided().await;
    let (file, _) = shop.damage();
    shop.look().await;
    assert_eq!(shop.told().await, (JobState::Failed, 1));
    let job = shop.jobs().await.remove(0);
    let name = file.file_name().expect("a file").to_string_lossy().into_owned();
    assert!(job.error.as_ref().is_some_and(|error| error.contains(&name)), "{job:?}");
    for (wait, failures) in [(5, 2), (10, 3), (20, 4)] {
        shop.look_after(wait).await;
        assert_eq!(shop.told().await, (JobState::Failed, failures));
        assert_eq!(shop.version().generation, 0);
    }
    shop.look_after(40).await;
    let version = shop.version();
    assert_eq!((version.generation, version.seed), (1, Seed::Done(Offsets::new())), "the stream has it");
    assert_eq!(shop.told().await, (JobState::Failed, 5));
}

#[tokio::test]
async fn rows_that_only_the_archive_has_wait_for_whoever_mends_it() {
    let mut shop = Shop::decided().await;
    let log = shop.seeder.event_log.clone();
    shop.seeder.event_log = Arc::new(Forgetful { log, start: 1 });
    let (file, bytes) = shop.damage();
    shop.look().await;
    for wait in [5, 10, 20, 40, 80, 160, 300, 300, 300, 300, 300, 300, 300] {
        shop.look_after(wait).await;
    }
    assert_eq!((shop.told().await, shop.version().generation), ((JobState::Failed, 14), 0));
    std::fs::write(file, bytes).expect("mended");
    shop.look_after(300).await;
    let version = shop.version();
    assert_eq!((version.generation, version.seed), (0, Seed::Done(Offsets::from([(0, RECORDS)]))));
    assert_eq!(shop.told().await, (JobState::Done, 0));
}

#[tokio::test]
async fn a_seeding_that_another_process_is_at_is_left_alone_however_many_there_were_since() {
    let mut shop = Shop::decided().await;
    let version = shop.version();
    let job = shop.seeder.take(&version.view, Archived::Log).await.expect("answers").expect("it is new");
    for number in 0..200 {
        let other = Job { id: format!("other-{number}"), created_at: at(2_000), ..job.clone() };
        shop.seeder.registry.put_job(&other).await.expect("written");
    }
    let again = shop.seeder.take(&version.view, Archived::Log).await.expect("answers");
    assert_eq!(again.as_ref(), Some(&job), "who is at it goes on");
    shop.seeder.owner = "two".to_owned();
    assert_eq!(shop.seeder.take(&version.view, Archived::Log).await.expect("answers"), None);
}

#[tokio::test]
async fn a_seeding_whose_process_died_before_it_said_so_is_not_done_again() {
    let shop = Shop::decided().await;
    let version = shop.version();
    assert!(shop.seeder.seed(&version, Archived::Log, &Offsets::from([(0, RECORDS)])).await.expect("seeded"));
    let jobs = shop.jobs().await;
    assert_eq!(jobs[0].result.as_ref().expect("it is done")["events"], RECORDS);
    shop.look().await;
    assert_eq!((shop.version().seed, shop.jobs().await), (Seed::Done(Offsets::from([(0, RECORDS)])), jobs));
}

#[tokio::test]
async fn a_seeding_of_rows_that_nobody_wants_any_more_ends_with_the_process_that_was_at_it() {
    let mut shop = Shop::decided().await;
    let version = shop.version();
    let job = shop.seeder.take(&version.view, Archived::Log).await.expect("answers").expect("it is new");
    shop.seeder.begin_anew(&version, &Seed::Undecided).await.expect("begun");
    shop.seeder.registry.renew("one", Micros::ZERO, &[]).await.expect("it is gone");
    shop.seeder.owner = "two".to_owned();
    shop.seeder.take(&shop.version().view, Archived::Log).await.expect("answers").expect("it is new");
    let job = shop.seeder.registry.job(&job.id).await.expect("answers").expect("known");
    assert_eq!((job.state, job.finished_at), (JobState::Cancelled, Some(at(1_000))));
}

#[tokio::test]
async fn rows_that_the_store_lost_are_built_anew_once_whoever_notices() {
    let shop = Shop::decided().await;
    shop.look().await;
    let seeded = shop.version();
    let cut = Offsets::from([(0, RECORDS)]);
    assert_eq!(seeded.seed, Seed::Done(cut.clone()));
    shop.seeder.mend(&seeded, &cut).await.expect("answers");
    assert_eq!(shop.version().generation, 0, "nothing is lost");
    shop.seeder.online.remove(seeded.view.rows).await.expect("removed");
    shop.seeder.mend(&seeded, &cut).await.expect("answers");
    shop.seeder.mend(&seeded, &cut).await.expect("answers");
    assert_eq!((shop.version().generation, shop.version().seed), (1, Seed::Undecided));
}
