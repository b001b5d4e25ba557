//! Views whose rows are begun from what the log held at some time, as a seeding begins them from the archive: it claims
//! what is below the cut, writes absolute images, moves the offsets on with each call, and to the cut last. It may die
//! anywhere, be done by two at once, and be lost by the store, before its end or after.
//!
//! Versions of one name stand for all generations of a view: one that lost seeded rows is removed and seeded again,
//! while processes that have not heard of it write what they wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use freshet::kernel::key::{PartId, Shard};
use freshet::kernel::plan::{Fingerprint, ViewPlan};
use freshet::online::{Advance, Applied, Claim, Nonce, PartKey, PartWrite};
use freshet::stream::{Signal, Ticket};

use super::fault::Fault;
use super::mutant::Mutant;
use super::process::Write;
use super::world::World;

/// Of one view: more than a seeding takes that nobody disturbs.
const STEPS: usize = 64;

/// By partition, where the log ended when it was decided.
type Cut = BTreeMap<u32, u64>;

#[derive(Default)]
pub struct Seed {
    /// `None`: it is still to be decided, which is done once.
    cut: Option<Cut>,
    is_done: bool,
    attempts: Vec<Attempt>,
}

/// Of one process.
struct Attempt {
    sender: u32,
    open: Vec<Open>,
}

/// A shard of which something is below the cut.
struct Open {
    shard: Shard,
    nonce: Nonce,
    lanes: Cut,
    rows: Vec<PartWrite>,
    /// What is written by the last call, for want of offsets to move on to.
    kept: Vec<PartWrite>,
}

impl Seed {
    pub fn cut(&self) -> Option<&Cut> {
        self.cut.as_ref()
    }

    /// Whether the stream goes on with it.
    pub fn is_done(&self) -> bool {
        self.is_done
    }

    /// What was written is gone.
    pub fn begin_again(&mut self) {
        self.is_done = false;
    }
}

impl World {
    /// One step of whoever seeds a view, or looks whether it has to be.
    fn seed(&mut self, view: usize) -> Result<(), String> {
        match &self.seeds[view] {
            None => Ok(()),
            Some(Seed { cut: None, .. }) => self.decide(view),
            Some(Seed { is_done: true, .. }) => self.mend(view),
            Some(Seed { attempts, .. }) => {
                let joins = attempts.len() == 1 && self.faults.has(Fault::Zombies) && self.rng.u32(..16) == 0;
                if attempts.is_empty() || joins { self.begin(view) } else { self.go_on(view) }
            }
        }
    }

    /// Some steps: a seeding takes about as many as there are rows, and is to end long before the run.
    pub(super) fn seed_some(&mut self) -> Result<(), String> {
        let seeded: Vec<usize> = (0..self.seeds.len()).filter(|view| self.seeds[*view].is_some()).collect();
        let Some(view) = self.rng.choice(seeded) else { return Ok(()) };
        let steps = self.rng.u32(1..6);
        (0..steps).try_for_each(|_| self.seed(view))
    }

    /// As far as nobody is in the way.
    pub(super) fn seed_all(&mut self) -> Result<(), String> {
        for view in 0..self.seeds.len() {
            for _ in 0..STEPS {
                if self.seeds[view].as_ref().is_none_or(|seed| seed.is_done && !self.is_lost(view)) {
                    break;
                }
                self.seed(view)?;
            }
        }
        Ok(())
    }

    pub(super) fn plan(&self, view: usize) -> Arc<ViewPlan> {
        let plan = &self.workload.views[view];
        match self.seeds[view].as_ref().and_then(Seed::cut) {
            Some(cut) if self.mutant != Some(Mutant::UnseededFolded) => Arc::new(ViewPlan::clone(plan).seeded(cut)),
            _ => plan.clone(),
        }
    }

    fn decide(&mut self, view: usize) -> Result<(), String> {
        let ends: Vec<(u32, u64)> = self.goals(view);
        let cut: Cut = ends.into_iter().filter(|(_, end)| *end > 0 && self.rng.u32(..4) > 0).collect();
        self.trace.note(|| format!("{} is seeded up to {cut:?}", self.workload.views[view].name));
        self.store.expect_seeded(self.version(view), &cut);
        self.of(view).cut = Some(cut);
        Ok(())
    }

    /// In reality a new generation: its rows have another name.
    fn mend(&mut self, view: usize) -> Result<(), String> {
        // The stream is often the first to notice.
        if self.is_lost(view) && (self.is_settling || self.rng.u32(..32) == 0) {
            self.trace.note(|| format!("{} lost rows that were seeded", self.workload.views[view].name));
            self.store.remove(self.version(view));
            self.of(view).begin_again();
            self.revision += 1;
        }
        Ok(())
    }

    fn is_lost(&self, view: usize) -> bool {
        let cut = self.seeds[view].as_ref().and_then(Seed::cut).into_iter().flatten();
        let stands = |partition, shard| self.store.offset(shard, self.version(view), partition).unwrap_or(0);
        let mut lanes =
            cut.flat_map(|(partition, end)| self.store.shards().map(move |shard| (*partition, *end, shard)));
        lanes.any(|(partition, end, shard)| stands(partition, shard) < end)
    }

    fn begin(&mut self, view: usize) -> Result<(), String> {
        let sender = self.number() as u32;
        let mut open = Vec::new();
        for shard in self.store.shards() {
            open.extend(self.claim_open(sender, view, shard)?);
        }
        self.of(view).attempts.push(Attempt { sender, open });
        Ok(())
    }

    fn claim_open(&mut self, sender: u32, view: usize, shard: Shard) -> Result<Option<Open>, String> {
        let (version, cut) = (self.version(view), self.of(view).cut.clone().expect("it is decided"));
        let below = cut.iter().filter(|(partition, end)| {
            self.store.offset(shard, version, **partition).is_none_or(|offset| offset < **end)
        });
        let claims: Vec<Claim> =
            below.map(|(partition, _)| Claim { version, partition: *partition, initial: 0 }).collect();
        if claims.is_empty() {
            return Ok(None);
        }
        let claim = Write::Claim { ticket: Ticket(0), shard, claims: claims.clone() };
        let Signal::Claimed { nonce, offsets, .. } = self.execute(sender, &claim)? else {
            unreachable!("that is what answers a claim")
        };
        let lanes: Cut = claims.iter().map(|claim| claim.partition).zip(offsets).collect();
        let rows = lanes.keys().flat_map(|partition| self.rows(view, shard, *partition, cut[partition])).collect();
        Ok(Some(Open { shard, nonce, lanes, rows, kept: Vec::new() }))
    }

    fn rows(&self, view: usize, shard: Shard, partition: u32, end: u64) -> impl Iterator<Item = PartWrite> {
        let (version, shards) = (self.version(view), self.store.shards().len() as u16);
        let key = move |entity| PartKey { version, entity, part: PartId::Partition(partition) };
        let rows = self.workload.seeded(view, partition, end).filter(move |(user, _)| user.shard(shards) == shard);
        rows.map(move |(user, flushed)| PartWrite { key: key(user), flushed })
    }

    /// The next call of one attempt, unless it dies; one that is refused has been overtaken, or lost something.
    fn go_on(&mut self, view: usize) -> Result<(), String> {
        let attempts = self.of(view).attempts.len();
        let drawn = self.rng.usize(..attempts);
        let mut attempt = self.of(view).attempts.swap_remove(drawn);
        if self.faults.has(Fault::Crashes) && self.rng.u32(..16) == 0 {
            self.trace.note(|| format!("{} dies in the middle of a seeding", attempt.sender));
            return Ok(());
        }
        let Some(open) = attempt.open.last_mut() else {
            let seed = self.of(view);
            (seed.is_done, seed.attempts) = (true, Vec::new());
            self.revision += 1;
            return Ok(());
        };
        let cut = self.seeds[view].as_ref().and_then(Seed::cut).expect("it is decided");
        let is_last = open.rows.is_empty();
        let Some(call) = open.call(self.workload.views[view].fingerprint, cut, self.mutant) else {
            self.of(view).attempts.push(attempt);
            return Ok(());
        };
        if is_last {
            attempt.open.pop();
        }
        if self.faults.has(Fault::LateCalls) && self.rng.u32(..8) == 0 {
            self.late.push((attempt.sender, call.clone()));
        }
        if let Signal::Applied { outcome: Applied::Done, .. } = self.execute(attempt.sender, &call)? {
            self.of(view).attempts.push(attempt);
        }
        Ok(())
    }

    fn of(&mut self, view: usize) -> &mut Seed {
        self.seeds[view].as_mut().expect("it is seeded")
    }

    fn version(&self, view: usize) -> Fingerprint {
        self.workload.views[view].fingerprint
    }
}

impl Open {
    /// A row, or what is kept with all offsets. `None`: the row is kept.
    fn call(&mut self, version: Fingerprint, cut: &Cut, mutant: Option<Mutant>) -> Option<Write> {
        let (shard, nonce) = (self.shard, self.nonce);
        let advance = |partition: u32, from: u64, to: u64| Advance { version, partition, nonce, from, to };
        let Some(row) = self.rows.pop() else {
            let advances = self.lanes.iter().map(|(partition, from)| advance(*partition, *from, cut[partition]));
            return Some(Write::Apply { shard, advances: advances.collect(), rows: self.kept.drain(..).collect() });
        };
        let left = |(partition, at): (&u32, &u64)| (cut[partition] - at - 1, *partition);
        let Some((_, moved)) = self.lanes.iter().map(left).max().filter(|(left, _)| *left > 0) else {
            self.kept.push(row);
            return None;
        };
        let PartId::Partition(partition) = row.key.part else { unreachable!("no history is seeded") };
        let step = |it: u32| u64::from(it == moved && mutant != Some(Mutant::SeedingStandsStill));
        let written = BTreeSet::from([partition, moved]);
        let advances: Vec<Advance> =
            written.iter().map(|it| advance(*it, self.lanes[it], self.lanes[it] + step(*it))).collect();
        self.lanes.extend(advances.iter().map(|advance| (advance.partition, advance.to)));
        Some(Write::Apply { shard, advances, rows: [row].into() })
    }
}
