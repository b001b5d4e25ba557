//! Random cases through the kernel's fold and read, as a stream and as a batch, against the oracle. A failure
//! prints its seed, the command that repeats it, and the smallest log that still fails.
//!
//! `FRESHET_CASES` runs as many instead (millions, over a night), `FRESHET_SEED` one alone.

mod arrays;
mod bugs;
pub mod generate;
mod sql;
mod system;
mod walks;

use arrow::record_batch::RecordBatch;
use freshet::kernel::definition::{Source, parse};
use freshet::kernel::event::{self, Decoded};
use freshet::kernel::plan::{ViewPlan, compile, compile_view};

use crate::oracle::Event;
use bugs::Bug;
use system::Feed;

pub use generate::Case;
pub use system::difference;

const CASES: u64 = 100_000;
const SQL_CASES: u64 = 2_000;
/// Within so many cases a planted bug has to be found.
const BUG_CASES: u64 = 10_000;

#[test]
fn stream_batch_and_oracle_give_the_same_bits() {
    // Two halves at once: the two cores that a build machine has at least.
    let seeds = seeds(CASES);
    let failure = std::thread::scope(|scope| {
        let half = |first: usize| seeds.clone().skip(first).step_by(2);
        let odd = scope.spawn(move || half(1).find_map(failure));
        seeds.clone().step_by(2).find_map(failure).or(odd.join().expect("the other half ends"))
    });
    assert!(failure.is_none(), "{}", failure.unwrap_or_default());
}

#[test]
fn definitions_as_yaml_and_events_as_json_give_the_same_bits() {
    for seed in seeds(SQL_CASES) {
        let (case, sql) = generate::sql_case(seed);
        let yaml = sql.yaml(&case.view);
        let definitions = parse(std::slice::from_ref(&yaml)).unwrap_or_else(|found| {
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            panic!("seed {seed}: {}\n{}", found.join("\n"), yaml.text)
        });
        let plan = compile(&definitions);
        assert_eq!(plan.views[0].fingerprint, compile_view(&case.view).fingerprint, "seed {seed}\n{}", yaml.text);
        if let Some(found) = difference(&case, &plan.views[0], sql::decode_json, None) {
            let name = "definitions_as_yaml_and_events_as_json_give_the_same_bits";
            panic!("{}", report(name, &case, &plan.views[0], sql::decode_json, &found));
        }
    }
}

#[test]
fn every_planted_bug_is_found() {
    let mut missed = Vec::new();
    for bug in Bug::ALL {
        let found = (0..BUG_CASES).find(|seed| {
            let case = generate::case(*seed);
            difference(&case, &compile_view(&case.view), decode_columns, Some(bug)).is_some()
        });
        println!("{bug:?}: found by case {found:?}");
        if found.is_none() {
            missed.push(bug);
        }
    }
    assert_eq!(missed, [], "not found within {BUG_CASES} cases");
}

pub fn seeds(cases: u64) -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect(name));
    match number("FRESHET_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("FRESHET_CASES").unwrap_or(cases),
    }
}

fn failure(seed: u64) -> Option<String> {
    let case = generate::case(seed);
    let plan = compile_view(&case.view);
    let found = difference(&case, &plan, decode_columns, None)?;
    Some(report("stream_batch_and_oracle_give_the_same_bits", &case, &plan, decode_columns, &found))
}

/// Events as columns, judged as the archive's are.
pub fn decode_columns(source: &Source, events: &[&Event]) -> Decoded {
    let columns = source
        .fields
        .iter()
        .enumerate()
        .map(|(index, field)| arrays::array(&field.value_type, events.iter().map(|event| &event.fields[index])));
    let fields = RecordBatch::try_new(source.schema(), columns.collect()).expect("columns are as the source says");
    let positions: Vec<_> = events.iter().map(|event| (event.origin, event.ingestion)).collect();
    event::admit(source, fields, &positions)
}

fn report(test: &str, case: &Case, plan: &ViewPlan, feed: Feed, found: &str) -> String {
    let smaller = shrunken(case, plan, feed);
    let found = difference(&smaller, plan, feed, None).unwrap_or(found.to_owned());
    format!(
        "case {seed}: {found}\n{case}repeat with: FRESHET_SEED={seed} cargo test --test it {test}",
        seed = case.seed,
        case = sql::describe(&smaller)
    )
}

/// Without the events that the difference does not need.
fn shrunken(case: &Case, plan: &ViewPlan, feed: Feed) -> Case {
    let mut case = case.clone();
    let mut index = case.log.len();
    while index > 0 {
        index -= 1;
        let mut smaller = case.clone();
        smaller.log.remove(index);
        if difference(&smaller, plan, feed, None).is_some() {
            index = smaller.log.len();
            case = smaller;
        }
    }
    case
}
