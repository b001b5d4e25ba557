//! The online store in Redis 7 or later, or in Valkey: one server with or without replicas, or a cluster.
//!
//! ```text
//! apply, claim ─► one script for each shard ─► all of it or nothing
//! load, read   ─► MULTI, controls and rows, EXEC ─► as of one instant; in a cluster, one for each shard
//! ```
//!
//! * All keys of a shard carry one hash tag, so a cluster keeps them on one node, and a script names every key that
//!   it touches: a shard that is half way to another node is refused, never read in part.
//! * Scripts and transactions run alone on a server. So what a read finds is what some `apply` left, rows and
//!   positions together, with nothing between the two commands; a call takes one round trip whatever it asks for,
//!   for the transactions of all shards go out together. (A script that reads costs the server four times as much.)
//! * A failover to a replica that lags takes a shard back as a whole: a script replicates as one transaction.
//!   [`Options::wait`] makes that rarer, and flushes slower.
//! * Rows expire by the clock of the server, never sooner than their expiry says.
//! * A restart without persistence empties the store: see `complete` in the contract.
//!
//! It does not find out about failovers by itself: what answers at the URL's address is the primary (a DNS name, a
//! proxy, a cluster).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::try_join_all;
use redis::{Cmd, Pipeline, Value, cmd};

use super::{Advance, Applied, Claim, Control, Error, Loaded, Nonce, OnlineStore, PartKey, PartWrite, StoredRow};
use crate::kernel::codec::Image;
use crate::kernel::key::{EntityKey, PartId, Shard};
use crate::kernel::name::Name;
use crate::kernel::plan::Fingerprint;
use crate::kernel::time::EventTime;
use address::{Address, Redirections};
use flush::Flush;
use lane::{Acknowledged, Lane};
use layout::{Generation, Keys};
use nodes::Nodes;
use scripts::{APPLY, CLAIM, COMPLETE, Fill};
use terms::Terms;

mod address;
mod failure;
mod flush;
mod lane;
mod layout;
mod nodes;
mod removal;
mod scripts;
mod terms;
#[cfg(test)]
mod tests;

pub struct Redis {
    keys: Keys,
    is_cluster: bool,
    /// A flush of some megabytes does not stand before lookups.
    reads: Lane,
    /// Of a cluster, for reads that are of one shard.
    nodes: Option<Nodes>,
    /// By shard, in turn.
    writes: Vec<Lane>,
    claims: Lane,
    wait: Option<Acknowledged>,
    place: String,
}

#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many shards a new store is cut into; one of another number is refused.
    pub shards: u16,
    /// Replicas that have to have a flush before it counts as done.
    pub wait: u32,
    /// How long they are waited for.
    pub wait_limit: Duration,
}

/// How long an answer may take, beside what replicas are waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// Others wait while a transaction runs: about a millisecond.
const ROWS_AT_ONCE: usize = 128;

/// WAIT holds up all that comes after it on its connection.
const WAITING_LANES: usize = 8;

impl Redis {
    /// Connects, checks the server and creates the store of `project` where there is none.
    pub async fn open(url: &str, project: &Name, options: Options) -> Result<Redis, Error> {
        assert!(options.shards > 0, "entities need a shard to live in");
        let keys = Keys::new(project, options.shards);
        let patience = PATIENCE + options.wait_limit;
        let terms = Terms { address: Address::parse(url)?, store: keys.store(), shards: options.shards, patience };
        let is_cluster = terms.address.is_cluster();
        let terms = Arc::new(terms);
        let nodes = is_cluster.then(|| Nodes::new(terms.clone(), keys.slots()));
        terms.warn_of_loss(&mut terms.connect(Redirections::Followed).await?).await;
        let lane = |redirections| Lane::new(terms.clone(), redirections);
        let wait = Acknowledged { replicas: options.wait, limit: options.wait_limit };
        let wait = (options.wait > 0).then_some(wait);
        let writes = if wait.is_some() { WAITING_LANES } else { 1 };
        Ok(Redis {
            keys,
            is_cluster,
            reads: lane(Redirections::Followed),
            nodes,
            writes: (0..writes).map(|_| lane(Redirections::Followed)).collect(),
            claims: lane(Redirections::Refused),
            wait,
            place: terms.place().to_owned(),
        })
    }

    fn write_lane(&self, shard: Shard) -> &Lane {
        &self.writes[usize::from(shard.0) % self.writes.len()]
    }

    fn shard_of(&self, entity: &EntityKey) -> Shard {
        entity.shard(self.keys.shards())
    }

    fn damaged(&self, what: &str) -> Error {
        Error::Damaged { place: self.place.clone(), detail: format!("{what} cannot be read") }
    }

    /// What every shard keeps of a version, in the order of the shards.
    async fn controls(&self, version: Fingerprint) -> Result<Vec<(Shard, Control)>, Error> {
        try_join_all((0..self.keys.shards()).map(Shard).map(|shard| async move {
            let mut all = cmd("HGETALL");
            all.arg(self.keys.control(version, shard));
            let fields = self.reads.command(&all).await?;
            let (control, _) = layout::decode_control(fields).ok_or_else(|| self.damaged("a control"))?;
            Ok((shard, control))
        }))
        .await
    }

    /// Rows with their parts and their shard's control, in the order of `rows`.
    async fn rows(&self, rows: &[(Fingerprint, &EntityKey)], ids: Ids) -> Result<Vec<Found>, Error> {
        let row = |(index, (version, entity)): (usize, &(Fingerprint, &EntityKey))| {
            let (version, shard, entity) = (*version, self.shard_of(entity), (*entity).clone());
            Wanted { index, version, shard, entity }
        };
        let mut wanted: Vec<Wanted> = rows.iter().enumerate().map(row).collect();
        wanted.sort_unstable_by_key(|row| (row.shard, row.version));
        let together = |one: &Wanted, next: &Wanted| !self.is_cluster || one.shard == next.shard;
        let calls = wanted.chunk_by(together).flat_map(|rows| rows.chunks(ROWS_AT_ONCE));
        let found = try_join_all(calls.map(|rows| self.rows_at_once(rows, ids))).await?;
        let mut found: Vec<(usize, Found)> =
            wanted.iter().map(|row| row.index).zip(found.into_iter().flatten()).collect();
        found.sort_unstable_by_key(|(index, _)| *index);
        Ok(found.into_iter().map(|(_, found)| found).collect())
    }

    /// In a cluster all of it is of `shard`.
    async fn at_once(&self, shard: Shard, commands: Pipeline) -> Result<Vec<Value>, Error> {
        let of_its_node = match &self.nodes {
            Some(nodes) => nodes.at_once(shard, &commands).await?,
            None => None,
        };
        match of_its_node {
            Some(values) => Ok(values),
            None => self.reads.at_once(&commands).await,
        }
    }

    /// In one transaction, which in a cluster is of one shard.
    async fn rows_at_once(&self, rows: &[Wanted], ids: Ids) -> Result<Vec<Found>, Error> {
        let mut places: Vec<(Shard, Fingerprint)> = rows.iter().map(|row| (row.shard, row.version)).collect();
        places.dedup();
        let mut commands = Pipeline::with_capacity(places.len() + 2 * rows.len());
        commands.atomic();
        for (shard, version) in &places {
            commands.cmd("HGETALL").arg(self.keys.control(*version, *shard));
        }
        for Wanted { version, shard, entity, .. } in rows {
            commands.cmd("HGETALL").arg(self.keys.row(*version, *shard, entity));
            if ids == Ids::Wanted {
                commands.cmd("HGETALL").arg(self.keys.ids(*version, *shard, entity));
            }
        }
        let mut answers = self.at_once(rows[0].shard, commands).await?.into_iter();
        let mut controls: HashMap<(Shard, Fingerprint), (Arc<Control>, Option<Generation>)> = HashMap::new();
        for (place, fields) in places.into_iter().zip(answers.by_ref()) {
            let (control, generation) = layout::decode_control(fields).ok_or_else(|| self.damaged("a control"))?;
            controls.insert(place, (Arc::new(control), generation));
        }
        let hashes = if ids == Ids::Wanted { 2 } else { 1 };
        let mut found = Vec::with_capacity(rows.len());
        for row in rows {
            let (control, generation) = &controls[&(row.shard, row.version)];
            let fields: Vec<Value> = answers.by_ref().take(hashes).collect();
            found.push(Found { parts: layout::decode_parts(fields, *generation), control: control.clone() });
        }
        Ok(found)
    }
}

/// Whether a reader wants the ids beside a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ids {
    Wanted,
    LeftOut,
}

/// A row that is asked for, and where in the answer it belongs.
struct Wanted {
    index: usize,
    version: Fingerprint,
    shard: Shard,
    entity: EntityKey,
}

struct Found {
    /// `None`: they are damaged.
    parts: Option<Vec<(PartId, Image)>>,
    control: Arc<Control>,
}

#[async_trait]
impl OnlineStore for Redis {
    fn shards(&self) -> u16 {
        self.keys.shards()
    }

    fn fails_by_shard(&self) -> bool {
        self.is_cluster
    }

    async fn claim(&self, shard: Shard, claims: &[Claim], nonce: Nonce) -> Result<Vec<u64>, Error> {
        let drawn = getrandom::u64().map_err(|error| Error::Unavailable(format!("no random number: {error}")))?;
        let fill = |command: &mut Cmd| {
            command.arg(claims.len());
            claims.iter().for_each(|claim| _ = command.arg(self.keys.control(claim.version, shard)));
            command.arg(&nonce.0.to_be_bytes()).arg(&drawn.to_be_bytes());
            for claim in claims {
                command.arg(&layout::position_field(claim.partition)).arg(&claim.initial.to_be_bytes());
            }
        };
        let answer = self.claims.script(&CLAIM, Fill::short(&fill), None).await?;
        let offsets: Vec<Vec<u8>> = redis::from_redis_value(answer).map_err(|_| self.damaged("a claim"))?;
        let decoded: Option<Vec<u64>> = offsets.iter().map(|offset| layout::decode_offset(offset)).collect();
        decoded.ok_or_else(|| self.damaged("a position"))
    }

    async fn apply(&self, shard: Shard, advances: &[Advance], rows: &[PartWrite]) -> Result<Applied, Error> {
        let flush = Flush { keys: &self.keys, shard, advances, rows, confirms: self.wait.is_some() };
        let fill = Fill { size: flush.size(), add: &|command| flush.add_to(command) };
        let stored: Vec<Option<Vec<u8>>> = match self.write_lane(shard).script(&APPLY, fill, self.wait).await? {
            Value::Int(_) => return Ok(Applied::Done),
            stored => redis::from_redis_value(stored).map_err(|_| self.damaged("a control"))?,
        };
        let position = |stored: Option<Vec<u8>>| match stored {
            Some(bytes) => layout::decode_position(&bytes).map(Some).ok_or_else(|| self.damaged("a position")),
            None => Ok(None),
        };
        Ok(Applied::Refused(stored.into_iter().map(position).collect::<Result<_, Error>>()?))
    }

    async fn load(&self, keys: &[PartKey]) -> Result<Vec<Loaded>, Error> {
        let rows: Vec<_> = keys.iter().map(|key| (key.version, &key.entity)).collect();
        let found = self.rows(&rows, Ids::Wanted).await?;
        let loaded = |(key, found): (&PartKey, Found)| {
            let row = || format!("a row of version {} in shard {}", key.version, self.shard_of(&key.entity).0);
            loaded(key.part, found).ok_or_else(|| self.damaged(&row()))
        };
        keys.iter().zip(found).map(loaded).collect()
    }

    async fn read(&self, rows: &[(Fingerprint, EntityKey)]) -> Result<Vec<Option<StoredRow>>, Error> {
        let rows: Vec<_> = rows.iter().map(|(version, entity)| (*version, entity)).collect();
        let stored = |found: Found| Some(StoredRow { parts: found.parts?, offsets: found.control.told_offsets() });
        Ok(self.rows(&rows, Ids::LeftOut).await?.into_iter().map(stored).collect())
    }

    async fn offsets(&self, version: Fingerprint) -> Result<Vec<(Shard, u32, u64)>, Error> {
        let of_shard = |(shard, control): (Shard, Control)| {
            let offsets = control.offsets();
            offsets.into_iter().map(move |(partition, offset)| (shard, partition, offset))
        };
        Ok(self.controls(version).await?.into_iter().flat_map(of_shard).collect())
    }

    async fn complete(&self, version: Fingerprint, goals: &[(u32, u64)]) -> Result<bool, Error> {
        let complete = (0..self.keys.shards()).map(Shard).map(|shard| async move {
            let fill = |command: &mut Cmd| {
                command.arg(1).arg(self.keys.control(version, shard));
                for (partition, goal) in goals {
                    command.arg(&layout::position_field(*partition)).arg(&goal.to_be_bytes());
                }
            };
            self.write_lane(shard).script(&COMPLETE, Fill::short(&fill), None).await
        });
        Ok(try_join_all(complete).await?.iter().all(|marked| *marked == Value::Int(1)))
    }

    async fn is_complete(&self, version: Fingerprint) -> Result<bool, Error> {
        Ok(self.controls(version).await?.iter().all(|(_, control)| control.complete))
    }

    /// Rows expire by themselves.
    async fn expire(&self, _now: EventTime) -> Result<usize, Error> {
        Ok(0)
    }

    async fn remove(&self, version: Fingerprint) -> Result<(), Error> {
        self.remove_version(version).await
    }
}

/// `None`: its row is damaged.
fn loaded(part: PartId, found: Found) -> Option<Loaded> {
    let position = match part {
        PartId::History => None,
        PartId::Partition(partition) => found.control.positions.get(&partition).copied(),
    };
    let own = found.parts?.into_iter().find(|(of, _)| *of == part);
    Some(Loaded { image: own.map(|(_, image)| image), position })
}
