//! `freshet ready`: whether a service does what its roles promise. For health checks, so it needs no key.

use std::process::ExitCode;

use crate::cli::client::Body;
use crate::cli::service::Connection;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  until freshet ready; do sleep 1; done\n\nWhat is missing is said, and the exit \
                        code is 1. No API key is needed.")]
pub(super) struct Arguments {
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    arguments.connection.client()?.bytes("GET", "/readyz", &[], Body::None).await?;
    println!("ready");
    Ok(ExitCode::SUCCESS)
}
