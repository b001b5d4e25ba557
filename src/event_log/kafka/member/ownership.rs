//! Whether every partition of the topics has an owner.
//!
//! A named member that dies between the two halves of a rebalance is given what the first half left it when it is back, and
//! the coordinator begins no second: what it was to give up by then belongs to nobody until the next rebalance, which may
//! never come. So a member that has just joined looks, and if need be leaves and joins anew.

use std::collections::BTreeSet;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use tokio::time::Instant;

use super::{ANSWER, Member};
use crate::event_log::kafka::lines::Lines;

/// What a member is one of.
pub struct Membership {
    pub group: String,
    pub topics: Vec<String>,
    /// Whether it is known by a name that outlives its process.
    pub is_named: bool,
}

impl Member {
    pub(super) fn look_for_owners(&mut self) {
        self.look_at = Some(Instant::now() + ANSWER);
        if self.releasing.is_some() {
            return;
        }
        match are_all_owned(&self.client, &self.membership) {
            Ok(Some(true)) => self.look_at = None,
            // Between two generations, or nobody tells.
            Ok(None) | Err(_) => {}
            Ok(Some(false)) => {
                tracing::warn!(member = self.name, "a partition has no owner: joining the group anew");
                self.client.unsubscribe();
                self.change("subscribe again", |client| subscribe(client, &self.membership.topics));
            }
        }
    }
}

pub(in crate::event_log::kafka) fn subscribe(client: &BaseConsumer<Lines>, topics: &[String]) -> KafkaResult<()> {
    client.subscribe(&topics.iter().map(String::as_str).collect::<Vec<_>>())
}

/// `None` while the group is between two generations.
fn are_all_owned(client: &BaseConsumer<Lines>, membership: &Membership) -> KafkaResult<Option<bool>> {
    let listed = client.fetch_group_list(Some(&membership.group), ANSWER)?;
    let Some(group) = listed.groups().first().filter(|group| group.state() == "Stable") else { return Ok(None) };
    let mut owned = BTreeSet::new();
    for member in group.members() {
        let assigned = member.assignment().and_then(read_assignment);
        owned.extend(assigned.ok_or(KafkaError::GroupListFetch(RDKafkaErrorCode::BadMessage))?);
    }
    for topic in &membership.topics {
        let metadata = client.fetch_metadata(Some(topic), ANSWER)?;
        let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
        if !partitions.into_iter().all(|partition| owned.contains(&(topic.clone(), partition.id()))) {
            return Ok(Some(false));
        }
    }
    Ok(Some(true))
}

/// The assignment of Kafka's consumer protocol: a version, then topics with their partitions.
fn read_assignment(mut bytes: &[u8]) -> Option<Vec<(String, i32)>> {
    fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = bytes.split_at_checked(count)?;
        *bytes = rest;
        Some(taken)
    }
    let short = |bytes: &mut &[u8]| take(bytes, 2).map(|it| i16::from_be_bytes([it[0], it[1]]));
    let int = |bytes: &mut &[u8]| take(bytes, 4).map(|it| i32::from_be_bytes([it[0], it[1], it[2], it[3]]));
    // A member that is given nothing may be told so by no bytes at all.
    if bytes.is_empty() {
        return Some(Vec::new());
    }
    short(&mut bytes)?;
    let mut assigned = Vec::new();
    for _ in 0..int(&mut bytes)? {
        let length = usize::try_from(short(&mut bytes)?).ok()?;
        let topic = String::from_utf8(take(&mut bytes, length)?.to_vec()).ok()?;
        for _ in 0..int(&mut bytes)? {
            assigned.push((topic.clone(), int(&mut bytes)?));
        }
    }
    Some(assigned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_reads_as_the_protocol_writes_it() {
        let bytes =
            [&[0, 1, 0, 0, 0, 1, 0, 6][..], b"clicks", &[0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0]].concat();
        assert_eq!(read_assignment(&bytes), Some(vec![("clicks".to_owned(), 0), ("clicks".to_owned(), 7)]));
        assert_eq!(read_assignment(&bytes[..14]), None, "cut off");
        assert_eq!(read_assignment(&[]), Some(Vec::new()));
    }
}
