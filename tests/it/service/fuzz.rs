//! Thousands of calls made up from the description that the service serves: none may be answered with a 5xx, or with
//! anything that the description does not announce.
//!
//! `FRESHET_CALLS=3500` makes that many of each of the thirty operations instead of a hundred.

use std::process::{Command, Output};

use serde_json::json;

use super::Service;
use crate::servers::address;

const DEFINITIONS: &str = include_str!("../../fuzz/definitions.yaml");
const SETTINGS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuzz/schemathesis.toml");

#[tokio::test]
async fn calls_made_up_from_the_description_find_nothing_wrong() {
    let program = address("SCHEMATHESIS");
    let service = Service::empty().await;
    service.apply(DEFINITIONS).await.json();
    let at = "2026-01-01T10:00:00Z";
    let event = json!({ "event_id": "e1", "timestamp": at, "user_id": "u1", "item_id": 7, "price": 1.5, "seen": 0 });
    service.api.post("/v1/sources/shop_events/events?replay=true", &event).await.json();
    service.settle().await;
    let key = service.api.post("/v1/keys", &json!({ "name": "fuzzer", "scopes": ["admin"] })).await.json();
    let header = format!("Authorization: Bearer {}", key["key"].as_str().expect("a key"));

    let description = format!("{}/openapi.json", service.app.url());
    let calls = std::env::var("FRESHET_CALLS").unwrap_or_else(|_| "100".to_owned());
    let folder = service.folder.path().to_owned();
    let run = move || {
        Command::new(program)
            .args(["--config-file", SETTINGS, "run", &description, "--max-examples", &calls, "--header", &header])
            .current_dir(folder)
            .output()
            .expect("the fuzzer runs")
    };
    let Output { status, stdout, .. } = tokio::task::spawn_blocking(run).await.expect("it does not panic");
    let said = String::from_utf8_lossy(&stdout);
    assert!(status.success(), "{status}:\n{said}");
    service.stop().await;
}
