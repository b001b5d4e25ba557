//! How far the process is in its life, and how those who wait hear of it.

use tokio::sync::watch;

use crate::api::Phase;

/// What moves the process on. Clones share it.
#[derive(Clone)]
pub(super) struct Life(watch::Sender<Phase>);

impl Life {
    pub fn begin() -> Life {
        Life(watch::Sender::new(Phase::Starting))
    }

    /// Never back.
    pub fn proceed(&self, phase: Phase) {
        self.0.send_if_modified(|now| std::mem::replace(now, (*now).max(phase)) < phase);
    }

    pub fn watch(&self) -> watch::Receiver<Phase> {
        self.0.subscribe()
    }

    /// Resolves when the process has come that far.
    pub fn reaches(&self, phase: Phase) -> impl Future<Output = ()> + Send + 'static {
        let mut changes = self.watch();
        // The app lives until its tasks have ended; where it was dropped all the same, that is a shutdown too.
        async move { drop(changes.wait_for(|now| *now >= phase).await) }
    }
}
