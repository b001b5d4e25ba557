//! The servers that a run starts for itself, on free ports and in a temporary folder.

pub mod kafka;
pub mod postgres;
pub mod redis;

use anyhow::Context;

/// What `tests/servers --get` says where a server's program is.
fn program(variable: &str) -> anyhow::Result<String> {
    std::env::var(variable).with_context(|| format!("{variable} is not set: run ./chaos"))
}
