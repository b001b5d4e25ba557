//! `freshet explain VIEW`: the compiled plan of a view.

use std::process::ExitCode;

use crate::cli::definitions;
use crate::cli::output::{self, Format};
use crate::cli::service::LocalOrRemote;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  freshet explain household_spend")]
pub(super) struct Arguments {
    /// A feature view
    view: String,
    /// How to print it; as JSON it is the whole definition
    #[arg(long, value_enum, default_value_t = Format::Table)]
    output: Format,
    #[command(flatten)]
    service: LocalOrRemote,
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let service = arguments.service.connect().await?;
    let found = definitions::find(&service.client, &arguments.view, Some("feature_view")).await;
    service.close().await?;
    let found = found?;
    match arguments.output {
        Format::Table => println!("{}", output::cell(&found["plan"]).trim_end()),
        Format::Json => println!("{}", output::json(&found)),
    }
    Ok(ExitCode::SUCCESS)
}
