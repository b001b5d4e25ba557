//! `/v1/sources/{source}/events` and `/v1/dead-letters`.

use bytes::Bytes;
use expect_test::expect;
use freshet::event_log::embedded::EmbeddedLog;
use freshet::event_log::{EventLog, NewRecord};
use serde_json::json;

use super::{SHOP, Service, pretty, problem, start};

const CLICKS: &str = "/v1/sources/clicks/events";

fn click(id: &str) -> String {
    format!(r#"{{"id":"{id}","at":"2026-01-01T10:00:00Z","user_id":"u1","item_id":7,"price":1}}"#)
}

async fn clicks_of_u1(shop: &Service) -> serde_json::Value {
    let lookup = json!({ "features": ["activity:clicks"], "entities": { "user_id": ["u1"] } });
    shop.settle().await;
    shop.api.post("/v1/online-features", &lookup).await.json()["columns"][1]["values"][0].clone()
}

#[tokio::test]
async fn one_event_an_array_and_an_event_a_line_are_taken_and_seen() {
    let shop = Service::shop().await;
    let bodies = [
        ("application/json", click("a"), 1),
        ("application/json", format!("[{}, {}]", click("b"), click("c")), 2),
        ("application/x-ndjson", format!("{}\n\n{}\n{}", click("d"), click("e"), click("f")), 3),
        ("application/json", "[]".to_owned(), 0),
    ];
    for (content_type, body, accepted) in bodies {
        let answer = shop.api.send(CLICKS, content_type, body).await.json();
        assert_eq!(answer, json!({ "accepted": accepted, "rejected": [] }));
    }
    assert_eq!(clicks_of_u1(&shop).await, 6);
    shop.stop().await;
}

#[tokio::test]
async fn an_event_that_is_sent_again_is_taken_and_counts_once() {
    let shop = Service::shop().await;
    for _ in 0..3 {
        shop.api.send(CLICKS, "application/json", click("a")).await.json();
    }
    assert_eq!(clicks_of_u1(&shop).await, 1);
    let status = shop.api.get("/v1/status").await.json();
    let view = status["views"].as_array().expect("a list").iter().find(|view| view["view"] == "activity");
    let view = view.expect("it is applied");
    assert_eq!((&view["applied"], &view["duplicate"]), (&json!(1), &json!(2)));
    shop.stop().await;
}

#[tokio::test]
async fn rejected_events_are_named_by_their_place_and_the_others_are_taken() {
    let shop = Service::shop().await;
    let lines = [
        &click("a"),
        "{\"id\":",
        r#"{"id":"b","at":"2026-01-01T10:00:00Z"}"#,
        r#"{"id":"c","at":"yesterday","user_id":"u1"}"#,
        r#"{"id":"d","at":"2026-01-01T10:00:00Z","user_id":"u1","price":"1,50"}"#,
        &click("f"),
    ];
    let answer = shop.api.send(CLICKS, "application/x-ndjson", lines.join("\n")).await.json();
    expect![[r#"
        {
          "accepted": 2,
          "rejected": [
            {
              "index": 1,
              "code": "undecodable",
              "detail": "undecodable: not JSON: expected a value at byte 6"
            },
            {
              "index": 2,
              "code": "missing_field",
              "detail": "missing_field: user_id: the field is required (string) and is not there"
            },
            {
              "index": 3,
              "code": "wrong_type",
              "detail": "wrong_type: at: expected a time such as \"2026-11-21T10:00:00Z\" (rfc3339), found \"yesterday\""
            },
            {
              "index": 4,
              "code": "wrong_type",
              "detail": "wrong_type: price: expected a number (float64), found \"1,50\""
            }
          ]
        }
    "#]]
    .assert_eq(&pretty(&answer));
    let ahead = r#"{"id":"e","at":"9000-01-01T10:00:00Z","user_id":"u1"}"#;
    let answer = shop.api.send(CLICKS, "application/json", ahead).await.json();
    assert_eq!((&answer["accepted"], &answer["rejected"][0]["code"]), (&json!(0), &json!("too_far_in_future")));
    assert_eq!(clicks_of_u1(&shop).await, 2);
    shop.stop().await;
}

#[tokio::test]
async fn a_call_that_brings_no_events_is_told_why() {
    let shop = Service::shop().await;
    let too_many = format!("[{}1]", "1,".repeat(50_000));
    let wrong = [
        ("/v1/sources/click/events", "{}"),
        (CLICKS, ""),
        (CLICKS, "[{\"id\":\"a\"}"),
        (CLICKS, &too_many),
        ("/v1/sources/clicks/events?replay=maybe", "{}"),
    ];
    let mut problems = String::new();
    for (path, body) in wrong {
        problems += &problem(&shop.api.send(path, "application/json", body).await);
    }
    expect![[r#"
        404 UNKNOWN_SOURCE: source `click` is not defined
        400 INVALID_BODY: the body is empty: send an event, an array of events, or NDJSON
        400 INVALID_BODY: the array of events is not JSON: EOF while parsing a list at line 1 column 11
        413 TOO_MANY_EVENTS: 50001 events in one call, and at most 50000 are taken
        400 INVALID_QUERY: Failed to deserialize query string: replay: provided string was not `true` or `false`
    "#]]
    .assert_eq(&problems);
    shop.stop().await;
}

#[tokio::test]
async fn dead_letters_are_listed_by_reason_and_shown_with_their_bytes() {
    let folder = tempfile::tempdir().expect("a folder");
    write_broken_records(folder.path()).await;
    let (app, api) = start(folder.path()).await;
    let shop = Service { app, api, folder };
    shop.apply(SHOP).await.json();
    shop.settle().await;

    let listed = shop.api.get("/v1/dead-letters?source=clicks").await.json();
    expect![[r#"
        {
          "dead_letters": [
            {
              "topic": "clicks",
              "partition": 0,
              "offset": 2,
              "ingestion_time": "2026-01-01T10:00:01Z",
              "schema_version": 1,
              "reason": "missing_field",
              "field": "user_id",
              "detail": "the field is required (string) and is not there",
              "now": "rejected",
              "text": "{\"id\":\"b\",\"at\":\"2026-01-01T10:00:00Z\"}",
              "bytes": null
            },
            {
              "topic": "clicks",
              "partition": 0,
              "offset": 1,
              "ingestion_time": "2026-01-01T10:00:01Z",
              "schema_version": 1,
              "reason": "undecodable",
              "field": null,
              "detail": "not UTF-8 at byte 0",
              "now": "rejected",
              "text": null,
              "bytes": "/wA="
            }
          ]
        }
    "#]]
    .assert_eq(&pretty(&listed));
    let places = async |query: &str| {
        let listed = shop.api.get(&format!("/v1/dead-letters?source=clicks{query}")).await.json();
        let letters = listed["dead_letters"].as_array().expect("a list").clone();
        letters.iter().map(|letter| letter["offset"].as_u64().expect("an offset")).collect::<Vec<_>>()
    };
    assert_eq!(places("&reason=missing_field").await, [2]);
    assert_eq!(places("&reason=out_of_range").await, [0; 0]);
    assert_eq!(places("&limit=1").await, [2]);
    let shown = shop.api.get("/v1/dead-letters/clicks/0/1").await.json();
    assert_eq!(shown, listed["dead_letters"][1]);

    let mut problems = String::new();
    for path in ["/v1/dead-letters/clicks/0/0", "/v1/dead-letters/carts/0/1", "/v1/dead-letters?source=carts"] {
        problems += &problem(&shop.api.get(path).await);
    }
    problems += &problem(&shop.api.get("/v1/dead-letters").await);
    expect![[r#"
        404 UNKNOWN_DEAD_LETTER: `clicks` has no dead letter at 0/0
        404 UNKNOWN_SOURCE: source `carts` is not defined
        404 UNKNOWN_SOURCE: source `carts` is not defined
        400 INVALID_QUERY: Failed to deserialize query string: missing field `source`
    "#]]
    .assert_eq(&problems);
    shop.stop().await;
}

/// A good one, bytes that are no text, and one without its user.
async fn write_broken_records(folder: &std::path::Path) {
    let log = EmbeddedLog::open(&folder.join("log")).expect("opens");
    log.create_topic("clicks", 1).await.expect("creates");
    let record =
        |value: Bytes| NewRecord { key: None, value, ingestion_time: "2026-01-01T10:00:01Z".parse().expect("a time") };
    let values =
        [click("a").into(), Bytes::from_static(b"\xff\x00"), r#"{"id":"b","at":"2026-01-01T10:00:00Z"}"#.into()];
    log.append("clicks", values.map(record).to_vec()).await.expect("appends");
}
