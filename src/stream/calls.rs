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
use crate::stream::{Bounds, Signal, Ticket};

pub(super) fn topics(versions: &[Arc<ViewPlan>]) -> BTreeSet<String> {
    versions.iter().map(|view| view.source.topic.clone()).collect()
}

pub(super) async fn join(
    log: Arc<dyn EventLog>,
    group: String,
    topics: BTreeSet<String>,
    mut backoff: Backoff,
) -> Result<Box<dyn Consumer>, Error> {
    let topics: Vec<String> = topics.into_iter().collect();
    backoff.until_done(|| log.consumer(&group, &topics)).await
}

pub(super) async fn assigned(
    log: Arc<dyn EventLog>,
    assigned: Vec<TopicPartition>,
    mut backoff: Backoff,
) -> Result<Signal, Error> {
    let topics = assigned.iter().map(|partition| partition.topic.clone()).collect();
    let look = || async {
        let all = bounds(&*log, &topics).await?;
        assigned.iter().map(|place| among(&all, place)).collect()
    };
    Ok(Signal::Assigned(backoff.until_done(look).await?))
}

pub(super) async fn versions(
    log: Arc<dyn EventLog>,
    versions: Vec<Arc<ViewPlan>>,
    mut backoff: Backoff,
) -> Result<Signal, Error> {
    let topics = topics(&versions);
    let bounds = backoff.until_done(|| bounds(&*log, &topics)).await?;
    Ok(Signal::Versions { versions, bounds })
}

pub(super) async fn look(
    log: Arc<dyn EventLog>,
    topics: BTreeSet<String>,
    mut backoff: Backoff,
) -> Result<Signal, Error> {
    Ok(Signal::Bounds(backoff.until_done(|| bounds(&*log, &topics)).await?))
}

pub(super) async fn looked(
    log: Arc<dyn EventLog>,
    ticket: Ticket,
    at: TopicPartition,
    mut backoff: Backoff,
) -> Result<Signal, Error> {
    let look = || async {
        let all = bounds_of(&*log, &at.topic).await?;
        among(&all, &at)
    };
    Ok(Signal::Looked { ticket, held: backoff.until_done(look).await?.held })
}

/// Of one that was added a moment ago, whoever was asked may not know yet.
fn among(all: &[Bounds], place: &TopicPartition) -> Result<Bounds, event_log::Error> {
    let found = all.iter().find(|bounds| bounds.partition == *place);
    let unknown = || format!("partition {} of topic `{}` is not known everywhere yet", place.partition, place.topic);
    found.cloned().ok_or_else(|| event_log::Error::Unavailable(unknown()))
}

/// Each attempt draws a nonce of its own: one whose answer was lost may still arrive, and must then fence us off.
pub(super) async fn claim(
    online: Arc<dyn OnlineStore>,
    ticket: Ticket,
    shard: Shard,
    claims: Vec<Claim>,
    mut backoff: Backoff,
) -> Result<Signal, Error> {
    let claim = || async {
        let nonce = Nonce(getrandom::u64()?);
        Ok::<_, Error>((nonce, online.claim(shard, &claims, nonce).await?))
    };
    let (nonce, offsets) = backoff.until_done(claim).await?;
    Ok(Signal::Claimed { ticket, nonce, offsets })
}

pub(super) async fn load(
    online: Arc<dyn OnlineStore>,
    ticket: Ticket,
    keys: Vec<PartKey>,
    mut backoff: Backoff,
) -> Result<Signal, Error> {
    let load = || async { or_damaged(online.load(&keys).await) };
    let loaded = match backoff.until_done(load).await? {
        Ok(loaded) => loaded.into_iter().map(Ok).collect(),
        Err(_) => load_each(&*online, &keys, backoff).await?,
    };
    Ok(Signal::Loaded { ticket, loaded })
}

/// One by one: some of them are damaged, and the others are not.
async fn load_each(
    online: &dyn OnlineStore,
    keys: &[PartKey],
    mut backoff: Backoff,
) -> Result<Vec<Result<Loaded, String>>, Error> {
    let mut loaded = Vec::with_capacity(keys.len());
    for key in keys {
        let load = || async { or_damaged(online.load(std::slice::from_ref(key)).await) };
        loaded.push(backoff.until_done(load).await?.map(|mut one| one.remove(0)));
    }
    Ok(loaded)
}

/// Damage is no reason to try again, and none to end.
fn or_damaged<T>(answer: Result<T, online::Error>) -> Result<Result<T, String>, online::Error> {
    match answer {
        Err(error @ online::Error::Damaged { .. }) => Ok(Err(error.to_string())),
        answer => answer.map(Ok),
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
) -> Result<Signal, Error> {
    loop {
        match online.apply(shard, &advances, &rows).await {
            Ok(outcome) => {
                blocked.got_through();
                return Ok(Signal::Applied { shard, outcome });
            }
            Err(error) => {
                blocked.failed(&backoff, &error);
                backoff.wait(error).await?;
            }
        }
    }
}

async fn bounds(log: &dyn EventLog, topics: &BTreeSet<String>) -> Result<Vec<Bounds>, event_log::Error> {
    let mut bounds = Vec::new();
    for topic in topics {
        bounds.extend(bounds_of(log, topic).await?);
    }
    Ok(bounds)
}

pub(super) async fn bounds_of(log: &dyn EventLog, topic: &str) -> Result<Vec<Bounds>, event_log::Error> {
    let partition = |number| TopicPartition { topic: topic.to_owned(), partition: number };
    let held = log.bounds(topic).await?.into_iter();
    Ok((0..).zip(held).map(|(number, held)| Bounds { partition: partition(number), held }).collect())
}
