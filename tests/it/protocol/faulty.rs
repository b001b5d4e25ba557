//! A store that loses calls, loses answers, lets calls arrive late and goes back to what it was, over one that
//! keeps its contract; and the ways to break that contract.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use fastrand::Rng;
use freshet::kernel::engine::Flushed;
use freshet::kernel::key::{EntityKey, Shard};
use freshet::kernel::plan::Fingerprint;
use freshet::kernel::time::EventTime;
use freshet::online::{
    Advance, Applied, Claim, Error, Loaded, Memory, Nonce, OnlineStore, PartKey, PartWrite, ShardState, StoredRow,
};

use super::{SHARDS, Weakening};

pub struct Faulty {
    inner: Memory,
    weakening: Option<Weakening>,
    state: Mutex<State>,
}

struct State {
    rng: Rng,
    calm: bool,
    /// What each shard held after each of its newest writes.
    history: BTreeMap<Shard, Vec<Held>>,
    delayed: Vec<(Shard, Call)>,
    fenced_writes: usize,
}

#[derive(Clone, Default)]
struct Held {
    state: ShardState,
    /// Who claimed each partition last.
    owners: BTreeMap<u32, Nonce>,
}

/// Whatever writes.
enum Call {
    Claim(Vec<Claim>, Nonce),
    Apply(Vec<Advance>, Vec<PartWrite>),
}

enum Answer {
    Claimed(Vec<u64>),
    Applied(Applied),
}

/// How many writes a failover loses at most.
const LOST_MAX: usize = 8;

impl Faulty {
    pub fn new(seed: u64, weakening: Option<Weakening>) -> Faulty {
        let inner = Memory::new(SHARDS);
        let history = (0..SHARDS).map(|shard| (Shard(shard), vec![Held::default()])).collect();
        let state = State { rng: Rng::with_seed(seed), calm: false, history, delayed: Vec::new(), fenced_writes: 0 };
        Faulty { inner, weakening, state: Mutex::new(state) }
    }

    /// A call that its sender gave up arrives, if there is one.
    pub async fn deliver_one(&self) -> bool {
        let call = {
            let state = &mut *self.state();
            let count = state.delayed.len();
            // Mostly one that was sent not long ago: what is old finds nothing that it fits.
            let from = count.saturating_sub(if state.rng.bool() { 3 } else { count });
            (count > 0).then(|| state.delayed.remove(state.rng.usize(from..count)))
        };
        match call {
            Some((shard, call)) => self.execute(shard, &call).await.is_ok(),
            None => false,
        }
    }

    /// The shard loses some of its newest writes, rows and positions together.
    pub fn roll_back(&self, shard: Shard) {
        let state = &mut *self.state();
        let history = state.history.get_mut(&shard).expect("every shard has a history");
        let lost_max = state.rng.usize(..LOST_MAX);
        let lost = state.rng.usize(..=lost_max);
        history.truncate(history.len().saturating_sub(lost).max(1));
        self.inner.restore(shard, history.last().expect("at least one is kept").state.clone());
    }

    /// How many writes were accepted of whom a later claim had fenced off.
    pub fn fenced_writes(&self) -> usize {
        self.state().fenced_writes
    }

    /// No faults from now on, but for the calls that are still on their way.
    pub fn calm(&self) {
        self.state().calm = true;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }

    async fn send(&self, shard: Shard, call: Call) -> Result<Answer, Error> {
        let fault = {
            let state = &mut *self.state();
            if state.calm { 100 } else { state.rng.u32(..100) }
        };
        match fault {
            0..5 => Err(away()),
            5..12 => self.execute(shard, &call).await.and(Err(away())),
            12..20 => {
                self.state().delayed.push((shard, call));
                Err(away())
            }
            _ => self.execute(shard, &call).await,
        }
    }

    async fn execute(&self, shard: Shard, call: &Call) -> Result<Answer, Error> {
        let answer = match call {
            Call::Claim(claims, nonce) => Answer::Claimed(self.claim_weakly(shard, claims, *nonce).await?),
            Call::Apply(advances, rows) => Answer::Applied(self.apply_weakly(shard, advances, rows).await?),
        };
        self.remember(shard, call, &answer);
        Ok(answer)
    }

    fn remember(&self, shard: Shard, call: &Call, answer: &Answer) {
        let State { history, fenced_writes, .. } = &mut *self.state();
        let history = history.get_mut(&shard).expect("every shard has a history");
        let mut owners = history.last().expect("at least one is kept").owners.clone();
        match (call, answer) {
            (Call::Claim(claims, nonce), _) => owners.extend(claims.iter().map(|claim| (claim.partition, *nonce))),
            (Call::Apply(advances, _), Answer::Applied(Applied::Done)) => {
                let fenced = |advance: &&Advance| owners.get(&advance.partition) != Some(&advance.nonce);
                *fenced_writes += advances.iter().filter(fenced).count();
            }
            (Call::Apply(..), _) => return,
        }
        history.push(Held { state: self.inner.snapshot(shard), owners });
        if history.len() > 2 * LOST_MAX {
            history.remove(0);
        }
    }

    async fn claim_weakly(&self, shard: Shard, claims: &[Claim], nonce: Nonce) -> Result<Vec<u64>, Error> {
        let mut all = claims.to_vec();
        if self.weakening == Some(Weakening::NoncePerShard) {
            for (of, partition, initial) in self.inner.offsets(claims[0].version).await? {
                if of == shard && claims.iter().all(|claim| claim.partition != partition) {
                    all.push(Claim { version: claims[0].version, partition, initial });
                }
            }
        }
        let mut offsets = self.inner.claim(shard, &all, nonce).await?;
        offsets.truncate(claims.len());
        Ok(offsets)
    }

    async fn apply_weakly(&self, shard: Shard, advances: &[Advance], rows: &[PartWrite]) -> Result<Applied, Error> {
        let answer = self.inner.apply(shard, advances, rows).await?;
        let Applied::Refused(stored) = &answer else { return Ok(answer) };
        let mut bent = advances.to_vec();
        for (advance, stored) in bent.iter_mut().zip(stored) {
            match (self.weakening, stored) {
                (Some(Weakening::NoNonceCheck), Some(stored)) => advance.nonce = stored.nonce,
                (Some(Weakening::NoFromCheck), Some(stored)) => advance.from = stored.offset,
                _ => {}
            }
        }
        self.inner.apply(shard, &bent, rows).await
    }
}

fn away() -> Error {
    Error::Unavailable("a fault of the test".into())
}

fn copy(row: &PartWrite) -> PartWrite {
    let Flushed { head, body, ids, expires_at } = &row.flushed;
    let flushed = Flushed { head: head.clone(), body: body.clone(), ids: ids.clone(), expires_at: *expires_at };
    PartWrite { key: row.key.clone(), flushed }
}

#[async_trait]
impl OnlineStore for Faulty {
    fn shards(&self) -> u16 {
        self.inner.shards()
    }

    async fn claim(&self, shard: Shard, claims: &[Claim], nonce: Nonce) -> Result<Vec<u64>, Error> {
        match self.send(shard, Call::Claim(claims.to_vec(), nonce)).await? {
            Answer::Claimed(offsets) => Ok(offsets),
            Answer::Applied(_) => unreachable!("a claim was sent"),
        }
    }

    async fn apply(&self, shard: Shard, advances: &[Advance], rows: &[PartWrite]) -> Result<Applied, Error> {
        match self.send(shard, Call::Apply(advances.to_vec(), rows.iter().map(copy).collect())).await? {
            Answer::Applied(applied) => Ok(applied),
            Answer::Claimed(_) => unreachable!("an apply was sent"),
        }
    }

    async fn load(&self, keys: &[PartKey]) -> Result<Vec<Loaded>, Error> {
        let fails = {
            let state = &mut *self.state();
            !state.calm && state.rng.u32(..20) == 0
        };
        if fails { Err(away()) } else { self.inner.load(keys).await }
    }

    async fn read(&self, rows: &[(Fingerprint, EntityKey)]) -> Result<Vec<StoredRow>, Error> {
        self.inner.read(rows).await
    }

    async fn offsets(&self, version: Fingerprint) -> Result<Vec<(Shard, u32, u64)>, Error> {
        self.inner.offsets(version).await
    }

    async fn complete(&self, version: Fingerprint, goals: &[(u32, u64)]) -> Result<bool, Error> {
        self.inner.complete(version, goals).await
    }

    async fn is_complete(&self, version: Fingerprint) -> Result<bool, Error> {
        self.inner.is_complete(version).await
    }

    async fn expire(&self, now: EventTime) -> Result<usize, Error> {
        self.inner.expire(now).await
    }

    async fn remove(&self, version: Fingerprint) -> Result<(), Error> {
        self.inner.remove(version).await
    }
}
