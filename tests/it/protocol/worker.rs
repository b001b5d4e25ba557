//! A stream worker reduced to its protocol: what it folds is a count and a sum. It keeps nothing that it could not
//! lose, and believes what it was last told about its partitions.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use fastrand::Rng;
use freshet::kernel::codec::Image;
use freshet::kernel::engine::Flushed;
use freshet::kernel::key::{EntityKey, PartId, Shard};
use freshet::online::{Advance, Applied, Claim, Nonce, OnlineStore, PartKey, PartWrite, Position};

use super::faulty::Faulty;
use super::{Log, SHARDS, Total, VIEW, Weakening};

pub struct Worker {
    weakening: Option<Weakening>,
    /// Partitions that it believes to be its own; it learns better when a call is refused.
    pub assigned: BTreeSet<u32>,
    lanes: BTreeMap<(Shard, u32), Lane>,
    cache: BTreeMap<PartKey, Cached>,
    /// The flush of a shard whose outcome is unknown: sent again, unchanged, before any other.
    unanswered: BTreeMap<Shard, Flush>,
}

/// One partition within one shard, under a claim.
struct Lane {
    nonce: Nonce,
    stored: u64,
    /// The next record to fold.
    folded: u64,
}

#[derive(Default)]
struct Cached {
    /// What the head holds.
    recent: Total,
    /// What the body holds.
    sealed: Total,
    dirty: bool,
}

struct Flush {
    advances: Vec<Advance>,
    rows: Vec<PartWrite>,
}

/// What a step came to.
#[derive(PartialEq, Eq)]
pub enum Step {
    Idle,
    Progress,
    /// Someone else wrote, or the store went back: the worker forgot the shard, and should ask what is its own.
    Refused,
}

impl Worker {
    pub fn new(assigned: BTreeSet<u32>, weakening: Option<Weakening>) -> Worker {
        let (lanes, cache, unanswered) = Default::default();
        Worker { weakening, assigned, lanes, cache, unanswered }
    }

    /// Claims what it should have of `shard` and has not.
    pub async fn claim(&mut self, store: &Faulty, shard: Shard, rng: &mut Rng) -> Step {
        let missing = self.assigned.iter().filter(|partition| !self.lanes.contains_key(&(shard, **partition)));
        let claims: Vec<Claim> =
            missing.map(|partition| Claim { version: VIEW, partition: *partition, initial: 0 }).collect();
        if claims.is_empty() {
            return Step::Idle;
        }
        let nonce = Nonce(rng.u64(..));
        let Ok(offsets) = store.claim(shard, &claims, nonce).await else { return Step::Progress };
        for (claim, offset) in claims.iter().zip(offsets) {
            self.lanes.insert((shard, claim.partition), Lane { nonce, stored: offset, folded: offset });
        }
        Step::Progress
    }

    /// Folds the next record of `partition`.
    pub async fn fold(&mut self, store: &Faulty, log: &Log, partition: u32) -> Step {
        let lanes = self.lanes.iter().filter(|((_, of), _)| *of == partition);
        let Some(offset) = lanes.clone().map(|(_, lane)| lane.folded).min() else { return Step::Idle };
        let Some(entity) = log.entity(partition, offset).filter(|_| lanes.count() == usize::from(SHARDS)) else {
            return Step::Idle;
        };
        let shard = entity.shard(SHARDS);
        if self.lanes[&(shard, partition)].folded == offset {
            let key = PartKey { version: VIEW, entity, part: PartId::Partition(partition) };
            match self.load(store, shard, partition, &key).await {
                Step::Progress => {}
                other => return other,
            }
            let cached = self.cache.get_mut(&key).expect("it was loaded");
            cached.recent.add(Total::of_record(partition, offset));
            cached.dirty = true;
        }
        for ((_, of), lane) in &mut self.lanes {
            if *of == partition && lane.folded == offset {
                lane.folded += 1;
            }
        }
        Step::Progress
    }

    /// Has the part in the cache, or `Idle` where the store is away. An image from another offset than the lane's
    /// would be folded into again, or too late.
    async fn load(&mut self, store: &Faulty, shard: Shard, partition: u32, key: &PartKey) -> Step {
        if self.cache.contains_key(key) {
            return Step::Progress;
        }
        let Ok(mut loaded) = store.load(std::slice::from_ref(key)).await else { return Step::Idle };
        let loaded = loaded.remove(0);
        let lane = &self.lanes[&(shard, partition)];
        let advances = self.unanswered.get(&shard).into_iter().flat_map(|flush| &flush.advances);
        let mut offsets = advances.filter(|advance| advance.partition == partition).map(|advance| advance.to);
        let fits = loaded.position.is_some_and(|position| {
            position.nonce == lane.nonce && (position.offset == lane.stored || offsets.any(|to| to == position.offset))
        });
        if !fits {
            self.forget(shard);
            return Step::Refused;
        }
        self.cache.insert(key.clone(), Cached::decode(&loaded.image.unwrap_or_default()));
        Step::Progress
    }

    /// One call for all of a shard: what is unflushed of its rows, and how far each partition is folded.
    pub async fn flush(&mut self, store: &Faulty, shard: Shard) -> Step {
        if !self.unanswered.contains_key(&shard) {
            let flush = self.prepare(shard);
            let quiet = flush.rows.is_empty() && self.weakening == Some(Weakening::NoIdleAdvance);
            if flush.advances.is_empty() || quiet {
                return Step::Idle;
            }
            self.unanswered.insert(shard, flush);
        }
        if self.weakening == Some(Weakening::SplitFlush) && !self.send_half(store, shard).await {
            return Step::Progress;
        }
        let flush = &self.unanswered[&shard];
        let Ok(applied) = store.apply(shard, &flush.advances, &flush.rows).await else { return Step::Progress };
        let flush = self.unanswered.remove(&shard).expect("it was just sent");
        match applied {
            Applied::Done => self.done(shard, &flush.advances),
            Applied::Refused(stored)
                if self.weakening == Some(Weakening::NoRewind) && self.go_on(shard, &flush.advances, &stored) =>
            {
                Step::Progress
            }
            Applied::Refused(_) => {
                self.forget(shard);
                Step::Refused
            }
        }
    }

    /// The weakening: believes the offsets that a refusal names, and keeps what it has in memory. Whether it can.
    fn go_on(&mut self, shard: Shard, advances: &[Advance], stored: &[Option<Position>]) -> bool {
        for (advance, stored) in advances.iter().zip(stored) {
            let lane = self.lanes.get_mut(&(shard, advance.partition)).expect("flushed lanes are held");
            match stored {
                Some(stored) if stored.nonce == lane.nonce => lane.stored = stored.offset,
                _ => return false,
            }
        }
        true
    }

    fn done(&mut self, shard: Shard, advances: &[Advance]) -> Step {
        for advance in advances {
            self.lanes.get_mut(&(shard, advance.partition)).expect("flushed lanes are held").stored = advance.to;
        }
        let moved = advances.iter().any(|advance| advance.from < advance.to);
        let behind = self.lanes.iter().any(|((of, _), lane)| *of == shard && lane.stored < lane.folded);
        if moved || behind { Step::Progress } else { Step::Idle }
    }

    fn prepare(&mut self, shard: Shard) -> Flush {
        let of_shard = self.cache.iter_mut().filter(|(key, _)| key.entity.shard(SHARDS) == shard);
        let dirty = of_shard.filter(|(_, cached)| cached.dirty);
        let rows: Vec<PartWrite> =
            dirty.map(|(key, cached)| PartWrite { key: key.clone(), flushed: cached.flush() }).collect();
        let stays = self.weakening == Some(Weakening::RowsWithoutOffsets) && !rows.is_empty();
        let lanes = self.lanes.iter().filter(|((of, _), _)| *of == shard);
        let advances = lanes.map(|((_, partition), lane)| Advance {
            version: VIEW,
            partition: *partition,
            nonce: lane.nonce,
            from: lane.stored,
            to: if stays { lane.stored } else { lane.folded },
        });
        Flush { advances: advances.collect(), rows }
    }

    /// The weakening: half of the rows, ahead of their offsets. Whether the store has them.
    async fn send_half(&mut self, store: &Faulty, shard: Shard) -> bool {
        let flush = self.unanswered.get_mut(&shard).expect("it is to be sent");
        let ahead: Vec<PartWrite> = flush.rows.drain(..flush.rows.len() / 2).collect();
        let stay: Vec<Advance> =
            flush.advances.iter().map(|advance| Advance { to: advance.from, ..*advance }).collect();
        let sent = store.apply(shard, &stay, &ahead).await;
        if sent.is_err() {
            flush.rows.extend(ahead);
        }
        sent.is_ok()
    }

    /// Drops what is in memory of a shard, so that it is claimed and loaded anew.
    fn forget(&mut self, shard: Shard) {
        self.unanswered.remove(&shard);
        self.lanes.retain(|(of, _), _| *of != shard);
        self.cache.retain(|key, _| key.entity.shard(SHARDS) != shard);
    }

    /// Keeps only `mine`: what it learns when it asks the group, and what a release leaves.
    pub fn keep(&mut self, mine: &BTreeSet<u32>) {
        for partition in self.assigned.difference(mine) {
            self.cache.retain(|key, _| key.part != PartId::Partition(*partition));
            self.lanes.retain(|(_, of), _| of != partition);
        }
        // A flush under way may name what was let go: its shard starts anew.
        for shard in self.unanswered.keys().copied().collect::<Vec<_>>() {
            if self.assigned != *mine {
                self.forget(shard);
            }
        }
        self.assigned = mine.clone();
    }

    /// Makes room: any part goes that the store has for certain.
    pub fn evict(&mut self, rng: &mut Rng) {
        let under_way: BTreeSet<&PartKey> =
            self.unanswered.values().flat_map(|flush| &flush.rows).map(|row| &row.key).collect();
        self.cache.retain(|key, cached| cached.dirty || under_way.contains(key) || rng.bool());
    }
}

impl Cached {
    fn decode(image: &Image) -> Cached {
        Cached { recent: Total::decode(&image.head), sealed: Total::decode(&image.body), dirty: false }
    }

    fn flush(&mut self) -> Flushed {
        self.dirty = false;
        let full = self.recent.count >= 3;
        if full {
            self.sealed.add(std::mem::take(&mut self.recent));
        }
        let body = full.then(|| Bytes::from(self.sealed.encode()));
        Flushed { head: self.recent.encode().into(), body, ids: None, expires_at: None }
    }
}

/// What a stored part counts.
pub fn total(image: &Image) -> Total {
    let mut total = Total::decode(&image.head);
    total.add(Total::decode(&image.body));
    total
}

/// The entities of the model.
pub fn entity(number: u8) -> EntityKey {
    EntityKey::from_bytes(&[number])
}
