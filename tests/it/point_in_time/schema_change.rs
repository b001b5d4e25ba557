//! A source whose schema changed after events were archived: training sets and parity see exactly what a new version
//! of the view sees in the log.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use expect_test::{Expect, expect};
use freshet::kernel::codec::encode_values;
use freshet::kernel::definition::{SourceText, parse};
use freshet::kernel::engine::{Counts, Knowledge, Part, prepare, read};
use freshet::kernel::event::{self, RawRecord};
use freshet::kernel::key::{EntityKey, KeyPart};
use freshet::kernel::name::FeatureRef;
use freshet::kernel::plan::{Plan, ViewPlan, compile};
use freshet::kernel::time::EventTime;
use freshet::offline::{Archive, Folder, LoggedLookup, Lookups, Span};
use freshet::parity;
use freshet::training::{self, Request};

use super::{table, time, unwatched};

/// Of `clicks`: the unit of its times, and its price, if it has one.
struct Schema {
    unit: &'static str,
    price: Option<&'static str>,
}

fn plan(schema: &Schema) -> Plan {
    let text = format!(
        "kind: entity
name: user
keys: [{{ name: user_id, type: string }}]
---
kind: source
name: clicks
event_time: {{ field: at, unit: {} }}
schema:
  version: 1
  fields:
    - {{ name: at, type: timestamp, required: true }}
    - {{ name: user_id, type: string }}
    {}
---
kind: feature_view
name: activity
entity: user
source: clicks
features:
  - {{ name: clicks, aggregate: count, windows: [1h] }}
  {}
",
        schema.unit,
        schema.price.map_or_else(String::new, |price| format!("- {{ name: price, {price} }}")),
        schema.price.map_or("", |_| "- { name: spend, aggregate: sum, column: price, windows: [1h] }"),
    );
    let definitions = parse(&[SourceText { path: "shop.yaml".into(), text }]);
    compile(&definitions.expect("the definitions are right"))
}

/// Records of `values` at 10:00, 10:01 and so on.
fn records(values: &[&str]) -> Vec<RawRecord> {
    let record = |(index, value): (usize, &&str)| RawRecord {
        partition: 0,
        offset: index as u64,
        ingestion_time: time(&format!("10:{index:02}:00")),
        value: Bytes::from((*value).to_owned()),
    };
    values.iter().enumerate().map(record).collect()
}

struct Project {
    _root: tempfile::TempDir,
    archive: Archive,
    lookups: Lookups,
}

impl Project {
    /// Archives `records` in commits, each under the schema that was in force when it was written.
    fn new(commits: &[(&Plan, &[RawRecord])]) -> Project {
        let root = tempfile::tempdir().expect("a folder");
        let folder = Folder::on_disk(root.path(), &"default".parse().expect("a name"));
        let archive = Archive::new(folder.clone());
        for (plan, records) in commits {
            let offsets = records[0].offset..records[0].offset + records.len() as u64;
            let source = plan.source("clicks").expect("it is defined");
            archive.commit(source, &Span { partition: 0, offsets }, records).expect("committed");
        }
        Project { _root: root, archive, lookups: Lookups::new(folder) }
    }

    fn training_set(&self, plan: &Plan) -> String {
        let times = ["2026-11-21T10:01:30Z", "2026-11-21T10:30:00Z", "2026-11-21T12:00:00Z"];
        let spine = RecordBatch::try_from_iter([
            ("user_id", Arc::new(StringArray::from(vec!["u1"; times.len()])) as ArrayRef),
            ("label_time", Arc::new(StringArray::from(times.to_vec()))),
        ]);
        let features = ["clicks_1h", "spend_1h"].map(|feature| FeatureRef {
            view: "activity".parse().expect("a name"),
            feature: feature.parse().expect("a name"),
        });
        let spine = [spine.expect("a batch")];
        let request =
            Request { features: &features, spine: &spine, label_time: "label_time", knowledge: Knowledge::AsServed };
        table(&training::cut(&self.archive, plan, &request, unwatched()).expect("cut").batches)
    }
}

/// What a lookup answers when the stream has folded the first `folded` records for the view.
fn lookup(view: &ViewPlan, records: &[RawRecord], folded: usize, as_of: EventTime) -> LoggedLookup {
    let prepared = prepare(view, &event::decode(&view.source, &records[..folded]).events);
    let (mut part, mut counts) = (Part::new(view), Counts::default());
    (0..prepared.entrants.len()).for_each(|entrant| part.fold(view, &prepared, entrant, &mut counts));
    LoggedLookup {
        as_of,
        view: view.name.clone(),
        version: view.fingerprint,
        answers: view.answers(),
        decoding: Some(event::decoding_mark(&view.source)),
        entity: EntityKey::encode(&[KeyPart::Text("u1".into())]),
        values: Bytes::from(encode_values(&read(view, &[&part], as_of).values)),
        offsets: vec![(0, folded as u64)],
    }
}

/// Changes the schema between the second and the third record, and asks by the new one.
fn check(before: &Schema, after: &Schema, values: [&str; 4], expected: Expect) {
    let (before, after, records) = (plan(before), plan(after), records(&values));
    let project = Project::new(&[(&before, &records[..2]), (&after, &records[2..])]);
    let training_set = project.training_set(&after);
    expected.assert_eq(&training_set);
    assert_eq!(training_set, Project::new(&[(&after, &records)]).training_set(&after), "as if it had always been so");

    let view = after.view("activity").expect("it is defined");
    let as_ofs = ["10:05:00", "10:30:00", "11:02:00"];
    let lookups: Vec<LoggedLookup> =
        (0..=4).flat_map(|folded| as_ofs.map(|as_of| lookup(view, &records, folded, time(as_of)))).collect();
    project.lookups.append(&lookups).expect("appended");
    let report = parity::check(
        &project.archive,
        &project.lookups,
        EventTime::MIN,
        std::slice::from_ref(view),
        parity::HELD,
        unwatched(),
    );
    let report = report.expect("checked");
    assert_eq!((report.values.compared, report.values.different, report.values.unchecked), (30, 0, 0), "{report:?}");
}

fn schema(price: &'static str) -> Schema {
    Schema { unit: "rfc3339", price: Some(price) }
}

#[test]
fn a_field_that_was_added_is_read_in_the_events_from_before() {
    let before = Schema { unit: "rfc3339", price: None };
    let values = [
        r#"{"at": "2026-11-21T10:00:00Z", "user_id": "u1", "price": 0.5}"#,
        r#"{"at": "2026-11-21T10:01:00Z", "user_id": "u1", "price": "a lot"}"#,
        r#"{"at": "2026-11-21T10:02:00Z", "user_id": "u1", "price": 0.25}"#,
        r#"{"at": "2026-11-21T10:03:00Z", "user_id": "u1"}"#,
    ];
    check(
        &before,
        &schema("type: float64"),
        values,
        expect![[r#"
        +---------+----------------------+--------------------+-------------------+
        | user_id | label_time           | activity:clicks_1h | activity:spend_1h |
        +---------+----------------------+--------------------+-------------------+
        | u1      | 2026-11-21T10:01:30Z | 1                  | 0.5               |
        | u1      | 2026-11-21T10:30:00Z | 3                  | 0.75              |
        | u1      | 2026-11-21T12:00:00Z | 0                  | 0.0               |
        +---------+----------------------+--------------------+-------------------+
    "#]],
    );
}

#[test]
fn a_value_that_a_wider_type_holds_is_no_longer_a_dead_letter() {
    let values = [
        r#"{"at": "2026-11-21T10:00:00Z", "user_id": "u1", "price": 7}"#,
        r#"{"at": "2026-11-21T10:01:00Z", "user_id": "u1", "price": 5000000000}"#,
        r#"{"at": "2026-11-21T10:02:00Z", "user_id": "u1", "price": 6000000000}"#,
        r#"{"at": "2026-11-21T10:03:00Z", "user_id": "u1", "price": 1}"#,
    ];
    check(
        &schema("type: int32"),
        &schema("type: int64"),
        values,
        expect![[r#"
        +---------+----------------------+--------------------+-------------------+
        | user_id | label_time           | activity:clicks_1h | activity:spend_1h |
        +---------+----------------------+--------------------+-------------------+
        | u1      | 2026-11-21T10:01:30Z | 2                  | 5000000007        |
        | u1      | 2026-11-21T10:30:00Z | 4                  | 11000000008       |
        | u1      | 2026-11-21T12:00:00Z | 0                  | 0                 |
        +---------+----------------------+--------------------+-------------------+
    "#]],
    );
}

#[test]
fn a_time_is_of_the_unit_that_the_source_has_now() {
    let (before, after) =
        (Schema { unit: "ms", ..schema("type: int64") }, Schema { unit: "s", ..schema("type: int64") });
    // Whoever wrote the definition took seconds for milliseconds, and one producer really sends those.
    let values = [
        r#"{"at": 1795255200, "user_id": "u1", "price": 1}"#,
        r#"{"at": 1795255260000, "user_id": "u1", "price": 10}"#,
        r#"{"at": 1795255320, "user_id": "u1", "price": 100}"#,
        r#"{"at": 1795255380, "user_id": "u1", "price": 1000}"#,
    ];
    check(
        &before,
        &after,
        values,
        expect![[r#"
        +---------+----------------------+--------------------+-------------------+
        | user_id | label_time           | activity:clicks_1h | activity:spend_1h |
        +---------+----------------------+--------------------+-------------------+
        | u1      | 2026-11-21T10:01:30Z | 1                  | 1                 |
        | u1      | 2026-11-21T10:30:00Z | 3                  | 1101              |
        | u1      | 2026-11-21T12:00:00Z | 0                  | 0                 |
        +---------+----------------------+--------------------+-------------------+
    "#]],
    );
}

#[test]
fn an_event_without_a_field_that_became_required_is_no_longer_one() {
    let values = [
        r#"{"at": "2026-11-21T10:00:00Z", "user_id": "u1", "price": 0.5}"#,
        r#"{"at": "2026-11-21T10:01:00Z", "user_id": "u1"}"#,
        r#"{"at": "2026-11-21T10:02:00Z", "user_id": "u1"}"#,
        r#"{"at": "2026-11-21T10:03:00Z", "user_id": "u1", "price": 0.25}"#,
    ];
    check(
        &schema("type: float64"),
        &schema("type: float64, required: true"),
        values,
        expect![[r#"
        +---------+----------------------+--------------------+-------------------+
        | user_id | label_time           | activity:clicks_1h | activity:spend_1h |
        +---------+----------------------+--------------------+-------------------+
        | u1      | 2026-11-21T10:01:30Z | 1                  | 0.5               |
        | u1      | 2026-11-21T10:30:00Z | 2                  | 0.75              |
        | u1      | 2026-11-21T12:00:00Z | 0                  | 0.0               |
        +---------+----------------------+--------------------+-------------------+
    "#]],
    );
}
