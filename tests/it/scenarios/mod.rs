//! What becomes of late, early, repeated and broken events, and of views whose entity is not the message key: one
//! suite, run on the embedded log and store and on Kafka and Redis, through the HTTP API of a whole service.
//!
//! A scenario is lines of text. `a u1 7 2.5 at 00:10 in 00:12` is event `a` of user `u1` for item 7 at a price of 2.5,
//! which happened ten seconds into the scenario and was appended two seconds later; `-` is a field that is not there.
//! `raw … in 00:12` is a record as it stands. After `restart` another process goes on.

mod backend;
mod rebuilding;
mod seeding;

use std::collections::BTreeMap;

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use crate::http::Api;
use backend::Backend;

const USERS: [&str; 3] = ["u1", "u2", "u3"];
const ITEMS: [i64; 2] = [7, 8];

/// Both backends have to come to the same.
async fn check(scenario: &str, expected: Expect) {
    let embedded = outcome(Backend::embedded().await, scenario).await;
    expected.assert_eq(&embedded);
    let servers = outcome(Backend::servers().await, scenario).await;
    assert_eq!(servers, embedded, "on Kafka and Redis, and on embedded parts");
}

async fn outcome(backend: Backend, scenario: &str) -> String {
    let mut told = String::new();
    for part in scenario.split("restart") {
        backend.append(part).await;
        let (app, api) = backend.serve().await;
        told = tell(&api).await;
        app.stop().await.expect("it stops cleanly");
    }
    told
}

/// What is served of the entities that are known, how many records were left out and why, and that parity holds.
async fn tell(api: &Api) -> String {
    let mut told = lookups(api, "by_user", "user_id", json!(USERS)).await;
    told += &lookups(api, "by_item", "item_id", json!(ITEMS)).await;
    told += &dead_letters(api).await;
    let report = api.post("/v1/parity", &Value::Null).await.json();
    assert_eq!((&report["different"], &report["unchecked"]), (&json!(0), &json!(0)), "{report:#}");
    told
}

async fn lookups(api: &Api, view: &str, key: &str, entities: Value) -> String {
    let body = json!({ "features": [view], "entities": { key: entities }, "include": ["statuses"] });
    let answer = api.post("/v1/online-features", &body).await.json();
    let columns = answer["columns"].as_array().expect("a list");
    let mut told = String::new();
    for (row, entity) in entities.as_array().expect("a list").iter().enumerate() {
        if columns[1]["statuses"][row] == "NOT_FOUND" {
            continue;
        }
        let values = columns[1..].iter().map(|column| {
            let name = column["name"].as_str().expect("text").trim_start_matches(view);
            format!("{} {}", name.trim_start_matches(':'), column["values"][row])
        });
        told += &format!("{entity}: {}\n", values.collect::<Vec<_>>().join(", "));
    }
    told
}

async fn dead_letters(api: &Api) -> String {
    let listed = api.get("/v1/dead-letters?source=clicks").await.json();
    let mut reasons: BTreeMap<String, u32> = BTreeMap::new();
    for letter in listed["dead_letters"].as_array().expect("a list") {
        *reasons.entry(letter["reason"].as_str().expect("text").to_owned()).or_default() += 1;
    }
    reasons.iter().map(|(reason, count)| format!("dead letters: {reason} {count}\n")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_whose_entity_is_not_the_message_key_gathers_the_events_of_all_partitions() {
    check(
        "a u1 7 1 at 00:00
         b u2 7 2 at 00:01
         c u3 7 4 at 00:02
         d u1 8 8 at 00:03
         e u2 - 16 at 00:04",
        expect![[r#"
            "u1": clicks 2, spend 9.0, last 8
            "u2": clicks 2, spend 18.0, last 7
            "u3": clicks 1, spend 4.0, last 7
            7: clicks 3, spend 7.0
            8: clicks 1, spend 8.0
        "#]],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_event_counts_within_the_allowed_lateness_and_not_beyond() {
    check(
        "a u1 7 1 at 60:00
         b u1 7 2 at 00:10 in 60:10
         c u1 7 4 at 00:10 in 60:11
         d u1 8 8 at 30:00 in 60:12",
        expect![[r#"
            "u1": clicks 3, spend 11.0, last 7
            7: clicks 2, spend 3.0
            8: clicks 1, spend 8.0
        "#]],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_from_the_future_counts_at_its_ingestion_unless_its_clock_is_far_ahead() {
    check(
        "a u1 7 1 at 00:30 in 00:00
         b u1 8 2 at 00:10
         c u1 7 4 at 05:10 in 00:10
         d u1 7 8 at 05:11 in 00:10",
        expect![[r#"
            "u1": clicks 3, spend 7.0, last 7
            7: clicks 2, spend 5.0
            8: clicks 1, spend 2.0
            dead letters: too_far_in_future 1
        "#]],
    )
    .await;
}

/// Both users' events are in one partition, so item 7 knows the id of the one from the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_is_sent_again_counts_once_within_the_window_of_its_id() {
    check(
        "a u1 7 1 at 00:00
         a u1 7 1 at 00:00 in 00:05
         a u1 7 1 at 00:00 in 10:00
         a u1 7 1 at 00:00 in 10:01
         a u2 7 1 at 00:00 in 10:02
         - u2 7 1 at 00:00 in 10:03
         - u2 7 1 at 00:00 in 10:04",
        expect![[r#"
            "u1": clicks 2, spend 2.0, last 7
            "u2": clicks 3, spend 3.0, last 7
            7: clicks 4, spend 4.0
        "#]],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_event_neither_claims_its_id_nor_is_tested_by_it() {
    check(
        "a u1 7 1 at 00:00 in 60:01
         a u1 7 2 at 60:00 in 60:02
         a u1 7 4 at 00:00 in 60:03",
        expect![[r#"
            "u1": clicks 1, spend 2.0, last 7
            7: clicks 1, spend 2.0
        "#]],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_records_are_dead_letters_and_the_others_go_on() {
    check(
        r#"a u1 7 1 at 00:00
         raw {"id":"b", in 00:01
         raw {"id":"c","user_id":"u1"} in 00:02
         raw {"id":"d","at":"soon","user_id":"u1"} in 00:03
         raw [] in 00:04
         e u1 8 2 at 00:05"#,
        expect![[r#"
            "u1": clicks 2, spend 3.0, last 8
            7: clicks 1, spend 1.0
            8: clicks 1, spend 2.0
            dead letters: missing_field 1
            dead letters: undecodable 2
            dead letters: wrong_type 1
        "#]],
    )
    .await;
}

const OF_THREE_PROCESSES: &str = "a u1 7 1 at 00:00
    b u2 7 2 at 00:01
    restart
    a u1 7 1 at 00:00 in 00:10
    c u2 8 4 at 00:20 in 00:11
    restart
    c u2 8 4 at 00:20 in 00:21";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_go_on_for_each_other_come_to_the_same_on_a_cluster() {
    let embedded = outcome(Backend::embedded().await, OF_THREE_PROCESSES).await;
    assert_eq!(outcome(Backend::on_a_cluster().await, OF_THREE_PROCESSES).await, embedded);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_goes_on_for_another_decides_as_one_that_saw_everything() {
    check(
        OF_THREE_PROCESSES,
        expect![[r#"
            "u1": clicks 1, spend 1.0, last 7
            "u2": clicks 2, spend 6.0, last 8
            7: clicks 2, spend 3.0
            8: clicks 1, spend 4.0
        "#]],
    )
    .await;
}
