//! The real client of Feast against a running service: `tests/feast/client.py` asks both for the same and compares.

use std::process::{Command, Output};

use serde_json::json;

use super::Service;
use crate::servers::address;

const DEFINITIONS: &str = include_str!("../../feast/definitions.yaml");
const EVENTS: &str = include_str!("../../feast/events.ndjson");
const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/feast/client.py");

#[tokio::test]
async fn the_client_of_feast_reads_every_value_that_the_native_api_answers() {
    let python = address("FEAST_PYTHON");
    let service = Service::empty().await;
    service.apply(DEFINITIONS).await.json();
    let events = service.api.send("/v1/sources/readings/events?replay=true", "application/x-ndjson", EVENTS).await;
    assert_eq!(events.json()["rejected"], json!([]));
    service.settle().await;
    let key = service.api.post("/v1/keys", &json!({ "name": "feast", "scopes": ["admin"] })).await.json();
    let key = key["key"].as_str().expect("a key").to_owned();

    let url = service.app.url();
    let run =
        move || Command::new(python).args([CLIENT, &url]).env("FRESHET_API_KEY", key).output().expect("Python runs");
    let Output { status, stdout, stderr } = tokio::task::spawn_blocking(run).await.expect("it does not panic");
    let said = [stdout, stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    assert!(status.success(), "{status}:\n{said}");
    service.stop().await;
}
