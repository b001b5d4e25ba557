//! Where the lanes of a partition begin: asked of log and archive when it is assigned, beside the archiving, for an
//! archive that is away keeps whoever asks waiting until it is back.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;

use crate::archive::retry::retried;
use crate::event_log::{self, EventLog, TopicPartition};
use crate::kernel::definition::Source;
use crate::offline::{self, Archive};

pub(super) struct Beginnings {
    log: Arc<dyn EventLog>,
    archive: Archive,
    /// The question about each partition that is still to be answered.
    open: BTreeMap<TopicPartition, u64>,
    /// How many were asked.
    questions: u64,
    answers: FuturesUnordered<BoxFuture<'static, Answer>>,
}

/// Where each source of an assigned partition is to be archived from.
pub(super) struct Beginning {
    pub place: TopicPartition,
    pub lanes: Vec<(Arc<Source>, Result<u64, offline::Error>)>,
}

struct Answer {
    question: u64,
    place: TopicPartition,
    found: Result<Beginning, event_log::Error>,
}

impl Beginnings {
    pub fn new(log: Arc<dyn EventLog>, archive: Archive) -> Beginnings {
        Beginnings { log, archive, open: BTreeMap::new(), questions: 0, answers: FuturesUnordered::new() }
    }

    /// Asks for all sources of the partition's topic.
    pub fn ask(&mut self, place: TopicPartition, sources: Vec<Arc<Source>>) {
        self.questions += 1;
        let question = self.questions;
        self.open.insert(place.clone(), question);
        let (log, archive) = (self.log.clone(), self.archive.clone());
        self.answers.push(Box::pin(async move {
            let found = begin(&*log, &archive, &place, sources).await;
            Answer { question, place, found }
        }));
    }

    /// It is no longer ours: what was asked is not answered any more.
    pub fn forget(&mut self, place: &TopicPartition) {
        self.open.remove(place);
    }

    /// The next answer; `None` while nothing is asked. Cancel safe.
    pub async fn next(&mut self) -> Option<Result<Beginning, event_log::Error>> {
        while let Some(Answer { question, place, found }) = self.answers.next().await {
            if self.open.get(&place) == Some(&question) {
                self.open.remove(&place);
                return Some(found);
            }
        }
        None
    }
}

/// Where its commits end, or at the log's start.
async fn begin(
    log: &dyn EventLog,
    archive: &Archive,
    place: &TopicPartition,
    sources: Vec<Arc<Source>>,
) -> Result<Beginning, event_log::Error> {
    let bounds = log.bounds(&place.topic).await?;
    let start = bounds.get(place.partition as usize).map_or(0, |held| held.start);
    let mut lanes = Vec::new();
    for source in sources {
        let (archive, asked, partition) = (archive.clone(), source.clone(), place.partition);
        let position = retried(move || archive.position(&asked, partition)).await;
        lanes.push((source, position.map(|position| position.unwrap_or(start))));
    }
    Ok(Beginning { place: place.clone(), lanes })
}
