//! Seeding against the fold of the stream, record by record; and seedings that die.

use std::collections::BTreeMap;

use fastrand::Rng;

use super::*;
use crate::kernel::codec::Image;
use crate::kernel::definition::{SourceText, parse};
use crate::kernel::engine::{Counts, Part, prepare, read};
use crate::kernel::event::{RawRecord, decode};
use crate::kernel::key::{EntityKey, HISTORY, KeyPart, PartId};
use crate::kernel::plan::{Plan, compile};
use crate::kernel::time::Micros;
use crate::kernel::value::Value;
use crate::offline::folder::tests::project;
use crate::offline::{Compaction, History, Span};
use crate::online::{Memory, PartKey};

use mortal::Mortal;

mod mortal;

/// Aggregates that show any difference in what was folded, and in which order copies were told.
const SHOP: &str = "
kind: entity
name: user
keys: [{ name: user, type: string }]
---
kind: source
name: clicks
event_time: { field: at, unit: ms }
event_id: id
dedup_window: 5m
allowed_lateness: 10m
max_future_skew: 1m
schema:
  version: 1
  fields:
    - { name: id, type: int64 }
    - { name: at, type: timestamp, required: true }
    - { name: user, type: string }
    - { name: item, type: string }
    - { name: price, type: float64 }
---
kind: feature_view
name: ever
entity: user
source: clicks
where: \"price is null or price < 9\"
features:
  - { name: clicks, aggregate: count, windows: [1m, 10m] }
  - { name: spend, aggregate: sum, column: price, windows: [10m] }
  - { name: first, aggregate: first, column: item }
  - { name: last, aggregate: last_n, column: item, n: 3, distinct: true }
  - { name: items, aggregate: count_distinct, column: item, limit: 5 }
---
kind: feature_view
name: lately
entity: user
source: clicks
features:
  - { name: clicks, aggregate: count, windows: [1m] }
  - { name: dearest, aggregate: max, column: price, windows: [2m] }
";

const SHARDS: u16 = 4;
const PARTITIONS: u32 = 3;
const RECORDS: u64 = 1_500;
const BEGIN: i64 = 1_700_000_000_000;

/// An archive of several partitions, cut into commits at random.
struct Archived {
    _root: tempfile::TempDir,
    archive: Archive,
    plan: Plan,
    /// By partition.
    records: Vec<Vec<RawRecord>>,
    now: EventTime,
}

impl Archived {
    fn messy(seed: u64, definitions: &str) -> Archived {
        Archived::of(seed, definitions, RECORDS)
    }

    /// Late and early events, copies soon and long after, such that are no events, and such of nobody.
    fn of(seed: u64, definitions: &str, records: u64) -> Archived {
        let root = tempfile::tempdir().expect("a folder");
        let text = definitions.to_owned();
        let plan = compile(&parse(&[SourceText { path: "shop.yaml".to_owned(), text }]).expect("right"));
        let archive = Archive::new(project(root.path()));
        let mut random = Rng::with_seed(seed);
        let partition = |partition: u32| (0..records).map(|offset| record(&mut random, partition, offset)).collect();
        let records: Vec<Vec<RawRecord>> = (0..PARTITIONS).map(partition).collect();
        for (partition, records) in (0..).zip(&records) {
            let mut rest = &records[..];
            while !rest.is_empty() {
                let (commit, others) = rest.split_at(random.usize(1..=rest.len().min(400)));
                let offsets = commit[0].offset..commit[0].offset + commit.len() as u64;
                archive.commit(&plan.sources[0], &Span { partition, offsets }, commit).expect("committed");
                rest = others;
            }
        }
        let now = millis(BEGIN + 2 * 3_600_000);
        Archived { _root: root, archive, plan, records, now }
    }

    fn seeding(&self, view: usize) -> Seeding {
        let records = self.records[0].len() as u64;
        let held: Vec<Range<u64>> = (0..PARTITIONS).map(|_| 0..records + 7).collect();
        let cut = cut(&self.archive, &self.plan.sources[0], &held, 1).expect("read");
        assert_eq!(cut, (0..PARTITIONS).map(|partition| (partition, records)).collect());
        let (archive, view) = (self.archive.clone(), self.plan.views[view].clone());
        Seeding { archive, view, cut, now: self.now, resources: Resources::default() }
    }

    /// The parts as the stream folds them: partition by partition, delivery by delivery, record by record.
    fn folded(&self, view: &Arc<ViewPlan>) -> BTreeMap<PartKey, Image> {
        let mut images = BTreeMap::new();
        for (partition, records) in (0..).zip(&self.records) {
            let mut parts: BTreeMap<EntityKey, Part> = BTreeMap::new();
            for delivery in records.chunks(100) {
                let prepared = prepare(view, &decode(&view.source, delivery).events);
                for (index, entrant) in prepared.entrants.iter().enumerate() {
                    let part = parts.entry(entrant.key.clone()).or_insert_with(|| Part::new(view));
                    part.fold(view, &prepared, index, &mut Counts::default());
                }
            }
            let age = self.now.min(records.last().expect("there are records").ingestion_time);
            for (entity, mut part) in parts {
                let flushed = part.flush(view, age);
                // Where no ids have to be kept either, events that nobody can see any more are not even read.
                let ends = |found_for| part.newest().expect("it has events") + found_for + Micros::HOUR;
                let is_seen = view.source.event_id.is_some() || view.found_for().is_none_or(|it| ends(it) > age);
                if is_seen && flushed.expires_at.is_none_or(|expires_at| expires_at > age) {
                    let key = PartKey { version: view.rows, entity, part: PartId::Partition(partition) };
                    let (body, ids) = (flushed.body.unwrap_or_default(), flushed.ids.unwrap_or_default());
                    images.insert(key, Image { head: flushed.head, body, ids });
                }
            }
        }
        images
    }
}

/// Users go round within an hour and a half of ingestion, those of odd numbers in its first minutes alone.
fn record(random: &mut Rng, partition: u32, offset: u64) -> RawRecord {
    let ingested = BEGIN + offset as i64 * 3_600 + i64::from(partition);
    let value = match random.u32(0..20) {
        0 => "no event".to_owned(),
        1 => format!(r#"{{"at":{},"user":"u0","id":1}}"#, ingested + 3_600_000),
        2 => format!(r#"{{"at":{ingested},"user":null,"id":1}}"#),
        _ => {
            let late = if random.u32(0..5) == 0 { random.i64(0..900_000) } else { random.i64(0..2_000) };
            let early = if random.u32(0..9) == 0 { random.i64(0..50_000) } else { 0 };
            let user = 2 * random.u32(0..12) + u32::from(offset < 50);
            let id = if random.u32(0..9) == 0 { "null".to_owned() } else { random.u32(0..120).to_string() };
            let price =
                if random.bool() { "null".to_owned() } else { format!("{}", 0.1 * f64::from(random.u32(0..99))) };
            let (at, item) = (ingested - late + early, random.u32(0..6));
            format!(r#"{{"id":{id},"at":{at},"user":"u{user}","item":"i{item}","price":{price}}}"#)
        }
    };
    RawRecord { partition, offset, ingestion_time: millis(ingested), value: value.into() }
}

fn millis(millis: i64) -> EventTime {
    EventTime::unchecked(millis * 1_000)
}

/// What a store has of these parts, and that there are no others.
async fn stored(store: &Memory, wanted: &BTreeMap<PartKey, Image>, users: u32) -> BTreeMap<PartKey, Image> {
    let version = wanted.keys().next().expect("there are parts").version;
    let entities = (0..users).map(|user| EntityKey::encode(&[KeyPart::Text(format!("u{user}"))]));
    let part = |entity: EntityKey| {
        (0..PARTITIONS).map(move |partition| PartKey {
            version,
            entity: entity.clone(),
            part: PartId::Partition(partition),
        })
    };
    let keys: Vec<PartKey> = entities.flat_map(part).collect();
    let loaded = store.load(&keys).await.expect("loaded");
    keys.into_iter().zip(loaded).filter_map(|(key, loaded)| Some((key, loaded.image?))).collect()
}

const USERS: u32 = 30;

/// What a lookup reads of each entity when the last record has come.
fn values(view: &ViewPlan, images: &BTreeMap<PartKey, Image>) -> BTreeMap<EntityKey, Vec<Option<Value>>> {
    let mut rows: BTreeMap<EntityKey, Vec<Part>> = BTreeMap::new();
    for (key, image) in images {
        rows.entry(key.entity.clone()).or_default().push(Part::decode(view, image).expect("decoded"));
    }
    let as_of = millis(BEGIN + RECORDS as i64 * 3_600);
    let of = |parts: Vec<Part>| read(view, &parts.iter().collect::<Vec<_>>(), as_of).values;
    rows.into_iter().map(|(entity, parts)| (entity, of(parts))).collect()
}

#[tokio::test]
async fn seeded_parts_have_the_bytes_of_those_that_are_folded_record_by_record() {
    for seed in 0..6 {
        // Without ids nothing is told to be a copy, and nothing is kept of them.
        for definitions in [SHOP.to_owned(), SHOP.replace("event_id: id\ndedup_window: 5m\n", "")] {
            let archived = Archived::messy(seed, &definitions);
            for view in 0..2 {
                let (seeding, store) = (archived.seeding(view), Memory::new(SHARDS));
                let wanted = archived.folded(&seeding.view);
                let outcome = super::seed(&store, seeding.clone(), Nonce(1)).await.expect("seeded");
                assert!(matches!(outcome, Seeded::Done { events: 1_000.. }), "{outcome:?}");
                let goals: Vec<(u32, u64)> = seeding.cut.clone().into_iter().collect();
                assert!(store.complete(seeding.view.rows, &goals).await.expect("answered"));
                let found = stored(&store, &wanted, USERS).await;
                assert_eq!(found.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>(), "seed {seed}");
                for (key, image) in &wanted {
                    assert_eq!(found[key], *image, "seed {seed}, view {view}, {key:?}");
                }
            }
        }
    }
}

/// Of which shards some partition is below the cut.
async fn unseeded(store: &Memory, seeding: &Seeding) -> usize {
    let offsets = store.offsets(seeding.view.rows).await.expect("answered");
    offsets.iter().filter(|(_, partition, offset)| *offset < seeding.cut[partition]).count()
}

#[tokio::test]
async fn a_seeding_that_died_anywhere_and_is_done_again_later_leaves_nothing_out_and_nothing_doubled() {
    let archived = Archived::messy(1, SHOP);
    let seeding = archived.seeding(0);
    let wanted = archived.folded(&seeding.view);
    let wanted_values = values(&seeding.view, &wanted);
    for calls in 0.. {
        // By then fewer tiles are out of reach, so that parts have bodies which they can do without later.
        let earlier = Seeding { now: millis(BEGIN + 1_200_000), ..seeding.clone() };
        let dying = Mortal::new(Some(calls), None);
        let died = super::seed(&dying, earlier, Nonce(1)).await.is_err();
        assert_eq!(died, unseeded(&dying.store, &seeding).await > 0, "after {calls} calls: half of it is not all");
        let outcome = super::seed(&dying.store, seeding.clone(), Nonce(2)).await.expect("seeded");
        assert_eq!(outcome == Seeded::Done { events: 0 }, !died, "what is done is not done again");
        let found = stored(&dying.store, &wanted, USERS).await;
        assert_eq!(values(&seeding.view, &found), wanted_values, "after {calls} calls");
        assert_eq!(unseeded(&dying.store, &seeding).await, 0);
        if !died {
            assert!(calls > usize::from(SHARDS), "there were writes to die between");
            return;
        }
    }
}

#[tokio::test]
async fn a_store_that_lost_a_write_of_a_seeding_refuses_the_next_one() {
    let archived = Archived::messy(2, SHOP);
    for calls in 0..usize::from(SHARDS) {
        let (seeding, store) = (archived.seeding(0), Mortal::new(None, Some(calls)));
        let outcome = super::seed(&store, seeding.clone(), Nonce(1)).await.expect("answered");
        assert_eq!(outcome, Seeded::TakenOver, "after {calls} calls");
        let outcome = super::seed(&store, seeding.clone(), Nonce(2)).await.expect("seeded");
        assert!(matches!(outcome, Seeded::Done { events: 1.. }), "{outcome:?}");
        let wanted = archived.folded(&seeding.view);
        assert_eq!(stored(&store.store, &wanted, USERS).await, wanted, "after {calls} calls");
    }
}

#[tokio::test]
async fn of_few_records_too_no_write_is_lost_unnoticed() {
    let mut lost = 0;
    for seed in 0..8 {
        for records in 1..5 {
            let archived = Archived::of(seed, SHOP, records);
            let (seeding, wanted) = (archived.seeding(0), archived.folded(&archived.plan.views[0]));
            for calls in (0..).take_while(|_| !wanted.is_empty()) {
                // One that died has moved the offsets on before.
                let dying = Mortal::new(Some(calls % 3), Some(calls));
                super::seed(&dying, seeding.clone(), Nonce(1)).await.ok();
                let outcome = super::seed(&dying, seeding.clone(), Nonce(2)).await.expect("answered");
                let is_whole = outcome != Seeded::TakenOver && unseeded(&dying.store, &seeding).await == 0;
                if is_whole {
                    assert_eq!(
                        values(&seeding.view, &stored(&dying.store, &wanted, USERS).await),
                        values(&seeding.view, &wanted),
                        "seed {seed}, {records} records, after {calls} calls"
                    );
                }
                lost += u32::from(!is_whole);
                if dying.calls() <= calls {
                    break;
                }
            }
        }
    }
    assert!(lost > 100, "{lost}");
}

#[test]
fn the_age_of_rows_is_that_of_the_last_record_below_the_cut_whatever_was_compacted() {
    let archived = Archived::messy(5, SHOP);
    let source = &archived.plan.sources[0];
    let cut = archived.archive.records(source, 0, 0).expect("read").expect("a commit").next;
    let age = |cut| {
        let seeding = Seeding { cut: BTreeMap::from([(0, cut)]), ..archived.seeding(1) };
        fold::ages(&seeding).expect("read")[&PartId::Partition(0)]
    };
    let last = |cut: u64| archived.records[0][cut as usize - 1].ingestion_time;
    assert_eq!(age(cut), last(cut));
    let two = Compaction { commits_max: 2, ..Compaction::USUAL };
    let compacted = archived.archive.compact(source, 0, &two).expect("compacted").expect("there are two");
    assert!(compacted.contains(&cut));
    assert_eq!(age(cut), last(cut));
    assert_eq!(age(compacted.end), last(compacted.end));
}

#[tokio::test]
async fn a_later_seeding_takes_over_what_an_earlier_one_has_begun() {
    let archived = Archived::messy(3, SHOP);
    let (seeding, store) = (archived.seeding(0), Memory::new(SHARDS));
    let mut first = Writer::claim(&store, seeding.view.rows, seeding.cut.clone(), Nonce(1)).await.expect("claimed");
    let outcome = super::seed(&store, seeding.clone(), Nonce(2)).await.expect("seeded");
    assert!(matches!(outcome, Seeded::Done { events: 1.. }), "{outcome:?}");
    assert!(!first.finish().await.expect("answered"), "it is refused");
    let late = Writer::claim(&store, seeding.view.rows, seeding.cut, Nonce(3)).await.expect("claimed");
    assert!(late.is_done());
}

#[test]
fn the_archive_gives_what_it_has_from_the_logs_start_and_no_more_than_the_log_had() {
    let archived = Archived::messy(4, SHOP);
    let source = &archived.plan.sources[0];
    let cut = |held: &[Range<u64>], least| cut(&archived.archive, source, held, least).expect("read");
    let all = BTreeMap::from([(0, RECORDS), (1, RECORDS), (2, RECORDS)]);
    assert_eq!(cut(&[5..RECORDS, 0..RECORDS, 0..9_999, 0..9], 3 * RECORDS), all, "of the fourth it has nothing");
    assert_eq!(cut(&[0..RECORDS, 0..RECORDS, 0..9_999], 3 * RECORDS + 1), BTreeMap::new(), "too few records");
    assert_eq!(cut(&[0..RECORDS - 1, 0..RECORDS], 0), BTreeMap::from([(1, RECORDS)]), "the first log went back");
}

const CLICKS: &str = "
kind: entity
name: user
keys: [{ name: user_id, type: string }]
---
kind: source
name: clicks
event_time: { field: at, unit: s }
history: [{ path: past.ndjson, format: ndjson, until: 2026-01-01T00:00:00Z }]
schema:
  version: 1
  fields:
    - { name: at, type: timestamp, required: true }
    - { name: user_id, type: string }
---
kind: feature_view
name: activity
entity: user
source: clicks
features:
  - { name: clicks, aggregate: count, windows: [1h] }
  - { name: all, aggregate: count }
";

/// A click a minute, of each of fifty users in turn; the newest is from now.
fn of_history(root: &std::path::Path) -> Seeding {
    let text = CLICKS.to_owned();
    let plan = compile(&parse(&[SourceText { path: "clicks.yaml".to_owned(), text }]).expect("right"));
    let archive = Archive::new(project(root));
    let now = 1_700_000_000 + 2_000 * 60;
    let record = |offset: u64| {
        let at = now as u64 - offset * 60;
        let json = format!(r#"{{"at":{at},"user_id":"u{}"}}"#, offset % 50);
        let ingestion_time = EventTime::unchecked(at as i64 * 1_000_000);
        RawRecord { partition: HISTORY, offset, ingestion_time, value: json.into() }
    };
    let records: Vec<RawRecord> = (0..2_000).map(record).collect();
    archive.commit(&plan.sources[0], &Span { partition: HISTORY, offsets: 0..2_000 }, &records).expect("committed");
    archive.finish_history(&plan.sources[0], History { rows: 2_000, left_out: 0 }).expect("written");
    let now = EventTime::unchecked((now + 1) * 1_000_000);
    let cut = BTreeMap::from([(HISTORY, 2_000)]);
    Seeding { archive, view: plan.views[0].clone(), cut, now, resources: Resources::default() }
}

async fn counts(store: &Memory, seeding: &Seeding, user: u64) -> Vec<Option<Value>> {
    let view = &seeding.view;
    let entity = EntityKey::encode(&[KeyPart::Text(format!("u{user}"))]);
    let row = store.read(&[(view.rows, entity)]).await.expect("read").remove(0).expect("it is whole");
    let parts = row.parts.iter().map(|(_, image)| Part::decode(view, image).expect("decoded")).collect::<Vec<_>>();
    assert!(row.parts.iter().all(|(part, _)| *part == PartId::History));
    read(view, &parts.iter().collect::<Vec<_>>(), seeding.now).values
}

#[tokio::test]
async fn rows_are_what_history_says_and_seeding_them_twice_changes_nothing() {
    let root = tempfile::tempdir().expect("a folder");
    let (seeding, store) = (of_history(root.path()), Memory::new(8));
    for (nonce, events) in [(1, 2_000), (2, 0)] {
        let outcome = super::seed(&store, seeding.clone(), Nonce(nonce)).await.expect("seeded");
        assert_eq!(outcome, Seeded::Done { events });
        assert_eq!(counts(&store, &seeding, 0).await, [Some(Value::Int(2)), Some(Value::Int(40))]);
        assert_eq!(counts(&store, &seeding, 49).await, [Some(Value::Int(1)), Some(Value::Int(40))]);
        assert!(store.complete(seeding.view.rows, &[(HISTORY, 2_000)]).await.expect("answered"));
    }
}

#[tokio::test]
async fn a_history_without_rows_is_seeded_at_once() {
    let root = tempfile::tempdir().expect("a folder");
    let (seeding, store) = (of_history(root.path()), Memory::new(8));
    let seeding = Seeding { cut: BTreeMap::from([(HISTORY, 0)]), ..seeding };
    let outcome = super::seed(&store, seeding.clone(), Nonce(1)).await.expect("seeded");
    assert_eq!(outcome, Seeded::Done { events: 0 });
    assert!(store.complete(seeding.view.rows, &[(HISTORY, 0)]).await.expect("answered"));
}
