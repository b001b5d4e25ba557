//! A member of a consumer group, on a thread of its own: polls Kafka, fills batches, and does what the driver wants.

mod assignment;
mod ownership;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::event_log::kafka::handoff::{Command, Handoff, Put};
use crate::event_log::kafka::lines::Lines;
use crate::event_log::kafka::member::assignment::{list, offsets};
pub(super) use ownership::{Membership, subscribe};

use crate::event_log::kafka::native::{Events, Happening, Origin, Record, known_end};
use crate::event_log::kafka::reading::{Reading, State};
use crate::event_log::{Error, TopicPartition};

/// How long the thread rests when nothing happens.
const REST: Duration = Duration::from_millis(200);
/// Events that are polled before commands are looked at again.
const BURST: usize = 4_096;
/// For a question to a broker that the thread waits for.
const ANSWER: Duration = Duration::from_secs(5);
/// Between commits for lag displays.
const COMMIT_EVERY: Duration = Duration::from_secs(5);
/// How long a proof of membership waits for a rebalance to end.
const PROOF: Duration = Duration::from_secs(10);
/// How long a rebalance that a member has come into usually takes to end.
const SETTLE: Duration = Duration::from_secs(3);

pub(super) struct Member {
    // Before the client: a queue goes before what it is of.
    events: Events,
    client: BaseConsumer<Lines>,
    handoff: Arc<Handoff>,
    name: String,
    membership: Membership,
    /// Whether the group has ever assigned us anything, be it nothing.
    is_in: bool,
    held: BTreeMap<TopicPartition, Reading>,
    /// The partition of the last record: the next one is most often of the same.
    run: Option<(Origin, TopicPartition)>,
    /// Revoked, and not let go yet; until when that is waited for.
    releasing: Option<(Vec<TopicPartition>, Instant)>,
    /// Wants that change the assignment and came while another change was under way.
    postponed: Vec<Command>,
    proofs: Vec<(oneshot::Sender<Result<bool, Error>>, Instant)>,
    /// Partitions that the log does not hold where they are to be read, of which the driver has not heard yet.
    refused: Vec<Refused>,
    commit_at: Instant,
    /// When it is to look whether every partition has an owner.
    look_at: Option<Instant>,
}

struct Refused {
    place: TopicPartition,
    offset: u64,
    epoch: u64,
    /// What the log holds instead is asked for then: a broker that has just changed may not say it at once.
    ask_at: Instant,
}

impl Member {
    /// `client` is subscribed; `name` is what people know it by.
    pub fn new(mut client: BaseConsumer<Lines>, handoff: Arc<Handoff>, name: String, membership: Membership) -> Member {
        let woken = handoff.clone();
        client.set_nonempty_callback(move || woken.wake_member());
        Member {
            events: Events::of(client.client()),
            client,
            handoff,
            name,
            membership,
            is_in: false,
            held: BTreeMap::new(),
            run: None,
            releasing: None,
            postponed: Vec::new(),
            proofs: Vec::new(),
            refused: Vec::new(),
            commit_at: Instant::now() + COMMIT_EVERY,
            look_at: None,
        }
    }

    /// Until the driver leaves, or is gone. Blocks: for a thread of its own.
    pub fn run(mut self) {
        let mut has_rested = false;
        let farewell = loop {
            let Some(commands) = self.handoff.commands() else { break None };
            let mut commands = commands.into_iter();
            if let Some(done) = commands.find_map(|command| self.obey(command)) {
                break Some(done);
            }
            self.keep_time(Instant::now());
            if !self.handoff.has_room(has_rested) || self.poll() == 0 {
                self.hand_over_all();
                has_rested = self.handoff.rest(REST);
            }
        };
        self.handoff.close();
        if let Some(done) = farewell {
            self.step_down();
            // Nobody waits any more: then there is nobody to tell.
            let _ = done.send(());
        }
    }

    /// Does what the driver wants; to leave is for the caller.
    fn obey(&mut self, command: Command) -> Option<oneshot::Sender<()>> {
        match command {
            Command::Seek { .. } | Command::GoOn(_) if self.releasing.is_some() => self.postponed.push(command),
            Command::Seek { partition, offset, epoch } => self.seek(&partition, offset, epoch),
            Command::GoOn(partition) => self.go_on(&partition),
            Command::Released => self.release(),
            Command::Prove(answer) => self.proofs.push((answer, Instant::now() + PROOF)),
            Command::Leave(done) => return Some(done),
        }
        None
    }

    fn keep_time(&mut self, now: Instant) {
        if let Some((partitions, until)) = &self.releasing
            && now >= *until
        {
            let count = partitions.len();
            tracing::warn!(member = self.name, count, "partitions are given up before they were let go");
            self.release();
        }
        for (answer, until) in std::mem::take(&mut self.proofs) {
            match self.prove() {
                None if now < until => self.proofs.push((answer, until)),
                None => drop(answer.send(Err(Error::Unavailable("the group is rebalancing".to_owned())))),
                Some(proof) => drop(answer.send(proof)),
            }
        }
        self.tell_refused(now);
        if self.look_at.is_some_and(|at| now >= at) {
            self.look_for_owners();
        }
        if now >= self.commit_at {
            self.commit_at = now + COMMIT_EVERY;
            let taken = self.handoff.taken();
            if !taken.is_empty() && self.releasing.is_none() {
                // A commit that fails is missed by a lag display, and by nothing else.
                let _ = self.client.commit(&offsets(&taken), CommitMode::Async);
            }
        }
    }

    /// How many events there were.
    fn poll(&mut self) -> usize {
        let mut count = 0;
        while count < BURST
            && let Some(event) = self.events.next()
        {
            count += 1;
            match event.read() {
                Happening::Record(record) => self.record(&record),
                Happening::Assigned(partitions) => self.assigned(partitions),
                Happening::Revoked(partitions) => self.revoked(partitions),
                Happening::Partition { place, offset, code, detail } => self.partition(&place, offset, code, &detail),
                Happening::Failed { code, detail } => self.failed(code, &detail),
                Happening::Line { level, facility, text } => self.client.context().say(level, &facility, &text),
                Happening::Other => {}
            }
        }
        count
    }

    fn record(&mut self, record: &Record<'_>) {
        if self.run.as_ref().is_none_or(|(origin, _)| *origin != record.origin()) {
            self.run = Some((record.origin(), record.place()));
        }
        let (_, place) = self.run.as_ref().expect("it was just set");
        let Some(reading) = self.held.get_mut(place).filter(|reading| reading.state == State::Reading) else { return };
        if reading.add(record) {
            hand_over(&self.client, &self.handoff, place, reading);
        }
    }

    fn hand_over_all(&mut self) {
        for (place, reading) in &mut self.held {
            hand_over(&self.client, &self.handoff, place, reading);
        }
    }

    fn partition(&mut self, place: &TopicPartition, offset: i64, code: RDKafkaErrorCode, detail: &str) {
        let Some(reading) = self.held.get_mut(place).filter(|reading| reading.state == State::Reading) else { return };
        let offset = u64::try_from(offset).unwrap_or(0);
        match code {
            RDKafkaErrorCode::PartitionEOF => reading.skip_to(offset),
            RDKafkaErrorCode::AutoOffsetReset if offset == reading.next => {
                reading.state = State::Failed;
                hand_over(&self.client, &self.handoff, place, reading);
                let (place, epoch) = (place.clone(), reading.epoch);
                self.refused.push(Refused { place, offset, epoch, ask_at: Instant::now() });
            }
            // Of before the last seek, or behind what is no record: librdkafka reads no further, unless it is told to.
            RDKafkaErrorCode::AutoOffsetReset => {
                hand_over(&self.client, &self.handoff, place, reading);
                let (offset, epoch) = (reading.next, reading.epoch);
                let leaves = self.obey(Command::Seek { partition: place.clone(), offset, epoch });
                assert!(leaves.is_none(), "to seek is not to leave");
            }
            code => {
                let place = format!("{}[{}]", place.topic, place.partition);
                self.handoff.failed(Error::Unavailable(format!("{place}: {detail} ({code:?})")));
            }
        }
    }

    /// Nobody else reads such a partition on, so it is asked about until there is an answer, or it is sought anew.
    fn tell_refused(&mut self, now: Instant) {
        for mut refused in std::mem::take(&mut self.refused) {
            let is_current = self.held.get(&refused.place).is_some_and(|reading| reading.epoch == refused.epoch);
            if !is_current {
                continue;
            }
            if now < refused.ask_at {
                self.refused.push(refused);
                continue;
            }
            let Refused { place, offset, epoch, .. } = &refused;
            let TopicPartition { topic, partition } = place.clone();
            match self.client.fetch_watermarks(&topic, partition as i32, ANSWER) {
                Ok((start, end)) => {
                    let error = Error::OutOfRange { topic, partition, offset: *offset, held: start as u64..end as u64 };
                    self.handoff.unreadable(place, *epoch, error);
                }
                Err(error) => {
                    let text = format!("{topic}[{partition}] cannot be read from {offset}: {error}");
                    self.handoff.unreadable(place, *epoch, Error::Unavailable(text));
                    refused.ask_at = Instant::now() + ANSWER;
                    self.refused.push(refused);
                }
            }
        }
    }

    fn failed(&mut self, code: RDKafkaErrorCode, detail: &str) {
        match self.client.client().fatal_error() {
            Some((RDKafkaErrorCode::FencedInstanceId, _)) => {
                self.handoff.failed(Error::Fenced { member: self.name.clone() });
            }
            Some((_, reason)) => self.handoff.failed(Error::Unavailable(reason)),
            None if is_for_people(code) => {
                self.handoff.failed(Error::Unavailable(format!("{}: {detail}", self.name)));
            }
            // Brokers that come and go are librdkafka's affair; that they do is in the log.
            None => self.client.context().say(4, &format!("{code:?}"), detail),
        }
    }
}

fn hand_over(client: &BaseConsumer<Lines>, handoff: &Handoff, place: &TopicPartition, reading: &mut Reading) {
    let log_end = || known_end(client.client(), place).unwrap_or(0);
    let Some(batch) = reading.take(place.partition, log_end) else { return };
    if handoff.put(place, reading.epoch, batch) == Put::HoldBack {
        reading.held_back = client.pause(&list([place])).is_ok();
    }
}

/// What people have to mend, and librdkafka tries again meanwhile.
fn is_for_people(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::GroupAuthorizationFailed
            | Code::TopicAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::InconsistentGroupProtocol
            | Code::UnknownTopicOrPartition
            | Code::Authentication
    )
}

#[cfg(test)]
mod tests;
