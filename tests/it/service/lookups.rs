//! `/v1/online-features`.

use expect_test::expect;
use serde_json::{Value, json};

use super::{SHOP, Service, problem};

const LOOKUP: &str = "/v1/online-features";

/// A line for each column.
fn columns(answer: &Value) -> String {
    assert!(answer["as_of"].as_str().is_some_and(|as_of| as_of.ends_with('Z')), "{answer}");
    let columns = answer["columns"].as_array().expect("a list").iter();
    columns.map(|column| format!("{column}\n")).collect()
}

#[tokio::test]
async fn a_lookup_answers_a_column_for_each_key_and_each_feature_of_the_service() {
    let shop = Service::busy_shop().await;
    let rows = json!({ "service": "recommender", "entities": { "user_id": ["u1", "u2", "u3", null] } });
    let answer = shop.api.post(LOOKUP, &rows).await;
    assert_eq!(answer.content_type, "application/json");
    expect![[r#"
        {"name":"user_id","values":["u1","u2","u3",null]}
        {"name":"activity:clicks","values":[3,1,0,0]}
        {"name":"activity:spend","values":[3.25,0.0,0.0,0.0]}
        {"name":"activity:dearest","values":[2.5,null,null,null]}
        {"name":"activity:items","values":[[7,8],[],[],[]]}
        {"name":"visits:visits","values":[3,1,0,0]}
    "#]]
    .assert_eq(&columns(&answer.json()));
    shop.stop().await;
}

#[tokio::test]
async fn a_lookup_adds_statuses_and_event_times_where_they_are_asked_for() {
    let shop = Service::busy_shop().await;
    let rows = json!({
        "features": ["visits", "activity:dearest"], "entities": { "user_id": ["u1", "u2", null] },
        "include": ["statuses", "event_times"],
    });
    expect![[r#"
        {"name":"user_id","values":["u1","u2",null],"statuses":["PRESENT","PRESENT","PRESENT"]}
        {"name":"visits:visits","values":[3,1,0],"statuses":["OUTSIDE_MAX_AGE","OUTSIDE_MAX_AGE","NOT_FOUND"],"event_times":["2026-01-01T12:00:00Z","2026-01-01T12:30:00Z",null]}
        {"name":"activity:dearest","values":[2.5,null,null],"statuses":["PRESENT","NULL_VALUE","NOT_FOUND"],"event_times":["2026-01-01T12:00:00Z","2026-01-01T12:30:00Z",null]}
    "#]]
    .assert_eq(&columns(&shop.api.post(LOOKUP, &rows).await.json()));
    shop.stop().await;
}

/// Another entity's key is called as an item's is, and is text.
const CARTS: &str = "
---
kind: entity
name: cart
keys: [{ name: item_id, type: string }]
---
kind: source
name: carts
event_time: { field: at, unit: rfc3339 }
schema:
  version: 1
  fields:
    - { name: at, type: timestamp, required: true }
    - { name: item_id, type: string, required: true }
---
kind: feature_view
name: filling
entity: cart
source: carts
features:
  - { name: carts, aggregate: count }
---
kind: feature_service
name: till
features: [filling]
";

#[tokio::test]
async fn get_reads_a_key_as_the_type_that_it_has_in_what_is_asked_for() {
    let shop = Service::empty().await;
    shop.apply(&(SHOP.to_owned() + CARTS)).await.json();
    shop.settle().await;
    for path in [
        "/v1/online-features/till?item_id=c1",
        "/v1/online-features/till?item_id=7",
        "/v1/online-features/shelf?item_id=7",
        "/v1/explain/till?item_id=c1",
        "/v1/explain/filling:carts?item_id=7",
        "/v1/explain/popularity?item_id=7",
    ] {
        let answer = shop.api.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {answer}");
    }
    shop.stop().await;
}

#[tokio::test]
async fn get_looks_up_one_entity_and_reads_its_key_as_the_type_that_it_has() {
    let shop = Service::busy_shop().await;
    expect![[r#"
        {"name":"item_id","values":[7],"statuses":["PRESENT"]}
        {"name":"popularity:clicks","values":[2],"statuses":["PRESENT"],"event_times":["2026-01-01T12:00:00Z"]}
    "#]]
    .assert_eq(&columns(&shop.api.get("/v1/online-features/shelf?item_id=7").await.json()));
    let wrong = [
        "/v1/online-features/shelf?item_id=seven",
        "/v1/online-features/shelf",
        "/v1/online-features/shelf?item_id=7&user_id=u1",
        "/v1/online-features/shop?item_id=7",
    ];
    let mut problems = String::new();
    for path in wrong {
        problems += &problem(&shop.api.get(path).await);
    }
    expect![[r#"
        400 WRONG_KEY_TYPE: key `item_id` is an int64, and `seven` is not one
        400 MISSING_KEY: key `item_id` of entity `item` is missing: `popularity` is looked up by it
        400 UNKNOWN_KEY: `user_id` is not a key of any entity that the lookup reads
        404 UNKNOWN_SERVICE: feature service `shop` is not defined
    "#]]
    .assert_eq(&problems);
    shop.stop().await;
}

#[tokio::test]
async fn a_wrong_lookup_is_told_what_is_wrong() {
    let shop = Service::shop().await;
    let of_u1 = json!({ "user_id": ["u1"] });
    let too_many: Vec<u32> = (0..10_001).collect();
    let wrong = [
        json!({ "service": "recomender", "entities": of_u1 }),
        json!({ "features": ["activity:click"], "entities": of_u1 }),
        json!({ "features": ["actvity"], "entities": of_u1 }),
        json!({ "features": [], "entities": of_u1 }),
        json!({ "features": ["study"], "entities": of_u1 }),
        json!({ "features": ["activity"], "service": "recommender", "entities": of_u1 }),
        json!({ "entities": of_u1 }),
        json!({ "service": "recommender", "entities": {} }),
        json!({ "service": "recommender", "entities": { "user_id": ["u1"], "basket_id": [1] } }),
        json!({ "service": "recommender", "entities": { "user_id": ["u1", 7] } }),
        json!({ "service": "recommender", "entities": { "user_id": [true] } }),
        json!({ "service": "shelf", "entities": { "item_id": ["7"] } }),
        json!({ "service": "shelf", "entities": { "item_id": [7.5] } }),
        json!({ "features": ["activity", "popularity"], "entities": { "user_id": ["u1", "u2"], "item_id": [7] } }),
        json!({ "service": "shelf", "entities": { "item_id": too_many } }),
        json!({ "service": "shelf", "entities": { "item_id": [7] }, "include": ["stati"] }),
        json!({ "service": "shelf", "entity": { "item_id": [7] } }),
        json!({ "service": "shelf", "entities": { "item_id": [7] }, "request": { "cart_value": [12.5] } }),
        json!({ "service": "shelf", "entities": { "item_id": [7] }, "request": [] }),
    ];
    let nothing_more = json!({ "service": "shelf", "entities": { "item_id": [7] }, "request": {} });
    assert_eq!(shop.api.post(LOOKUP, &nothing_more).await.status, 200);
    let mut problems = String::new();
    for body in &wrong {
        problems += &problem(&shop.api.post(LOOKUP, body).await);
    }
    problems += &problem(&shop.api.send(LOOKUP, "application/json", "{").await);
    problems += &problem(&shop.api.send(LOOKUP, "text/plain", "{}").await);
    expect![[r#"
        404 UNKNOWN_SERVICE: feature service `recomender` is not defined
        404 UNKNOWN_FEATURE: `activity:click` is neither a view nor a `view:feature` of one
        404 UNKNOWN_FEATURE: `actvity` is neither a view nor a `view:feature` of one
        400 NO_FEATURES: the lookup names no features
        400 NOT_ONLINE: view `study` is declared with `online: false`: it is for backfills and training sets alone
        400 INVALID_BODY: give one of `service` and `features`
        400 INVALID_BODY: give one of `service` and `features`
        400 MISSING_KEY: key `user_id` of entity `user` is missing: `activity` is looked up by it
        400 UNKNOWN_KEY: `basket_id` is not a key of any entity that the lookup reads
        400 WRONG_KEY_TYPE: row 1 of key `user_id` is a number, but the key is string
        400 WRONG_KEY_TYPE: row 0 of key `user_id` is true: a key is a string, an int64, or null
        400 WRONG_KEY_TYPE: row 0 of key `item_id` is a string, but the key is int64
        400 WRONG_KEY_TYPE: row 0 of key `item_id` is 7.5: a key is a string, an int64, or null
        400 LENGTH_MISMATCH: key `user_id` has 2 values, but `item_id` has 1: all lists have the same length
        413 TOO_MANY_ROWS: the lookup has 10001 rows, and at most 10000 are answered at once
        400 INVALID_BODY: Failed to deserialize the JSON body into the target type: include[0]: unknown variant `stati`, expected `statuses` or `event_times` at line 1 column 64
        400 INVALID_BODY: Failed to deserialize the JSON body into the target type: entity: unknown field `entity`, expected one of `service`, `features`, `entities`, `request`, `include`, `partial` at line 1 column 27
        400 NO_REQUEST_FEATURES: `request` gives `cart_value`, and no feature is computed from what a request gives: leave `request` out, and hand the value to the model yourself
        400 INVALID_BODY: Failed to deserialize the JSON body into the target type: request: invalid type: sequence, expected a map at line 1 column 56
        400 INVALID_BODY: Failed to parse the request body as JSON: EOF while parsing an object at line 1 column 1
        415 INVALID_BODY: Expected request with `Content-Type: application/json`
    "#]]
    .assert_eq(&problems);
    shop.stop().await;
}
