//! Programs of others that call a service, and say by how they end whether it answers as they expect.

use std::process::Command;

use serde_json::json;

use super::Service;
use crate::process::run;

impl Service {
    /// Runs what `program` makes of an administrator's key; it has to succeed.
    pub async fn satisfies(&self, program: impl FnOnce(&str) -> Command) {
        let made = self.api.post("/v1/keys", &json!({ "name": "program", "scopes": ["admin"] })).await.json();
        run(program(made["key"].as_str().expect("a key"))).await.done();
    }
}
