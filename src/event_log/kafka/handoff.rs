//! What stands between the thread that polls Kafka and the driver that reads: batches one way, commands the other.
//!
//! ```text
//!            put, announce                    take
//! member ───────────────────►  Handoff  ───────────────► driver
//!        ◄───────────────────           ◄───────────────
//!            commands                         seek, pause, resume, …
//! ```
//!
//! * Bounded: the member stops polling while [`ROOM`] bytes wait. Where the driver has paused all that waits, and for
//!   longer than it takes to load some rows, the member polls on, and holds paused partitions back of which
//!   [`LANE_ROOM`] bytes wait. Not sooner: librdkafka drops what it has of a partition that is held back, and may take
//!   a second to fetch it again.
//! * A seek ends what was there before it at once: each has an **epoch** of its own, and a batch of another is dropped, be
//!   it of an earlier assignment.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use crate::event_log::{Delivery, Error, TopicPartition};
use crate::kernel::event::RawRecord;

/// Bytes that may wait, and a batch more; beside what is held back.
const ROOM: usize = 16 << 20;
/// Bytes that may always wait of a partition that is paused, and a batch more.
const LANE_ROOM: usize = 2 << 20;

/// Records of one partition in a row.
pub(super) struct Batch {
    pub records: Vec<RawRecord>,
    pub next: u64,
    pub log_end: u64,
    pub bytes: usize,
}

/// What the driver wants of the member.
pub(super) enum Command {
    Seek {
        partition: TopicPartition,
        offset: u64,
        epoch: u64,
    },
    /// It was held back, and may go on.
    GoOn(TopicPartition),
    /// What was revoked is let go.
    Released,
    Prove(oneshot::Sender<Result<bool, Error>>),
    Leave(oneshot::Sender<()>),
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Put {
    Taken,
    /// Of an earlier seek, or of a partition that is no longer ours.
    Stale,
    /// Taken, and no more of this partition until [`Command::GoOn`] or a seek.
    HoldBack,
}

#[derive(Default)]
pub(super) struct Handoff {
    state: Mutex<State>,
    for_member: Condvar,
    for_driver: Notify,
}

#[derive(Default)]
struct State {
    /// Assignments and errors: heard before records.
    news: VecDeque<News>,
    lanes: BTreeMap<TopicPartition, Lane>,
    /// How often any partition was sought.
    seeks: u64,
    /// The partition that was taken from last: the search for the next begins behind it.
    turn: Option<TopicPartition>,
    commands: VecDeque<Command>,
    /// Something waits for the member: a command, or an event of its client.
    poked: bool,
    closed: bool,
}

struct News {
    /// The partition that it is of alone, and the epoch: no news once it was sought since.
    of: Option<(TopicPartition, u64)>,
    heard: Result<Delivery, Error>,
}

#[derive(Default)]
struct Lane {
    /// Of its last seek; 0 before the first.
    epoch: u64,
    paused: bool,
    held_back: bool,
    batches: VecDeque<Batch>,
    bytes: usize,
    /// The driver has everything below.
    taken: Option<u64>,
}

/// The driver's side.
impl Handoff {
    /// Waits for the next delivery; cancel safe. `None`: the member is gone.
    pub async fn next(&self) -> Option<Result<Delivery, Error>> {
        loop {
            {
                let mut state = self.lock();
                let was_full = state.filling() >= ROOM;
                if let Some(delivery) = state.take() {
                    if was_full {
                        self.poke(state);
                    }
                    return Some(delivery);
                }
                if state.closed {
                    return None;
                }
            }
            // A notification that comes before this line is kept.
            self.for_driver.notified().await;
        }
    }

    pub fn seek(&self, partition: &TopicPartition, offset: u64) {
        let mut state = self.lock();
        state.seeks += 1;
        let epoch = state.seeks;
        let Some(lane) = state.lanes.get_mut(partition) else { return };
        *lane = Lane { epoch, taken: Some(offset), ..Lane::default() };
        state.commands.push_back(Command::Seek { partition: partition.clone(), offset, epoch });
        self.poke(state);
    }

    pub fn pause(&self, partition: &TopicPartition) {
        if let Some(lane) = self.lock().lanes.get_mut(partition) {
            lane.paused = true;
        }
    }

    pub fn resume(&self, partition: &TopicPartition) {
        let mut state = self.lock();
        let Some(lane) = state.lanes.get_mut(partition) else { return };
        lane.paused = false;
        if std::mem::take(&mut lane.held_back) {
            state.commands.push_back(Command::GoOn(partition.clone()));
            self.poke(state);
        }
    }

    pub fn tell(&self, command: Command) {
        let mut state = self.lock();
        if !state.closed {
            state.commands.push_back(command);
            self.poke(state);
        }
    }

    /// The driver is gone.
    pub fn abandon(&self) {
        let mut state = self.lock();
        state.closed = true;
        self.poke(state);
    }
}

/// The member's side.
impl Handoff {
    /// Waits for a command, for room, for an event of the client, or for the time to pass: says whether it was that.
    pub fn rest(&self, at_most: Duration) -> bool {
        let mut state = self.lock();
        if !state.poked {
            let woken = self.for_member.wait_timeout(state, at_most);
            state = woken.expect("nothing panics while it holds the hand-off").0;
        }
        !std::mem::take(&mut state.poked)
    }

    /// The client has an event, or had one.
    pub fn wake_member(&self) {
        self.poke(self.lock());
    }

    /// Commands that came since; `None`: the driver is gone.
    pub fn commands(&self) -> Option<VecDeque<Command>> {
        let mut state = self.lock();
        (!state.closed).then(|| std::mem::take(&mut state.commands))
    }

    /// Whether there is room; where the member has rested for it in vain, also whether the driver waits for others than
    /// those that fill it.
    pub fn has_room(&self, has_rested: bool) -> bool {
        let state = self.lock();
        state.filling() < ROOM || (has_rested && state.ready().is_none())
    }

    pub fn assigned(&self, partitions: Vec<TopicPartition>) {
        let mut state = self.lock();
        state.lanes.extend(partitions.iter().map(|partition| (partition.clone(), Lane::default())));
        self.announce(state, None, Ok(Delivery::Assigned(partitions)));
    }

    /// What waits of them is dropped: whoever is next reads it again.
    pub fn revoked(&self, partitions: Vec<TopicPartition>) {
        let mut state = self.lock();
        state.lanes.retain(|partition, _| !partitions.contains(partition));
        self.announce(state, None, Ok(Delivery::Revoked(partitions)));
    }

    pub fn failed(&self, error: Error) {
        let state = self.lock();
        self.announce(state, None, Err(error));
    }

    /// A partition cannot be read on, unless it is sought before the driver hears of it.
    pub fn unreadable(&self, partition: &TopicPartition, epoch: u64, error: Error) {
        self.announce(self.lock(), Some((partition.clone(), epoch)), Err(error));
    }

    pub fn put(&self, partition: &TopicPartition, epoch: u64, batch: Batch) -> Put {
        let mut state = self.lock();
        let before: usize = state.lanes.values().map(|lane| lane.bytes).sum();
        let Some(lane) = state.lanes.get_mut(partition).filter(|lane| lane.epoch == epoch) else { return Put::Stale };
        let all = before + batch.bytes;
        lane.bytes += batch.bytes;
        lane.batches.push_back(batch);
        lane.held_back = lane.paused && lane.bytes >= LANE_ROOM && all >= ROOM;
        let put = if lane.held_back { Put::HoldBack } else { Put::Taken };
        self.for_driver.notify_one();
        put
    }

    /// What the driver has of each partition that it ever read.
    pub fn taken(&self) -> Vec<(TopicPartition, u64)> {
        let state = self.lock();
        let taken = |(partition, lane): (&TopicPartition, &Lane)| Some((partition.clone(), lane.taken?));
        state.lanes.iter().filter_map(taken).collect()
    }

    /// The member is gone.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        // Whoever waits for an answer hears that there will be none.
        state.commands.clear();
        self.for_driver.notify_one();
    }

    fn announce(
        &self,
        mut state: MutexGuard<'_, State>,
        of: Option<(TopicPartition, u64)>,
        heard: Result<Delivery, Error>,
    ) {
        state.news.push_back(News { of, heard });
        self.for_driver.notify_one();
    }
}

impl Handoff {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds the hand-off")
    }

    fn poke(&self, mut state: MutexGuard<'_, State>) {
        state.poked = true;
        self.for_member.notify_one();
    }
}

impl State {
    fn take(&mut self) -> Option<Result<Delivery, Error>> {
        while let Some(News { of, heard }) = self.news.pop_front() {
            if of.is_none_or(|(partition, epoch)| self.is_current(&partition, epoch)) {
                return Some(heard);
            }
        }
        let partition = self.ready()?;
        let lane = self.lanes.get_mut(&partition).expect("it is ready");
        let Batch { records, next, log_end, bytes } = lane.batches.pop_front().expect("it is ready");
        lane.bytes -= bytes;
        lane.taken = Some(next);
        self.turn = Some(partition.clone());
        Some(Ok(Delivery::Records { partition, records, next, log_end }))
    }

    fn is_current(&self, partition: &TopicPartition, epoch: u64) -> bool {
        self.lanes.get(partition).is_some_and(|lane| lane.epoch == epoch)
    }

    /// The next partition with something to take, so that no busy one starves another.
    fn ready(&self) -> Option<TopicPartition> {
        let is_ready = |(_, lane): &(&TopicPartition, &Lane)| !lane.paused && !lane.batches.is_empty();
        let after = |(partition, _): &(&TopicPartition, &Lane)| self.turn.as_ref().is_none_or(|turn| turn < *partition);
        let mut ready = self.lanes.iter().filter(is_ready);
        let found = ready.clone().find(after).or_else(|| ready.next());
        found.map(|(partition, _)| partition.clone())
    }

    /// Bytes that wait and are not held back.
    fn filling(&self) -> usize {
        self.lanes.values().filter(|lane| !lane.held_back).map(|lane| lane.bytes).sum()
    }
}

#[cfg(test)]
mod tests;
