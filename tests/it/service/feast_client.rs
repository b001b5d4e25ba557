//! The real client of Feast against a running service: `tests/feast/client.py` asks both for the same and compares.

use std::process::Command;

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
    let url = service.app.url();
    let client = |key: &str| {
        let mut client = Command::new(python);
        client.args([CLIENT, &url]).env("FRESHET_API_KEY", key);
        client
    };
    service.satisfies(client).await;
    service.stop().await;
}
