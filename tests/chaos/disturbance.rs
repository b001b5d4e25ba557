//! What is being done to the system now: it excuses lookups that fail, and tells whether a worker's recovery was its
//! own alone.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

/// What a fault takes away from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// One process.
    Member,
    /// The group of workers has to share partitions anew.
    Group,
    /// The log is away.
    Log,
    /// The online store is away, or lost something.
    Store,
    /// The registry is away.
    Registry,
}

/// After a fault of the store is healed, an answer that began before may still come.
const GRACE: Duration = Duration::from_secs(2);

#[derive(Default)]
pub struct Disturbances(Mutex<Known>);

#[derive(Default)]
struct Known {
    number: u64,
    under_way: BTreeMap<u64, Reach>,
    store_healed: Option<Instant>,
    /// The ends of those that were over, newest last.
    ended: Vec<(Reach, Instant)>,
}

/// A fault that is under way; over when it is dropped.
pub struct Disturbance<'a> {
    all: &'a Disturbances,
    number: u64,
    began: Instant,
}

impl Disturbances {
    pub fn begin(&self, reach: Reach) -> Disturbance<'_> {
        let mut known = self.known();
        known.number += 1;
        let number = known.number;
        known.under_way.insert(number, reach);
        Disturbance { all: self, number, began: Instant::now() }
    }

    /// Whether a lookup may fail with 503 now.
    pub fn excuse_lookups(&self) -> bool {
        let known = self.known();
        let is_healing = known.store_healed.is_some_and(|healed| healed.elapsed() < GRACE);
        is_healing || known.under_way.values().any(|reach| *reach == Reach::Store)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().expect("nobody panics while holding it")
    }
}

impl Disturbance<'_> {
    /// Whether no other that reaches beyond one process was under way at some moment since this one began.
    pub fn was_alone(&self) -> bool {
        let known = self.all.known();
        let reaches = |reach: &Reach| *reach != Reach::Member;
        let others = known.under_way.iter().filter(|(number, _)| **number != self.number).map(|(_, reach)| reach);
        let ended = known.ended.iter().filter(|(_, at)| *at >= self.began).map(|(reach, _)| reach);
        !others.chain(ended).any(reaches)
    }
}

impl Drop for Disturbance<'_> {
    fn drop(&mut self) {
        let mut known = self.all.known();
        let reach = known.under_way.remove(&self.number).expect("it is under way until now");
        let now = Instant::now();
        known.ended.push((reach, now));
        if reach == Reach::Store {
            known.store_healed = Some(now);
        }
    }
}
