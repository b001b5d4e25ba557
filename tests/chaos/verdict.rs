//! Whether all was counted once, after the faults are over: what lookups answer of every entity against the oracle,
//! dead letters against poison, what was acknowledged against what the log holds, and Freshet's own parity.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, ensure};
use freshet::clock::Clock;
use freshet::offline::Filter;
use serde_json::Value;

use crate::arguments::Plant;
use crate::events::{ITEMS, USERS};
use crate::freshness::{PARTITIONS, canary};
use crate::oracle::{Oracle, View};
use crate::positions;
use crate::traffic::Traffic;
use crate::world::World;

/// Entities of one lookup.
const ROWS: usize = 100;

/// How long a system without faults may take to have everything.
const SETTLE: Duration = Duration::from_secs(180);

#[derive(Default)]
pub struct Verdict {
    pub records: u64,
    pub entities: usize,
    pub values: usize,
    /// Events that lookups do not count, and that they count more than once.
    pub lost: u64,
    pub doubled: u64,
    /// Entities whose values differ otherwise.
    pub different: usize,
    /// The first entity of all that differ.
    pub first_difference: Option<String>,
    /// Events and poison that were acknowledged and are not in the log.
    pub missing_in_log: usize,
    pub poison: usize,
    /// Poison that is no dead letter, and dead letters that are no poison or stand twice.
    pub dead_letters_wrong: usize,
    pub late: u64,
    pub copies: u64,
    pub parity: Parity,
}

#[derive(Default)]
pub struct Parity {
    pub lookups: u64,
    pub compared: u64,
    pub different: u64,
    pub unchecked: u64,
}

/// What one entity's features were, by name.
type Served = BTreeMap<(View, String), (i64, BTreeMap<&'static str, Option<i64>>)>;

/// Waits for a system that is left alone to have everything, and judges it.
pub async fn judge(world: &World, traffic: &Traffic, plant: Option<Plant>) -> anyhow::Result<Verdict> {
    ensure!(positions::folded(world, SETTLE).await?, "the stream does not reach the end of the log in {SETTLE:?}");
    let earliest = Clock::System.now().micros();
    let served = look_up_all(world).await?;
    let brokers = world.brokers.clone();
    let oracle = tokio::task::spawn_blocking(move || Oracle::read(&brokers, earliest, plant)).await??;
    let mut verdict = Verdict {
        records: oracle.records,
        late: oracle.late,
        copies: oracle.copies,
        poison: oracle.poison.len(),
        ..Verdict::default()
    };
    verdict.compare(&served, &oracle);
    verdict.check_log(&oracle, traffic);
    ensure!(positions::archived(world, SETTLE).await?, "the archive does not reach the end of the log in {SETTLE:?}");
    verdict.check_dead_letters(world, &oracle)?;
    verdict.parity = parity(world).await?;
    Ok(verdict)
}

async fn look_up_all(world: &World) -> anyhow::Result<Served> {
    let mut served = Served::new();
    for view in View::ALL {
        for entities in entities(view).chunks(ROWS) {
            let asked = world.api.look_up(view.name(), view.key(), entities, &world.disturbances).await;
            let answered = asked.context("a lookup fails though nothing is wrong any more")?;
            let as_of = answered.as_of()?.micros();
            for entity in entities {
                served.insert((view, entity.clone()), (as_of, BTreeMap::new()));
            }
            for feature in view.features() {
                for (entity, value) in entities.iter().zip(answered.values(feature)?) {
                    let row = served.get_mut(&(view, entity.clone())).expect("it was just put there");
                    row.1.insert(feature, value);
                }
            }
        }
    }
    Ok(served)
}

/// Every entity that events may be of.
pub fn entities(view: View) -> Vec<String> {
    match view {
        View::User => (0..USERS).map(|number| format!("u{number}")).chain((0..PARTITIONS).map(canary)).collect(),
        View::Item => (0..ITEMS).map(|number| format!("i{number}")).chain(["canary".to_owned()]).collect(),
    }
}

impl Verdict {
    pub fn is_good(&self, world: &World) -> bool {
        let wrong = self.lost + self.doubled + self.parity.different + self.parity.unchecked;
        let failed = world.api.lookups.failed.load(Ordering::Relaxed);
        let different = self.different + self.missing_in_log + self.dead_letters_wrong;
        // Where nothing was compared, nothing was found.
        let compared = self.records.min(self.poison as u64).min(self.values as u64).min(self.parity.compared);
        wrong + failed == 0 && different + world.journal.unhealed() == 0 && compared > 0
    }

    fn compare(&mut self, served: &Served, oracle: &Oracle) {
        for ((view, entity), (as_of, values)) in served {
            let row = oracle.rows.get(&(*view, entity.clone())).cloned().unwrap_or_default();
            let wanted = row.features(*view, *as_of);
            self.entities += 1;
            self.values += wanted.len();
            if *values == wanted {
                continue;
            }
            let (has, wants) = (values["events"].unwrap_or(0), wanted["events"].unwrap_or(0));
            self.lost += wants.saturating_sub(has).max(0).cast_unsigned();
            self.doubled += has.saturating_sub(wants).max(0).cast_unsigned();
            self.different += usize::from(has == wants);
            let view = view.name();
            let text = || format!("{view} of {entity}:\n  served {values:?}\n  wanted {wanted:?}");
            self.first_difference.get_or_insert_with(text);
        }
    }

    fn check_log(&mut self, oracle: &Oracle, traffic: &Traffic) {
        let held: BTreeSet<u64> = oracle.ids.iter().copied().collect();
        let acknowledged = traffic.acknowledged();
        let poison = acknowledged.poison.load(Ordering::Relaxed) as usize;
        let missing = acknowledged.ids().iter().filter(|id| !held.contains(id)).count();
        self.missing_in_log = missing + poison.saturating_sub(oracle.poison.len());
    }

    fn check_dead_letters(&mut self, world: &World, oracle: &Oracle) -> anyhow::Result<()> {
        let letters = world
            .disk
            .archive()?
            .dead_letters(&positions::plan().sources[0], Filter { reason: None, limit: usize::MAX })?;
        let places: BTreeSet<(u32, u64)> = letters.iter().map(|letter| (letter.partition, letter.offset)).collect();
        let twice = letters.len() - places.len();
        self.dead_letters_wrong = places.symmetric_difference(&oracle.poison).count() + twice;
        Ok(())
    }
}

/// What `freshet parity` says.
async fn parity(world: &World) -> anyhow::Result<Parity> {
    let url = world.fleet.apis[0].url.clone();
    let run = move || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_freshet"));
        command.args(["parity", "--output", "json", "--url", &url]).output()
    };
    let output = tokio::task::spawn_blocking(run).await??;
    let report: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("freshet parity: {}", String::from_utf8_lossy(&output.stderr)))?;
    let number = |name: &str| report[name].as_u64().with_context(|| format!("the report has no `{name}`: {report}"));
    let parity = Parity {
        lookups: number("lookups")?,
        compared: number("compared")?,
        different: number("different")?,
        unchecked: number("unchecked")?,
    };
    if parity.different + parity.unchecked > 0 {
        println!("{report:#}");
    }
    Ok(parity)
}
