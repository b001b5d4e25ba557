//! The calls to store and log that an effect may need, each tried again until its outcome is known.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::event_log::{self, Consumer, EventLog, TopicPartition};
use crate::kernel::key::Shard;
use crate::kernel::plan::ViewPlan;
use crate::online::{self, Advance, Claim, Loaded, Nonce, OnlineStore, PartKey, PartWrite};
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

pub(super) async fn looked(
    log: Arc<dyn EventLog>,
    ticket: Ticket,
    at: TopicPartition,
    mut backoff: Backoff,
) -> Result<Answer, Error> {
    loop {
        let found = bounds_of(&*log, &at.topic).await.map(|all| all.into_iter().find(|it| it.partition == at));
        match found {
            Ok(Some(Bounds { held, .. })) => return Ok(Answer::Signal(Signal::Looked { ticket, held })),
            // Whoever was asked does not know the partition yet.
            Ok(None) => backoff.wait(event_log::Error::UnknownTopic(at.topic.clone())).await?,
            Err(error) => backoff.wait(error).await?,
        }
    }
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
    let loaded = loop {
        match online.load(&keys).await {
            Ok(loaded) => break loaded.into_iter().map(Ok).collect(),
            Err(online::Error::Damaged { .. }) => break load_each(&*online, &keys, backoff).await?,
            Err(error) => backoff.wait(error).await?,
        }
    };
    Ok(Answer::Signal(Signal::Loaded { ticket, loaded }))
}

/// One by one: some of them are damaged, and the others are not.
async fn load_each(
    online: &dyn OnlineStore,
    keys: &[PartKey],
    mut backoff: Backoff,
) -> Result<Vec<Result<Loaded, String>>, Error> {
    let mut loaded = Vec::with_capacity(keys.len());
    for key in keys {
        loaded.push(loop {
            match online.load(std::slice::from_ref(key)).await {
                Ok(mut one) => break Ok(one.remove(0)),
                Err(error @ online::Error::Damaged { .. }) => break Err(error.to_string()),
                Err(error) => backoff.wait(error).await?,
            }
        });
    }
    Ok(loaded)
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
