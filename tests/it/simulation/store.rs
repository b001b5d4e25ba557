//! The simulated store: the in-memory one, which keeps the contract, with a history to roll back to, and with what a
//! reader may rely on checked after every write. Here are also the ways to break the contract.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use freshet::kernel::engine::Flushed;
use freshet::kernel::key::{EntityKey, PartId, Shard};
use freshet::kernel::plan::Fingerprint;
use freshet::online::{
    Advance, Applied, Claim, Error, Loaded, Memory, Nonce, OnlineStore, PartKey, PartWrite, Position, ShardState,
};
use futures::FutureExt;

use super::mutant::Mutant;
use super::process::Write;
use super::workload::Workload;

pub struct Store {
    inner: Memory,
    workload: Arc<Workload>,
    mutant: Option<Mutant>,
    shards: Vec<Held>,
    /// What each shard held after each of its newest writes, if anybody will want to know.
    histories: Option<Vec<Vec<Past>>>,
    /// What was first asked of each version to be called complete: later goals are no lower.
    goals: BTreeMap<Fingerprint, Vec<(u32, u64)>>,
    /// Below these offsets, by version and partition, nobody reads: rows may be there or not.
    cuts: BTreeMap<(Fingerprint, u32), u64>,
    /// Writes that were refused.
    pub refusals: usize,
}

/// What is right for a shard, by what was done to it.
#[derive(Clone, Default)]
struct Held {
    lanes: BTreeMap<(Fingerprint, u32), Lane>,
}

#[derive(Clone, Copy)]
struct Lane {
    /// Folded is what the log holds from here on.
    initial: u64,
    offset: u64,
    owner: u32,
}

#[derive(Clone, Default)]
struct Past {
    state: ShardState,
    held: Held,
    /// The flush that led to it, and whose.
    flush: Option<(u32, Write)>,
}

/// How many writes a failover can take back.
const HISTORY: usize = 32;

impl Store {
    pub fn new(shards: u16, workload: Arc<Workload>, mutant: Option<Mutant>, keeps_history: bool) -> Store {
        let count = usize::from(shards);
        let histories = keeps_history.then(|| vec![vec![Past::default()]; count]);
        let shards_held = vec![Held::default(); count];
        Store {
            inner: Memory::new(shards),
            workload,
            mutant,
            shards: shards_held,
            histories,
            goals: BTreeMap::new(),
            cuts: BTreeMap::new(),
            refusals: 0,
        }
    }

    pub fn shards(&self) -> impl ExactSizeIterator<Item = Shard> + use<> {
        (0..self.inner.shards()).map(Shard)
    }

    pub fn claim(&mut self, sender: u32, shard: Shard, claims: &[Claim], nonce: Nonce) -> Vec<u64> {
        let mut all = claims.to_vec();
        let Held { lanes } = &mut self.shards[usize::from(shard.0)];
        if self.mutant == Some(Mutant::NoncePerShard) {
            let others =
                lanes.keys().filter(|lane| !claims.iter().any(|claim| **lane == (claim.version, claim.partition)));
            all.extend(others.map(|(version, partition)| Claim {
                version: *version,
                partition: *partition,
                initial: 0,
            }));
        }
        let mut offsets = now(self.inner.claim(shard, &all, nonce));
        for claim in claims {
            let lane = lanes.entry((claim.version, claim.partition)).or_insert(Lane {
                initial: claim.initial,
                offset: claim.initial,
                owner: sender,
            });
            lane.owner = sender;
        }
        offsets.truncate(claims.len());
        self.remember(shard, None);
        offsets
    }

    pub fn apply(
        &mut self,
        sender: u32,
        shard: Shard,
        advances: &[Advance],
        rows: &Arc<[PartWrite]>,
    ) -> Result<Applied, String> {
        let outcome = match self.mutant {
            Some(Mutant::SplitFlush) if rows.len() > 1 => {
                let standing: Vec<Advance> =
                    advances.iter().map(|advance| Advance { to: advance.from, ..*advance }).collect();
                let (ahead, rest) = rows.split_at(rows.len() / 2);
                if self.write(sender, shard, &standing, ahead)? == Applied::Done {
                    self.write(sender, shard, advances, rest)?
                } else {
                    self.write(sender, shard, advances, rows)?
                }
            }
            Some(Mutant::RowsWithoutOffsets) if !rows.is_empty() => {
                let standing: Vec<Advance> =
                    advances.iter().map(|advance| Advance { to: advance.from, ..*advance }).collect();
                self.write(sender, shard, &standing, rows)?
            }
            _ => self.write(sender, shard, advances, rows)?,
        };
        let flush = Write::Apply { shard, advances: advances.to_vec(), rows: rows.clone() };
        if outcome == Applied::Done && !flush.is_quiet() {
            self.remember(shard, Some((sender, flush)));
        }
        self.refusals += usize::from(outcome != Applied::Done);
        Ok(outcome)
    }

    pub fn expect_seeded(&mut self, version: Fingerprint, cut: &BTreeMap<u32, u64>) {
        self.cuts.extend(cut.iter().map(|(partition, end)| ((version, *partition), *end)));
    }

    pub fn load(&self, keys: &[PartKey]) -> Vec<Loaded> {
        now(self.inner.load(keys))
    }

    /// The shard loses its newest `writes`, rows and positions together. Gives back the flushes among them.
    pub fn roll_back(&mut self, shard: Shard, writes: usize) -> Vec<(u32, Write)> {
        let Some(histories) = &mut self.histories else { return Vec::new() };
        let history = &mut histories[usize::from(shard.0)];
        let lost = history.split_off(history.len().saturating_sub(writes).max(1));
        let Past { state, held, .. } = history.last().expect("one is kept").clone();
        self.inner.restore(shard, state);
        self.shards[usize::from(shard.0)] = held;
        lost.into_iter().filter_map(|past| past.flush).collect()
    }

    pub fn empty(&mut self, shard: Shard) {
        self.inner.restore(shard, ShardState::default());
        self.shards[usize::from(shard.0)] = Held::default();
        self.remember(shard, None);
    }

    pub fn remove(&mut self, version: Fingerprint) {
        now(self.inner.remove(version));
        for held in &mut self.shards {
            held.lanes.retain(|(of, _), _| *of != version);
        }
        self.shards().for_each(|shard| self.remember(shard, None));
    }

    /// Of a lane that was claimed.
    pub fn offset(&self, shard: Shard, version: Fingerprint, partition: u32) -> Option<u64> {
        self.shards[usize::from(shard.0)].lanes.get(&(version, partition)).map(|lane| lane.offset)
    }

    /// Calls the shards complete that stand at their goals; whether all of them are.
    pub fn promote(&mut self, version: Fingerprint, goals: Vec<(u32, u64)>) -> Result<bool, String> {
        let is_complete = now(self.inner.complete(version, &goals));
        self.goals.entry(version).or_insert(goals);
        for shard in self.shards() {
            self.remember(shard, None);
            self.check_served(shard, version)?;
        }
        Ok(is_complete)
    }

    /// Whether a call that arrives now would be done, as far as offsets tell.
    pub fn would_take(&self, write: &Write) -> bool {
        let Write::Apply { shard, advances, .. } = write else { return false };
        advances.iter().all(|it| self.offset(*shard, it.version, it.partition) == Some(it.from))
    }

    /// Every row of every lane, whoever wrote it when.
    pub fn check_all(&self) -> Result<(), String> {
        for shard in self.shards() {
            for (version, partition) in self.shards[usize::from(shard.0)].lanes.keys() {
                self.check_lane(shard, *version, *partition)?;
            }
        }
        Ok(())
    }

    fn write(
        &mut self,
        sender: u32,
        shard: Shard,
        advances: &[Advance],
        rows: &[PartWrite],
    ) -> Result<Applied, String> {
        let mut advances = advances.to_vec();
        let mut outcome = now(self.inner.apply(shard, &advances, rows));
        if let Applied::Refused(stored) = &outcome
            && self.bend(&mut advances, stored)
        {
            outcome = now(self.inner.apply(shard, &advances, rows));
        }
        if outcome == Applied::Done {
            self.written(sender, shard, &advances)?;
        }
        Ok(outcome)
    }

    /// Makes a refused call fit, for a store that does not look at everything.
    fn bend(&self, advances: &mut [Advance], stored: &[Option<Position>]) -> bool {
        for (advance, stored) in advances.iter_mut().zip(stored) {
            match (self.mutant, stored) {
                (Some(Mutant::NoNonceCheck), Some(stored)) => advance.nonce = stored.nonce,
                (Some(Mutant::NoFromCheck), Some(stored)) => advance.from = stored.offset,
                _ => return false,
            }
        }
        true
    }

    fn written(&mut self, sender: u32, shard: Shard, advances: &[Advance]) -> Result<(), String> {
        for Advance { version, partition, to, .. } in advances {
            let lanes = &mut self.shards[usize::from(shard.0)].lanes;
            let lane = lanes.get_mut(&(*version, *partition)).ok_or("a lane was written that nobody claimed")?;
            if lane.owner != sender {
                return Err(format!("process {sender} wrote to a lane of process {}", lane.owner));
            }
            if *to < lane.offset {
                return Err(format!("partition {partition} went from {} back to {to}", lane.offset));
            }
            lane.offset = *to;
        }
        for Advance { version, partition, .. } in advances {
            self.check_lane(shard, *version, *partition)?;
            self.check_served(shard, *version)?;
        }
        Ok(())
    }

    /// Lookups are answered from a shard that tells its offsets: it has to hold what it had to hold once, or more.
    fn check_served(&self, shard: Shard, version: Fingerprint) -> Result<(), String> {
        let Some(goals) = self.goals.get(&version) else { return Ok(()) };
        let lanes = &self.shards[usize::from(shard.0)].lanes;
        let Some(user) = self.workload.users.iter().find(|user| user.shard(self.inner.shards()) == shard) else {
            return Ok(());
        };
        let mut told = now(self.inner.read(&[(version, user.clone())])).remove(0).expect("it is whole").offsets;
        if self.mutant == Some(Mutant::EmptiedServed) {
            let of_version = lanes.iter().filter(|((of, _), _)| *of == version);
            told = of_version.map(|((_, partition), lane)| (*partition, lane.offset)).collect();
        }
        let reached =
            |(partition, goal): &(u32, u64)| told.iter().any(|(of, offset)| of == partition && offset >= goal);
        if told.is_empty() || goals.iter().all(reached) {
            return Ok(());
        }
        Err(format!("shard {} of {version} serves at {told:?} what was complete at {goals:?}", shard.0))
    }

    /// What a reader would see in this instant.
    fn check_lane(&self, shard: Shard, version: Fingerprint, partition: u32) -> Result<(), String> {
        let lane = &self.shards[usize::from(shard.0)].lanes[&(version, partition)];
        let of_shard = self.workload.users.iter().filter(|user| user.shard(self.inner.shards()) == shard);
        let key = |entity: &_| PartKey { version, entity: Clone::clone(entity), part: PartId::Partition(partition) };
        let keys: Vec<PartKey> = of_shard.map(key).collect();
        for (key, Loaded { image, position }) in keys.iter().zip(self.load(&keys)) {
            if position.map(|position| position.offset) != Some(lane.offset) {
                return Err(format!("{key:?} is at {position:?}, and should be at {}", lane.offset));
            }
            if self.cuts.get(&(version, partition)).is_none_or(|cut| lane.offset >= *cut) {
                self.workload.check(key, image.as_ref(), lane.initial..lane.offset)?;
            }
        }
        Ok(())
    }

    fn remember(&mut self, shard: Shard, flush: Option<(u32, Write)>) {
        let Some(histories) = &mut self.histories else { return };
        let history = &mut histories[usize::from(shard.0)];
        if history.len() == HISTORY {
            history.remove(0);
        }
        let held = self.shards[usize::from(shard.0)].clone();
        history.push(Past { state: self.inner.snapshot(shard), held, flush });
    }
}

fn now<T>(answer: impl Future<Output = Result<T, Error>>) -> T {
    answer.now_or_never().expect("memory does not wait").expect("memory does not fail")
}

/// Too rare for chance: a failover loses a write, the writer loads, and an earlier attempt of that write arrives
/// late. Then the writer's next call fits again, whatever it folded into what it loaded.
#[test]
fn only_its_position_tells_an_image_that_a_failover_took_back() {
    let (store, version) = (Memory::new(1), Fingerprint(1));
    let key = PartKey { version, entity: EntityKey::from_bytes(&[0]), part: PartId::Partition(0) };
    now(store.claim(Shard(0), &[Claim { version, partition: 0, initial: 0 }], Nonce(1)));
    let before = store.snapshot(Shard(0));
    let step = |from, to| [Advance { version, partition: 0, nonce: Nonce(1), from, to }];
    let flushed = || Flushed { head: "ten".into(), body: None, ids: None, expires_at: None, expiry_moved: true };
    let row = || [PartWrite { key: key.clone(), flushed: flushed() }];
    assert_eq!(now(store.apply(Shard(0), &step(0, 10), &row())), Applied::Done);
    store.restore(Shard(0), before);
    let loaded = now(store.load(std::slice::from_ref(&key))).remove(0);
    assert_eq!((loaded.image, loaded.position.map(|position| position.offset)), (None, Some(0)));
    assert_eq!(now(store.apply(Shard(0), &step(0, 10), &row())), Applied::Done);
    assert_eq!(now(store.apply(Shard(0), &step(10, 11), &[])), Applied::Done);
}
