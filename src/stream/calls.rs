//! The calls to store and log that an effect may need, each tried again until its outcome is known.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::event_log::{self, Consumer, EventLog, TopicPartition};
use crate::kernel::key::Shard;
use crate::kernel::plan::ViewPlan;
use crate::online::{Advance, Claim, Nonce, OnlineStore, PartKey, PartWrite};
use crate::stream::blocked::Blocked;
use crate::stream::retry::Backoff;
use crate::stream::run::Error;
use crate::stream::shell::Answer;
use crate::stream::{Bounds, Signal, Ticket};

pub(super) fn topics(versions: &[Arc<ViewPlan>]) -> BTreeSet<String> {
    versions.iter().map(|view| view.source.topic.clone()).collect()
}

/// Steps down as the member that we were: partitions of other topics would be kept for it otherwise.
pub(super) async fn join(
    member: Option<Box<dyn Consumer>>,
    log: Arc<dyn EventLog>,
    group: String,
    topics: BTreeSet<String>,
    mut backoff: Backoff,
) -> Result<Answer, Error> {
    if let Some(member) = member {
        member.leave().await;
    }
    let topics: Vec<String> = topics.into_iter().collect();
    loop {
        match log.consumer(&group, &topics).await {
            Ok(consumer) => return Ok(Answer::Joined(consumer)),
            Err(error) => backoff.wait(error).await?,
        }
    }
}

pub(super) async fn assigned(
    log: Arc<dyn EventLog>,
    assigned: Vec<TopicPartition>,
    backoff: Backoff,
) -> Result<Answer, Error> {
    let topics = assigned.iter().map(|partition| partition.topic.clone()).collect();
    let mut bounds = bounds(&*log, topics, backoff).await?;
    bounds.retain(|bounds| assigned.contains(&bounds.partition));
    Ok(Answer::Signal(Signal::Assigned(bounds)))
}

pub(super) async fn versions(
    log: Arc<dyn EventLog>,
    versions: Vec<Arc<ViewPlan>>,
    topics: BTreeSet<String>,
    backoff: Backoff,
) -> Result<Answer, Error> {
    let bounds = bounds(&*log, topics, backoff).await?;
    Ok(Answer::Signal(Signal::Versions { versions, bounds }))
}

pub(super) async fn look(log: Arc<dyn EventLog>, topics: BTreeSet<String>, backoff: Backoff) -> Result<Answer, Error> {
    Ok(Answer::Signal(Signal::Bounds(bounds(&*log, topics, backoff).await?)))
}

/// Each attempt draws a nonce of its own: one whose answer was lost may still arrive, and must then fence us off.
pub(super) async fn claim(
    online: Arc<dyn OnlineStore>,
    ticket: Ticket,
    shard: Shard,
    claims: Vec<Claim>,
    mut backoff: Backoff,
) -> Result<Answer, Error> {
    loop {
        let nonce = Nonce(getrandom::u64()?);
        match online.claim(shard, &claims, nonce).await {
            Ok(offsets) => return Ok(Answer::Signal(Signal::Claimed { ticket, nonce, offsets })),
            Err(error) => backoff.wait(error).await?,
        }
    }
}

pub(super) async fn load(
    online: Arc<dyn OnlineStore>,
    ticket: Ticket,
    keys: Vec<PartKey>,
    mut backoff: Backoff,
) -> Result<Answer, Error> {
    loop {
        match online.load(&keys).await {
            Ok(loaded) => return Ok(Answer::Signal(Signal::Loaded { ticket, loaded })),
            Err(error) => backoff.wait(error).await?,
        }
    }
}

/// The same call again where its outcome is unknown: if it was done, it is refused, and the claim that follows
/// finds the offsets where it put them.
pub(super) async fn apply(
    online: Arc<dyn OnlineStore>,
    shard: Shard,
    advances: Vec<Advance>,
    rows: Arc<[PartWrite]>,
    blocked: Blocked,
    mut backoff: Backoff,
) -> Result<Answer, Error> {
    loop {
        match online.apply(shard, &advances, &rows).await {
            Ok(outcome) => {
                blocked.got_through();
                return Ok(Answer::Signal(Signal::Applied { shard, outcome }));
            }
            Err(error) => {
                blocked.failed(&backoff, &error);
                backoff.wait(error).await?;
            }
        }
    }
}

async fn bounds(log: &dyn EventLog, topics: BTreeSet<String>, mut backoff: Backoff) -> Result<Vec<Bounds>, Error> {
    let mut bounds = Vec::new();
    for topic in &topics {
        loop {
            match bounds_of(log, topic).await {
                Ok(held) => break bounds.extend(held),
                Err(error) => backoff.wait(error).await?,
            }
        }
    }
    Ok(bounds)
}

pub(super) async fn bounds_of(log: &dyn EventLog, topic: &str) -> Result<Vec<Bounds>, event_log::Error> {
    let partition = |number| TopicPartition { topic: topic.to_owned(), partition: number };
    let held = log.bounds(topic).await?.into_iter();
    Ok((0..).zip(held).map(|(number, held)| Bounds { partition: partition(number), held }).collect())
}
