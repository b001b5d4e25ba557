//! The online store: the newest parts of rows by (view version, entity), written together with the offsets that
//! produced them. It knows no windows and no aggregates: bytes in, bytes out.
//!
//! # Contract (architecture, "Exactly once")
//!
//! * Entities are cut into **shards**, as many as the store was created with. For each (version, shard, partition)
//!   it keeps a [`Position`]: the nonce of who may write, and the offset of the next record to fold.
//! * [`OnlineStore::apply`] is atomic over one shard: every nonce and every `from` must match what is stored, or
//!   nothing is written and the answer says what is stored. It is idempotent in effect: a call whose outcome is
//!   unknown is sent again, and is refused with `offset == to` if it had been done. A call may also arrive after
//!   its sender gave it up; what it finds decides then.
//! * [`OnlineStore::load`] tells the position that each image was read at, in the same instant. A writer whose own
//!   position differs must drop the shard and go to the stored offset: between a rollback and a call that arrives
//!   late the image may be of another offset than the writer's next `apply`, which would not notice.
//! * [`OnlineStore::read`] sees each row, and the offsets of its shard, as of one instant. A row whose bytes are damaged
//!   is told by itself; where the store is away, the call fails.
//! * A shard of a version that nobody claimed holds no rows of it.
//! * A shard is **complete** for a version once [`OnlineStore::complete`] found it to hold all that it should, and
//!   until it is emptied or removed: a claim of an empty shard starts one that is incomplete, however fast it fills.
//!   Reads tell no offsets of an incomplete shard, so that nobody takes what it lacks for what never happened.
//! * Parts expire, each by itself or with the one of its row that lasts longest. An expiry only ever grows, whatever
//!   the writes say; a write after it finds no stored body or ids, so it must come no earlier than the last event that
//!   either of them matters to. Ids may go at the expiry that came with them, though the rest of their part lives on.
//! * A store may lose its newest writes in a failover, always of a shard as a whole: rows and positions together.
//!
//! [`Memory`], [`Embedded`] and [`Redis`] keep it; `conformance` is the suite that any store must pass.

use std::collections::BTreeMap;

use async_trait::async_trait;

use crate::kernel::codec::Image;
use crate::kernel::engine::Flushed;
use crate::kernel::key::{EntityKey, PartId, Shard};
use crate::kernel::plan::Fingerprint;
use crate::kernel::time::EventTime;

pub use embedded::{Embedded, Options as EmbeddedOptions};
pub use memory::{Memory, ShardState};
pub use redis::{Options as RedisOptions, Redis};

#[cfg(test)]
mod conformance;
mod embedded;
mod memory;
mod redis;

/// Drawn at random for each attempt of a claim: one whose answer was lost may still arrive, and must then fence
/// everybody off rather than revive its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Nonce(pub u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    pub nonce: Nonce,
    /// The next record to fold.
    pub offset: u64,
}

/// What one shard keeps of one version beside its rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Control {
    positions: BTreeMap<u32, Position>,
    complete: bool,
}

/// A step of one (version, partition) within a shard: records `from..to` are in the rows that come with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advance {
    pub version: Fingerprint,
    pub partition: u32,
    pub nonce: Nonce,
    pub from: u64,
    pub to: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartKey {
    pub version: Fingerprint,
    pub entity: EntityKey,
    pub part: PartId,
}

pub struct PartWrite {
    pub key: PartKey,
    pub flushed: Flushed,
}

impl Advance {
    /// Whether this step goes on from where `stored` stands, by its writer.
    fn follows(&self, stored: Option<Position>) -> bool {
        stored == Some(Position { nonce: self.nonce, offset: self.from })
    }
}

impl Control {
    fn claim(&mut self, claim: &Claim, nonce: Nonce) -> u64 {
        let position = self.positions.entry(claim.partition).or_insert(Position { nonce, offset: claim.initial });
        position.nonce = nonce;
        position.offset
    }

    fn advance(&mut self, advance: &Advance) {
        self.positions.insert(advance.partition, Position { nonce: advance.nonce, offset: advance.to });
    }

    fn offsets(&self) -> Vec<(u32, u64)> {
        self.positions.iter().map(|(partition, position)| (*partition, position.offset)).collect()
    }

    /// What a read may tell.
    fn told_offsets(&self) -> Vec<(u32, u64)> {
        if self.complete { self.offsets() } else { Vec::new() }
    }

    /// Whether the shard may be called complete by `goals`, or is already.
    fn has_reached(&self, goals: &[(u32, u64)]) -> bool {
        let is_reached = |(partition, goal): &(u32, u64)| {
            self.positions.get(partition).is_some_and(|position| position.offset >= *goal)
        };
        self.complete || (!self.positions.is_empty() && goals.iter().all(is_reached))
    }
}

impl PartWrite {
    /// What is to be stored as the part's expiry, given the one that is stored now: it only ever grows.
    fn expiry(&self, stored: Option<Expiry>) -> Expiry {
        let written = self.flushed.expires_at.map_or(Expiry::Never, Expiry::At);
        stored.map_or(written, |stored| stored.max(written))
    }
}

/// When a stored part may be dropped; ordered, so that never is last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Expiry {
    At(EventTime),
    Never,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    Done,
    /// Nothing was written. What is stored, in the order of the advances; `None`: no such position.
    Refused(Vec<Option<Position>>),
}

/// A writer's own part, and the position of its partition in the same instant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// `None`: never written, or expired.
    pub image: Option<Image>,
    /// `None`: never claimed, or a part of history, which has no partition.
    pub position: Option<Position>,
}

/// A row as read: the parts that exist, and how far each partition of its shard had been folded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoredRow {
    /// Ordered by part. The ids are left out: they are their writer's concern.
    pub parts: Vec<(PartId, Image)>,
    /// (partition, offset), ordered. Empty: the shard is not complete for this version, and neither is the row.
    pub offsets: Vec<(u32, u64)>,
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// Worth trying again: the store is away, slow, or restarting. The outcome of a write is unknown.
    #[error("the online store is not available: {0}")]
    Unavailable(String),
    #[error("the online store at {place} is damaged: {detail}")]
    Damaged { place: String, detail: String },
    #[error("the online store at {place} is already in use by another process")]
    InUse { place: String },
    #[error("the online store at {place} cannot be used: {detail}")]
    Unusable { place: String, detail: String },
}

impl Error {
    pub fn is_transient(&self) -> bool {
        matches!(self, Error::Unavailable(_))
    }
}

/// One project's online store.
#[async_trait]
pub trait OnlineStore: Send + Sync {
    /// How many shards entities are cut into: fixed when the store was created.
    fn shards(&self) -> u16;

    /// Whether shards live on several servers, some of which may be away while others answer. Rows of one shard are read
    /// or fail together; who wants the others then asks for each shard by itself, which takes no longer.
    fn fails_by_shard(&self) -> bool {
        false
    }

    /// Makes `nonce` the writer of (version, partition) in `shard`, whoever it was before, and returns the offsets
    /// in the order of `claims`. Where there was none, `initial` becomes the offset.
    async fn claim(&self, shard: Shard, claims: &[Claim], nonce: Nonce) -> Result<Vec<u64>, Error>;

    /// Writes all of `rows`, and moves every offset, or does nothing. Each row belongs to `shard` and to one of the
    /// advances, which name a (version, partition) at most once. Where `from == to` a call asks whether the position
    /// still stands: so a quiet shard notices that its store went back.
    async fn apply(&self, shard: Shard, advances: &[Advance], rows: &[PartWrite]) -> Result<Applied, Error>;

    /// A writer's own parts, in the order of `keys`. [`Error::Damaged`] may be about one of them alone.
    async fn load(&self, keys: &[PartKey]) -> Result<Vec<Loaded>, Error>;

    /// Rows with all their parts, in the order of `rows`. `None`: what is stored is no row any more.
    async fn read(&self, rows: &[(Fingerprint, EntityKey)]) -> Result<Vec<Option<StoredRow>>, Error>;

    /// (shard, partition, offset) of everything claimed for a version, ordered.
    async fn offsets(&self, version: Fingerprint) -> Result<Vec<(Shard, u32, u64)>, Error>;

    /// Marks as complete every shard of a version in which each partition of `goals` stands at its goal or beyond, the
    /// comparison and the mark being one step; one that nobody claimed is left alone. Returns whether all shards are
    /// complete now. A mark stays whatever later goals say: only emptying or removing takes it away.
    async fn complete(&self, version: Fingerprint, goals: &[(u32, u64)]) -> Result<bool, Error>;

    /// Whether every shard is complete for a version: then, and only then, can every row of it be read.
    async fn is_complete(&self, version: Fingerprint) -> Result<bool, Error>;

    /// Drops the parts that expired before `now`; returns how many. A store that expires by its own clock does nothing.
    async fn expire(&self, now: EventTime) -> Result<usize, Error>;

    /// Drops all that is stored for a version. Writers are refused from the start, and a removal that was cut short
    /// is made good by a repetition, or shard by shard by the next claim.
    async fn remove(&self, version: Fingerprint) -> Result<(), Error>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    pub version: Fingerprint,
    pub partition: u32,
    pub initial: u64,
}
