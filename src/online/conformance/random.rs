//! Random calls, right and wrong ones, against a model of the store as flat maps.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use fastrand::Rng;

use super::{Expiring, at, entity};
use crate::kernel::codec::Image;
use crate::kernel::engine::Flushed;
use crate::kernel::key::{EntityKey, PartId, Shard};
use crate::kernel::plan::Fingerprint;
use crate::online::{Advance, Applied, Claim, Loaded, Nonce, OnlineStore, PartKey, PartWrite, Position, StoredRow};

const SEEDS: u64 = 8;
const CALLS: usize = 400;

pub async fn calls_answer_as_a_plain_model_does(store: &dyn OnlineStore, expiring: Expiring) {
    for seed in 0..SEEDS {
        // Versions of its own for each seed, so that one store does for all.
        let versions = [Fingerprint(2 * seed), Fingerprint(2 * seed + 1)];
        let mut trial = Trial { seed, rng: Rng::with_seed(seed), store, expiring, versions, model: Model::default() };
        for _ in 0..CALLS {
            trial.call().await;
        }
        // What one seed leaves would expire in the next.
        for version in versions {
            store.remove(version).await.expect("removed");
        }
    }
}

#[derive(Default)]
struct Model {
    positions: BTreeMap<(Fingerprint, Shard, u32), Position>,
    complete: BTreeSet<(Fingerprint, Shard)>,
    /// The last is the second of the expiry; `None`: never.
    parts: BTreeMap<PartKey, (Image, Option<i64>)>,
}

struct Trial<'a> {
    seed: u64,
    rng: Rng,
    store: &'a dyn OnlineStore,
    expiring: Expiring,
    versions: [Fingerprint; 2],
    model: Model,
}

impl Trial<'_> {
    async fn call(&mut self) {
        match self.rng.u32(..100) {
            0..15 => self.claim().await,
            15..60 => self.apply().await,
            60..75 => self.load().await,
            75..90 => self.read().await,
            90..93 => self.offsets().await,
            93..95 => self.complete().await,
            95..99 => self.expire().await,
            _ => self.remove().await,
        }
    }

    async fn claim(&mut self) {
        let shard = self.shard();
        let (version, partition, initial) = (self.version(), self.partition(), self.rng.u64(..5));
        let nonce = Nonce(self.rng.u64(..3));
        let stored = self.model.positions.entry((version, shard, partition));
        let stored = stored.or_insert(Position { nonce, offset: initial });
        stored.nonce = nonce;
        let answer = self.store.claim(shard, &[Claim { version, partition, initial }], nonce).await;
        assert_eq!(answer.expect("claimed"), [stored.offset], "seed {}", self.seed);
    }

    /// Mostly from where the positions stand, for the other calls are refused.
    async fn apply(&mut self) {
        let shard = self.shard();
        let advances: Vec<Advance> =
            self.versions.into_iter().filter_map(|version| self.advance(version, shard)).collect();
        let stored: Vec<Option<Position>> = advances
            .iter()
            .map(|advance| self.model.positions.get(&(advance.version, shard, advance.partition)).copied())
            .collect();
        let rows: Vec<PartWrite> = advances.iter().map(|advance| self.row(advance, shard)).collect();
        let expected = |(advance, stored): (&Advance, &Option<Position>)| {
            *stored == Some(Position { nonce: advance.nonce, offset: advance.from })
        };
        let expected = match advances.iter().zip(&stored).all(expected) {
            true => Applied::Done,
            false => Applied::Refused(stored),
        };
        let answer = self.store.apply(shard, &advances, &rows).await.expect("answered");
        assert_eq!(answer, expected, "seed {}", self.seed);
        if answer == Applied::Done {
            self.model.apply(shard, &advances, rows);
        }
    }

    fn advance(&mut self, version: Fingerprint, shard: Shard) -> Option<Advance> {
        let partition = self.partition();
        let stored = self.model.positions.get(&(version, shard, partition)).copied();
        let nonce = Nonce(self.rng.u64(..3));
        let position = match stored {
            Some(position) if self.rng.u32(..8) > 0 => position,
            _ => Position { nonce, offset: self.rng.u64(..5) },
        };
        let Position { nonce, offset: from } = position;
        let named = self.rng.u32(..4) > 0;
        named.then(|| Advance { version, partition, nonce, from, to: from + self.rng.u64(..3) })
    }

    fn row(&mut self, advance: &Advance, shard: Shard) -> PartWrite {
        let part = if self.rng.u32(..5) == 0 { PartId::History } else { PartId::Partition(advance.partition) };
        let expires_at = (self.rng.u32(..6) > 0).then(|| at(self.rng.i64(0..20)));
        let (body, ids) = (self.maybe_bytes(), self.maybe_bytes());
        let flushed = Flushed { head: self.bytes(), body, ids, expires_at, expiry_moved: true };
        PartWrite { key: PartKey { version: advance.version, entity: self.entity(shard), part }, flushed }
    }

    async fn load(&mut self) {
        let (version, shard, partition) = (self.version(), self.shard(), self.partition());
        let key = PartKey { version, entity: self.entity(shard), part: PartId::Partition(partition) };
        let image = self.model.parts.get(&key).map(|(image, _)| image.clone());
        let position = self.model.positions.get(&(version, shard, partition)).copied();
        let answer = self.store.load(&[key]).await.expect("loaded");
        assert_eq!(answer, [Loaded { image, position }], "seed {}", self.seed);
    }

    async fn read(&mut self) {
        let (version, shard) = (self.version(), self.shard());
        let entity = self.entity(shard);
        let row = self.model.row(version, shard, &entity);
        let nothing = (Fingerprint(u64::MAX), entity.clone());
        let answer = self.store.read(&[nothing, (version, entity)]).await.expect("read");
        assert_eq!(answer, [StoredRow::default(), row].map(Some), "seed {}", self.seed);
    }

    async fn offsets(&mut self) {
        let version = self.version();
        let of_version = self.model.positions.range((version, Shard(0), 0)..=(version, Shard(u16::MAX), u32::MAX));
        let expected: Vec<_> =
            of_version.map(|((_, shard, partition), position)| (*shard, *partition, position.offset)).collect();
        assert_eq!(self.store.offsets(version).await.expect("offsets"), expected, "seed {}", self.seed);
    }

    async fn complete(&mut self) {
        let version = self.version();
        let goals: Vec<(u32, u64)> = (0..self.rng.u32(..3)).map(|partition| (partition, self.rng.u64(..8))).collect();
        self.model.complete(version, &goals);
        let all = (0..self.store.shards()).all(|shard| self.model.complete.contains(&(version, Shard(shard))));
        assert_eq!(self.store.complete(version, &goals).await.expect("answered"), all, "seed {}", self.seed);
        assert_eq!(self.store.is_complete(version).await.expect("answered"), all, "seed {}", self.seed);
    }

    async fn expire(&mut self) {
        let now = self.rng.i64(0..25);
        let before = self.model.parts.len();
        if self.expiring == Expiring::WhenAsked {
            self.model.parts.retain(|_, (_, expiry)| expiry.is_none_or(|expiry| expiry >= now));
        }
        let dropped = self.store.expire(at(now)).await.expect("expired");
        assert_eq!(dropped, before - self.model.parts.len(), "seed {}", self.seed);
    }

    async fn remove(&mut self) {
        let version = self.version();
        self.model.positions.retain(|(of, _, _), _| *of != version);
        self.model.complete.retain(|(of, _)| *of != version);
        self.model.parts.retain(|key, _| key.version != version);
        self.store.remove(version).await.expect("removed");
    }

    fn version(&mut self) -> Fingerprint {
        self.versions[self.rng.usize(..2)]
    }

    fn shard(&mut self) -> Shard {
        Shard(self.rng.u16(..2))
    }

    fn partition(&mut self) -> u32 {
        self.rng.u32(..2)
    }

    fn entity(&mut self, shard: Shard) -> EntityKey {
        entity(self.store, shard, self.rng.usize(..3))
    }

    fn maybe_bytes(&mut self) -> Option<Bytes> {
        self.rng.bool().then(|| self.bytes())
    }

    fn bytes(&mut self) -> Bytes {
        (0..self.rng.usize(..4)).map(|_| self.rng.u8(..)).collect()
    }
}

impl Model {
    fn apply(&mut self, shard: Shard, advances: &[Advance], rows: Vec<PartWrite>) {
        for Advance { version, partition, nonce, to, .. } in advances {
            self.positions.insert((*version, shard, *partition), Position { nonce: *nonce, offset: *to });
        }
        for PartWrite { key, flushed } in rows {
            let second = flushed.expires_at.map(|expiry| expiry.micros() / 1_000_000);
            let new = Image::default();
            let (image, expiry) = self.parts.entry(key).or_insert((new, second));
            *expiry = expiry.zip(second).map(|(stored, written)| stored.max(written));
            image.head = flushed.head;
            image.body = flushed.body.unwrap_or(std::mem::take(&mut image.body));
            image.ids = flushed.ids.unwrap_or(std::mem::take(&mut image.ids));
        }
    }

    fn row(&self, version: Fingerprint, shard: Shard, entity: &EntityKey) -> StoredRow {
        let of_row = self.parts.iter().filter(|(key, _)| key.version == version && key.entity == *entity);
        let parts = of_row.map(|(key, (image, _))| (key.part, Image { ids: Bytes::new(), ..image.clone() })).collect();
        let told = self.complete.contains(&(version, shard));
        let offsets = self.offsets(version, shard).filter(|_| told).collect();
        StoredRow { parts, offsets }
    }

    fn offsets(&self, version: Fingerprint, shard: Shard) -> impl Iterator<Item = (u32, u64)> {
        let of_shard = self.positions.range((version, shard, 0)..=(version, shard, u32::MAX));
        of_shard.map(|((_, _, partition), at)| (*partition, at.offset))
    }

    fn complete(&mut self, version: Fingerprint, goals: &[(u32, u64)]) {
        for shard in [Shard(0), Shard(1)] {
            let offsets: BTreeMap<u32, u64> = self.offsets(version, shard).collect();
            let reached = |(partition, goal): &(u32, u64)| offsets.get(partition).is_some_and(|offset| offset >= goal);
            if !offsets.is_empty() && goals.iter().all(reached) {
                self.complete.insert((version, shard));
            }
        }
    }
}
