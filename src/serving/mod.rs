//! Lookups: tiles of the online store → the same `read` as everywhere, now.
//!
//! ```text
//! Request ─► resolve (names → live versions) ─► one read of the store ─► as_of = now ─► engine::read ─► Answer
//! ```
//!
//! One lookup has one as-of for all its rows, read once they have arrived; it takes every version from one
//! snapshot of the catalogue; each row is read atomically, and once, however many features or request rows name it.

mod resolve;
pub mod sample;

use std::collections::HashMap;
use std::sync::Arc;

use crate::clock::Clock;
use crate::kernel::codec;
use crate::kernel::engine::{self, Part, Reading, Status};
use crate::kernel::key::{EntityKey, KeyPart};
use crate::kernel::name::{FeatureRef, Name};
use crate::kernel::plan::{Fingerprint, ViewPlan};
use crate::kernel::time::EventTime;
use crate::kernel::value::{Value, ValueType};
use crate::online::{self, OnlineStore, StoredRow};
use crate::registry::catalogue::Catalogue;

use sample::Sampler;

/// The most rows that one lookup may ask for.
pub const MOST_ROWS: usize = 10_000;

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
    pub store: Arc<dyn OnlineStore>,
    pub clock: Clock,
    /// Keeps some of the answers for parity.
    pub sampler: Sampler,
}

impl Serving {
    pub async fn lookup(&self, catalogue: &Catalogue, request: &Request) -> Result<Answer, Error> {
        let resolved = resolve::resolve(catalogue, request)?;
        let mut keys: Vec<(Fingerprint, EntityKey)> = Vec::new();
        let mut key_index: HashMap<(Fingerprint, EntityKey), usize> = HashMap::new();
        // For each view and request row, which of `keys` it reads; none where the key is null.
        let mut wanted: Vec<Vec<Option<usize>>> = Vec::with_capacity(resolved.views.len());
        for view in &resolved.views {
            let index = |key: &Option<EntityKey>| {
                let key = (view.plan.fingerprint, key.clone()?);
                Some(*key_index.entry(key.clone()).or_insert_with(|| {
                    keys.push(key);
                    keys.len() - 1
                }))
            };
            wanted.push(view.keys.iter().map(index).collect());
        }
        let rows = self.store.read(&keys).await?;
        let as_of = self.clock.now();

        let mut readings: Vec<Option<Arc<Reading>>> = vec![None; keys.len()];
        let mut by_view: Vec<Vec<Arc<Reading>>> = Vec::with_capacity(resolved.views.len());
        for (view, wanted) in resolved.views.iter().zip(&wanted) {
            let unknown = Arc::new(engine::read(&view.plan, &[], as_of));
            let mut column = Vec::with_capacity(wanted.len());
            for index in wanted {
                let Some(index) = *index else {
                    column.push(unknown.clone());
                    continue;
                };
                if readings[index].is_none() {
                    let reading = read_row(&view.plan, &rows[index], as_of)?;
                    self.sampler.offer(&view.plan, &keys[index].1, as_of, &reading, &rows[index].offsets);
                    readings[index] = Some(Arc::new(reading));
                }
                column.push(readings[index].clone().expect("it was read just now"));
            }
            by_view.push(column);
        }
        let columns = resolved
            .columns
            .iter()
            .map(|&(view, feature)| column_of(&resolved.views[view].plan, feature, &by_view[view]));
        Ok(Answer { as_of, columns: columns.collect() })
    }
}

/// Reads one stored row as of `as_of`; also how `explain` and parity's other side do it.
fn read_row(view: &ViewPlan, row: &StoredRow, as_of: EventTime) -> Result<Reading, Error> {
    // A live version whose shard has no position was emptied: empty values would be a lie.
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
