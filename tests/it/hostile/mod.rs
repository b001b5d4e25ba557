//! Bytes that nobody meant: definitions, events, stored rows, tables and HTTP bodies, changed at random from ones that are
//! right. Whatever comes, it is answered: no panic, no overflowing stack, no 5xx.
//!
//! `FRESHET_CASES` runs as many of each instead, `FRESHET_SEED` one alone. A failure prints its seed and its bytes.

mod change;
mod definitions;
mod events;
mod http;
mod rows;
mod tables;

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::kernel_property::seeds;

use change::changed;

/// Runs a check on a change of the corpus for each seed.
fn survives(cases: u64, corpus: &[Vec<u8>], check: impl Fn(&[u8])) {
    for seed in seeds(cases) {
        let bytes = changed(&mut fastrand::Rng::with_seed(seed), corpus);
        let survived = catch_unwind(AssertUnwindSafe(|| check(&bytes)));
        assert!(survived.is_ok(), "seed {seed}: FRESHET_SEED={seed} repeats it\n{}", String::from_utf8_lossy(&bytes));
    }
}
