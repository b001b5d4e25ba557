//! The archives of all sources, asked by topic and partition of the log.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::spawn_blocking;

use crate::event_log::{self, TopicPartition};
use crate::kernel::definition::Source;
use crate::kernel::name::Name;
use crate::offline::{Archive, ArchivedRecords, Error};

pub(super) struct Shelf {
    archive: Archive,
    sources: Box<dyn Fn() -> Vec<Arc<Source>> + Send + Sync>,
    /// Where archives begin, by source and partition: once there is a first commit, that never changes.
    starts: Mutex<BTreeMap<(Name, u32), u64>>,
}

impl Shelf {
    pub fn new(archive: Archive, sources: impl Fn() -> Vec<Arc<Source>> + Send + Sync + 'static) -> Shelf {
        Shelf { archive, sources: Box::new(sources), starts: Mutex::default() }
    }

    /// The smallest offset that an archive of the partition holds.
    pub async fn start(self: &Arc<Self>, at: TopicPartition) -> Result<Option<u64>, event_log::Error> {
        self.ask(move |shelf| {
            let starts = shelf.each(&at, |source| shelf.start_of(source, at.partition))?;
            Ok(starts.into_iter().min())
        })
        .await
    }

    /// The records of one commit from `from` on; `None` where no archive holds that offset.
    pub async fn records(
        self: &Arc<Self>,
        at: TopicPartition,
        from: u64,
    ) -> Result<Option<ArchivedRecords>, event_log::Error> {
        self.ask(move |shelf| {
            let held = shelf.each(&at, |source| shelf.archive.records(source, at.partition, from))?;
            Ok(held.into_iter().next())
        })
        .await
    }

    /// What the sources of the topic answer. One archive that cannot be read is no reason to stop where another can.
    fn each<T>(&self, at: &TopicPartition, ask: impl Fn(&Source) -> Result<Option<T>, Error>) -> Result<Vec<T>, Error> {
        let (mut found, mut failed) = (Vec::new(), None);
        for source in (self.sources)().iter().filter(|source| source.topic == at.topic) {
            match ask(source) {
                Ok(answer) => found.extend(answer),
                // The source was of another topic before: it has no archive of this one.
                Err(Error::OtherTopic { .. }) => {}
                Err(error) => failed = Some(error),
            }
        }
        failed.filter(|_| found.is_empty()).map_or(Ok(found), Err)
    }

    fn start_of(&self, source: &Source, partition: u32) -> Result<Option<u64>, Error> {
        let id = (source.name.clone(), partition);
        let known = || self.starts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(start) = known().get(&id) {
            return Ok(Some(*start));
        }
        let start = self.archive.start(source, partition)?;
        if let Some(start) = start {
            known().insert(id, start);
        }
        Ok(start)
    }

    /// On a thread that may block, and in the words of a log.
    async fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        ask: impl FnOnce(&Shelf) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, event_log::Error> {
        let shelf = self.clone();
        let answer = spawn_blocking(move || ask(&shelf)).await;
        let answer =
            answer.map_err(|_| event_log::Error::Unavailable("the read of the archive was interrupted".to_owned()))?;
        answer.map_err(|error| match error.is_transient() {
            true => event_log::Error::Unavailable(format!("the archive below its start: {}", with_cause(&error))),
            false => event_log::Error::Damaged { place: "its archive".to_owned(), detail: with_cause(&error) },
        })
    }
}

fn with_cause(error: &Error) -> String {
    match error.cause() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
