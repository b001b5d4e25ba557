//! What the benchmarks of the whole stand on: a topic in Kafka, Redis, the `freshet` of this build in a process of its own,
//! and who calls it. Not every benchmark uses all of it.

#![allow(dead_code, reason = "each benchmark uses a part")]

pub mod kafka;
pub mod load;
pub mod redis;
pub mod service;

/// Of servers that `tests/servers` started, or that the user has.
pub fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run `tests/servers cargo bench ...`"))
}

/// Settings of `freshet serve` as they stand on the command line.
pub fn settings(given: &[String]) -> Vec<(&str, &str)> {
    given.iter().map(|setting| setting.split_once('=').expect("`--set` takes name=value")).collect()
}

/// A name that no other run has.
pub fn random_name(prefix: &str) -> String {
    format!("{prefix}_{:08x}", getrandom::u32().expect("the system gives random numbers"))
}
