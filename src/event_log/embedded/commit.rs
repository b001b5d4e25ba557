//! Group commit: appends that wait at the same time share one write and one fsync.
//!
//! ```text
//! append ─► queue ─► whoever holds the lead takes the whole queue ─► offsets ─► write, sync ─► visible ─► answers
//! ```
//!
//! There is no thread of its own: each waiting append tries to lead, and the first to get the lead writes for all.
//! While it does, the next group gathers. The queue is bounded in bytes; beyond that, appends wait to enter it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use crate::event_log::embedded::block;
use crate::event_log::embedded::store::{BlockKey, Store};
use crate::event_log::embedded::topic::Topic;
use crate::event_log::{Error, NewRecord};

/// Partition and offset of each record of an append.
type Places = Vec<(u32, u64)>;

/// What may wait at once. One larger append is let in when nothing else waits.
const ROOM_BYTES: u32 = 32 * 1_024 * 1_024;

pub struct Committer {
    store: Arc<Store>,
    waiting: Mutex<Vec<Waiting>>,
    lead: Arc<tokio::sync::Mutex<()>>,
    room: Arc<Semaphore>,
    commits: watch::Sender<u64>,
}

struct Waiting {
    topic: Arc<Topic>,
    records: Vec<NewRecord>,
    answer: oneshot::Sender<Result<Places, Error>>,
    room: OwnedSemaphorePermit,
}

impl Committer {
    pub fn new(store: Arc<Store>) -> Committer {
        let room = Arc::new(Semaphore::new(ROOM_BYTES as usize));
        Committer { store, waiting: Mutex::default(), lead: Arc::default(), room, commits: watch::Sender::new(0) }
    }

    /// Changes with each commit, once its records are visible.
    pub fn commits(&self) -> watch::Receiver<u64> {
        self.commits.subscribe()
    }

    /// Returns once all `records` are durable. Dropped while waiting, it may still happen.
    pub async fn append(self: &Arc<Self>, topic: Arc<Topic>, records: Vec<NewRecord>) -> Result<Places, Error> {
        let bytes: usize = records.iter().map(block::bytes_of).sum();
        let share = u32::try_from(bytes).unwrap_or(ROOM_BYTES).min(ROOM_BYTES);
        let room = self.room.clone().acquire_many_owned(share).await.expect("the semaphore is never closed");
        let (answer, mut outcome) = oneshot::channel();
        self.queue().push(Waiting { topic, records, answer, room });
        tokio::select! {
            biased;
            outcome = &mut outcome => return outcome.unwrap_or_else(|_| Err(interrupted())),
            lead = self.lead.clone().lock_owned() => {
                let committer = self.clone();
                // The lead moves along: it is held until the commit is done, even if this append is dropped.
                let done = tokio::task::spawn_blocking(move || {
                    committer.commit_waiting();
                    while committer.is_abandoned() {
                        committer.commit_waiting();
                    }
                    drop(lead);
                });
                done.await.map_err(|_| interrupted())?;
            }
        }
        outcome.await.unwrap_or_else(|_| Err(interrupted()))
    }

    /// Whether all that waits was dropped by those who appended it: nobody else would lead, and it would keep its room.
    fn is_abandoned(&self) -> bool {
        let waiting = self.queue();
        !waiting.is_empty() && waiting.iter().all(|append| append.answer.is_closed())
    }

    fn queue(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().expect("nothing panics while it holds the queue")
    }

    fn commit_waiting(&self) {
        let waiting = std::mem::take(&mut *self.queue());
        let mut group = Group::default();
        let (answers, places): (Vec<_>, Vec<_>) = waiting
            .into_iter()
            .map(|append| ((append.answer, append.room), group.place(&append.topic, append.records)))
            .unzip();
        let written = group.write(&self.store);
        if written.is_ok() {
            group.publish();
            self.commits.send_modify(|commits| *commits += 1);
        }
        for ((answer, _), places) in answers.into_iter().zip(places) {
            // An append that was dropped meanwhile needs no answer.
            let _ = answer.send(written.clone().map(|()| places));
        }
    }
}

fn interrupted() -> Error {
    Error::Unavailable("the commit was interrupted".to_owned())
}

/// What one commit adds to each partition.
#[derive(Default)]
struct Group {
    partitions: BTreeMap<(u32, u32), Addition>,
}

struct Addition {
    topic: Arc<Topic>,
    from: u64,
    records: Vec<NewRecord>,
}

impl Group {
    fn place(&mut self, topic: &Arc<Topic>, records: Vec<NewRecord>) -> Places {
        records.into_iter().map(|record| self.place_one(topic, record)).collect()
    }

    fn place_one(&mut self, topic: &Arc<Topic>, record: NewRecord) -> (u32, u64) {
        let partition = topic.partition_for(record.key.as_deref());
        let addition = self.partitions.entry((topic.id(), partition)).or_insert_with(|| Addition {
            topic: topic.clone(),
            from: topic.end(partition),
            records: Vec::new(),
        });
        addition.records.push(record);
        (partition, addition.from + addition.records.len() as u64 - 1)
    }

    fn write(&self, store: &Store) -> Result<(), Error> {
        let blocks = self.partitions.iter().flat_map(|((topic, partition), addition)| {
            let key = |first| BlockKey { topic: *topic, partition: *partition, offset: addition.from + first as u64 };
            block::encode(&addition.records).into_iter().map(move |(first, block)| (key(first), block))
        });
        store.write(blocks.collect())
    }

    fn publish(&self) {
        for ((_, partition), addition) in &self.partitions {
            addition.topic.publish(*partition, addition.from + addition.records.len() as u64);
        }
    }
}
