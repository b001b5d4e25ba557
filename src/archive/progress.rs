//! How far each partition of each source is archived, for those who ask and those who wait.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use crate::kernel::name::Name;

/// Written by the archiver, read by everyone. Clones share it.
#[derive(Clone, Debug)]
pub struct Progress {
    standings: Arc<watch::Sender<BTreeMap<(Name, u32), Standing>>>,
    waiting: Arc<AtomicUsize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Records below are archived.
    pub archived_to: u64,
    /// Why no more of this partition is archived until somebody mends it.
    pub stopped: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WaitError {
    #[error(
        "source `{dataset}`, partition {partition} was not archived up to offset {wanted} in time; it is at {}",
        archived_to.map_or("no offset yet".to_owned(), |offset| format!("offset {offset}"))
    )]
    TimedOut { dataset: Name, partition: u32, wanted: u64, archived_to: Option<u64> },
    #[error("source `{dataset}`, partition {partition} is no longer archived: {reason}")]
    Stopped { dataset: Name, partition: u32, reason: String },
}

impl Default for Progress {
    fn default() -> Progress {
        Progress { standings: Arc::new(watch::Sender::default()), waiting: Arc::default() }
    }
}

impl Progress {
    pub fn of(&self, source: &Name, partition: u32) -> Option<Standing> {
        self.standings.borrow().get(&(source.clone(), partition)).cloned()
    }

    /// All of them, by source and partition.
    pub fn standings(&self) -> BTreeMap<(Name, u32), Standing> {
        self.standings.borrow().clone()
    }

    /// Returns once every partition is archived up to its offset: the log's end when the job was asked for. While
    /// anybody waits, the archiver commits what it has without waiting for more.
    pub async fn wait_until(
        &self,
        source: &Name,
        offsets: &BTreeMap<u32, u64>,
        limit: Duration,
    ) -> Result<(), WaitError> {
        let _waiting = Waiting::new(self);
        let mut changes = self.standings.subscribe();
        let reached = changes.wait_for(|standings| self::missing(standings, source, offsets).is_none_or(is_final));
        // The sender lives in `self`: the wait ends by a change or by the limit.
        let _ = tokio::time::timeout(limit, reached).await;
        self::missing(&self.standings.borrow(), source, offsets).map_or(Ok(()), Err)
    }

    pub(super) fn is_awaited(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    pub(super) fn archived(&self, source: &Name, partition: u32, archived_to: u64) {
        self.standings.send_modify(|all| {
            all.insert((source.clone(), partition), Standing { archived_to, stopped: None });
        });
    }

    pub(super) fn stopped(&self, source: &Name, partition: u32, reason: String) {
        self.standings.send_modify(|all| {
            let standing = all.entry((source.clone(), partition));
            standing.or_insert(Standing { archived_to: 0, stopped: None }).stopped = Some(reason);
        });
    }
}

/// Counts one that waits, until it is dropped.
struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    fn new(progress: &Progress) -> Waiting {
        progress.waiting.fetch_add(1, Ordering::SeqCst);
        Waiting(progress.waiting.clone())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn is_final(error: WaitError) -> bool {
    matches!(error, WaitError::Stopped { .. })
}

/// What keeps the first partition that is not there yet.
fn missing(
    standings: &BTreeMap<(Name, u32), Standing>,
    source: &Name,
    offsets: &BTreeMap<u32, u64>,
) -> Option<WaitError> {
    offsets.iter().find_map(|(partition, wanted)| {
        let (dataset, partition, wanted) = (source.clone(), *partition, *wanted);
        let standing = standings.get(&(source.clone(), partition));
        let archived_to = standing.map(|standing| standing.archived_to);
        let behind = archived_to.is_none_or(|archived_to| archived_to < wanted);
        behind.then(|| match standing.and_then(|standing| standing.stopped.clone()) {
            Some(reason) => WaitError::Stopped { dataset, partition, reason },
            None => WaitError::TimedOut { dataset, partition, wanted, archived_to },
        })
    })
}
