use bytes::Bytes;

use super::*;
use crate::kernel::definition::{self, SourceText};
use crate::kernel::engine::read;
use crate::kernel::event::{self, RawRecord};
use crate::kernel::key::KeyPart;
use crate::kernel::plan;
use crate::kernel::value::Value;

const CLICKS: &str = "
kind: entity
name: user
keys: [{ name: user_id, type: string }]
---
kind: source
name: clicks
event_time: { field: at, unit: ms }
event_id: id
dedup_window: 1h
allowed_lateness: 1m
schema:
  version: 1
  fields:
    - { name: id, type: string }
    - { name: at, type: timestamp, required: true }
    - { name: user_id, type: string }
    - { name: page, type: string }
---
kind: feature_view
name: activity
entity: user
source: clicks
features:
  - { name: views, aggregate: count, windows: [10m] }
  - { name: last_page, aggregate: last, column: page, windows: [10m] }
";

const UNSEEN: (i64, &str) = (0, "");

/// Of `partition offset event-second ingested-second id`, in the batches that `|` separates. Its page is its id.
fn history(view: &Arc<ViewPlan>, events: &str) -> History {
    let mut history = History::of_all(view.clone());
    for batch in events.split('|') {
        let records: Vec<RawRecord> = batch.split(',').map(record).collect();
        let decoded = event::decode(&view.source, &records);
        assert_eq!(decoded.rejections, []);
        history.add(&decoded.events);
    }
    history
}

fn record(text: &str) -> RawRecord {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [partition, offset, at, ingested, id] = words[..] else { panic!("`{text}` is no event") };
    let json = format!(r#"{{"id":"{id}","at":{at}000,"user_id":"u","page":"{id}"}}"#);
    RawRecord {
        partition: partition.parse().expect("a partition"),
        offset: offset.parse().expect("an offset"),
        ingestion_time: second(ingested.parse().expect("a second")),
        value: Bytes::from(json),
    }
}

fn view() -> Arc<ViewPlan> {
    let file = SourceText { path: "clicks.yaml".into(), text: CLICKS.into() };
    let definitions = definition::parse(&[file]).expect("the definitions are right");
    plan::compile(&definitions).views[0].clone()
}

fn user() -> EntityKey {
    EntityKey::encode(&[KeyPart::Text("u".into())])
}

fn second(second: i64) -> EventTime {
    EventTime::unchecked(second * 1_000_000)
}

/// Count and last page at each second.
fn known<const N: usize>(events: &str, knowledge: Knowledge, seconds: [i64; N]) -> [(i64, String); N] {
    let history = history(&view(), events);
    let mut walk = history.known(&user(), knowledge);
    seconds.map(|at| shown(&walk.at(second(at))))
}

fn shown(reading: &Reading) -> (i64, String) {
    match &reading.values[..] {
        [Some(Value::Int(views)), Some(Value::Text(page))] => (*views, page.to_string()),
        [Some(Value::Int(views)), None] => (*views, String::new()),
        other => panic!("unexpected values {other:?}"),
    }
}

fn expect<const N: usize>(expected: [(i64, &str); N]) -> [(i64, String); N] {
    expected.map(|(views, page)| (views, page.to_owned()))
}

#[test]
fn an_event_is_not_seen_at_its_own_time_and_leaves_with_its_window() {
    let seen = known("0 0 100 100 a", Knowledge::AsServed, [99, 100, 101, 700, 709, 710]);
    assert_eq!(seen, expect([UNSEEN, UNSEEN, (1, "a"), (1, "a"), (1, "a"), UNSEEN]));
}

#[test]
fn an_event_on_its_way_is_known_once_it_is_ingested() {
    let events = "0 0 100 130 a";
    assert_eq!(known(events, Knowledge::AsServed, [101, 129, 130]), expect([UNSEEN, UNSEEN, (1, "a")]));
    assert_eq!(known(events, Knowledge::EventTime, [100, 101, 130]), expect([UNSEEN, (1, "a"), (1, "a")]));
}

#[test]
fn a_late_event_is_what_happened_and_never_what_was_served() {
    let events = "0 0 100 161 late, 0 1 90 150 punctual";
    assert_eq!(known(events, Knowledge::AsServed, [300]), expect([(1, "punctual")]));
    assert_eq!(known(events, Knowledge::EventTime, [300]), expect([(2, "late")]));
}

#[test]
fn ties_in_event_time_are_ordered_by_where_the_events_stand_in_the_log() {
    let one = known("1 0 100 100 b, 0 7 100 100 a", Knowledge::AsServed, [200]);
    let other = known("0 7 100 100 a | 1 0 100 100 b", Knowledge::AsServed, [200]);
    assert_eq!((one, other), (expect([(2, "b")]), expect([(2, "b")])));
}

#[test]
fn copies_are_decided_in_offset_order_before_anything_is_cut() {
    // The copy happened first, yet the log has it second: an instant between the two sees neither.
    let events = "0 1 50 105 a | 0 0 100 104 a";
    assert_eq!(known(events, Knowledge::AsServed, [99, 105]), expect([UNSEEN, (1, "a")]));
    let in_two_partitions = "0 1 50 105 a | 1 0 100 104 a";
    assert_eq!(known(in_two_partitions, Knowledge::AsServed, [105]), expect([(2, "a")]));
}

#[test]
fn other_entities_than_those_asked_about_are_not_kept() {
    let view = view();
    let mut nobody = History::of(view.clone(), []);
    let decoded = event::decode(&view.source, &[record("0 0 100 100 a")]);
    nobody.add(&decoded.events);
    assert!(nobody.entities().is_empty() && nobody.batches.is_empty());

    let other = RawRecord { value: r#"{"at":100000,"user_id":"other"}"#.into(), ..record("0 0 100 100 a") };
    let mut one = History::of(view.clone(), [user()]);
    one.add(&event::decode(&view.source, &[other, record("0 1 100 100 a")]).events);
    assert_eq!(one.batches[0].entrants.iter().map(|entrant| entrant.row).collect::<Vec<_>>(), [0], "the only row");
    assert_eq!(shown(&one.known(&user(), Knowledge::AsServed).at(second(101))), (1, "a".to_owned()));
    assert_eq!(shown(&nobody.known(&user(), Knowledge::AsServed).at(second(101))), (0, String::new()));
}

#[test]
fn a_key_or_an_id_that_is_too_long_to_keep_is_as_good_as_null() {
    let view = view();
    let prepared = |user: usize, id: usize| {
        let (user, id) = ("u".repeat(user), "i".repeat(id));
        let json = format!(r#"{{"id":"{id}","at":100000,"user_id":"{user}"}}"#);
        let decoded = event::decode(&view.source, &[RawRecord { value: json.into(), ..record("0 0 100 100 a") }]);
        prepare_with_late(&view, &decoded.events)
    };
    assert_eq!(prepared(1_024, 1).entrants.len(), 1);
    let (too_long, counts) = (prepared(1_025, 1), prepared(1, 1_025).counts);
    assert_eq!((too_long.entrants.len(), too_long.counts.null_key), (0, 1));
    assert_eq!(prepared(1, 1_024).entrants[0].event_id.as_ref().map(|id| id.len()), Some(1_024));
    assert_eq!((prepared(1, 1_025).entrants[0].event_id.clone(), counts.too_long_skipped), (None, 1));
}

#[test]
fn a_fold_stands_below_its_offsets_also_where_they_go_back() {
    let view = view();
    let history = history(&view, "0 5 101 101 c, 0 3 100 100 b | 1 0 90 90 a, 1 1 300 400 late");
    let mut walk = history.folded(&user());
    let mut at = |offsets: &[(u32, u64)]| shown(&read(&view, &[walk.below(offsets)], second(200)));
    assert_eq!(at(&[]), (0, String::new()));
    assert_eq!(at(&[(0, 4), (1, 0)]), (1, "b".to_owned()));
    assert_eq!(at(&[(0, 6), (1, 9)]), (3, "c".to_owned()));
    assert_eq!(at(&[(0, 5), (1, 9)]), (2, "b".to_owned()));
    assert_eq!(at(&[(1, 1)]), (1, "a".to_owned()));
}

#[test]
fn a_fold_reads_the_open_tile_as_a_lookup_does() {
    let view = view();
    let history = history(&view, "0 0 105 105 ahead");
    let mut walk = history.folded(&user());
    assert_eq!(shown(&read(&view, &[walk.below(&[(0, 1)])], second(103))), (1, "ahead".to_owned()));
    assert_eq!(shown(&read(&view, &[walk.below(&[(0, 1)])], second(100))), (0, String::new()));
}
