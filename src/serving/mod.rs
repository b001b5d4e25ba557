//! Lookups: tiles of the online store → the same `read` as everywhere, now.
//!
//! ```text
//! Request ─► resolve (names → live versions) ─► one read of the store ─► as_of = now ─► engine::read ─► Answer
//! ```
//!
//! One lookup has one as-of for all its rows, read once they have arrived; it takes every version from one
//! snapshot of the catalogue; each row is read atomically, and once, however many features or request rows name it.

mod breaker;
mod reader;
mod resolve;
pub mod sample;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::clock::Clock;
use crate::kernel::codec;
use crate::kernel::engine::{self, Part, Reading, Status};
use crate::kernel::key::{EntityKey, KeyPart};
use crate::kernel::name::{FeatureRef, Name};
use crate::kernel::plan::{Fingerprint, ViewPlan};
use crate::kernel::time::EventTime;
use crate::kernel::value::{Value, ValueType};
use crate::online::{self, StoredRow};
use crate::registry::catalogue::Catalogue;

pub use reader::{Failure, Reader};

use resolve::ResolvedView;
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
    /// Key columns by name, all of one length: the number of rows.
    pub entities: Vec<(String, Vec<Option<KeyPart>>)>,
}

#[derive(Clone, Debug)]
pub enum Wanted {
    Service(String),
    /// `view:feature`, or `view` for all of it.
    Features(Vec<String>),
}

#[derive(Clone, Debug)]
pub struct Answer {
    pub as_of: EventTime,
    /// In the order of the service or of the request.
    pub columns: Vec<Column>,
    /// By view: values that are null because they did not fit their type.
    pub overflowed: BTreeMap<Name, usize>,
}

/// One feature for each row of the request.
#[derive(Clone, Debug)]
pub struct Column {
    pub feature: FeatureRef,
    pub value_type: ValueType,
    pub values: Vec<Option<Value>>,
    pub statuses: Vec<Status>,
    pub event_times: Vec<Option<EventTime>>,
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
    #[error("a stored row of view `{view}` cannot be read")]
    Row { view: Name, source: codec::Error },
}

/// Answers lookups. Cheap to clone; a clone shares the store.
#[derive(Clone)]
pub struct Serving {
    pub store: Reader,
    pub clock: Clock,
    /// Keeps some of the answers for parity.
    pub sampler: Sampler,
}

impl Serving {
    pub async fn lookup(&self, catalogue: &Catalogue, request: &Request) -> Result<Answer, Error> {
        let resolved = resolve::resolve(catalogue, request)?;
        let distinct = Distinct::of(&resolved.views);
        let rows = self.store.read(&distinct.keys).await?;
        let as_of = self.clock.now();
        let mut readings: Vec<Arc<Reading>> = Vec::with_capacity(rows.len());
        let mut overflowed: BTreeMap<Name, usize> = BTreeMap::new();
        for ((view, (_, entity)), row) in distinct.views.iter().zip(&distinct.keys).zip(&rows) {
            let plan = &resolved.views[*view].plan;
            let reading = read_row(plan, row, as_of)?;
            self.sampler.offer(plan, entity, as_of, &reading, &row.offsets);
            if reading.overflowed > 0 {
                *overflowed.entry(plan.name.clone()).or_default() += reading.overflowed;
            }
            readings.push(Arc::new(reading));
        }
        let by_view = resolved.views.iter().zip(&distinct.asked).map(|(view, asked)| {
            let unknown = Arc::new(engine::read(&view.plan, &[], as_of));
            asked.iter().map(|key| key.map_or(&unknown, |key| &readings[key]).clone()).collect()
        });
        let by_view: Vec<Vec<Arc<Reading>>> = by_view.collect();
        let columns = resolved
            .columns
            .iter()
            .map(|&(view, feature)| column_of(&resolved.views[view].plan, feature, &by_view[view]));
        Ok(Answer { as_of, columns: columns.collect(), overflowed })
    }
}

/// What a lookup reads, each row once.
#[derive(Default)]
struct Distinct {
    keys: Vec<(Fingerprint, EntityKey)>,
    /// Which of the resolved views each of `keys` belongs to.
    views: Vec<usize>,
    /// For each view and request row, which of `keys` it reads; none where the key is null.
    asked: Vec<Vec<Option<usize>>>,
}

impl Distinct {
    fn of(views: &[ResolvedView]) -> Distinct {
        let mut distinct = Distinct::default();
        for (number, view) in views.iter().enumerate() {
            let mut known: HashMap<&EntityKey, usize> = HashMap::new();
            let index = |key: &EntityKey, distinct: &mut Distinct| {
                distinct.keys.push((view.plan.rows, key.clone()));
                distinct.views.push(number);
                distinct.keys.len() - 1
            };
            let asked = view.keys.iter().map(|key| {
                let key = key.as_ref()?;
                Some(*known.entry(key).or_insert_with(|| index(key, &mut distinct)))
            });
            let asked = asked.collect();
            distinct.asked.push(asked);
        }
        distinct
    }
}

/// Reads one stored row as of `as_of`.
fn read_row(view: &ViewPlan, row: &StoredRow, as_of: EventTime) -> Result<Reading, Error> {
    // The shard of a live version that is not complete was emptied: its values would be a lie.
    if row.offsets.is_empty() {
        return Err(Error::Rebuilding(view.name.clone()));
    }
    let parts: Result<Vec<Part>, codec::Error> = row.parts.iter().map(|(_, image)| Part::decode(view, image)).collect();
    let parts = parts.map_err(|source| Error::Row { view: view.name.clone(), source })?;
    Ok(engine::read(view, &parts.iter().collect::<Vec<_>>(), as_of))
}

fn column_of(view: &ViewPlan, feature: usize, readings: &[Arc<Reading>]) -> Column {
    let plan = &view.features[feature];
    Column {
        feature: FeatureRef { view: view.name.clone(), feature: plan.name.clone() },
        value_type: plan.value_type.clone(),
        values: readings.iter().map(|reading| reading.values[feature].clone()).collect(),
        statuses: readings.iter().map(|reading| reading.status(feature)).collect(),
        event_times: readings.iter().map(|reading| reading.newest).collect(),
    }
}
