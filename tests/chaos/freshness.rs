//! How old the newest event is that lookups see, partition by partition: each partition gets a canary event every
//! 100 ms, and its entity is looked up all the time. So recovery is measured where it matters, at the reader.

use std::time::Duration;

use freshet::clock::Clock;
use freshet::kernel::time::{EventTime, Micros};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::api::Api;
use crate::disturbance::Disturbances;

pub const PARTITIONS: u32 = 8;

const EVERY: Duration = Duration::from_millis(100);

/// Lookups that see what happened less than this ago are well.
const WELL: Micros = Micros::from_millis(1_000);

pub struct Freshness(watch::Sender<Seen>);

#[derive(Clone, Debug)]
struct Seen {
    at: EventTime,
    /// The newest canary of each partition.
    newest: Vec<EventTime>,
}

pub fn canary(partition: u32) -> String {
    format!("canary-{partition}")
}

impl Freshness {
    pub fn new() -> Freshness {
        let newest = vec![EventTime::MIN; PARTITIONS as usize];
        Freshness(watch::Sender::new(Seen { at: EventTime::MIN, newest }))
    }

    /// Looks, until it is dropped.
    pub async fn watch(&self, api: &Api, disturbances: &Disturbances) -> anyhow::Result<()> {
        let canaries: Vec<String> = (0..PARTITIONS).map(canary).collect();
        let mut every = interval(EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            every.tick().await;
            let Some(answered) = api.look_up("user_totals", "user_id", &canaries, disturbances).await else { continue };
            let newest = answered.event_times("events")?;
            let newest = newest.into_iter().map(|time| time.unwrap_or(EventTime::MIN)).collect();
            self.0.send_replace(Seen { at: Clock::System.now(), newest });
        }
    }

    /// Waits until lookups of these partitions see what happened after `moment`, and less than a second ago; how long
    /// that took from `began` on, or `None` where it took longer than `patience`.
    pub async fn recovers(
        &self,
        partitions: &[u32],
        moment: EventTime,
        began: Instant,
        patience: Duration,
    ) -> Option<Duration> {
        let mut seen = self.0.subscribe();
        let is_well = |seen: &Seen| {
            let mut newest = partitions.iter().map(|partition| seen.newest[*partition as usize]);
            newest.all(|newest| newest > moment && seen.at.since(newest) < WELL)
        };
        timeout(patience, seen.wait_for(is_well)).await.ok()?.ok()?;
        Some(began.elapsed())
    }

    /// How far behind the worst partition is.
    pub fn lag(&self) -> Micros {
        let seen = self.0.borrow();
        Clock::System.now().since(*seen.newest.iter().min().expect("there are partitions"))
    }
}

pub fn all_partitions() -> Vec<u32> {
    (0..PARTITIONS).collect()
}
