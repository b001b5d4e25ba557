//! The `freshet` binary: see [`freshet::cli`].

use std::process::ExitCode;

/// Stream worker and training sets allocate a few small things for each event, on several threads: with the allocator of
/// the C library that is half of their time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    freshet::cli::run()
}
