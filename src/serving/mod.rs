//! Lookups: tiles of the online store → the same `read` as everywhere, now.
//!
//! ```text
//! Request ─► resolve (names → live versions) ─► one read of the store ─► as_of = now ─► engine::Read ─► Answer
//! ```
//!
//! One lookup has one as-of for all its rows, read once they have arrived; it takes every version from one
//! snapshot of the catalogue; each row is read atomically, and once, however many features or request rows name it.

mod answer;
mod breaker;
pub mod explain;
mod reader;
mod resolve;
pub mod sample;

use hashbrown::HashMap;

use crate::clock::Clock;
use crate::kernel::codec;
use crate::kernel::engine::{Read, Reading};
use crate::kernel::key::{EntityKey, KeyPart, Shard};
use crate::kernel::name::Name;
use crate::kernel::plan::{Fingerprint, ViewPlan};
use crate::kernel::time::EventTime;
use crate::kernel::value::ValueType;
use crate::online::{self, StoredRow};
use crate::registry::catalogue::Catalogue;

pub use answer::{Answer, Column};
pub use reader::{Failure, Reader};

use answer::ViewAnswer;
use resolve::{Resolved, ResolvedView};
use sample::Sampler;

/// The most rows that one lookup may ask for.
pub const MOST_ROWS: usize = 10_000;

/// The most features, those that are named twice counted twice.
pub const MOST_FEATURES: usize = 2_000;

/// The most values: rows times features. An answer is made in memory.
pub const MOST_VALUES: usize = 2_000_000;

#[derive(Clone, Debug)]
pub struct Request {
    pub wanted: Wanted,
    /// All of one length: the number of rows.
    pub entities: Vec<KeyColumn>,
}

/// A key by its name, and its rows.
pub type KeyColumn = (String, Vec<Option<KeyPart>>);

#[derive(Clone, Debug)]
pub enum Wanted {
    Service(String),
    /// `view:feature`, or `view` for all of it.
    Features(Vec<String>),
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("feature service `{0}` is not defined")]
    UnknownService(String),
    #[error("`{0}` is neither a view nor a `view:feature` of one")]
    UnknownFeature(String),
    #[error("the lookup names no features")]
    NothingWanted,
    #[error("key `{key}` of entity `{entity}` is missing: `{view}` is looked up by it")]
    MissingKey { key: Name, entity: Name, view: Name },
    #[error("`{0}` is not a key of any entity that the lookup reads")]
    UnknownKey(String),
    #[error("key `{key}` has {found} values, but `{first}` has {expected}: all lists have the same length")]
    Length { key: String, found: usize, first: String, expected: usize },
    #[error("row {row} of key `{key}` is {found}, but the key is {expected}")]
    KeyType { key: String, row: usize, found: &'static str, expected: ValueType },
    #[error("the lookup has {rows} rows, and at most {MOST_ROWS} are answered at once")]
    TooManyRows { rows: usize },
    #[error("the lookup names {features} features, and at most {MOST_FEATURES} are answered at once")]
    TooManyFeatures { features: usize },
    #[error("the lookup has {rows} rows of {features} features, and at most {MOST_VALUES} values are answered at once")]
    TooManyValues { rows: usize, features: usize },
    #[error("view `{0}` is declared with `online: false`: it is for backfills and training sets alone")]
    NotOnline(Name),
    #[error("view `{0}` is being built from the log and is not served yet")]
    Rebuilding(Name),
    #[error(transparent)]
    Store(#[from] online::Error),
    #[error("a stored row of view `{view}` in shard {} cannot be read", .shard.0)]
    Row { view: Name, shard: Shard, source: Box<dyn std::error::Error + Send + Sync> },
}

/// Answers lookups. Cheap to clone; a clone shares the store.
#[derive(Clone)]
pub struct Serving {
    pub store: Reader,
    pub clock: Clock,
    /// Keeps some of the answers for parity.
    pub sampler: Sampler,
}

/// Rows that are read before others have their turn on the thread: some hundred microseconds.
const ROWS_AT_ONCE: usize = 64;

impl Serving {
    pub async fn lookup(&self, catalogue: &Catalogue, request: &Request) -> Result<Answer, Error> {
        let Resolved { views, columns } = resolve::resolve(catalogue, request)?;
        let distinct = Distinct::of(&views);
        let stored = self.stored(&views, &distinct).await?;
        let as_of = self.clock.now();
        let mut stored = distinct.keys.iter().map(|(_, entity)| entity).zip(stored);
        let mut answered = Vec::with_capacity(views.len());
        for (view, rows) in views.into_iter().zip(distinct.rows) {
            let ResolvedView { plan, features, .. } = view;
            let read = Read::of(&plan, features.iter().copied(), as_of);
            let mut readings = self.read(&plan, &read, stored.by_ref().take(rows.distinct), as_of).await?;
            let unknown = readings.len();
            if rows.asked.contains(&None) {
                readings.push(read.unknown());
            }
            let rows = rows.asked.into_iter().map(|row| row.unwrap_or(unknown)).collect();
            answered.push(ViewAnswer { plan, features, rows, readings });
        }
        Ok(Answer { as_of, views: answered, columns })
    }

    /// In the order of the keys. One row that cannot be read is told by its view, and is the whole call's failure.
    async fn stored(&self, views: &[ResolvedView], distinct: &Distinct) -> Result<Vec<StoredRow>, Error> {
        self.store.read(&distinct.keys).await.map_err(|error| {
            let online::Error::DamagedRow { version, shard, .. } = error else { return error.into() };
            let view = views.iter().find(|view| view.plan.rows == version).expect("a store reads what it is asked for");
            Error::Row { view: view.plan.name.clone(), shard, source: error.into() }
        })
    }

    /// Stored rows of one view, in their order.
    async fn read<'r>(
        &self,
        view: &ViewPlan,
        read: &Read<'_>,
        rows: impl Iterator<Item = (&'r EntityKey, StoredRow)>,
        as_of: EventTime,
    ) -> Result<Vec<Reading>, Error> {
        let mut readings = Vec::with_capacity(rows.size_hint().0 + 1);
        for (entity, row) in rows {
            if !readings.is_empty() && readings.len().is_multiple_of(ROWS_AT_ONCE) {
                tokio::task::yield_now().await;
            }
            // The shard of a live version that is not complete was emptied: its values would be a lie.
            if row.offsets.is_empty() {
                return Err(Error::Rebuilding(view.name.clone()));
            }
            let damaged = |error: codec::Error| {
                let shard = entity.shard(self.store.shards());
                Error::Row { view: view.name.clone(), shard, source: error.into() }
            };
            let images = || row.parts.iter().map(|(_, image)| image);
            readings.push(read.images(images()).map_err(damaged)?);
            if self.sampler.takes() {
                let whole = Read::all(view, as_of).images(images()).map_err(damaged)?;
                self.sampler.offer(view, entity, as_of, &whole, &row.offsets);
            }
        }
        Ok(readings)
    }
}

/// What a lookup reads, each row once.
#[derive(Default)]
struct Distinct {
    /// View by view.
    keys: Vec<(Fingerprint, EntityKey)>,
    /// For each view.
    rows: Vec<DistinctRows>,
}

struct DistinctRows {
    /// How many of the keys are the view's.
    distinct: usize,
    /// For each row of the request, which of them it reads; none where the key is null.
    asked: Vec<Option<usize>>,
}

impl Distinct {
    fn of(views: &[ResolvedView]) -> Distinct {
        let mut distinct = Distinct::default();
        for view in views {
            let first = distinct.keys.len();
            let mut known: HashMap<&EntityKey, usize> = HashMap::with_capacity(view.keys.len());
            let mut asked = Vec::with_capacity(view.keys.len());
            for key in &view.keys {
                asked.push(key.as_ref().map(|key| {
                    *known.entry(key).or_insert_with(|| {
                        distinct.keys.push((view.plan.rows, key.clone()));
                        distinct.keys.len() - 1 - first
                    })
                }));
            }
            distinct.rows.push(DistinctRows { distinct: distinct.keys.len() - first, asked });
        }
        distinct
    }
}

#[cfg(test)]
mod tests;
