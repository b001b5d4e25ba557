//! Work on files, again and again while the world is in the way.

use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::offline;

/// Between attempts: doubled from the first to the longest.
pub(super) const RETRY_FIRST: Duration = Duration::from_millis(100);
pub(super) const RETRY_LONGEST: Duration = Duration::from_secs(10);

/// Works on a thread that may block. Returns what was done, or an error that trying again would not mend.
pub(super) async fn retried<T: Send + 'static>(
    work: impl Fn() -> Result<T, offline::Error> + Clone + Send + 'static,
) -> Result<T, offline::Error> {
    let mut wait = RETRY_FIRST;
    loop {
        match spawn_blocking(work.clone()).await.expect("archiving does not panic") {
            Err(error) if error.is_transient() => {
                tracing::warn!(%error, cause = error.cause(), "the archive will try its files again");
                sleep(wait).await;
                wait = (wait * 2).min(RETRY_LONGEST);
            }
            outcome => return outcome,
        }
    }
}
