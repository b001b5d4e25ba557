//! Thousands of calls made up from the description that the service serves: none may be answered with a 5xx, or with
//! anything that the description does not announce.
//!
//! `FRESHET_CALLS=3500` makes that many of each operation instead of a hundred; always the same ones.

use std::process::Command;

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

    let description = format!("{}/openapi.json", service.app.url());
    let calls = std::env::var("FRESHET_CALLS").unwrap_or_else(|_| "100".to_owned());
    let fuzzer = |key: &str| {
        let header = format!("Authorization: Bearer {key}");
        let mut fuzzer = Command::new(program);
        fuzzer
            .args(["--config-file", SETTINGS, "run", &description, "--max-examples", &calls, "--header", &header])
            .current_dir(service.folder.path());
        fuzzer
    };
    service.satisfies(fuzzer).await;
    service.stop().await;
}
