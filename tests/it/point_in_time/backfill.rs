use arrow::record_batch::RecordBatch;
use expect_test::expect;
use freshet::backfill::{self, Error, Request};
use freshet::batch::Resources;
use freshet::kernel::engine::Knowledge;
use freshet::kernel::time::Micros;
use freshet::offline::FeatureTable;
use freshet::telemetry::Watch;
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;

use super::{SHOP, Shop, click, table, time, unwatched};

pub(super) fn request(shop: &Shop, view: &str, from: &str, to: &str) -> Request {
    let view = shop.plan.view(view).expect("it is defined").clone();
    Request { view, interval: time(from)..time(to), every: Micros::HOUR, knowledge: Knowledge::AsServed }
}

pub(super) fn rows(shop: &Shop, request: &Request) -> String {
    let target = FeatureTable::new(shop.folder.clone(), &request.view.name, request.view.fingerprint);
    let manifest =
        backfill::run(&shop.archive, &target, "job-1", request, Resources::default(), unwatched()).expect("published");
    assert_eq!(target.manifest("job-1").expect("read").as_ref(), Some(&manifest));
    let file = |path: &String| shop.folder.get(path).expect("read").expect("the manifest names it");
    let files = manifest.files.iter().map(file);
    let read = |file| ParquetRecordBatchReader::try_new(file, 1_024).expect("Parquet");
    let batches: Vec<RecordBatch> = files.flat_map(read).map(|batch| batch.expect("rows")).collect();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), manifest.rows);
    table(&batches)
}

#[test]
fn each_instant_has_a_row_for_each_entity_that_is_found_at_it() {
    let shop = Shop::new();
    shop.archive(&[
        click(0, "u2", "11:00:00", "11:00:00", "pen", 2.5),
        click(1, "u1", "09:30:00", "09:30:00", "ink", 1.0),
        click(1, "u1", "13:00:00", "13:00:00", "pen", 2.0),
        click(1, "u1", "19:30:00", "19:30:00", "pen", 9.0),
        click(1, "u3", "22:00:00", "22:00:00", "pen", 1.0),
    ]);
    // u1 is found for its `max_age` of 3 hours after each event, u3 only after the end.
    let request = request(&shop, "user_activity", "09:00:00", "22:00:00");
    expect![[r#"
        +---------+----------------------+----------+----------+----------+
        | user_id | as_of                | views_1h | spend_1h | items_1h |
        +---------+----------------------+----------+----------+----------+
        | u1      | 2026-11-21T10:00:00Z | 1        | 1.0      | [ink]    |
        | u1      | 2026-11-21T11:00:00Z | 0        | 0.0      | []       |
        | u1      | 2026-11-21T12:00:00Z | 0        | 0.0      | []       |
        | u1      | 2026-11-21T14:00:00Z | 1        | 2.0      | [pen]    |
        | u1      | 2026-11-21T15:00:00Z | 0        | 0.0      | []       |
        | u1      | 2026-11-21T20:00:00Z | 1        | 9.0      | [pen]    |
        | u1      | 2026-11-21T21:00:00Z | 0        | 0.0      | []       |
        | u2      | 2026-11-21T12:00:00Z | 1        | 2.5      | [pen]    |
        | u2      | 2026-11-21T13:00:00Z | 0        | 0.0      | []       |
        +---------+----------------------+----------+----------+----------+
    "#]]
    .assert_eq(&rows(&shop, &request));
}

#[test]
fn an_entity_with_a_lifetime_feature_is_found_for_good() {
    let shop = Shop::new();
    shop.archive(&[click(0, "u1", "09:30:00", "09:30:00", "ink", 1.0)]);
    let request = request(&shop, "item_popularity", "09:00:00", "12:00:00");
    expect![[r#"
        +---------+----------------------+-------+
        | item_id | as_of                | views |
        +---------+----------------------+-------+
        | ink     | 2026-11-21T10:00:00Z | 1     |
        | ink     | 2026-11-21T11:00:00Z | 1     |
        +---------+----------------------+-------+
    "#]]
    .assert_eq(&rows(&shop, &request));
}

#[test]
fn an_interval_without_instants_is_refused() {
    let shop = Shop::new();
    let table =
        |request: &Request| FeatureTable::new(shop.folder.clone(), &request.view.name, request.view.fingerprint);
    let backwards = request(&shop, "item_popularity", "12:00:00", "12:00:00");
    let standing = Request { every: Micros::ZERO, ..request(&shop, "item_popularity", "11:00:00", "12:00:00") };
    for request in [backwards, standing] {
        let outcome =
            backfill::run(&shop.archive, &table(&request), "job-1", &request, Resources::default(), unwatched());
        assert!(matches!(outcome, Err(Error::NoInstants { .. })));
        assert_eq!(table(&request).manifest("job-1").expect("read"), None);
    }
}

#[test]
fn a_run_that_was_begun_by_another_definition_is_not_gone_on_with() {
    let shop = Shop::new();
    shop.archive(&[click(0, "u1", "09:30:00", "09:30:00", "ink", 1.0)]);
    let begun = request(&shop, "user_activity", "09:00:00", "12:00:00");
    let table = FeatureTable::new(shop.folder.clone(), &begun.view.name, begun.view.fingerprint);
    let stopped = Watch::new(&|_| {}, &|| true);
    let outcome = backfill::run(&shop.archive, &table, "job-1", &begun, Resources::default(), stopped);
    assert!(matches!(outcome, Err(Error::Cancelled(_))), "{outcome:?}");
    for (from, to) in [
        ("column: price, windows: [1h] }", "column: price, windows: [1h], default: -1.0 }"),
        ("max_age: 3h", "max_age: 2h"),
        ("    - { name: price", "    - { name: note, type: string }\n    - { name: price"),
    ] {
        let changed = Shop::defined_in(shop.folder.clone(), &SHOP.replace(from, to));
        let request = request(&changed, "user_activity", "09:00:00", "12:00:00");
        assert_eq!(request.view.fingerprint, begun.view.fingerprint, "the same version");
        let outcome = backfill::run(&shop.archive, &table, "job-1", &request, Resources::default(), unwatched());
        assert!(matches!(outcome, Err(Error::OtherRequest(_))), "{to}: {outcome:?}");
    }
    rows(&shop, &begun);
}
