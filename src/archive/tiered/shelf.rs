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
    /// Where archives begin, by source and partition, as last found: that changes where an archive is moved away.
    starts: Mutex<BTreeMap<(Name, u32), u64>>,
}

impl Shelf {
    pub fn new(archive: Archive, sources: impl Fn() -> Vec<Arc<Source>> + Send + Sync + 'static) -> Shelf {
        Shelf { archive, sources: Box::new(sources), starts: Mutex::default() }
    }

    /// The smallest offset that an archive of the partition holds. One that cannot be read for now may be the one that
    /// begins first.
    pub async fn start(self: &Arc<Self>, at: TopicPartition) -> Result<Option<u64>, event_log::Error> {
        self.ask(move |shelf| {
            let (starts, failed) = shelf.each(&at, |source| shelf.start_of(source, at.partition));
            match failed {
                Some(error) if starts.is_empty() || error.is_transient() => Err(error),
                _ => Ok(starts.into_iter().min()),
            }
        })
        .await
    }

    /// The records of one commit from `from` on; `None` where no archive holds that offset. One archive that cannot be
    /// read is no reason to stop where another can.
    pub async fn records(
        self: &Arc<Self>,
        at: TopicPartition,
        from: u64,
    ) -> Result<Option<ArchivedRecords>, event_log::Error> {
        self.ask(move |shelf| {
            let (held, failed) = shelf.each(&at, |source| shelf.archive.records(source, at.partition, from));
            match failed {
                Some(error) if held.is_empty() => Err(error),
                _ => Ok(held.into_iter().next()),
            }
        })
        .await
    }

    /// What the sources of the topic answer, and why one of them cannot: for now rather than for good.
    fn each<T>(
        &self,
        at: &TopicPartition,
        ask: impl Fn(&Source) -> Result<Option<T>, Error>,
    ) -> (Vec<T>, Option<Error>) {
        let (mut found, mut failed) = (Vec::new(), None);
        for source in (self.sources)().iter().filter(|source| source.topic == at.topic) {
            match ask(source) {
                Ok(answer) => found.extend(answer),
                // The source was of another topic before: it has no archive of this one.
                Err(Error::OtherTopic { .. }) => {}
                Err(error) => failed = Some(failed.filter(Error::is_transient).unwrap_or(error)),
            }
        }
        (found, failed)
    }

    fn start_of(&self, source: &Source, partition: u32) -> Result<Option<u64>, Error> {
        let id = (source.name.clone(), partition);
        let known = || self.starts.lock().unwrap_or_else(PoisonError::into_inner);
        let last = known().get(&id).copied();
        if let Some(start) = last
            && self.archive.has_commit(source, partition, start)?
        {
            return Ok(Some(start));
        }
        let start = self.archive.start(source, partition)?;
        match start {
            Some(start) => known().insert(id, start),
            None => known().remove(&id),
        };
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
