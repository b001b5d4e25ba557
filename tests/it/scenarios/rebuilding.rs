//! `freshet rebuild`, the command itself: rows are built anew to the same bits, on both kinds of parts, and who looks
//! them up meanwhile sees nothing of it.

use std::cell::Cell;

use serde_json::{Value, json};

use super::backend::{Backend, settle};
use super::{ITEMS, USERS, tell};
use crate::http::Api;
use crate::process::{freshet, run};

const CLICKS: u64 = 3_000;

/// Clicks with prices that no float sum of another order would add up to.
fn clicks() -> String {
    let click = |number: u64| {
        let (user, item) = (USERS[number as usize % 3], ITEMS[number as usize % 2]);
        let price = 0.1 * (number % 97) as f64;
        format!("c{number} {user} {item} {price} at {:02}:{:02}\n", number / 60, number % 60)
    };
    (0..CLICKS).map(click).collect()
}

/// All that is served of the entities of [`clicks`], as it is written: equal text is equal bits.
async fn served(api: &Api) -> String {
    let lookup = |view: &str, key: &str, entities: Value| json!({ "features": [view], "entities": { key: entities }, "include": ["statuses", "event_times"] });
    let mut served = String::new();
    for lookup in [lookup("by_user", "user_id", json!(USERS)), lookup("by_item", "item_id", json!(ITEMS))] {
        let answer = api.post("/v1/online-features", &lookup).await;
        assert_eq!(answer.status, 200, "{answer}");
        let text = answer.text();
        served += &text[text.find("\"columns\"").expect("an answer has columns")..];
    }
    served
}

/// Runs the command to its end; view, generation and whether it is served, of each view.
async fn rebuild(api: &Api) -> Vec<String> {
    let rebuilt = run(freshet(["rebuild", "--url", api.base(), "--output", "json"])).await.json();
    rebuilt
        .as_array()
        .expect("a list")
        .iter()
        .map(|it| format!("{} {} {}", it["view"], it["generation"], it["served"]))
        .collect()
}

/// Looks up, without end, and lets a click of somebody else come in before each lookup.
async fn look_up(api: &Api, before: &str, clicks: &Cell<u64>) {
    loop {
        let event = json!({ "id": format!("during{}", clicks.get()), "at": 1_767_225_600_000_u64, "user_id": "u9" });
        let answer = api.send("/v1/sources/clicks/events?replay=true", "application/json", event.to_string()).await;
        assert_eq!(answer.json()["accepted"], 1);
        clicks.set(clicks.get() + 1);
        assert_eq!(served(api).await, before, "after {} clicks", clicks.get());
    }
}

async fn clicks_of_u9(api: &Api) -> Value {
    let lookup = json!({ "features": ["by_user:clicks"], "entities": { "user_id": ["u9"] } });
    api.post("/v1/online-features", &lookup).await.json()["columns"][1]["values"][0].clone()
}

async fn rows_are_rebuilt_beside_what_serves(backend: Backend) {
    backend.append(&clicks()).await;
    let (app, api) = backend.serve().await;
    let (before, clicks) = (served(&api).await, Cell::new(0));
    let rebuilt = tokio::select! {
        rebuilt = rebuild(&api) => rebuilt,
        () = look_up(&api, &before, &clicks) => unreachable!("it has no end"),
    };
    assert_eq!(rebuilt, [r#""by_item" 1 true"#, r#""by_user" 1 true"#]);
    settle(&api).await;
    assert_eq!(served(&api).await, before);
    // The last one may have been cut off before or after it was taken.
    let counted = clicks_of_u9(&api).await.as_u64().expect("a number");
    assert!((clicks.get()..=clicks.get() + 1).contains(&counted) && counted > 0, "{counted} of {}", clicks.get());
    tell(&api).await;
    app.stop().await.expect("it stops cleanly");

    let (app, api) = backend.start().await;
    settle(&api).await;
    assert_eq!(served(&api).await, before, "after a restart");
    assert_eq!(clicks_of_u9(&api).await, counted, "after a restart");
    app.stop().await.expect("it stops cleanly");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_rebuilt_beside_what_serves_on_embedded_parts() {
    rows_are_rebuilt_beside_what_serves(Backend::embedded().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_rebuilt_beside_what_serves_on_kafka_redis_and_postgresql() {
    rows_are_rebuilt_beside_what_serves(Backend::servers().await).await;
}
