//! Lookups on a store that remembers what it was asked (semantics §6).

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use super::*;
use crate::kernel::codec::Image;
use crate::kernel::definition::{SourceText, parse};
use crate::kernel::engine::Status;
use crate::kernel::engine::{Counts, Part, prepare};
use crate::kernel::event::{RawRecord, decode};
use crate::kernel::key::{PartId, Shard};
use crate::kernel::plan::compile;
use crate::kernel::value::Value;
use crate::online::{self, Advance, Applied, Claim, Loaded, Nonce, OnlineStore, PartKey, PartWrite};
use crate::registry::catalogue::{Pass, Version};
use crate::registry::{Seed, VersionState};

const DEFINITIONS: &str = "
kind: entity
name: user
keys: [{ name: user_id, type: string }]
---
kind: source
name: clicks
event_time: { field: at, unit: s }
schema:
  fields:
    - { name: at, type: timestamp, required: true }
    - { name: user_id, type: string, required: true }
    - { name: price, type: float64 }
    - { name: note, type: string }
---
kind: feature_view
name: recent
entity: user
source: clicks
max_age: 30m
features:
  - { name: clicks, aggregate: count, windows: [1h, 24h] }
  - { name: dearest, aggregate: max, column: price, windows: [24h] }
---
kind: feature_view
name: ever
entity: user
source: clicks
features:
  - { name: clicks, aggregate: count }
---
kind: feature_view
name: notes
entity: user
source: clicks
features:
  - { name: note, aggregate: last, column: note }
";

/// `a` and `b` clicked ten minutes and ten hours before noon; nothing of `b` had a price.
const EVENTS: &[&str] = &[
    r#"{"at": 42600, "user_id": "a", "price": 2.5}"#,
    r#"{"at": 42000, "user_id": "a"}"#,
    r#"{"at": 7200, "user_id": "b"}"#,
];

/// What `c` wrote.
const NOTE_BYTES: usize = 500;
const NOON: i64 = 43_200_000_000;

#[derive(Default)]
struct Shelf {
    rows: HashMap<(Fingerprint, EntityKey), StoredRow>,
    asked: Mutex<Vec<usize>>,
    /// The version of which no shard is complete.
    emptied: Option<Fingerprint>,
    /// The version of which no row can be read.
    damaged: Option<Fingerprint>,
    is_away: bool,
}

const UNASKED: &str = "a lookup reads";

#[async_trait]
impl OnlineStore for Shelf {
    fn shards(&self) -> u16 {
        1
    }

    async fn read(&self, rows: &[(Fingerprint, EntityKey)]) -> Result<Vec<Option<StoredRow>>, online::Error> {
        self.asked.lock().expect("nobody panics").push(rows.len());
        if self.is_away {
            return Err(online::Error::Unavailable("the shelf is away".to_owned()));
        }
        let row = |row: &(Fingerprint, EntityKey)| {
            let offsets = if self.emptied == Some(row.0) { Vec::new() } else { vec![(0, 3)] };
            let stored = StoredRow { offsets, ..self.rows.get(row).cloned().unwrap_or_default() };
            (self.damaged != Some(row.0)).then_some(stored)
        };
        Ok(rows.iter().map(row).collect())
    }

    async fn claim(&self, _: Shard, _: &[Claim], _: Nonce) -> Result<Vec<u64>, online::Error> {
        unreachable!("{UNASKED}")
    }

    async fn apply(&self, _: Shard, _: &[Advance], _: &[PartWrite]) -> Result<Applied, online::Error> {
        unreachable!("{UNASKED}")
    }

    async fn load(&self, _: &[PartKey]) -> Result<Vec<Loaded>, online::Error> {
        unreachable!("{UNASKED}")
    }

    async fn offsets(&self, _: Fingerprint) -> Result<Vec<(Shard, u32, u64)>, online::Error> {
        unreachable!("{UNASKED}")
    }

    async fn complete(&self, _: Fingerprint, _: &[(u32, u64)]) -> Result<bool, online::Error> {
        unreachable!("{UNASKED}")
    }

    async fn is_complete(&self, _: Fingerprint) -> Result<bool, online::Error> {
        unreachable!("{UNASKED}")
    }

    async fn expire(&self, _: EventTime) -> Result<usize, online::Error> {
        unreachable!("{UNASKED}")
    }

    async fn remove(&self, _: Fingerprint) -> Result<(), online::Error> {
        unreachable!("{UNASKED}")
    }
}

fn catalogue() -> Catalogue {
    let parsed = parse(&[SourceText { path: "test".to_owned(), text: DEFINITIONS.to_owned() }]);
    let plan = Arc::new(compile(&parsed.unwrap_or_else(|found| panic!("{found:#?}"))));
    let live = |view: &Arc<ViewPlan>| Version {
        view: view.clone(),
        generation: 0,
        seed: Seed::default(),
        state: VersionState::Live,
        revision: 1,
        written_by: Pass::Serving,
    };
    Catalogue { revision: 1, versions: plan.views.iter().map(live).collect(), served: plan.clone(), plan }
}

/// Rows of both views, as the stream would have flushed them.
fn shelf(catalogue: &Catalogue) -> Shelf {
    let mut shelf = Shelf::default();
    for view in &catalogue.plan.views {
        let record = |(offset, value): (usize, &str)| RawRecord {
            partition: 0,
            offset: offset as u64,
            ingestion_time: at_noon(0),
            value: value.to_string().into(),
        };
        let long = format!(r#"{{"at": 7200, "user_id": "c", "note": "{}"}}"#, "x".repeat(NOTE_BYTES));
        let events = EVENTS.iter().copied().chain([long.as_str()]);
        let records: Vec<RawRecord> = events.enumerate().map(record).collect();
        let prepared = prepare(view, &decode(&view.source, &records).events);
        let mut parts: HashMap<EntityKey, Part> = HashMap::new();
        for (index, entrant) in prepared.entrants.iter().enumerate() {
            let part = parts.entry(entrant.key.clone()).or_insert_with(|| Part::new(view));
            part.fold(view, &prepared, index, &mut Counts::default());
        }
        for (entity, mut part) in parts {
            let flushed = part.flush(view, at_noon(0));
            let image = Image { head: flushed.head, ..Image::default() };
            let row = StoredRow { parts: vec![(PartId::Partition(0), image)], offsets: Vec::new() };
            shelf.rows.insert((view.rows, entity), row);
        }
    }
    shelf
}

fn at_noon(minutes_after: i64) -> EventTime {
    EventTime::unchecked(NOON + minutes_after * 60_000_000)
}

fn serving(shelf: Shelf, now: EventTime) -> (Arc<Shelf>, Serving) {
    let shelf = Arc::new(shelf);
    let store = Reader::new(shelf.clone(), Duration::from_secs(60));
    (shelf, Serving { store, clock: Clock::fixed(now), sampler: Sampler::new(0).0 })
}

fn request(features: &[&str], users: &[&str]) -> Request {
    let users = users.iter().map(|user| Some(KeyPart::Text((*user).to_owned()))).collect();
    let wanted = Wanted::Features(features.iter().map(|feature| (*feature).to_owned()).collect());
    Request { wanted, entities: vec![("user_id".to_owned(), users)] }
}

/// One value with its status and the newest event time of its row.
type Cell = (Option<Value>, Status, Option<EventTime>);

/// The cells of each column.
fn columns(answer: &Answer) -> Vec<Vec<Cell>> {
    let column = |column: Column<'_>| {
        let times = column.event_times();
        let cells = column.values().zip(column.statuses()).zip(times);
        cells.map(|((value, status), time)| (value.cloned(), status, time)).collect()
    };
    answer.columns().map(column).collect()
}

#[tokio::test]
async fn a_call_is_one_read_of_the_store_and_each_row_is_read_once() {
    let catalogue = catalogue();
    let (shelf, serving) = serving(shelf(&catalogue), at_noon(0));
    let features = ["recent", "ever:clicks", "recent:clicks_1h", "ever:clicks"];
    let users = ["a", "b", "a", "nobody", "b", "a"];
    let answer = serving.lookup(&catalogue, &request(&features, &users)).await.expect("answered");
    assert_eq!(*shelf.asked.lock().expect("nobody panics"), [2 * 3], "three users of two views");
    let columns = columns(&answer);
    assert_eq!((columns.len(), &columns[0], &columns[3]), (6, &columns[4], &columns[5]));
    for column in &columns {
        assert_eq!(column.len(), users.len());
        assert_eq!((&column[0], &column[0], &column[1]), (&column[2], &column[5], &column[4]), "fanned out");
    }
    let clicks: Vec<_> = columns[3].iter().map(|(value, _, _)| value.clone()).collect();
    assert_eq!(clicks, [2, 1, 2, 0, 1, 2].map(|clicks| Some(Value::Int(clicks))));
    assert_eq!(answer.as_of, at_noon(0));
}

#[tokio::test]
async fn features_are_counted_as_they_are_named_and_not_when_all_are_found() {
    let catalogue = catalogue();
    let (_, serving) = serving(shelf(&catalogue), at_noon(0));
    let mut named = vec!["recent"; MOST_FEATURES / 3 + 1];
    named.push("nobody");
    let refused = serving.lookup(&catalogue, &request(&named, &["a"])).await.expect_err("too many");
    assert!(matches!(refused, Error::TooManyFeatures), "{refused}");
}

#[tokio::test]
async fn an_answer_has_so_many_bytes_at_the_most_however_few_rows_they_are_of() {
    let catalogue = catalogue();
    let (_, serving) = serving(shelf(&catalogue), at_noon(0));
    let answered = async |named: usize| {
        let request = request(&vec!["notes"; named], &vec!["c"; MOST_BYTES / NOTE_BYTES / 16]);
        serving.lookup(&catalogue, &request).await.map(|answer| answer.columns().len())
    };
    let refused = answered(16).await.expect_err("they have more than their bytes");
    assert!(matches!(refused, Error::TooManyBytes), "{refused}");
    assert_eq!(answered(15).await.expect("they are few enough"), 15, "a feature that is named twice is told twice");
}

#[tokio::test]
async fn a_status_says_what_is_known_of_the_entity_and_its_age_changes_no_value() {
    let catalogue = catalogue();
    let (_, serving) = serving(shelf(&catalogue), at_noon(0));
    let asked = request(&["recent:clicks_24h", "recent:dearest_24h"], &["a", "b", "nobody"]);
    let answer = serving.lookup(&catalogue, &asked).await.expect("answered");
    let (count, newest) = (|count| Some(Value::Int(count)), |minutes| Some(at_noon(minutes)));
    let clicks = [
        (count(2), Status::Present, newest(-10)),
        (count(1), Status::OutsideMaxAge, newest(-600)),
        (count(0), Status::NotFound, None),
    ];
    let dearest = [
        (Some(Value::Float(2.5)), Status::Present, newest(-10)),
        (None, Status::OutsideMaxAge, newest(-600)),
        (None, Status::NotFound, None),
    ];
    assert_eq!(columns(&answer), [clicks, dearest]);
    let counted: Vec<_> = answer.statuses().map(|(_, status, values)| (status, values)).collect();
    assert_eq!(counted, [(Status::Present, 2), (Status::NotFound, 2), (Status::OutsideMaxAge, 2)]);
}

#[tokio::test]
async fn a_null_of_a_known_entity_is_told_from_an_entity_without_a_key() {
    let catalogue = catalogue();
    let (shelf, serving) = serving(shelf(&catalogue), at_noon(-580));
    let mut asked = request(&["recent:dearest_24h"], &["b"]);
    asked.entities[0].1.push(None);
    let answer = serving.lookup(&catalogue, &asked).await.expect("answered");
    let expected = [(None, Status::NullValue, Some(at_noon(-600))), (None, Status::NotFound, None)];
    assert_eq!(columns(&answer), [expected]);
    assert_eq!(*shelf.asked.lock().expect("nobody panics"), [1], "a null key has no row");
}

#[tokio::test]
async fn whether_the_store_still_has_a_row_beyond_its_reach_does_not_show() {
    let catalogue = catalogue();
    let asked = request(&["recent"], &["a", "b"]);
    let much_later = at_noon(3 * 24 * 60);
    let (_, with_rows) = serving(shelf(&catalogue), much_later);
    let (_, without) = serving(Shelf::default(), much_later);
    let with_rows = with_rows.lookup(&catalogue, &asked).await.expect("answered");
    let without = without.lookup(&catalogue, &asked).await.expect("answered");
    assert_eq!(columns(&with_rows), columns(&without));
    assert!(columns(&with_rows).iter().flatten().all(|(_, status, time)| (*status, *time) == (Status::NotFound, None)));
}

/// What is said of views that could not be read: `recent: view ...`.
fn told(unavailable: &[Unavailable]) -> Vec<String> {
    unavailable.iter().map(|it| format!("{}: {it}", it.view())).collect()
}

/// The rows of one view's version.
fn rows_of(catalogue: &Catalogue, view: &str) -> Fingerprint {
    catalogue.plan.view(view).expect("it is defined").rows
}

/// The shelf with a row of `ever`, that of `a`, which is no row of this layout.
fn with_a_damaged_row(catalogue: &Catalogue) -> Shelf {
    let mut shelf = shelf(catalogue);
    let key = (rows_of(catalogue, "ever"), EntityKey::encode(&[KeyPart::Text("a".to_owned())]));
    shelf.rows.get_mut(&key).expect("it clicked").parts[0].1.head = "another".into();
    shelf
}

const DAMAGED: &str = "ever: a stored row of view `ever` in shard 0 cannot be read";

#[tokio::test]
async fn a_shard_that_was_emptied_is_never_answered_with_empty_values() {
    let catalogue = catalogue();
    let emptied = Some(rows_of(&catalogue, "recent"));
    let (_, serving) = serving(Shelf { emptied, ..shelf(&catalogue) }, at_noon(0));
    let asked = request(&["recent"], &["a"]);
    let refused = serving.lookup(&catalogue, &asked).await.expect_err("it is being rebuilt");
    assert_eq!(refused.to_string(), "view `recent` is being built from the log and is not served yet");
    let refused = serving.explain(&catalogue, &asked).await.map(|_| ()).expect_err("it is being rebuilt");
    assert!(matches!(&refused, Error::Unavailable(views) if matches!(views[..], [Unavailable::Rebuilding(_)])));
}

#[tokio::test]
async fn a_row_that_cannot_be_read_fails_the_call_and_names_its_view_and_shard() {
    let catalogue = catalogue();
    let damaged = Some(rows_of(&catalogue, "ever"));
    for shelf in [Shelf { damaged, ..shelf(&catalogue) }, with_a_damaged_row(&catalogue)] {
        let (_, serving) = serving(shelf, at_noon(0));
        let users = ["a", "b"];
        serving.lookup(&catalogue, &request(&["recent"], &users)).await.expect("the other view is whole");
        let failed = serving.lookup(&catalogue, &request(&["recent", "ever"], &users)).await.expect_err("damaged");
        assert!(matches!(&failed, Error::Unavailable(views) if told(views) == [DAMAGED]), "{failed}");
    }
}

#[tokio::test]
async fn an_answer_in_part_has_every_value_that_can_be_read_and_says_why_others_are_not_there() {
    let catalogue = catalogue();
    let asked = request(&["recent:clicks_24h", "ever"], &["a", "b", "nobody"]);
    let (_, whole) = serving(shelf(&catalogue), at_noon(0));
    let whole = columns(&whole.lookup(&catalogue, &asked).await.expect("answered"));
    let lost = (None, Status::Unavailable, None);

    let (_, one_row) = serving(with_a_damaged_row(&catalogue), at_noon(0));
    let answer = one_row.lookup_in_part(&catalogue, &asked).await.expect("the other rows are whole");
    let ever = vec![lost.clone(), whole[1][1].clone(), whole[1][2].clone()];
    assert_eq!((columns(&answer), told(&answer.unavailable)), (vec![whole[0].clone(), ever], vec![DAMAGED.to_owned()]));

    let emptied = Some(rows_of(&catalogue, "ever"));
    let (_, one_view) = serving(Shelf { emptied, ..shelf(&catalogue) }, at_noon(0));
    let answer = one_view.lookup_in_part(&catalogue, &asked).await.expect("the other view is whole");
    assert_eq!(columns(&answer), [whole[0].clone(), vec![lost; 3]]);
    let rebuilding = "ever: view `ever` is being built from the log and is not served yet";
    assert_eq!(told(&answer.unavailable), [rebuilding]);
    let counted = answer.statuses().filter(|(_, status, _)| *status == Status::Unavailable);
    assert_eq!(
        counted.map(|(view, _, values)| (view.to_string(), values)).collect::<Vec<_>>(),
        [("ever".to_owned(), 3)]
    );
}

#[tokio::test]
async fn a_view_whose_first_version_is_being_built_takes_no_other_along() {
    let mut catalogue = catalogue();
    catalogue.versions.retain(|version| version.view.name != *"ever");
    let (shelf, serving) = serving(shelf(&catalogue), at_noon(0));
    let asked = request(&["ever", "recent:clicks_24h"], &["a"]);
    let answer = serving.lookup_in_part(&catalogue, &asked).await.expect("the other view is whole");
    let clicks = (Some(Value::Int(2)), Status::Present, Some(at_noon(-10)));
    assert_eq!(columns(&answer), [vec![(None, Status::Unavailable, None)], vec![clicks]]);
    assert_eq!(told(&answer.unavailable), ["ever: view `ever` is being built from the log and is not served yet"]);
    assert_eq!(*shelf.asked.lock().expect("nobody panics"), [1], "what is not served is not read");
    assert!(serving.lookup(&catalogue, &asked).await.is_err());
    assert!(serving.explain(&catalogue, &asked).await.is_err());
}

#[tokio::test]
async fn a_call_of_which_nothing_can_be_read_fails_though_it_asked_for_a_part() {
    let catalogue = catalogue();
    let (_, serving) = serving(Shelf { is_away: true, ..shelf(&catalogue) }, at_noon(0));
    let failed = serving.lookup_in_part(&catalogue, &request(&["recent", "ever"], &["a", "b"])).await;
    let failed = failed.map(|_| ()).expect_err("the store is away");
    assert_eq!(failed.to_string(), "the online store is not available: the shelf is away", "once");
    let Error::Unavailable(views) = failed else { panic!("{failed}") };
    assert_eq!(views.iter().map(|it| it.view().as_str()).collect::<Vec<_>>(), ["recent", "ever"]);
}
