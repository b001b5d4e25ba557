use std::cell::RefCell;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int32Array, StringArray, TimestampMillisecondArray};
use arrow::datatypes::Float64Type;
use arrow::record_batch::RecordBatch;
use expect_test::{Expect, expect};
use freshet::batch::Resources;
use freshet::kernel::engine::Knowledge;
use freshet::kernel::name::FeatureRef;
use freshet::telemetry::Watch;
use freshet::training::{self, Cut, Differences, Error, Job, Request};

use super::{Record, SHOP, Shop, click, table, time, unwatched};

pub(super) type Row = (Option<&'static str>, Option<&'static str>, Option<&'static str>, i32);

/// Users, items, label times of a day, and a column that nobody knows.
pub(super) fn spine(rows: &[Row]) -> RecordBatch {
    let users: StringArray = rows.iter().map(|row| row.0).collect();
    let items: StringArray = rows.iter().map(|row| row.1).collect();
    let times = rows.iter().map(|row| row.2.map(|it| time(it).micros() / 1_000));
    let label_times: TimestampMillisecondArray = times.collect();
    let labels = Int32Array::from_iter_values(rows.iter().map(|row| row.3));
    RecordBatch::try_from_iter_with_nullable([
        ("label", Arc::new(labels) as ArrayRef, false),
        ("at", Arc::new(label_times), true),
        ("item_id", Arc::new(items), true),
        ("user_id", Arc::new(users), true),
    ])
    .expect("a batch")
}

pub(super) fn cut(shop: &Shop, spine: &[RecordBatch], knowledge: Knowledge) -> Result<Cut, Error> {
    let service = shop.plan.service("recommender").expect("it is defined");
    let request = Request { features: &service.features, spine, label_time: "at", knowledge };
    training::cut(&shop.archive, &shop.plan, &request, unwatched())
}

fn check(events: &[Record], rows: &[Row], knowledge: Knowledge, expected: Expect) {
    let shop = Shop::new();
    shop.archive(events);
    let cut = cut(&shop, &[spine(rows)], knowledge).expect("cut");
    assert_eq!((cut.rows, cut.batches[0].num_rows()), (rows.len(), rows.len()));
    expected.assert_eq(&table(&cut.batches));
}

fn refused(spine: RecordBatch) -> String {
    cut(&Shop::new(), &[spine], Knowledge::AsServed).expect_err("refused").to_string()
}

#[test]
fn rows_keep_their_order_and_their_other_columns_and_see_nothing_of_their_own_time() {
    let events = [
        click(0, "u1", "10:00:00", "10:00:00", "pen", 1.5),
        click(1, "u2", "10:05:00", "10:05:00", "pen", 2.0),
        click(0, "u1", "10:10:00", "10:10:00", "ink", 4.0),
    ];
    let rows = [
        (Some("u1"), Some("ink"), Some("10:10:00.001"), 7),
        (Some("u1"), Some("pen"), Some("10:10:00"), 6),
        (Some("u2"), Some("pen"), Some("12:00:00"), 5),
        (Some("u1"), Some("pen"), Some("10:10:00"), 4),
        (None, Some("pen"), Some("10:10:00"), 3),
        (Some("nobody"), None, Some("10:10:00"), 2),
    ];
    check(
        &events,
        &rows,
        Knowledge::AsServed,
        expect![[r#"
        +-------+-------------------------+---------+---------+------------------------+-----------------------+------------------------+
        | label | at                      | item_id | user_id | user_activity:spend_1h | item_popularity:views | user_activity:items_1h |
        +-------+-------------------------+---------+---------+------------------------+-----------------------+------------------------+
        | 7     | 2026-11-21T10:10:00.001 | ink     | u1      | 5.5                    | 1                     | [ink, pen]             |
        | 6     | 2026-11-21T10:10:00     | pen     | u1      | 1.5                    | 2                     | [pen]                  |
        | 5     | 2026-11-21T12:00:00     | pen     | u2      | 0.0                    | 2                     | []                     |
        | 4     | 2026-11-21T10:10:00     | pen     | u1      | 1.5                    | 2                     | [pen]                  |
        | 3     | 2026-11-21T10:10:00     | pen     |         | 0.0                    | 2                     | []                     |
        | 2     | 2026-11-21T10:10:00     |         | nobody  | 0.0                    | 0                     | []                     |
        +-------+-------------------------+---------+---------+------------------------+-----------------------+------------------------+
    "#]],
    );
}

#[test]
fn what_came_later_or_late_counts_for_what_happened_alone() {
    let events = [
        click(0, "u1", "10:00:00", "10:31:00", "late", 1.0),
        click(0, "u1", "10:20:00", "10:31:00", "in flight", 2.0),
        click(0, "u1", "10:25:00", "10:25:00", "seen", 4.0),
    ];
    let rows = [(Some("u1"), None, Some("10:30:00"), 1), (Some("u1"), None, Some("10:40:00"), 2)];
    check(
        &events,
        &rows,
        Knowledge::AsServed,
        expect![[r#"
        +-------+---------------------+---------+---------+------------------------+-----------------------+------------------------+
        | label | at                  | item_id | user_id | user_activity:spend_1h | item_popularity:views | user_activity:items_1h |
        +-------+---------------------+---------+---------+------------------------+-----------------------+------------------------+
        | 1     | 2026-11-21T10:30:00 |         | u1      | 4.0                    | 0                     | [seen]                 |
        | 2     | 2026-11-21T10:40:00 |         | u1      | 6.0                    | 0                     | [seen, in flight]      |
        +-------+---------------------+---------+---------+------------------------+-----------------------+------------------------+
    "#]],
    );
    check(
        &events,
        &rows,
        Knowledge::EventTime,
        expect![[r#"
        +-------+---------------------+---------+---------+------------------------+-----------------------+------------------------+
        | label | at                  | item_id | user_id | user_activity:spend_1h | item_popularity:views | user_activity:items_1h |
        +-------+---------------------+---------+---------+------------------------+-----------------------+------------------------+
        | 1     | 2026-11-21T10:30:00 |         | u1      | 7.0                    | 0                     | [seen, in flight]      |
        | 2     | 2026-11-21T10:40:00 |         | u1      | 7.0                    | 0                     | [seen, in flight]      |
        +-------+---------------------+---------+---------+------------------------+-----------------------+------------------------+
    "#]],
    );
}

/// In the order of the features: how many values were compared, are different, are so for events that were on their way,
/// and for late ones.
fn differences(shop: &Shop, spine: &[RecordBatch]) -> Vec<[usize; 4]> {
    let features = &shop.plan.service("recommender").expect("it is defined").features;
    let request = Request { features, spine, label_time: "at", knowledge: Knowledge::AsServed };
    let job = Job::begin(&shop.archive, &shop.plan, &request, Resources::default()).expect("begun");
    let mut batches = Vec::new();
    let mut sink = |batch| {
        batches.push(batch);
        Ok(())
    };
    let found = job.run_compared(unwatched(), &mut sink).expect("compared");
    assert_eq!(table(&batches), table(&cut(shop, spine, Knowledge::AsServed).expect("cut").batches));
    let counts = |it: &Differences| [it.compared, it.different, it.not_yet_arrived, it.late];
    found.iter().map(counts).collect()
}

#[test]
fn what_more_knowledge_would_change_is_told_with_the_reason() {
    let shop = Shop::new();
    shop.archive(&[
        click(0, "u1", "10:00:00", "10:31:00", "late", 1.0),
        click(0, "u1", "10:20:00", "10:31:00", "in flight", 2.0),
        click(0, "u2", "10:25:00", "10:25:00", "seen", 4.0),
    ]);
    let rows = |user| ["10:30:00", "10:40:00"].map(|at| (Some(user), None, Some(at), 0));
    let spine = [spine(&[rows("u1"), rows("u2")].concat())];
    // Of u1 the event in flight is missed at the first label time, and the late one at both.
    assert_eq!(differences(&shop, &spine), [[4, 2, 1, 2], [4, 0, 0, 0], [4, 2, 1, 2]]);
}

#[test]
fn an_event_ahead_of_its_ingestion_counts_from_then_on_whatever_is_known() {
    let shop = Shop::new();
    shop.archive(&[click(0, "u1", "10:12:00", "10:10:00", "ahead", 1.0)]);
    let spine = [spine(&["10:10:00", "10:11:00"].map(|at| (Some("u1"), None, Some(at), 0)))];
    let spent = |knowledge| {
        let cut = cut(&shop, &spine, knowledge).expect("cut");
        let values = cut.batches[0].column_by_name("user_activity:spend_1h").expect("it was asked for");
        values.as_primitive::<Float64Type>().values().to_vec()
    };
    assert_eq!([Knowledge::AsServed, Knowledge::EventTime].map(spent), [[0.0, 1.0], [0.0, 1.0]]);
    assert_eq!(differences(&shop, &spine), [[2, 0, 0, 0]; 3]);
}

#[test]
fn a_copy_counts_once_whichever_side_of_the_label_time_it_stands() {
    let mut copy = click(0, "u1", "10:00:00", "10:10:00", "pen", 1.0);
    let original = click(0, "u1", "10:00:00", "10:00:00", "pen", 1.0);
    copy.json = copy.json.replace("\"at\":\"2026-11-21T10:00:00Z\"", "\"at\":\"2026-11-21T09:59:00Z\"");
    let rows = [(Some("u1"), None, Some("10:30:00"), 1), (Some("u1"), None, Some("10:00:00"), 2)];
    check(
        &[original, copy],
        &rows,
        Knowledge::AsServed,
        expect![[r#"
        +-------+---------------------+---------+---------+------------------------+-----------------------+------------------------+
        | label | at                  | item_id | user_id | user_activity:spend_1h | item_popularity:views | user_activity:items_1h |
        +-------+---------------------+---------+---------+------------------------+-----------------------+------------------------+
        | 1     | 2026-11-21T10:30:00 |         | u1      | 1.0                    | 0                     | [pen]                  |
        | 2     | 2026-11-21T10:00:00 |         | u1      | 0.0                    | 0                     | []                     |
        +-------+---------------------+---------+---------+------------------------+-----------------------+------------------------+
    "#]],
    );
}

#[test]
fn batches_of_the_spine_stay_batches_and_say_what_they_were_made_of() {
    let shop = Shop::new();
    shop.archive(&[click(0, "u1", "10:00:00", "10:00:00", "pen", 1.5)]);
    let row = |at| spine(&[(Some("u1"), Some("pen"), Some(at), 0)]);
    let told = RefCell::new(Vec::new());
    let progress = |fraction| told.borrow_mut().push(fraction);
    let features = &shop.plan.service("recommender").expect("it is defined").features;
    let batches = [row("10:00:00"), row("10:00:01")];
    let request = Request { features, spine: &batches, label_time: "at", knowledge: Knowledge::AsServed };
    let cut = training::cut(&shop.archive, &shop.plan, &request, Watch::new(&progress, &|| false)).expect("cut");
    assert_eq!(cut.batches.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [1, 1]);
    let pins: Vec<String> = cut.pins.iter().map(|(source, offsets)| format!("{source} {offsets:?}")).collect();
    assert_eq!(pins, ["clicks {0: 1}"]);
    let fingerprints =
        cut.fingerprints.iter().map(|(view, it)| shop.plan.view(view.as_str()).map(|view| (view.fingerprint, *it)));
    assert!(fingerprints.flatten().all(|(applied, used)| applied == used) && cut.fingerprints.len() == 2);
    let told = told.into_inner();
    assert!(told.is_sorted() && told.last() == Some(&1.0), "{told:?}");
}

#[test]
fn fewer_rows_come_at_once_where_their_lists_may_be_long() {
    let shop = Shop::of(&SHOP.replace("n: 2", "n: 1000"));
    let rows: Vec<Row> = (0..200).map(|label| (Some("u1"), None, Some("10:00:00"), label)).collect();
    let cut = cut(&shop, &[spine(&rows)], Knowledge::AsServed).expect("cut");
    let sizes: Vec<usize> = cut.batches.iter().map(RecordBatch::num_rows).collect();
    // A thousand items of 1,024 bytes each are a megabyte for each row.
    assert!(sizes.iter().all(|rows| *rows <= 65), "{sizes:?}");
    assert_eq!(sizes.iter().sum::<usize>(), 200);
}

#[test]
fn a_cancelled_job_ends() {
    let shop = Shop::new();
    shop.archive(&[click(0, "u1", "10:00:00", "10:00:00", "pen", 1.5)]);
    let features = &shop.plan.service("recommender").expect("it is defined").features;
    let batches = [spine(&[(Some("u1"), None, Some("10:00:00"), 0)])];
    let request = Request { features, spine: &batches, label_time: "at", knowledge: Knowledge::AsServed };
    let outcome = training::cut(&shop.archive, &shop.plan, &request, Watch::new(&|_| {}, &|| true));
    assert!(matches!(outcome, Err(Error::Cancelled(_))));
}

#[test]
fn a_spine_that_cannot_be_asked_is_refused_with_its_place() {
    let good: Row = (Some("u1"), Some("pen"), Some("10:00:00"), 0);
    expect!["row 2, column `at`: a row needs a label time, and this one is null\n  help: write `2026-11-21T10:00:00Z`, or `2026-11-21 10:00:00` for UTC"]
        .assert_eq(&refused(spine(&[good, (Some("u1"), None, None, 0)])));
    let without = |column: usize| {
        let mut batch = spine(&[good]);
        batch.remove_column(column);
        batch
    };
    expect![[r#"
        column `user_id`: the spine has no such column
          help: it needs every entity key and the label time; it has `label`, `at`, `item_id`"#]]
    .assert_eq(&refused(without(3)));
    let renamed = |column: usize, name: &str| {
        let batch = spine(&[good]);
        let names = ["label", "at", "item_id", "user_id"].map(str::to_owned);
        let named = |(index, array): (usize, &ArrayRef)| {
            (if index == column { name.to_owned() } else { names[index].clone() }, array.clone())
        };
        RecordBatch::try_from_iter(batch.columns().iter().enumerate().map(named)).expect("a batch")
    };
    expect![
        "the spine has a column `item_popularity:views` already, and the feature of that name would be a second one"
    ]
    .assert_eq(&refused(renamed(0, "item_popularity:views")));
    expect![[r#"
        column `user_id`: the name stands twice
          help: name each column differently"#]]
    .assert_eq(&refused(renamed(0, "user_id")));
    let swapped = RecordBatch::try_from_iter([
        ("user_id", Arc::new(Int32Array::from(vec![1])) as ArrayRef),
        ("item_id", Arc::new(StringArray::from(vec!["pen"]))),
        ("at", Arc::new(StringArray::from(vec!["2026-11-21 10:00:00"]))),
    ]);
    expect!["column `user_id`: it is Int32, and the key is string"].assert_eq(&refused(swapped.expect("a batch")));
}

#[test]
fn features_that_do_not_exist_or_are_asked_for_twice_are_refused() {
    let shop = Shop::new();
    let feature = |view: &str, feature: &str| FeatureRef {
        view: view.parse().expect("a name"),
        feature: feature.parse().expect("a name"),
    };
    let refused = |features: &[FeatureRef]| {
        let request = Request { features, spine: &[], label_time: "at", knowledge: Knowledge::AsServed };
        training::cut(&shop.archive, &shop.plan, &request, unwatched()).expect_err("refused").to_string()
    };
    let views = feature("item_popularity", "views");
    assert_eq!(refused(&[feature("user_activity", "views")]), "there is no feature `user_activity:views`");
    assert_eq!(refused(&[views.clone(), views]), "feature `item_popularity:views` is asked for twice");
}
