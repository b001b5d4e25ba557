//! `freshet config`: the effective settings, and where each came from.

use std::process::ExitCode;

use crate::cli::output::{self, Format};
use crate::cli::serve::Settings;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  FRESHET_LISTEN=127.0.0.1:7000 freshet config")]
pub(super) struct Arguments {
    #[command(flatten)]
    settings: Settings,
    /// How to print the settings
    #[arg(long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let settings = arguments.settings.config()?;
    let settings = settings.settings();
    match arguments.output {
        Format::Table => {
            let rows = settings
                .iter()
                .map(|it| vec![it.name.to_string(), it.value.clone(), it.origin.to_string(), it.help.to_string()]);
            println!("{}", output::table(&["setting", "value", "from", "what it is"], rows));
        }
        Format::Json => {
            let settings = settings.iter().map(|it| {
                serde_json::json!({ "name": it.name.to_string(), "value": it.value, "origin": it.origin.to_string() })
            });
            println!("{}", output::json(&settings.collect()));
        }
    }
    Ok(ExitCode::SUCCESS)
}
