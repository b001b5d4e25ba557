//! The `freshet` binary: see [`freshet::cli`].

use std::process::ExitCode;

/// Training sets allocate a tile here and a value there, from several threads at once.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    freshet::cli::run().await
}
