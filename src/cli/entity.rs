//! Commands that ask for one entity: its keys, the call, and the answer as JSON or as text.

use std::process::ExitCode;

use serde_json::Value;

use crate::cli::Common;
use crate::cli::output::{self, Format};

#[derive(Debug, clap::Args)]
pub(super) struct Entity {
    /// The entity's keys
    #[arg(required = true, value_name = "KEY=VALUE", value_parser = output::pair)]
    keys: Vec<(String, String)>,
    #[command(flatten)]
    common: Common,
}

impl Entity {
    /// Prints what the service answers to a call that takes the keys as its query.
    pub async fn ask(&self, path: &str, text: impl Fn(&Value) -> String) -> anyhow::Result<ExitCode> {
        let keys: Vec<(&str, String)> = self.keys.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
        let answer = self.common.connection.client()?.get(path, &keys).await?;
        match self.common.output {
            Format::Json => println!("{}", output::json(&answer)),
            Format::Table => println!("{}", text(&answer).trim_end()),
        }
        Ok(ExitCode::SUCCESS)
    }
}
