//! Archive, training sets and backfills in an object store: as on disk.

use std::sync::Barrier;

use bytes::Bytes;
use freshet::kernel::event::RawRecord;
use freshet::offline::{Archive, Committed, Format, ResultWriter, Scope, Span, convert};

use super::{Record, Shop, backfill, click, time, training};
use crate::bucket::Bucket;

fn clicks() -> [Record; 4] {
    [
        click(0, "u2", "11:00:00", "11:00:00", "pen", 2.5),
        click(1, "u1", "09:30:00", "09:30:00", "ink", 1.0),
        click(1, "u1", "13:00:00", "13:00:00", "pen", 2.0),
        click(0, "u3", "22:00:00", "22:00:00", "pen", 1.0),
    ]
}

#[test]
fn training_sets_and_backfills_are_the_same_in_a_bucket_as_on_disk() {
    let bucket = Bucket::create();
    let (remote, local) = (Shop::archived_in(bucket.open()), Shop::new());
    let made = [&remote, &local].map(|shop| {
        shop.archive(&clicks());
        let request = backfill::request(shop, "user_activity", "09:00:00", "23:00:00");
        let spine = training::spine(&[(Some("u1"), Some("pen"), Some("14:00:00"), 1)]);
        let cut = training::cut(shop, &[spine], freshet::kernel::engine::Knowledge::AsServed).expect("cut");
        let mut writer =
            ResultWriter::create(&shop.folder, "training_sets/one.parquet", Format::Parquet, cut.schema.clone())
                .expect("created");
        cut.batches.iter().for_each(|batch| writer.write(batch).expect("written"));
        writer.publish().expect("published");
        convert(&shop.folder, "training_sets/one.parquet", "training_sets/one.csv", Format::Csv).expect("converted");
        let csv = shop.folder.get("training_sets/one.csv").expect("read").expect("it was written");
        (backfill::rows(shop, &request), csv)
    });
    assert_eq!(made[0], made[1]);
    assert!(made[0].1.iter().filter(|byte| **byte == b'\n').count() == 2, "a header and a row");
}

#[test]
fn of_archivers_that_commit_at_once_in_a_bucket_exactly_one_wins() {
    let bucket = Bucket::create();
    let shop = Shop::archived_in(bucket.open());
    let source = shop.plan.source("clicks").expect("it is defined");
    for round in 0..5 {
        let start = Barrier::new(3);
        let from = shop.archive.position(source, 0).expect("read").unwrap_or(0);
        let race = |count: u64| {
            let archive = Archive::new(bucket.open());
            let json = click(0, "u1", "10:00:00", "10:00:00", "pen", 1.0).json;
            let record = |offset| RawRecord {
                partition: 0,
                offset,
                ingestion_time: time("10:00:00"),
                value: Bytes::from(json.clone()),
            };
            let records: Vec<RawRecord> = (from..from + count).map(record).collect();
            let span = Span { partition: 0, offsets: from..from + count };
            start.wait();
            (from + count, archive.commit(source, &span, &records).expect("answered"))
        };
        let outcomes = std::thread::scope(|scope| {
            let racers: Vec<_> = (1..4).map(|count| scope.spawn(move || race(count))).collect();
            racers.into_iter().map(|racer| racer.join().expect("no panic")).collect::<Vec<_>>()
        });
        let winners: Vec<u64> = outcomes.iter().filter(|(_, it)| *it == Committed::Done).map(|(to, _)| *to).collect();
        assert_eq!(winners.len(), 1, "round {round}: {outcomes:?}");
        let to = winners[0];
        let told =
            |(_, outcome): &(u64, Committed)| matches!(outcome, Committed::AlreadyCommitted { to: at } if *at == to);
        assert_eq!(outcomes.iter().filter(|outcome| told(outcome)).count(), 2, "round {round}: {outcomes:?}");
        let pinned = shop.archive.pin(source).expect("pinned");
        let read = shop.archive.read(source, &pinned, &Scope::default());
        assert_eq!(read.map(|events| events.expect("read").positions.len() as u64).sum::<u64>(), to);
    }
}
