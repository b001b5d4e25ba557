//! Feast's contract: `/get-online-features`, `/push`, `/write-to-online-store`, `/health`, as they stand on the wire.

use expect_test::expect;
use serde_json::{Value, json};

use super::{Service, until};
use crate::http::Answer;

const LOOKUP: &str = "/get-online-features";

/// A line for each name, with its values, statuses and event times.
fn vectors(answer: &Value) -> String {
    let names = answer["metadata"]["feature_names"].as_array().expect("a list");
    let results = answer["results"].as_array().expect("a list");
    assert_eq!(names.len(), results.len(), "{answer}");
    let lines = names.iter().zip(results);
    lines.map(|(name, it)| format!("{name} {} {} {}\n", it["values"], it["statuses"], it["event_timestamps"])).collect()
}

/// `404 FeatureViewNotFoundException: ...`, of an answer that Feast's client can read: JSON within a JSON string.
fn failure(answer: &Answer) -> String {
    assert_eq!(answer.content_type, "application/json", "{answer}");
    let detail: String = serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer}"));
    let detail: Value = serde_json::from_str(&detail).unwrap_or_else(|error| panic!("{error}: {detail}"));
    assert_eq!(detail["module"], "feast.errors");
    let text = |name: &str| detail[name].as_str().unwrap_or_else(|| panic!("no {name}: {detail}")).to_owned();
    format!("{} {}: {}\n", answer.status, text("class"), text("message"))
}

async fn failures(shop: &Service, path: &str, bodies: &[Value]) -> String {
    let mut failures = String::new();
    for body in bodies {
        failures += &failure(&shop.api.post(path, body).await);
    }
    failures
}

async fn clicks_of(shop: &Service, user: &str) -> Value {
    shop.settle().await;
    let asked = json!({ "features": ["activity:clicks"], "entities": { "user_id": [user] } });
    shop.api.post(LOOKUP, &asked).await.json()["results"][1]["values"][0].clone()
}

#[tokio::test]
async fn a_lookup_answers_keys_first_then_each_feature_with_statuses_and_event_times() {
    let shop = Service::busy_shop().await;
    let entities = json!({ "user_id": ["u1", "u2", "u3", null] });
    let asked = json!({ "feature_service": "recommender", "features": ["nothing"], "entities": entities });
    let answer = shop.api.post(LOOKUP, &asked).await;
    assert_eq!(answer.content_type, "application/json");
    expect![[r#"
        "user_id" ["u1","u2","u3",null] ["PRESENT","PRESENT","PRESENT","PRESENT"] ["1970-01-01T00:00:00Z","1970-01-01T00:00:00Z","1970-01-01T00:00:00Z","1970-01-01T00:00:00Z"]
        "clicks" [3,1,0,0] ["PRESENT","PRESENT","NOT_FOUND","NOT_FOUND"] ["2026-01-01T12:00:00Z","2026-01-01T12:30:00Z","1970-01-01T00:00:00Z","1970-01-01T00:00:00Z"]
        "spend" [3.25,0.0,0.0,0.0] ["PRESENT","PRESENT","NOT_FOUND","NOT_FOUND"] ["2026-01-01T12:00:00Z","2026-01-01T12:30:00Z","1970-01-01T00:00:00Z","1970-01-01T00:00:00Z"]
        "dearest" [2.5,null,null,null] ["PRESENT","NULL_VALUE","NOT_FOUND","NOT_FOUND"] ["2026-01-01T12:00:00Z","2026-01-01T12:30:00Z","1970-01-01T00:00:00Z","1970-01-01T00:00:00Z"]
        "items" [[7,8],null,null,null] ["PRESENT","PRESENT","NOT_FOUND","NOT_FOUND"] ["2026-01-01T12:00:00Z","2026-01-01T12:30:00Z","1970-01-01T00:00:00Z","1970-01-01T00:00:00Z"]
        "visits" [3,1,0,0] ["OUTSIDE_MAX_AGE","OUTSIDE_MAX_AGE","NOT_FOUND","NOT_FOUND"] ["2026-01-01T12:00:00Z","2026-01-01T12:30:00Z","1970-01-01T00:00:00Z","1970-01-01T00:00:00Z"]
    "#]].assert_eq(&vectors(&answer.json()));
    shop.stop().await;
}

#[tokio::test]
async fn full_names_have_the_view_and_the_answer_names_the_views_where_it_is_asked() {
    let shop = Service::busy_shop().await;
    let asked = json!({
        "features": ["popularity:clicks", "activity:clicks"], "full_feature_names": true,
        "include_feature_view_version_metadata": true, "entities": { "user_id": ["u1"], "item_id": [7] },
    });
    let answer = shop.api.post(LOOKUP, &asked).await.json();
    expect![[r#"
        {"feature_names":["user_id","item_id","popularity__clicks","activity__clicks"],"feature_view_metadata":[{"name":"popularity"},{"name":"activity"}]}
    "#]].assert_eq(&format!("{}\n", answer["metadata"]));
    assert_eq!([&answer["results"][2]["values"], &answer["results"][3]["values"]], [&json!([2]), &json!([3])]);
    shop.stop().await;
}

#[tokio::test]
async fn keys_are_read_as_what_they_are_declared_and_other_columns_do_not_matter() {
    let shop = Service::busy_shop().await;
    let asked = json!({
        "features": ["popularity:clicks"],
        "entities": { "user_id": [5, "u2", null], "weather": [1, 2, 3], "item_id": ["7", 7.0, 8] },
    });
    expect![[r#"
        "user_id" ["5","u2",null] ["PRESENT","PRESENT","PRESENT"] ["1970-01-01T00:00:00Z","1970-01-01T00:00:00Z","1970-01-01T00:00:00Z"]
        "item_id" [7,7,8] ["PRESENT","PRESENT","PRESENT"] ["1970-01-01T00:00:00Z","1970-01-01T00:00:00Z","1970-01-01T00:00:00Z"]
        "clicks" [2,2,1] ["PRESENT","PRESENT","PRESENT"] ["2026-01-01T12:00:00Z","2026-01-01T12:00:00Z","2026-01-01T11:00:00Z"]
    "#]].assert_eq(&vectors(&shop.api.post(LOOKUP, &asked).await.json()));
    let by_entity = json!({ "features": ["popularity:clicks"], "entities": { "item": [7] } });
    expect![[r#"
        "item_id" [7] ["PRESENT"] ["1970-01-01T00:00:00Z"]
        "clicks" [2] ["PRESENT"] ["2026-01-01T12:00:00Z"]
    "#]]
    .assert_eq(&vectors(&shop.api.post(LOOKUP, &by_entity).await.json()));
    shop.stop().await;
}

#[tokio::test]
async fn a_body_is_read_as_json_whatever_its_content_type() {
    let shop = Service::shop().await;
    let asked = r#"{ "features": ["activity:clicks"], "entities": { "user_id": ["u1"] } }"#;
    for content_type in ["", "application/x-www-form-urlencoded", "application/json"] {
        assert_eq!(shop.api.send(LOOKUP, content_type, asked).await.json()["results"][1]["values"], json!([0]));
    }
    shop.stop().await;
}

#[tokio::test]
async fn a_wrong_lookup_is_answered_with_an_error_of_feast() {
    let shop = Service::shop().await;
    let of_u1 = json!({ "user_id": ["u1"] });
    let too_many: Vec<u32> = (0..10_001).collect();
    let wrong = [
        json!({ "feature_service": "recomender", "entities": of_u1 }),
        json!({ "features": ["actvity:clicks"], "entities": of_u1 }),
        json!({ "features": ["activity:click"], "entities": of_u1 }),
        json!({ "features": ["activity"], "entities": of_u1 }),
        json!({ "feature_service": "", "entities": of_u1 }),
        json!({ "features": ["study:spend_7d"], "entities": of_u1 }),
        json!({ "features": ["activity:clicks", "popularity:clicks"], "entities": of_u1 }),
        json!({ "features": ["activity:clicks", "activity:clicks"], "full_feature_names": true, "entities": of_u1 }),
        json!({ "features": ["activity:clicks"], "entities": {} }),
        json!({ "features": ["activity:clicks"], "entities": { "item_id": [7] } }),
        json!({ "features": ["activity:clicks"], "entities": { "user_id": [true] } }),
        json!({ "features": ["popularity:clicks"], "entities": { "item_id": ["seven"] } }),
        json!({ "features": ["popularity:clicks"], "entities": { "item_id": [7.5] } }),
        json!({ "features": ["popularity:clicks"], "entities": { "item_id": [7], "user_id": ["u1", "u2"] } }),
        json!({ "features": ["popularity:clicks"], "entities": { "item_id": too_many } }),
        json!({ "features": ["activity:clicks"], "entities": { "user_id": "u1" } }),
        json!({ "features": "activity:clicks", "entities": of_u1 }),
    ];
    let mut failures = failures(&shop, LOOKUP, &wrong).await;
    failures += &failure(&shop.api.send(LOOKUP, "application/json", "{").await);
    expect![[r#"
        404 FeatureServiceNotFoundException: Feature service recomender does not exist in project default
        404 FeatureViewNotFoundException: Feature view actvity does not exist in project default
        404 FeastObjectNotFoundException: Feature click does not exist in feature view activity
        400 FeastError: Invalid feature reference 'activity'. Expected format: '<feature_view>:<feature>'
        400 FeastError: No features specified for retrieval: give `feature_service` or `features`
        400 FeastError: view `study` is declared with `online: false`: it is for backfills and training sets alone
        400 FeatureNameCollisionError: Duplicate features named clicks found: ask for each once, or with `full_feature_names`
        400 FeatureNameCollisionError: Duplicate features named activity__clicks found: ask for each feature once
        400 FeastEntityDFMissingColumnsError: key `user_id` of entity `user` is missing: `activity` is looked up by it
        400 FeastEntityDFMissingColumnsError: key `user_id` of entity `user` is missing: `activity` is looked up by it
        400 FeastError: row 0 of key `user_id` is true, but the key is string
        400 FeastError: row 0 of key `item_id` is "seven", but the key is int64
        400 FeastError: row 0 of key `item_id` is 7.5, but the key is int64
        400 FeastError: `user_id` has 2 values, but `item_id` has 1: all lists are as long
        413 FeastError: the lookup has 10001 rows, and at most 10000 are answered at once
        422 FeastError: `entities` has a list for each key, and `user_id` is "u1"
        422 FeastError: the body is not what this call takes: invalid type: string "activity:clicks", expected a sequence at line 1 column 29
        422 FeastError: the body is not what this call takes: EOF while parsing an object at line 1 column 1
    "#]].assert_eq(&failures);
    shop.stop().await;
}

#[tokio::test]
async fn pushed_rows_are_events_of_the_source() {
    let shop = Service::shop().await;
    let lists = json!({
        "push_source_name": "clicks", "to": "online_and_offline", "df": {
            "id": ["p1", "p2"], "user_id": ["u9", "u9"], "price": [1.5, null], "weather": ["rain", "sun"],
            "event_timestamp": ["2026-01-01 10:00:00", "2026-01-01T10:00:01.250+00:00"],
        },
    });
    let answer = shop.api.post("/push", &lists).await;
    assert_eq!((answer.status, answer.body.len()), (200, 0), "{answer}");
    assert_eq!(clicks_of(&shop, "u9").await, 2);
    let by_row = json!({
        "push_source_name": "clicks",
        "df": { "id": { "0": "p3" }, "user_id": { "0": "u9" }, "at": { "0": "2026-01-01T10:00:02Z" } },
    });
    assert_eq!(shop.api.post("/push", &by_row).await.status, 200);
    assert_eq!(clicks_of(&shop, "u9").await, 3);
    shop.stop().await;
}

#[tokio::test]
async fn a_wrong_push_writes_nothing() {
    let shop = Service::shop().await;
    let at = "2026-01-01 10:00:00";
    let good = json!({ "id": ["q"], "user_id": ["u9"], "event_timestamp": [at] });
    let wrong = [
        json!({ "push_source_name": "click", "df": good }),
        json!({ "push_source_name": "clicks", "df": good, "to": "offline" }),
        json!({ "push_source_name": "clicks", "df": good, "to": "nowhere" }),
        json!({ "push_source_name": "clicks", "df": { "id": ["q", "r"], "user_id": ["u9", null], "event_timestamp": [at, at] } }),
        json!({ "push_source_name": "clicks", "df": { "id": ["q"], "user_id": ["u9"], "event_timestamp": ["yesterday"] } }),
        json!({ "push_source_name": "clicks", "df": { "id": ["q"], "user_id": ["u9", "u9"] } }),
        json!({ "push_source_name": "clicks", "df": { "id": "q" } }),
        json!({ "push_source_name": "clicks" }),
    ];
    expect![[r#"
        422 PushSourceNotFoundException: Unable to find push source 'click'.
        400 FeastError: events are seen online and offline alike: push `to` "online_and_offline"
        422 FeastError: the body is not what this call takes: unknown variant `nowhere`, expected one of `online`, `offline`, `online_and_offline` at line 1 column 120
        422 FeastError: row 1: missing_field: user_id: the field is required (string) and is null; 1 of 2 rows are wrong, and nothing was written
        422 FeastError: row 0: `yesterday` is not an RFC 3339 time such as `2026-11-21T10:00:00Z`
        422 FeastError: column `user_id` has 2 values, but `id` has 1
        422 FeastError: the body is not what this call takes: a column of `df` is a list, or an object by row label at line 1 column 44
        422 FeastError: the body is not what this call takes: missing field `df` at line 1 column 29
    "#]].assert_eq(&failures(&shop, "/push", &wrong).await);
    assert_eq!(clicks_of(&shop, "u9").await, 0);
    shop.stop().await;
}

/// Beside the shop: a view whose features are last values.
const PROFILE: &str = "
---
kind: source
name: profiles
event_time: { field: changed, unit: ms }
schema:
  fields:
    - { name: changed, type: timestamp, required: true }
    - { name: user_id, type: string, required: true }
    - { name: tier_code, type: string }
    - { name: age, type: int64 }
---
kind: feature_view
name: profile
entity: user
source: profiles
features:
  - { name: tier, aggregate: last, column: tier_code }
  - { name: age, aggregate: last, column: age }
  - { name: changes, aggregate: count }
  - { name: age, aggregate: last, column: age, windows: [1d] }
";

async fn shop_with_profiles() -> Service {
    let shop = Service::empty().await;
    shop.apply(&format!("{}{PROFILE}", super::SHOP)).await.json();
    shop.settle().await;
    shop
}

#[tokio::test]
async fn written_rows_are_the_last_values_by_their_time_and_not_by_their_coming() {
    let shop = shop_with_profiles().await;
    let write = |tier: &str, age: u32, at: &str| {
        json!({ "feature_view_name": "profile", "allow_registry_cache": false, "df": {
            "user_id": ["u1"], "tier": [tier], "age": [age], "event_timestamp": [at], "created": [null],
        } })
    };
    for body in [write("gold", 41, "2026-01-02T00:00:00.5"), write("silver", 40, "2026-01-01T00:00:00")] {
        let answer = shop.api.post("/write-to-online-store", &body).await;
        assert_eq!(answer.json(), Value::Null);
    }
    shop.settle().await;
    let asked = json!({ "features": ["profile:tier", "profile:age"], "entities": { "user_id": ["u1"] } });
    expect![[r#"
        "user_id" ["u1"] ["PRESENT"] ["1970-01-01T00:00:00Z"]
        "tier" ["gold"] ["PRESENT"] ["2026-01-02T00:00:00.500Z"]
        "age" [41] ["PRESENT"] ["2026-01-02T00:00:00.500Z"]
    "#]]
    .assert_eq(&vectors(&shop.api.post(LOOKUP, &asked).await.json()));
    shop.stop().await;
}

#[tokio::test]
async fn what_is_computed_cannot_be_written() {
    let shop = shop_with_profiles().await;
    let write = |view: &str, column: &str| {
        let mut df = json!({ "user_id": ["u1"], "event_timestamp": ["2026-01-01T00:00:00"] });
        df[column] = json!([1]);
        json!({ "feature_view_name": view, "df": df })
    };
    let wrong = [
        write("profle", "age"),
        write("profile", "changes"),
        write("profile", "age_1d"),
        write("profile", "height"),
        write("profile", "tier"),
        write("activity", "dearest"),
        json!({ "feature_view_name": "profile", "df": { "user_id": ["u1"], "age": [1] } }),
    ];
    expect![[r#"
        404 FeatureViewNotFoundException: Feature view profle does not exist in project default
        422 FeastError: feature `changes` of view `profile` is computed from events and cannot be written: push what happened, rows of source `profiles`
        422 FeastError: feature `age_1d` of view `profile` is computed from events and cannot be written: push what happened, rows of source `profiles`
        422 FeastError: `height` is no key and no feature of view `profile`, and no field of source `profiles`
        422 FeastError: row 0: wrong_type: tier_code: expected a string, found 1; 1 of 1 rows are wrong, and nothing was written
        422 FeastError: feature `dearest` of view `activity` is computed from events and cannot be written: push what happened, rows of source `clicks`
        422 FeastError: row 0: missing_field: changed: the field is required (timestamp) and is not there; 1 of 1 rows are wrong, and nothing was written
    "#]].assert_eq(&failures(&shop, "/write-to-online-store", &wrong).await);
    shop.stop().await;
}

#[tokio::test]
async fn health_has_no_body() {
    let shop = Service::shop().await;
    let healthy = async || Some(shop.api.get("/health").await).filter(|answer| answer.status == 200);
    assert!(until("it is healthy", healthy).await.body.is_empty());
    shop.stop().await;
}
