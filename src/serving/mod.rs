//! Lookups: tiles of the online store → the same `read` as everywhere, now.
//!
//! ```text
//! Request ─► resolve (names → live versions) ─► one read of the store ─► as_of = now ─► engine::Read ─► Answer
//! ```
//!
//! One lookup has one as-of for all its rows, read once they have arrived; it takes every version from one
//! snapshot of the catalogue; each row is read atomically, and once, however many features or request rows name it.
//!
//! Where some rows cannot be read, a lookup fails, or answers the others and says so: nothing is left out in silence.

mod answer;
mod breaker;
pub mod explain;
mod reader;
mod resolve;
pub mod sample;
mod unavailable;

use hashbrown::HashMap;

use crate::clock::Clock;
use crate::kernel::codec;
use crate::kernel::engine::{Read, Reading};
use crate::kernel::key::{EntityKey, KeyPart};
use crate::kernel::name::Name;
use crate::kernel::plan::{Fingerprint, ViewPlan};
use crate::kernel::time::EventTime;
use crate::kernel::value::ValueType;
use crate::online::StoredRow;
use crate::registry::catalogue::Catalogue;

pub use answer::{Answer, Column};
pub use reader::{Failure, Reader};
pub(crate) use resolve::refuse_too_many_features;
pub use unavailable::Unavailable;

use answer::ViewAnswer;
use reader::Stored;
use resolve::{Resolved, ResolvedView};
use sample::Sampler;

/// The most rows that one lookup may ask for.
pub const MOST_ROWS: usize = 10_000;

/// The most features, those that are named twice counted twice.
pub const MOST_FEATURES: usize = 2_000;

/// The most values: rows times features. An answer is made in memory.
pub const MOST_VALUES: usize = 2_000_000;

/// The most that the values of one answer take, told for as many rows as ask for them: lists and texts have no size of
/// their own.
pub const MOST_BYTES: usize = 64 << 20;

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
    #[error("the lookup names more features than the {MOST_FEATURES} that are answered at once")]
    TooManyFeatures,
    #[error("the lookup has {rows} rows of {features} features, and at most {MOST_VALUES} values are answered at once")]
    TooManyValues { rows: usize, features: usize },
    #[error("the values of the answer take more than {MOST_BYTES} bytes: ask for fewer rows or features at once")]
    TooManyBytes,
    #[error("view `{0}` is declared with `online: false`: it is for backfills and training sets alone")]
    NotOnline(Name),
    /// One for each view and kind, and at least one.
    #[error("{}", unavailable::text(.0))]
    Unavailable(Vec<Unavailable>),
}

impl From<Unavailable> for Error {
    fn from(unavailable: Unavailable) -> Error {
        Error::Unavailable(vec![unavailable])
    }
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
    /// All that is asked for, or why some of it cannot be told.
    pub async fn lookup(&self, catalogue: &Catalogue, request: &Request) -> Result<Answer, Error> {
        let answer = self.lookup_in_part(catalogue, request).await?;
        if answer.unavailable.is_empty() { Ok(answer) } else { Err(Error::Unavailable(answer.unavailable)) }
    }

    /// What can be told of what is asked for, and why the rest cannot. An error where nothing can be told.
    pub async fn lookup_in_part(&self, catalogue: &Catalogue, request: &Request) -> Result<Answer, Error> {
        let Resolved { views, columns } = resolve::resolve(catalogue, request)?;
        let distinct = Distinct::of(&views);
        let stored = self.store.read(&distinct.keys).await;
        let as_of = self.clock.now();
        let mut stored = distinct.keys.iter().map(|(_, entity)| entity).zip(stored);
        let mut answer = Answer { as_of, views: Vec::with_capacity(views.len()), columns, unavailable: Vec::new() };
        for (view, rows) in views.into_iter().zip(distinct.rows) {
            let stored = stored.by_ref().take(rows.distinct);
            let answered = self.answer(view, rows, stored, as_of, &mut answer.unavailable).await?;
            answer.views.push(answered);
        }
        if answer.bytes() > MOST_BYTES {
            return Err(Error::TooManyBytes);
        }
        let tells_nothing = answer.views.iter().all(ViewAnswer::tells_nothing);
        if tells_nothing && !answer.unavailable.is_empty() {
            return Err(Error::Unavailable(answer.unavailable));
        }
        Ok(answer)
    }

    async fn answer<'r>(
        &self,
        view: ResolvedView,
        rows: DistinctRows,
        stored: impl Iterator<Item = (&'r EntityKey, Stored)>,
        as_of: EventTime,
        unavailable: &mut Vec<Unavailable>,
    ) -> Result<ViewAnswer, Error> {
        let ResolvedView { plan, features, is_served, .. } = view;
        let read = Read::of(&plan, features.iter().copied(), as_of);
        let mut readings = self.readings(&plan, &read, stored, as_of, unavailable).await?;
        if !is_served {
            Unavailable::Rebuilding(plan.name.clone()).note(unavailable);
            readings.push(None);
        }
        let unknown = readings.len();
        if rows.asked.contains(&None) {
            readings.push(Some(read.unknown()));
        }
        let rows = rows.asked.into_iter().map(|row| row.unwrap_or(unknown)).collect();
        Ok(ViewAnswer { plan, features, rows, readings })
    }

    /// Of stored rows of one view, in their order; `None` where one cannot be read. No more of them than an answer holds.
    async fn readings<'r>(
        &self,
        view: &ViewPlan,
        read: &Read<'_>,
        rows: impl Iterator<Item = (&'r EntityKey, Stored)>,
        as_of: EventTime,
        unavailable: &mut Vec<Unavailable>,
    ) -> Result<Vec<Option<Reading>>, Error> {
        let (mut readings, mut bytes) = (Vec::with_capacity(rows.size_hint().0 + 1), 0);
        for (entity, stored) in rows {
            if !readings.is_empty() && readings.len().is_multiple_of(ROWS_AT_ONCE) {
                tokio::task::yield_now().await;
            }
            let reading = self.reading(view, read, entity, stored, as_of);
            let reading = reading.map_err(|found| found.note(unavailable)).ok();
            bytes += reading.as_ref().map_or(0, answer::bytes);
            if bytes > MOST_BYTES {
                return Err(Error::TooManyBytes);
            }
            readings.push(reading);
        }
        Ok(readings)
    }

    fn reading(
        &self,
        view: &ViewPlan,
        read: &Read<'_>,
        entity: &EntityKey,
        stored: Stored,
        as_of: EventTime,
    ) -> Result<Reading, Unavailable> {
        let row = self.whole(view, entity, stored)?;
        let images = || row.parts.iter().map(|(_, image)| image);
        let damaged = |error| self.damaged(view, entity, error);
        let reading = read.images(images()).map_err(damaged)?;
        if self.sampler.takes() {
            let whole = Read::all(view, as_of).images(images()).map_err(damaged)?;
            self.sampler.offer(view, entity, as_of, &whole, &row.offsets);
        }
        Ok(reading)
    }

    /// A row that has all that it should.
    fn whole(&self, view: &ViewPlan, entity: &EntityKey, stored: Stored) -> Result<StoredRow, Unavailable> {
        let stored = stored.map_err(|error| Unavailable::Store { view: view.name.clone(), error })?;
        let no_row = || self.damaged(view, entity, codec::Error::Damaged { what: "its parts do not read" });
        let row = stored.ok_or_else(no_row)?;
        // The shard of a live version that is not complete was emptied: its values would be a lie.
        if row.offsets.is_empty() { Err(Unavailable::Rebuilding(view.name.clone())) } else { Ok(row) }
    }

    fn damaged(&self, view: &ViewPlan, entity: &EntityKey, source: codec::Error) -> Unavailable {
        Unavailable::Damaged { view: view.name.clone(), shard: entity.shard(self.store.shards()), source }
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
    /// For each row of the request, which of them it reads; none where the key is null. Of a view that is not served, all
    /// read what cannot be told.
    asked: Vec<Option<usize>>,
}

impl Distinct {
    fn of(views: &[ResolvedView]) -> Distinct {
        let mut distinct = Distinct::default();
        for view in views {
            if !view.is_served {
                distinct.rows.push(DistinctRows { distinct: 0, asked: vec![Some(0); view.keys.len()] });
                continue;
            }
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
