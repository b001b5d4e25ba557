//! How far the tasks that read the archive are, for whoever waits for them elsewhere.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

#[derive(Debug, Default)]
pub struct Progress {
    done: AtomicUsize,
    moved: Notify,
}

impl Progress {
    pub fn step(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
        self.moved.notify_one();
    }

    pub fn done(&self) -> usize {
        self.done.load(Ordering::Relaxed)
    }

    /// Returns at once if there was a step since it last returned.
    pub async fn moved(&self) {
        self.moved.notified().await;
    }
}
