//! The embedded log: on disk, in the process that serves, for as long as one machine is enough.
//!
//! * Durable: an append is answered after an fsync, which appends that wait at the same time share.
//! * Exclusive: one process at a time; a second gets [`Error::InUse`].
//! * Complete: **nothing is ever deleted**. Retention is the size of the disk; remove the folder to start anew.
//! * Contiguous: offsets of a partition count from 0 without gaps.

mod block;
mod commit;
mod consumer;
mod store;
mod topic;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;

use crate::event_log::embedded::commit::Committer;
use crate::event_log::embedded::consumer::EmbeddedConsumer;
use crate::event_log::embedded::store::Store;
use crate::event_log::embedded::topic::Topics;
use crate::event_log::{Consumer, Error, EventLog, NewRecord, blocking};
use crate::exclusive_folder::ExclusiveFolder;

pub struct EmbeddedLog {
    store: Arc<Store>,
    committer: Arc<Committer>,
    topics: Arc<Topics>,
}

impl EmbeddedLog {
    /// Opens or creates the log in `folder`. Blocks: for start-up.
    pub fn open(folder: &Path) -> Result<EmbeddedLog, Error> {
        let store = Arc::new(Store::open(folder)?);
        let topics = Arc::new(Topics::load(&store)?);
        let committer = Arc::new(Committer::new(store.clone()));
        Ok(EmbeddedLog { store, committer, topics })
    }

    /// Whether somebody has opened a log in `folder`, now or ever.
    pub fn is_in(folder: &Path) -> bool {
        ExclusiveFolder::is_one(folder)
    }
}

#[async_trait]
impl EventLog for EmbeddedLog {
    async fn create_topic(&self, topic: &str, partitions: u32) -> Result<(), Error> {
        assert!(partitions > 0, "settings allow one partition or more");
        let (topics, store, name) = (self.topics.clone(), self.store.clone(), topic.to_owned());
        blocking(move || topics.create(&store, &name, partitions)).await
    }

    async fn bounds(&self, topic: &str) -> Result<Vec<Range<u64>>, Error> {
        Ok(self.topics.find(topic)?.bounds())
    }

    async fn append(&self, topic: &str, records: Vec<NewRecord>) -> Result<Vec<(u32, u64)>, Error> {
        let topic = self.topics.find(topic)?;
        if records.is_empty() {
            return Ok(Vec::new());
        }
        self.committer.append(topic, records).await
    }

    async fn consumer(&self, _group: &str, topics: &[String]) -> Result<Box<dyn Consumer>, Error> {
        let topics: Vec<_> = topics.iter().map(|name| self.topics.find(name)).collect::<Result<_, _>>()?;
        Ok(Box::new(EmbeddedConsumer::new(self.store.clone(), &topics, self.committer.commits())))
    }

    /// Nothing is stamped anew, and nothing is deleted.
    async fn takes_replay(&self, topic: &str) -> Result<(), Error> {
        self.topics.find(topic).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_log::conformance;

    #[tokio::test]
    async fn the_embedded_log_conforms() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = Arc::new(EmbeddedLog::open(folder.path()).expect("opens"));
        let subject = conformance::Subject { log, prefix: String::new(), earliest_ms: -1, large: Some(12 << 20) };
        conformance::conforms(&subject).await;
    }

    #[tokio::test]
    async fn the_embedded_log_survives_reopening() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = async || Arc::new(EmbeddedLog::open(folder.path()).expect("opens")) as Arc<dyn EventLog>;
        conformance::survives_reopening("", open).await;
    }

    #[test]
    fn a_log_whose_first_creation_was_killed_opens_empty() {
        let folder = tempfile::tempdir().expect("a folder");
        let half = folder.path().join("db.new");
        std::fs::create_dir_all(half.join("keyspaces")).expect("half a database");
        std::fs::write(half.join("version"), b"half").expect("half a database");
        let log = EmbeddedLog::open(folder.path()).expect("opens");
        assert!(matches!(log.topics.find("clicks"), Err(Error::UnknownTopic(_))) && !half.exists());
    }

    #[test]
    fn a_log_that_is_open_cannot_be_opened_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let _open = EmbeddedLog::open(folder.path()).expect("opens");
        assert!(matches!(EmbeddedLog::open(folder.path()), Err(Error::InUse { .. })));
    }
}
