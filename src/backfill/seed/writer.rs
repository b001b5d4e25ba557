//! The way of a seeding into the online store: which lanes are open, and where each stands.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::sleep;

use super::Write;
use crate::kernel::key::{HISTORY, PartId, Shard};
use crate::kernel::plan::Fingerprint;
use crate::online::{Advance, Applied, Claim, Error, Nonce, OnlineStore, PartWrite, Position};

/// How often a call is made that the store does not answer, and the pause before the next: it may fail over meanwhile.
const ATTEMPTS: u32 = 60;
const PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Writer<'a> {
    online: &'a dyn OnlineStore,
    version: Fingerprint,
    cut: BTreeMap<u32, u64>,
    nonce: Nonce,
    /// By shard: the partitions that are below the cut, and where each stands.
    open: Vec<BTreeMap<u32, u64>>,
    /// By shard: what the last write carries.
    kept: Vec<Vec<PartWrite>>,
}

impl<'a> Writer<'a> {
    /// Claims what is below the cut, and leaves alone what has reached it: that may be somebody else's by now.
    pub async fn claim(
        online: &'a dyn OnlineStore,
        version: Fingerprint,
        cut: BTreeMap<u32, u64>,
        nonce: Nonce,
    ) -> Result<Writer<'a>, Error> {
        let stored = online.offsets(version).await?.into_iter();
        let stored: BTreeMap<(Shard, u32), u64> = stored.map(|(shard, part, offset)| ((shard, part), offset)).collect();
        let mut open = Vec::with_capacity(usize::from(online.shards()));
        for shard in (0..online.shards()).map(Shard) {
            let is_below =
                |(partition, end): &(&u32, &u64)| stored.get(&(shard, **partition)).is_none_or(|at| at < *end);
            let claim = |(partition, _): (&u32, &u64)| Claim { version, partition: *partition, initial: 0 };
            let claims: Vec<Claim> = cut.iter().filter(is_below).map(claim).collect();
            let offsets = if claims.is_empty() { Vec::new() } else { online.claim(shard, &claims, nonce).await? };
            let claimed = claims.iter().map(|claim| claim.partition).zip(offsets);
            open.push(claimed.filter(|(partition, offset)| *offset < cut[partition]).collect());
        }
        let kept = open.iter().map(|_| Vec::new()).collect();
        Ok(Writer { online, version, cut, nonce, open, kept })
    }

    pub fn is_done(&self) -> bool {
        self.open.iter().all(BTreeMap::is_empty)
    }

    /// Each write moves some offset on, though never to the cut: so a store that went back to before one of them refuses
    /// the last, which names them all. Where none is left to move on to, parts wait for the last: there are about as few of
    /// them as there are records. False: the store went back, or somebody else has claimed the shard.
    pub async fn write(&mut self, Write { shard, mut parts }: Write) -> Result<bool, Error> {
        let open = &self.open[usize::from(shard.0)];
        parts.retain(|part| open.contains_key(&partition_of(part)));
        if parts.is_empty() {
            return Ok(true);
        }
        let Some(moved) = self.next_to_move(shard) else {
            self.kept[usize::from(shard.0)].extend(parts);
            return Ok(true);
        };
        let mut written: BTreeSet<u32> = parts.iter().map(partition_of).collect();
        written.insert(moved);
        self.advance(shard, &written, &parts, |partition, from, _| from + u64::from(partition == moved)).await
    }

    /// The partition that can be moved on most often before it is at its cut; `None`: none can.
    fn next_to_move(&self, shard: Shard) -> Option<u32> {
        let left = |(partition, at): (&u32, &u64)| (self.cut[partition] - at - 1, *partition);
        let most = self.open[usize::from(shard.0)].iter().map(left).max();
        most.filter(|(left, _)| *left > 0).map(|(_, partition)| partition)
    }

    /// Moves the offsets to the cut: everything below it is there.
    pub async fn finish(&mut self) -> Result<bool, Error> {
        for shard in (0..self.online.shards()).map(Shard) {
            let open: BTreeSet<u32> = self.open[usize::from(shard.0)].keys().copied().collect();
            let kept = std::mem::take(&mut self.kept[usize::from(shard.0)]);
            if !open.is_empty() && !self.advance(shard, &open, &kept, |_, _, end| end).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// `to`: where a partition will stand, by its number, where it stands and its end.
    async fn advance(
        &mut self,
        shard: Shard,
        partitions: &BTreeSet<u32>,
        parts: &[PartWrite],
        to: impl Fn(u32, u64, u64) -> u64,
    ) -> Result<bool, Error> {
        let (version, nonce, open) = (self.version, self.nonce, &self.open[usize::from(shard.0)]);
        let advance = |partition: &u32| {
            let from = open[partition];
            Advance { version, partition: *partition, nonce, from, to: to(*partition, from, self.cut[partition]) }
        };
        let advances: Vec<Advance> = partitions.iter().map(advance).collect();
        if !self.apply(shard, &advances, parts).await? {
            return Ok(false);
        }
        self.open[usize::from(shard.0)].extend(advances.iter().map(|advance| (advance.partition, advance.to)));
        Ok(true)
    }

    /// The same call again where its outcome is unknown: it is refused if it had been done.
    async fn apply(&self, shard: Shard, advances: &[Advance], parts: &[PartWrite]) -> Result<bool, Error> {
        let done = |advance: &Advance| Some(Position { nonce: advance.nonce, offset: advance.to });
        for _ in 1..ATTEMPTS {
            match self.online.apply(shard, advances, parts).await {
                Ok(Applied::Done) => return Ok(true),
                Ok(Applied::Refused(stored)) => return Ok(stored.iter().copied().eq(advances.iter().map(done))),
                Err(error) if error.is_transient() => {
                    tracing::warn!(%error, "a part of a seeding was not written; trying again");
                    sleep(PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
        Err(Error::Unavailable("it has not taken a part of a seeding for too long".to_owned()))
    }
}

fn partition_of(part: &PartWrite) -> u32 {
    match part.key.part {
        PartId::History => HISTORY,
        PartId::Partition(partition) => partition,
    }
}
