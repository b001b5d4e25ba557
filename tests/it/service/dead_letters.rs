//! The replay of dead letters after their schema was mended.

use std::path::Path;

use bytes::Bytes;
use freshet::event_log::embedded::EmbeddedLog;
use freshet::event_log::{EventLog, NewRecord};
use serde_json::{Value, json};

use super::{SHOP, Service, problem, start, until};

const REPLAY: &str = "/v1/dead-letters/clicks/replay";

/// With a field that no view uses.
fn shop(rank: &str) -> String {
    let fields = format!("price, type: float64 }}\n    - {{ name: rank, type: {rank} }}");
    SHOP.replace("price, type: float64 }", &fields)
}

/// Two clicks at the same item, of which one has a rank that is no int32, and what is no click.
async fn write_records(folder: &Path) {
    let log = EmbeddedLog::open(&folder.join("log")).expect("opens");
    log.create_topic("clicks", 1).await.expect("creates");
    let values = [
        r#"{"id":"a","at":"2026-01-01T10:00:00Z","user_id":"u1","item_id":7}"#,
        r#"{"id":"b","at":"2026-01-01T10:00:00Z","user_id":"u1","item_id":7,"rank":5000000000}"#,
        "none",
    ];
    let ingestion_time = "2026-01-01T10:00:01Z".parse().expect("a time");
    let record = |value: &str| NewRecord { key: None, value: Bytes::from(value.to_owned()), ingestion_time };
    log.append("clicks", values.map(record).to_vec()).await.expect("appends");
}

async fn clicks_at_the_item(shop: &Service) -> Value {
    let lookup = json!({ "service": "shelf", "entities": { "item_id": [7] } });
    shop.api.post("/v1/online-features", &lookup).await.json()["columns"][1]["values"][0].clone()
}

/// What the source makes of each by now, the newest first.
async fn now(shop: &Service) -> Vec<String> {
    let letters = shop.api.get("/v1/dead-letters?source=clicks").await.json();
    let letters = letters["dead_letters"].as_array().expect("a list").iter();
    letters.map(|letter| letter["now"].as_str().expect("text").to_owned()).collect()
}

#[tokio::test]
async fn what_a_mended_schema_takes_is_replayed_once() {
    let folder = tempfile::tempdir().expect("a folder");
    write_records(folder.path()).await;
    let (app, api) = start(folder.path()).await;
    let shop = Service { app, api, folder };
    shop.apply(&self::shop("int32")).await.json();
    shop.settle().await;
    let nothing = json!({ "source": "clicks", "taken": 0, "rejected": 2, "rebuilding": [], "up_to_date": [] });
    assert_eq!(shop.api.post(REPLAY, &json!({})).await.json(), nothing, "nothing is mended yet");
    assert_eq!(now(&shop).await, ["rejected", "rejected"]);

    let mended = self::shop("int64").replace("n: 2, distinct", "n: 3, distinct");
    shop.apply(&mended).await.json();
    shop.settle().await;
    assert_eq!(now(&shop).await, ["rejected", "taken"]);
    assert_eq!(clicks_at_the_item(&shop).await, 1, "its view is the same, and had passed the record");

    let replayed = shop.api.post(REPLAY, &json!({})).await.json();
    let expected = json!({ "source": "clicks", "taken": 1, "rejected": 1, "rebuilding": ["popularity", "visits"],
                           "up_to_date": ["activity"] });
    assert_eq!(replayed, expected);
    until("it is rebuilt", async || {
        let left = shop.api.get("/v1/rebuilds").await.json();
        left["rebuilds"].as_array().expect("a list").is_empty().then_some(())
    })
    .await;
    assert_eq!(clicks_at_the_item(&shop).await, 2);
    assert_eq!(now(&shop).await, ["rejected", "replayed"]);

    let again = shop.api.post(REPLAY, &json!({})).await.json();
    assert_eq!((&again["taken"], &again["rebuilding"]), (&json!(0), &json!([])));
    shop.settle().await;
    assert_eq!(clicks_at_the_item(&shop).await, 2, "exactly once");
    let unknown = problem(&shop.api.post("/v1/dead-letters/carts/replay", &json!({})).await);
    assert_eq!(unknown, "404 UNKNOWN_SOURCE: source `carts` is not defined\n");
    shop.stop().await;
}
