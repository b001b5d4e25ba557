//! Lookups of which one view cannot be read: the call fails and names it, or answers the others where that was asked for.

use arrow::ipc::reader::StreamReader;
use expect_test::expect;
use serde_json::{Value, json};

use super::{SHOP, Service, problem};

const LOOKUP: &str = "/v1/online-features";

/// A view that stays as it is built: its history is not where files may be read.
const PARCELS: &str = "
---
kind: source
name: parcels
event_time: { field: at, unit: rfc3339 }
schema:
  fields:
    - { name: at, type: timestamp, required: true }
    - { name: user_id, type: string, required: true }
history: [{ path: \"s3://elsewhere/parcels.ndjson\", format: ndjson, until: 2026-01-01T00:00:00Z }]
---
kind: feature_view
name: deliveries
entity: user
source: parcels
features:
  - { name: parcels, aggregate: count }
---
kind: feature_service
name: courier
features: [visits, deliveries]
";

async fn with_a_view_that_is_being_built() -> Service {
    let shop = Service::busy_shop().await;
    shop.apply(&format!("{SHOP}{PARCELS}")).await.json();
    shop
}

fn lookup(partial: bool) -> Value {
    json!({ "service": "courier", "entities": { "user_id": ["u1", "u3"] }, "partial": partial })
}

const ERRORS: &str = r#"[{"view":"deliveries","code":"REBUILDING","detail":"view `deliveries` is being built from the log and is not served yet"}]"#;

#[tokio::test]
async fn a_call_that_did_not_ask_for_a_part_fails_and_names_the_view() {
    let shop = with_a_view_that_is_being_built().await;
    let answer = shop.api.post(LOOKUP, &lookup(false)).await;
    let errors: Value = serde_json::from_slice::<Value>(&answer.body).expect("JSON")["errors"].take();
    let mut told = problem(&answer);
    told += &problem(&shop.api.get("/v1/online-features/courier?user_id=u1").await);
    told += &format!("{errors}\n");
    let of_feast = json!({ "feature_service": "courier", "entities": { "user_id": ["u1"] } });
    let answer = shop.api.post("/get-online-features", &of_feast).await;
    told += &format!("{} {}\n", answer.status, answer.text());
    expect![[r#"
        503 REBUILDING: view `deliveries` is being built from the log and is not served yet
        503 REBUILDING: view `deliveries` is being built from the log and is not served yet
        [{"place":"deliveries","code":"REBUILDING","detail":"view `deliveries` is being built from the log and is not served yet"}]
        503 "{\"module\":\"feast.errors\",\"class\":\"FeastError\",\"message\":\"view `deliveries` is being built from the log and is not served yet\"}"
    "#]]
    .assert_eq(&told);
    shop.stop().await;
}

#[tokio::test]
async fn an_answer_in_part_has_the_other_views_and_says_what_is_not_there() {
    let shop = with_a_view_that_is_being_built().await;
    let answer = shop.api.post(LOOKUP, &lookup(true)).await.json();
    assert_eq!(answer["errors"].to_string(), ERRORS);
    let columns = answer["columns"].as_array().expect("a list").iter();
    expect![[r#"
        {"name":"user_id","values":["u1","u3"],"statuses":["PRESENT","PRESENT"]}
        {"name":"visits:visits","values":[3,0],"statuses":["OUTSIDE_MAX_AGE","NOT_FOUND"]}
        {"name":"deliveries:parcels","values":[null,null],"statuses":["UNAVAILABLE","UNAVAILABLE"]}
    "#]]
    .assert_eq(&columns.map(|column| format!("{column}\n")).collect::<String>());
    let one = shop.api.get("/v1/online-features/courier?user_id=u1&partial=true").await.json();
    assert_eq!((one["errors"].to_string().as_str(), &one["columns"][1]["values"]), (ERRORS, &json!([3])));
    assert_eq!(one["columns"][2]["statuses"], json!(["UNAVAILABLE"]));
    shop.stop().await;
}

#[tokio::test]
async fn an_answer_in_part_says_the_same_in_arrow() {
    let shop = with_a_view_that_is_being_built().await;
    let arrow = shop.api.with_header("accept", "application/vnd.apache.arrow.stream");
    let answer = arrow.post(LOOKUP, &lookup(true)).await;
    let batch = StreamReader::try_new(answer.body.as_slice(), None).expect("a stream").next();
    let batch = batch.expect("a batch").expect("it reads");
    let schema = batch.schema();
    let errors: Value = serde_json::from_str(&schema.metadata()["errors"]).expect("JSON");
    assert_eq!(errors.to_string(), ERRORS);
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names[4..], ["deliveries:parcels", "deliveries:parcels:status"]);
    let statuses = arrow::util::display::array_value_to_string(batch.column(5), 1).expect("text");
    assert_eq!((batch.column(4).null_count(), statuses.as_str()), (2, "UNAVAILABLE"));
    let whole = json!({ "service": "shelf", "entities": { "item_id": [7] }, "partial": true });
    let answer = arrow.post(LOOKUP, &whole).await;
    let schema = StreamReader::try_new(answer.body.as_slice(), None).expect("a stream").schema();
    assert_eq!(schema.metadata()["errors"], "[]", "nothing is missing, and that is said");
    shop.stop().await;
}

#[tokio::test]
async fn a_part_of_nothing_is_a_failure_and_a_wrong_word_a_mistake() {
    let shop = with_a_view_that_is_being_built().await;
    let nothing = json!({ "features": ["deliveries"], "entities": { "user_id": ["u1"] }, "partial": true });
    let mut problems = problem(&shop.api.post(LOOKUP, &nothing).await);
    problems += &problem(&shop.api.get("/v1/online-features/courier?user_id=u1&partial=yes").await);
    expect![[r#"
        503 REBUILDING: view `deliveries` is being built from the log and is not served yet
        400 INVALID_QUERY: `partial` is `true` or `false`, and `yes` is neither
    "#]]
    .assert_eq(&problems);
    shop.stop().await;
}

#[tokio::test]
async fn an_answer_of_all_that_was_asked_for_has_no_errors() {
    let shop = Service::busy_shop().await;
    let answer = shop.api.get("/v1/online-features/shelf?item_id=7&partial=true").await.json();
    assert_eq!(answer["errors"], json!([]));
    assert_eq!(shop.api.get("/v1/online-features/shelf?item_id=7").await.json()["errors"], Value::Null);
    shop.stop().await;
}

#[tokio::test]
async fn values_that_are_not_there_are_counted() {
    let shop = with_a_view_that_is_being_built().await;
    shop.api.post(LOOKUP, &lookup(true)).await.json();
    let counted = "freshet_values_served_total{status=\"UNAVAILABLE\",view=\"deliveries\"} 2";
    let metrics = shop.api.get("/metrics").await.text();
    assert!(metrics.lines().any(|line| line == counted), "{metrics}");
    shop.stop().await;
}
