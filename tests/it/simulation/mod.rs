//! Stream workers in a simulated world, from one seed: the real [`freshet::stream::Worker`] in several processes, with
//! a model of its shell, of the consumer group, of the log and of everything that can happen to calls, processes,
//! shards and partitions.
//!
//! After every write to the store, every row of the lanes that it moved must be what a plain fold of the records below
//! its lane's offset makes of it: so nothing is lost, doubled or ahead of its offset in any instant that a reader
//! could see. Offsets never go back but by a rollback, nobody writes to a lane that another claimed later, or that it
//! let go, or from elsewhere than where the store told it that the lane stands. Once nothing goes wrong any more, all
//! comes to rest with everything in the store; and where nothing ever went wrong, no flush was refused.
//!
//! Mutants leave one rule of the protocol out, around the worker, and must be found.
//!
//! `FRESHET_SIMULATIONS` runs as many seeds instead (a million, over a night), `FRESHET_SEED` one alone.

mod action;
mod answered;
mod fault;
mod group;
mod log;
mod mutant;
mod process;
mod seeding;
mod settle;
mod store;
mod trace;
mod traffic;
mod workload;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use fault::{Fault, Faults};
use mutant::Mutant;
use trace::Trace;
use world::World;

/// About twenty seconds of `./test`.
const SEEDS: u64 = 1_000;
/// Within as many seeds each mutant has to be found.
const MUTANT_SEEDS: u64 = 1_000;
/// The end of a trace says what went wrong; the beginning is there for whoever repeats it.
const LINES: u64 = 60;

#[test]
fn every_instant_shows_what_a_plain_fold_makes_of_the_log() {
    let seeds = match number("FRESHET_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("FRESHET_SIMULATIONS").unwrap_or(SEEDS),
    };
    if let Some(seed) = first_wrong(seeds, None) {
        panic!("{}", report(seed));
    }
}

#[test]
fn every_mutant_of_the_protocol_is_found() {
    let mut missed = Vec::new();
    for mutant in Mutant::ALL {
        let found = first_wrong(0..MUTANT_SEEDS, Some(mutant));
        let why = found.and_then(|seed| run(seed, Some(mutant), Faults::ALL, Trace::silent()).err());
        println!("{mutant:?}: found by seed {found:?}: {why:?}");
        if found.is_none() {
            missed.push(mutant);
        }
    }
    assert_eq!(missed, [], "not found within {MUTANT_SEEDS} seeds");
}

#[test]
fn a_seed_tells_the_same_story_twice() {
    for seed in 0..20 {
        let told = || {
            let mut world = World::new(seed, None, Faults::ALL, Trace::kept());
            world.run().expect("no seed is wrong");
            world.trace().text().to_owned()
        };
        assert!(told() == told(), "seed {seed} is not repeatable");
    }
}

/// The smallest seed of those found before all cores stopped looking.
fn first_wrong(seeds: std::ops::Range<u64>, mutant: Option<Mutant>) -> Option<u64> {
    let (next, found) = (AtomicU64::new(seeds.start), AtomicU64::new(u64::MAX));
    let look = || loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= seeds.end || found.load(Ordering::Relaxed) != u64::MAX {
            return;
        }
        if run(seed, mutant, Faults::ALL, Trace::silent()).is_err() {
            found.fetch_min(seed, Ordering::Relaxed);
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, |cores| cores.get()) {
            scope.spawn(look);
        }
    });
    Some(found.into_inner()).filter(|seed| *seed != u64::MAX)
}

/// A panic of the worker is as wrong as anything.
fn run(seed: u64, mutant: Option<Mutant>, allowed: Faults, trace: Trace) -> Result<(), String> {
    let mut world = World::new(seed, mutant, allowed, trace);
    catch_unwind(AssertUnwindSafe(|| world.run())).unwrap_or_else(|_| Err("it panicked".into()))
}

/// What happened before it went wrong, with no more kinds of faults than it takes.
fn report(seed: u64) -> String {
    let mut allowed = Faults::ALL;
    for fault in Fault::ALL {
        if run(seed, None, allowed.without(fault), Trace::silent()).is_err() {
            allowed = allowed.without(fault);
        }
    }
    let mut world = World::new(seed, None, allowed, Trace::kept());
    let wrong = catch_unwind(AssertUnwindSafe(|| world.run())).unwrap_or_else(|_| Err("it panicked".into()));
    let lines: Vec<&str> = world.trace().text().lines().collect();
    let last = lines[lines.len().saturating_sub(number("FRESHET_LINES").unwrap_or(LINES) as usize)..].join("\n");
    format!(
        "seed {seed}, step {}: {}\nit takes {:?}\n{last}\nrepeat with: FRESHET_SEED={seed} cargo test --test it \
         every_instant_shows",
        world.trace().steps(),
        wrong.expect_err("it went wrong before"),
        allowed.list(),
    )
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect(variable))
}
