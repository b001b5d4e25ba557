//! How far each partition of each source is archived, for those who ask and those who wait.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::watch;

use crate::kernel::name::Name;

/// Written by the archiver, read by everyone. Clones share it.
#[derive(Clone, Debug)]
pub struct Progress {
    standings: Arc<watch::Sender<BTreeMap<(Name, u32), Standing>>>,
    waiting: Arc<AtomicUsize>,
    listening: Arc<AtomicBool>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Records below are archived.
    pub archived_to: u64,
    /// Why no more of this partition is archived until somebody mends it.
    pub stopped: Option<String>,
}

impl Default for Progress {
    fn default() -> Progress {
        Progress { standings: Arc::new(watch::Sender::default()), waiting: Arc::default(), listening: Arc::default() }
    }
}

impl Progress {
    pub fn of(&self, source: &Name, partition: u32) -> Option<Standing> {
        self.standings.borrow().get(&(source.clone(), partition)).cloned()
    }

    /// Of each partition that this process archives, by source.
    pub fn all(&self) -> BTreeMap<(Name, u32), Standing> {
        self.standings.borrow().clone()
    }

    /// Whether the archiver of this process is in its group.
    pub fn is_listening(&self) -> bool {
        self.listening.load(Ordering::SeqCst)
    }

    /// Until it is dropped, the archiver commits what it has without waiting for more.
    pub(super) fn waiting(&self) -> Waiting {
        Waiting::new(self)
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<BTreeMap<(Name, u32), Standing>> {
        self.standings.subscribe()
    }

    pub(super) fn listening(&self, listening: bool) {
        self.listening.store(listening, Ordering::SeqCst);
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

    /// It is another archiver's now.
    pub(super) fn forget(&self, source: &Name, partition: u32) {
        self.standings.send_modify(|all| {
            all.remove(&(source.clone(), partition));
        });
    }

    /// Nothing is archived here for now.
    pub(super) fn forget_all(&self) {
        self.standings.send_modify(BTreeMap::clear);
    }
}

/// Counts one that waits, until it is dropped.
pub(super) struct Waiting(Arc<AtomicUsize>);

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
