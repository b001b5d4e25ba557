//! The table at the end of a run.

use std::sync::atomic::Ordering;
use std::time::Duration;

use comfy_table::{Table, presets};

use crate::journal::{Summary, percentile};
use crate::traffic::Traffic;
use crate::verdict::Verdict;
use crate::world::World;

/// What was injected, and how long the system took to be well again.
pub fn faults(world: &World) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header([
        "fault",
        "injected",
        "detected",
        "healed",
        "p50",
        "p99",
        "max",
        "alone: times",
        "p50",
        "p99",
        "max",
    ]);
    for (fault, Summary { injected, detected, healed, times, times_alone }) in world.journal.by_fault() {
        let mut row = vec![fault.to_owned(), injected.to_string(), detected.to_string(), healed.to_string()];
        row.extend(times_of(&times));
        row.push(times_alone.len().to_string());
        row.extend(times_of(&times_alone));
        table.add_row(row);
    }
    table
}

fn times_of(times: &[Duration]) -> [String; 3] {
    [0.5, 0.99, 1.0]
        .map(|share| percentile(times, share).map_or("-".into(), |time| format!("{:.1} s", time.as_secs_f64())))
}

/// What was sent and looked up, and what became of it.
pub fn outcome(world: &World, traffic: &Traffic, verdict: &Verdict, ended: &[String]) -> Table {
    let sent = &traffic.sent;
    let count = |number: &std::sync::atomic::AtomicU64| number.load(Ordering::Relaxed).to_string();
    let lookups = &world.api.lookups;
    let refused: Vec<String> =
        world.refusals.totals().iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    let rows = [
        ("records in the log", verdict.records.to_string()),
        ("events sent, of them by HTTP", format!("{}, {}", count(&sent.events), count(&sent.by_http))),
        ("poison in the log", verdict.poison.to_string()),
        ("late (too late), early", format!("{} ({}), {}", count(&sent.late), verdict.late, count(&sent.early))),
        ("copies sent, in the log", format!("{}, {}", count(&sent.copies), verdict.copies)),
        ("HTTP batches sent again", count(&sent.again_by_http)),
        ("flushes refused", refused.join(", ")),
        ("lookups answered, of rows", format!("{}, {}", count(&lookups.answered), count(&lookups.rows))),
        ("lookups answered 503 while Redis was away", count(&lookups.unavailable)),
        ("processes that ended by themselves", format!("{} {}", ended.len(), ended.join(" "))),
        ("entities compared, values", format!("{}, {}", verdict.entities, verdict.values)),
        ("events LOST", verdict.lost.to_string()),
        ("events DOUBLED", verdict.doubled.to_string()),
        ("entities otherwise DIFFERENT", verdict.different.to_string()),
        ("acknowledged and NOT IN THE LOG", verdict.missing_in_log.to_string()),
        ("WRONG dead letters", verdict.dead_letters_wrong.to_string()),
        ("lookups that FAILED otherwise", count(&lookups.failed)),
        ("parity: lookups, values compared", format!("{}, {}", verdict.parity.lookups, verdict.parity.compared)),
        ("parity: DIFFERENT, UNCHECKED", format!("{}, {}", verdict.parity.different, verdict.parity.unchecked)),
    ];
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.add_rows(rows.map(|(what, how_many)| [what.to_owned(), how_many]));
    table
}
