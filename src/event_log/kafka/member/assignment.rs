//! What a member holds: how partitions come, go, and are read from where the driver wants.
//!
//! An assignment is accepted at once, and empty: librdkafka is given a partition when the driver has sought it, with
//! the offset to start from, so that it never reads from an offset that is not ours. A revocation is answered when
//! the driver has let go, or has taken too long; librdkafka reads nothing meanwhile.
//!
//! Offsets are committed to Kafka for lag displays, and because a commit that is accepted proves that we are a member.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::time::Instant;

use super::{ANSWER, Member, REST, SETTLE};
use crate::event_log::kafka::lines::Lines;
use crate::event_log::kafka::native::is_in_group;
use crate::event_log::kafka::reading::{Reading, State};
use crate::event_log::{Error, TopicPartition};

/// How long partitions that were revoked may take to be let go, before the others get them all the same.
const RELEASE: Duration = Duration::from_secs(30);
/// How long a member that steps down waits for the group to hear of it.
const FAREWELL: Duration = Duration::from_secs(5);

impl Member {
    pub(super) fn assigned(&mut self, partitions: Vec<TopicPartition>) {
        self.change("accept an assignment", |client| client.incremental_assign(&TopicPartitionList::new()));
        // The first says that we are in the group; an empty one after it, only that others came or went.
        let was_in = std::mem::replace(&mut self.is_in, true);
        if !was_in && self.membership.is_named {
            self.look_at = Some(Instant::now() + SETTLE);
        }
        if was_in && partitions.is_empty() {
            return;
        }
        self.held.extend(partitions.iter().map(|partition| (partition.clone(), Reading::default())));
        self.handoff.assigned(partitions);
    }

    pub(super) fn revoked(&mut self, partitions: Vec<TopicPartition>) {
        self.hand_over_all();
        self.handoff.revoked(partitions.clone());
        let known = self.releasing.take().map(|(known, _)| known).unwrap_or_default();
        let all = known.into_iter().chain(partitions).collect();
        self.releasing = Some((all, Instant::now() + RELEASE));
        // Someone else may have them already: nothing is gained by waiting.
        if self.client.assignment_lost() {
            self.release();
        }
    }

    pub(super) fn release(&mut self) {
        let Some((partitions, _)) = self.releasing.take() else { return };
        let is_known = |place: &&TopicPartition| self.held.get(place).is_some_and(|it| it.state != State::Idle);
        let known = list(partitions.iter().filter(is_known));
        self.change("give partitions up", |client| client.incremental_unassign(&known));
        self.held.retain(|partition, _| !partitions.contains(partition));
        for command in std::mem::take(&mut self.postponed) {
            let leaves = self.obey(command);
            assert!(leaves.is_none(), "to leave is never postponed");
        }
    }

    pub(super) fn seek(&mut self, place: &TopicPartition, offset: u64, epoch: u64) {
        let Some(reading) = self.held.get_mut(place) else { return };
        let before = std::mem::take(&mut reading.state);
        if std::mem::take(&mut reading.held_back) {
            self.change("read on", |client| client.resume(&list([place])));
        }
        let seeks = before == State::Reading
            && self.client.seek(&place.topic, place.partition as i32, position(offset), ANSWER).is_ok();
        if !seeks {
            if before != State::Idle {
                self.change("restart a partition", |client| client.incremental_unassign(&list([place])));
            }
            let started = offsets(&[(place.clone(), offset)]);
            self.change("start a partition", |client| client.incremental_assign(&started));
        }
        if let Some(reading) = self.held.get_mut(place) {
            reading.seek(offset, epoch);
        }
    }

    pub(super) fn go_on(&mut self, place: &TopicPartition) {
        let Some(reading) = self.held.get_mut(place) else { return };
        if std::mem::take(&mut reading.held_back) {
            self.change("read on", |client| client.resume(&list([place])));
        }
    }

    /// `None`: the group is between two generations; ask again.
    pub(super) fn prove(&self) -> Option<Result<bool, Error>> {
        let taken = self.handoff.taken();
        let Some(first) = self.held.keys().next() else { return Some(Ok(false)) };
        // A position that nobody read is the start, which no lag display is surprised by.
        let proof = if taken.is_empty() { vec![(first.clone(), 0)] } else { taken };
        match self.client.commit(&offsets(&proof), CommitMode::Sync) {
            Ok(()) => Some(Ok(true)),
            Err(KafkaError::ConsumerCommit(code)) => match code {
                RDKafkaErrorCode::RebalanceInProgress => None,
                RDKafkaErrorCode::UnknownMemberId
                | RDKafkaErrorCode::IllegalGeneration
                | RDKafkaErrorCode::FencedInstanceId
                | RDKafkaErrorCode::Fatal => Some(Ok(false)),
                code => Some(Err(Error::Unavailable(format!("the group did not answer: {code}")))),
            },
            Err(error) => Some(Err(Error::Unavailable(format!("the group did not answer: {error}")))),
        }
    }

    /// Leaves the group in so many words: who only closes keeps a named member's partitions until its session ends.
    pub(super) fn step_down(mut self) {
        let until = Instant::now() + FAREWELL;
        self.release();
        self.client.unsubscribe();
        let is_heard = |client: &BaseConsumer<Lines>| client.client().fatal_error().is_none();
        while is_heard(&self.client) && is_in_group(self.client.client()) && Instant::now() < until {
            self.poll();
            self.release();
            self.handoff.rest(REST / 10);
        }
    }

    /// What librdkafka refuses here is undone by the next rebalance, or was done by the last.
    pub(super) fn change(&self, what: &str, change: impl FnOnce(&BaseConsumer<Lines>) -> Result<(), KafkaError>) {
        if let Err(error) = change(&self.client) {
            tracing::warn!(member = self.name, %error, "could not {what}");
        }
    }
}

pub(super) fn list<'a>(places: impl IntoIterator<Item = &'a TopicPartition>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for place in places {
        list.add_partition(&place.topic, place.partition as i32);
    }
    list
}

pub(super) fn offsets(places: &[(TopicPartition, u64)]) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for (place, offset) in places {
        let added = list.add_partition_offset(&place.topic, place.partition as i32, position(*offset));
        added.expect("librdkafka takes every offset that is not negative");
    }
    list
}

fn position(offset: u64) -> Offset {
    Offset::Offset(i64::try_from(offset).unwrap_or(i64::MAX))
}
