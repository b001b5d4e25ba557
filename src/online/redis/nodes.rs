//! The nodes of a cluster, each on a connection of its own, for reads: one that is away holds up what it has, and nothing
//! else. The client of the whole cluster answers nobody while it looks for a node that it lost.
//!
//! ```text
//! read ─► the node that has the shard ─► values
//!                 └─ does not answer with values ─► the client of the whole cluster, which follows redirections
//! ```
//!
//! Who has what is as of when somebody last looked, and decides nothing: a node refuses what is not its own. It is looked
//! up again when a node has refused, or has not answered at all.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use futures::future::select_ok;
use redis::{Pipeline, Value, cmd};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::address::Redirections;
use super::lane::Lane;
use super::terms::Terms;
use crate::kernel::key::Shard;
use crate::online::Error;

pub struct Nodes {
    terms: Arc<Terms>,
    /// Of each shard.
    slots: Vec<u16>,
    /// Those of the URL: whatever becomes of the others, they are asked for the rest.
    named: Vec<Arc<Node>>,
    known: RwLock<Arc<Known>>,
    /// When somebody last looked who has what; held while somebody does.
    looked: Mutex<Option<Instant>>,
}

struct Known {
    nodes: Vec<Arc<Node>>,
    /// Of each shard.
    owners: Vec<Option<Arc<Node>>>,
}

struct Node {
    host: String,
    port: u16,
    lane: Lane,
    /// Its newest answer was no values, or somebody gave it up.
    is_suspect: AtomicBool,
}

/// Slots, from one to another, and the primary that has them.
struct Range {
    slots: RangeInclusive<u16>,
    host: String,
    port: u16,
}

/// Between two looks, and how long one may take.
const LOOK_EVERY: Duration = Duration::from_millis(500);

impl Nodes {
    pub fn new(terms: Arc<Terms>, slots: Vec<u16>) -> Nodes {
        let named = terms.address.nodes().into_iter();
        let named: Vec<_> = named.map(|(host, port)| Arc::new(Node::new(&terms, host, port))).collect();
        let known = RwLock::new(Arc::new(Known { nodes: named.clone(), owners: vec![None; slots.len()] }));
        Nodes { terms, slots, named, known, looked: Mutex::default() }
    }

    /// All of the commands at one instant, their keys being of `shard`. `None`: the whole cluster has to be asked.
    pub async fn at_once(&self, shard: Shard, commands: &Pipeline) -> Result<Option<Vec<Value>>, Error> {
        let mut owner = self.owner(shard);
        if owner.as_ref().is_none_or(|owner| owner.is_suspect.load(Ordering::Relaxed)) {
            self.look().await;
            owner = self.owner(shard);
        }
        match owner {
            Some(owner) => owner.at_once(commands).await,
            None => Ok(None),
        }
    }

    fn owner(&self, shard: Shard) -> Option<Arc<Node>> {
        self.known().owners[usize::from(shard.0)].clone()
    }

    /// Learns who has what from the first node that tells, unless somebody just did or does.
    async fn look(&self) {
        let Ok(mut looked) = self.looked.try_lock() else { return };
        if looked.is_some_and(|at| at.elapsed() < LOOK_EVERY) {
            return;
        }
        *looked = Some(Instant::now());
        let known = self.known();
        let told = select_ok(known.nodes.iter().map(|node| Box::pin(node.ranges())));
        if let Ok(Ok((ranges, _))) = timeout(LOOK_EVERY, told).await {
            *self.known.write().expect("no holder panics") = Arc::new(self.learned(&known, &ranges));
        }
    }

    /// Nodes that were known keep their connections.
    fn learned(&self, before: &Known, ranges: &[Range]) -> Known {
        let mut nodes = self.named.clone();
        for range in ranges {
            if !nodes.iter().any(|node| node.has(range)) {
                let known = before.nodes.iter().find(|node| node.has(range)).cloned();
                let new = || Arc::new(Node::new(&self.terms, range.host.clone(), range.port));
                nodes.push(known.unwrap_or_else(new));
            }
        }
        let owner = |slot: &u16| {
            let range = ranges.iter().find(|range| range.slots.contains(slot))?;
            nodes.iter().find(|node| node.has(range)).cloned()
        };
        let owners = self.slots.iter().map(owner).collect();
        Known { nodes, owners }
    }

    fn known(&self) -> Arc<Known> {
        self.known.read().expect("no holder panics").clone()
    }
}

impl Node {
    fn new(terms: &Terms, host: String, port: u16) -> Node {
        let lane = Lane::new(Arc::new(terms.of_node(&host, port)), Redirections::Refused);
        Node { host, port, lane, is_suspect: AtomicBool::new(false) }
    }

    fn has(&self, range: &Range) -> bool {
        (&self.host, self.port) == (&range.host, range.port)
    }

    /// `None`: it answered, and not with values.
    async fn at_once(&self, commands: &Pipeline) -> Result<Option<Vec<Value>>, Error> {
        let mut asked = Asked { node: self, has_values: false };
        let answer = self.lane.at_once_or_refused(commands).await?;
        asked.has_values = answer.is_some();
        Ok(answer)
    }

    async fn ranges(&self) -> Result<Vec<Range>, Error> {
        let answer = self.lane.command(cmd("CLUSTER").arg("SLOTS")).await?;
        let ranges: Vec<Vec<Value>> = redis::from_redis_value(answer).unwrap_or_default();
        let ranges: Vec<Range> = ranges.into_iter().filter_map(|range| Range::of(range, &self.host)).collect();
        // One that has been told to forget the others knows nothing.
        if ranges.is_empty() { Err(Error::Unavailable(format!("{} tells of no slots", self.host))) } else { Ok(ranges) }
    }
}

/// A call under way. Who gives it up leaves its node suspect.
struct Asked<'a> {
    node: &'a Node,
    has_values: bool,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.node.is_suspect.store(!self.has_values, Ordering::Relaxed);
    }
}

impl Range {
    /// One entry of CLUSTER SLOTS: first and last slot, the primary as host, port and more, and the replicas. A node that
    /// does not know its own name has the one that it was asked by; one that nobody knows is `?`.
    fn of(entry: Vec<Value>, asked: &str) -> Option<Range> {
        let mut fields = entry.into_iter();
        let first: u16 = redis::from_redis_value(fields.next()?).ok()?;
        let last: u16 = redis::from_redis_value(fields.next()?).ok()?;
        let mut primary = redis::from_redis_value::<Vec<Value>>(fields.next()?).ok()?.into_iter();
        let host: Option<String> = redis::from_redis_value(primary.next()?).ok()?;
        let host = host.filter(|host| !host.is_empty()).unwrap_or_else(|| asked.to_owned());
        let port = redis::from_redis_value(primary.next()?).ok()?;
        (host != "?").then_some(Range { slots: first..=last, host, port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(host: Value) -> Option<String> {
        let primary = Value::Array(vec![host, Value::Int(7001), Value::BulkString(b"id".to_vec())]);
        let replica = Value::Array(vec![Value::BulkString(b"r2".to_vec()), Value::Int(7002)]);
        let range = Range::of(vec![Value::Int(0), Value::Int(5461), primary, replica], "asked")?;
        Some(format!("{:?} {}:{}", range.slots, range.host, range.port))
    }

    #[test]
    fn slots_are_of_their_primary_and_of_whoever_was_asked_where_it_does_not_say_its_name() {
        let named = |name: &str| Value::BulkString(name.into());
        assert_eq!(range(named("r1")).as_deref(), Some("0..=5461 r1:7001"));
        assert_eq!(range(named("")).as_deref(), Some("0..=5461 asked:7001"));
        assert_eq!(range(Value::Nil).as_deref(), Some("0..=5461 asked:7001"));
        assert_eq!(range(named("?")), None);
        assert!(Range::of(vec![Value::Int(0), Value::Int(5461)], "asked").is_none());
    }
}
