//! Programs of others that call a service, and say by how they end whether it answers as they expect.

use std::process::{Command, Output};

use serde_json::json;

use super::Service;

impl Service {
    /// Runs what `program` makes of an administrator's key; it has to succeed.
    pub async fn satisfies(&self, program: impl FnOnce(&str) -> Command) {
        let made = self.api.post("/v1/keys", &json!({ "name": "program", "scopes": ["admin"] })).await.json();
        let mut command = program(made["key"].as_str().expect("a key"));
        let run = move || command.output().expect("the program runs");
        let Output { status, stdout, stderr } = tokio::task::spawn_blocking(run).await.expect("it does not panic");
        let said = [stdout, stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
        assert!(status.success(), "{status}:\n{said}");
    }
}
