//! Flushes that the online store refused, over all workers and restarts: read from their metrics, which start again
//! at 0 with each process. What was refused between the last look and a kill is missed: the sums are lower bounds.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::sleep;

use crate::api::Api;
use crate::fleet::Member;

const EVERY: Duration = Duration::from_millis(300);

#[derive(Default)]
pub struct Refusals(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// By worker and reason, as of the last look.
    newest: BTreeMap<(String, String), u64>,
    totals: BTreeMap<String, u64>,
}

impl Refusals {
    /// Looks at all workers, until it is dropped.
    pub async fn watch(&self, api: &Api, workers: &[Member]) {
        loop {
            for worker in workers {
                if let Some(page) = api.page(&worker.url, "/metrics").await {
                    refusals(&page).for_each(|(reason, count)| self.note(&worker.name, reason, count));
                }
            }
            sleep(EVERY).await;
        }
    }

    pub fn total(&self, reason: &str) -> u64 {
        self.0.lock().expect("nobody panics with it").totals.get(reason).copied().unwrap_or(0)
    }

    pub fn totals(&self) -> BTreeMap<String, u64> {
        self.0.lock().expect("nobody panics with it").totals.clone()
    }

    fn note(&self, worker: &str, reason: &str, count: u64) {
        let mut known = self.0.lock().expect("nobody panics with it");
        let before = known.newest.insert((worker.to_owned(), reason.to_owned()), count).unwrap_or(0);
        let new = if count < before { count } else { count - before };
        *known.totals.entry(reason.to_owned()).or_default() += new;
    }
}

/// What one worker counts.
pub async fn refused_by(api: &Api, worker: &Member, reason: &str) -> u64 {
    let page = api.page(&worker.url, "/metrics").await.unwrap_or_default();
    refusals(&page).find(|(found, _)| *found == reason).map_or(0, |(_, count)| count)
}

fn refusals(page: &str) -> impl Iterator<Item = (&str, u64)> {
    let lines = page.lines().filter_map(|line| line.strip_prefix("freshet_flushes_refused_total{reason=\""));
    lines.filter_map(|line| {
        let (reason, count) = line.split_once("\"} ")?;
        Some((reason, count.parse().ok()?))
    })
}
