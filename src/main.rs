//! The `freshet` binary: see [`freshet::cli`].

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    freshet::cli::run().await
}
