//! The online store: the newest parts of rows by (view version, entity), written together with the offsets that
//! produced them. It knows no windows and no aggregates: bytes in, bytes out.
//!
//! # Contract (architecture, "Exactly once")
//!
//! * Entities are cut into **shards**. For each (version, shard, partition) the store keeps a [`Position`]: the
//!   nonce of who may write, and the offset of the next record to fold.
//! * [`OnlineStore::apply`] is atomic over one shard: every nonce and every `from` must match what is stored, or
//!   nothing is written and the answer says what is stored. It is idempotent in effect: a call whose outcome is
//!   unknown is sent again, and is refused with `offset == to` if it had been done.
//! * [`OnlineStore::read`] sees each row, and the offsets of its shard, as of one instant.
//! * A store may lose its newest writes in a failover, always of a shard as a whole: rows and positions together.

use async_trait::async_trait;

use crate::kernel::codec::Image;
use crate::kernel::engine::Flushed;
use crate::kernel::key::{EntityKey, PartId, Shard};
use crate::kernel::plan::Fingerprint;
use crate::kernel::time::EventTime;

/// Drawn at random by whoever claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Nonce(pub u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    pub nonce: Nonce,
    /// The next record to fold.
    pub offset: u64,
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

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    Done,
    /// Nothing was written. What is stored, in the order of the advances; `None`: no such position.
    Refused(Vec<Option<Position>>),
}

/// A row as read: the parts that exist, and how far each partition of its shard had been folded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoredRow {
    pub parts: Vec<(PartId, Image)>,
    /// (partition, offset), ordered. Empty: the shard was never claimed for this version, or was emptied.
    pub offsets: Vec<(u32, u64)>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Worth trying again: the store is away, slow, or restarting. The outcome of a write is unknown.
    #[error("the online store is not available: {0}")]
    Unavailable(String),
    #[error("the online store at {place} is damaged: {detail}")]
    Damaged { place: String, detail: String },
    #[error("the online store at {place} is already in use by another process")]
    InUse { place: String },
}

impl Error {
    pub fn is_transient(&self) -> bool {
        matches!(self, Error::Unavailable(_))
    }
}

/// One project's online store.
#[async_trait]
pub trait OnlineStore: Send + Sync {
    /// Makes `nonce` the writer of (version, partition) in `shard`, whoever it was before, and returns the offsets
    /// in the order of `claims`. Where there was none, `initial` becomes the offset.
    async fn claim(&self, shard: Shard, claims: &[Claim], nonce: Nonce) -> Result<Vec<u64>, Error>;

    /// Writes all of `rows`, and moves every offset, or does nothing.
    async fn apply(&self, shard: Shard, advances: &[Advance], rows: &[PartWrite]) -> Result<Applied, Error>;

    /// A writer's own parts, in the order of `keys`; `None`: never written, or expired.
    async fn load(&self, keys: &[PartKey]) -> Result<Vec<Option<Image>>, Error>;

    /// Rows with all their parts, in the order of `rows`.
    async fn read(&self, rows: &[(Fingerprint, EntityKey)]) -> Result<Vec<StoredRow>, Error>;

    /// (shard, partition, offset) of everything claimed for a version.
    async fn offsets(&self, version: Fingerprint) -> Result<Vec<(Shard, u32, u64)>, Error>;

    /// Drops rows that expired before `now`; returns how many. Backends that expire by themselves do nothing.
    async fn expire(&self, now: EventTime) -> Result<usize, Error>;

    /// Drops all that is stored for a version.
    async fn remove(&self, version: Fingerprint) -> Result<(), Error>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    pub version: Fingerprint,
    pub partition: u32,
    pub initial: u64,
}
