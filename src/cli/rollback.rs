//! `freshet rollback VIEW`: back to the version before.

use std::process::ExitCode;

use serde_json::json;

use crate::cli::Common;
use crate::cli::client::Body;
use crate::cli::output::{self, Format};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  freshet rollback user_activity\n\nThe version that was served stays written: a second \
                        rollback serves it again. The definitions stay as they are applied; change them before the \
                        version before is forgotten."
)]
pub(super) struct Arguments {
    /// A feature view
    view: String,
    #[command(flatten)]
    common: Common,
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { view, common } = arguments;
    let by = [("by", output::user())];
    let body = Body::Json(json!({ "view": view }));
    let done = common.connection.client()?.call("POST", "/v1/rollbacks", &by, body).await?;
    match common.output {
        Format::Json => println!("{}", output::json(&done)),
        Format::Table => println!(
            "{view} is served by version {} again; version {} stays written, and another rollback serves it",
            output::cell(&done["to"]),
            output::cell(&done["from"])
        ),
    }
    Ok(ExitCode::SUCCESS)
}
