//! The shell around the lanes: the only part of the archive that waits.
//!
//! A session archives the sources as they were when it began. When they change, or the log is lost for a while, it
//! commits what it holds and the next one begins from the commits.

use std::pin::{Pin, pin};
use std::sync::Arc;

use tokio::time::{Instant, sleep};

use crate::archive::retry::{RETRY_FIRST, RETRY_LONGEST};
use crate::archive::session::{Ended, Session};
use crate::archive::{Error, Progress, Settings};
use crate::event_log::{EventLog, Replaced};
use crate::kernel::definition::Source;
use crate::offline::Archive;

/// What the archiver works with.
pub struct Archiver<S> {
    pub log: Arc<dyn EventLog>,
    pub archive: Archive,
    /// The sources as they are now; asked often.
    pub sources: S,
    pub settings: Settings,
    pub progress: Progress,
}

/// Archives all sources until `shutdown`, then commits what it holds.
pub async fn run<S>(archiver: Archiver<S>, shutdown: impl Future<Output = ()>) -> Result<(), Error>
where
    S: Fn() -> Vec<Arc<Source>> + Send + Sync,
{
    let mut shutdown = pin!(shutdown);
    let (mut wait, mut replaced) = (RETRY_FIRST, Replaced::default());
    loop {
        match session(&archiver, shutdown.as_mut()).await {
            Ok(Ended::Shutdown) => return Ok(()),
            Ok(Ended::SourcesChanged) => wait = RETRY_FIRST,
            Err(Error::Log(error)) if error.may_pass() || replaced.joins_anew(&error, Instant::now()) => {
                tracing::warn!(%error, "the archive will try the event log again");
                tokio::select! {
                    () = &mut shutdown => return Ok(()),
                    () = sleep(wait) => wait = (wait * 2).min(RETRY_LONGEST),
                }
            }
            Err(error) => return Err(error),
        }
    }
}

async fn session<S>(archiver: &Archiver<S>, mut shutdown: Pin<&mut impl Future<Output = ()>>) -> Result<Ended, Error>
where
    S: Fn() -> Vec<Arc<Source>> + Send + Sync,
{
    let begun = tokio::select! {
        () = &mut shutdown => return Ok(Ended::Shutdown),
        begun = Session::begin(archiver) => begun,
    };
    let ended = begun?.run(shutdown).await;
    if !matches!(ended, Ok(Ended::SourcesChanged)) {
        archiver.progress.listening(false);
    }
    ended
}

#[cfg(test)]
mod tests;
