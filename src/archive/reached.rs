//! How far the archive is, whoever writes it: the archiver of this process says so itself, those of others are seen by
//! their commits.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};

use crate::archive::{Progress, Standing};
use crate::kernel::definition::Source;
use crate::kernel::name::Name;
use crate::offline::{self, Archive};

/// How often commits are looked for while somebody waits for those of another process.
const LOOK: Duration = Duration::from_millis(200);

/// Clones share what they know.
#[derive(Clone)]
pub struct Reached {
    progress: Progress,
    archive: Archive,
    /// Ends of commits, by source and partition.
    known: Arc<Mutex<BTreeMap<(Name, u32), u64>>>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WaitError {
    #[error(
        "source `{dataset}`, partition {partition} was not archived up to offset {wanted} in time; it is at {}",
        archived_to.map_or("no offset yet".to_owned(), |offset| format!("offset {offset}"))
    )]
    TimedOut { dataset: Name, partition: u32, wanted: u64, archived_to: Option<u64> },
    #[error(
        "the history files of source `{dataset}` are still being read, or cannot be: the log of the archive says which"
    )]
    HistoryIncomplete { dataset: Name },
    #[error("the archived history of source `{dataset}` cannot be read: {reason}")]
    HistoryUnreadable { dataset: Name, reason: String },
    #[error("source `{dataset}`, partition {partition} is no longer archived: {reason}")]
    Stopped { dataset: Name, partition: u32, reason: String },
}

impl Reached {
    pub fn new(progress: Progress, archive: Archive) -> Reached {
        Reached { progress, archive, known: Arc::default() }
    }

    /// Of each partition that this process archives, by source.
    pub fn here(&self) -> BTreeMap<(Name, u32), Standing> {
        self.progress.all()
    }

    /// Whether the archiver of this process is in its group.
    pub fn is_listening(&self) -> bool {
        self.progress.is_listening()
    }

    /// Up to where each of `partitions` is archived; one of which nothing is archived is left out.
    pub async fn offsets(
        &self,
        source: &Arc<Source>,
        partitions: impl Iterator<Item = u32>,
    ) -> Result<BTreeMap<u32, u64>, offline::Error> {
        let mut offsets = BTreeMap::new();
        for partition in partitions {
            if let Some(offset) = self.offset(source, partition).await? {
                offsets.insert(partition, offset);
            }
        }
        Ok(offsets)
    }

    /// Returns once every partition is archived up to its offset: the log's end when a job was asked for. While
    /// anybody waits, the archiver of this process commits what it has without waiting for more.
    pub async fn wait_until(
        &self,
        source: &Arc<Source>,
        wanted: &BTreeMap<u32, u64>,
        limit: Duration,
    ) -> Result<(), WaitError> {
        let _waiting = self.progress.waiting();
        let until = Instant::now() + limit;
        for (&partition, &wanted) in wanted {
            self.wait_for(source, partition, wanted, until).await?;
        }
        Ok(())
    }

    /// Returns once all that the source's history files have is archived.
    pub async fn wait_for_history(&self, source: &Arc<Source>, limit: Duration) -> Result<(), WaitError> {
        let until = Instant::now() + limit;
        while !source.history.is_empty() {
            let (archive, asked) = (self.archive.clone(), source.clone());
            let found = spawn_blocking(move || archive.history(&asked)).await;
            match found.expect("a look at the archive does not panic") {
                Ok(Some(_)) => return Ok(()),
                Err(error) if !error.is_transient() => {
                    let (dataset, reason) = (source.name.clone(), error.to_string());
                    return Err(WaitError::HistoryUnreadable { dataset, reason });
                }
                _ if Instant::now() >= until => {
                    return Err(WaitError::HistoryIncomplete { dataset: source.name.clone() });
                }
                _ => sleep(LOOK).await,
            }
        }
        Ok(())
    }

    async fn wait_for(
        &self,
        source: &Arc<Source>,
        partition: u32,
        wanted: u64,
        until: Instant,
    ) -> Result<(), WaitError> {
        let mut changes = self.progress.subscribe();
        loop {
            changes.mark_unchanged();
            let dataset = source.name.clone();
            let archived_to = match self.offset(source, partition).await {
                Ok(offset) => offset,
                Err(error) if error.is_transient() => None,
                Err(error) => return Err(WaitError::Stopped { dataset, partition, reason: error.to_string() }),
            };
            if archived_to.is_some_and(|archived_to| archived_to >= wanted) {
                return Ok(());
            }
            if let Some(reason) = self.progress.of(&source.name, partition).and_then(|standing| standing.stopped) {
                return Err(WaitError::Stopped { dataset, partition, reason });
            }
            if Instant::now() >= until {
                return Err(WaitError::TimedOut { dataset, partition, wanted, archived_to });
            }
            // Whichever comes first; the sender lives in `self`.
            let _ = timeout(LOOK, changes.changed()).await;
        }
    }

    /// A partition may have gone from this process to another, so the commits have the last word where they say more.
    async fn offset(&self, source: &Arc<Source>, partition: u32) -> Result<Option<u64>, offline::Error> {
        let ours = self.progress.of(&source.name, partition).filter(|standing| standing.stopped.is_none());
        let ours = ours.map(|standing| standing.archived_to);
        let known = self.lock().get(&(source.name.clone(), partition)).copied().max(ours);
        let (archive, asked) = (self.archive.clone(), source.clone());
        let look = move || match known {
            Some(known) => archive.position_since(&asked, partition, known).map(Some),
            None => archive.position(&asked, partition),
        };
        let found = spawn_blocking(look).await.expect("looking for commits does not panic")?;
        if let Some(found) = found {
            self.lock().insert((source.name.clone(), partition), found);
        }
        Ok(found)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<(Name, u32), u64>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::definition::{SourceText, parse};
    use crate::offline::History;
    use crate::offline::folder::tests::project;

    const SOURCE: &str = "
kind: source
name: clicks
event_time: { field: at, unit: ms }
history: [{ path: \"past/*.csv\", format: csv, until: 2026-01-01T00:00:00Z }]
schema: { version: 1, fields: [{ name: at, type: timestamp, required: true }] }
";

    #[tokio::test]
    async fn history_that_cannot_be_read_is_not_waited_for() {
        let root = tempfile::tempdir().expect("a folder");
        let text = SOURCE.to_owned();
        let source = parse(&[SourceText { path: "clicks.yaml".to_owned(), text }]).expect("right").sources[0].clone();
        let archive = Archive::new(project(root.path()));
        archive.finish_history(&source, History { rows: 0, left_out: 0 }).expect("noted");
        overwrite(root.path(), "complete");
        let reached = Reached::new(Progress::default(), archive);
        let refused = reached.wait_for_history(&source, Duration::from_secs(600)).await;
        assert!(matches!(refused, Err(WaitError::HistoryUnreadable { .. })), "{refused:?}");
    }

    /// The one file of that name.
    fn overwrite(folder: &std::path::Path, name: &str) {
        for entry in folder.read_dir().expect("listed") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => overwrite(&path, name),
                false if path.file_name().is_some_and(|it| it == name) => std::fs::write(&path, "{").expect("written"),
                false => {}
            }
        }
    }
}
