//! The driver of training sets: a spine of entities and label times, and beside each row the features as they were
//! at its label time (semantics §5).
//!
//! ```text
//! spine ─► questions ─┐
//! archive ─► events ──┴─► point in time, for each view ─► columns beside the spine's ─► batches in its order
//! ```
//!
//! Promises: output rows are the spine's, in its order, with its columns untouched, and one column `view:feature`
//! for each feature. A row whose key is null or unknown has the empty values. What was read can be pinned again.
//!
//! It waits for nothing: that the archive has every event which the job shall see is its caller's concern. It
//! blocks, holds the spine in memory, and does the rest in the memory that [`Resources`] name, and on disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion_common::DataFusionError;

use crate::batch::{self, Resources};
use crate::kernel::engine::Knowledge;
use crate::kernel::name::{FeatureRef, Name};
use crate::kernel::plan::{Fingerprint, Plan};
use crate::kernel::value::ValueType;
use crate::offline::{self, Archive, TableError};
use crate::telemetry::{Cancelled, Watch};

pub use compared::Differences;
pub use job::{Job, answer};
pub use point_in_time::codec::Error as TaskError;

mod answers;
mod compared;
mod job;
mod point_in_time;
mod spine;
mod wanted;

#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// In the order of their columns.
    pub features: &'a [FeatureRef],
    /// All batches of one schema.
    pub spine: &'a [RecordBatch],
    pub label_time: &'a str,
    pub knowledge: Knowledge,
}

/// A training set that is small enough to be held.
#[derive(Clone, Debug)]
pub struct Cut {
    pub schema: SchemaRef,
    pub batches: Vec<RecordBatch>,
    pub rows: usize,
    /// What was read of each source: partition → the offset that it was archived up to.
    pub pins: BTreeMap<Name, BTreeMap<u32, u64>>,
    /// The version of each view.
    pub fingerprints: BTreeMap<Name, Fingerprint>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no feature `{0}`")]
    UnknownFeature(FeatureRef),
    #[error("feature `{0}` is asked for twice")]
    Twice(FeatureRef),
    #[error("the spine has a column `{0}` already, and the feature of that name would be a second one")]
    NameTaken(FeatureRef),
    #[error("the key `{key}` is {one} in one of the entities and {other} in another, so one column cannot hold both")]
    KeyTypes { key: Name, one: ValueType, other: ValueType },
    #[error(transparent)]
    Spine(#[from] TableError),
    #[error("the training set cannot read the archive, or be written")]
    Files(#[from] offline::Error),
    #[error(transparent)]
    Batch(#[from] batch::Error),
    #[error(transparent)]
    Task(#[from] TaskError),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl From<DataFusionError> for Error {
    fn from(error: DataFusionError) -> Error {
        Error::Batch(batch::Error::from(error))
    }
}

/// Cuts a training set out of what is archived now, and holds it.
pub fn cut(archive: &Archive, plan: &Plan, request: &Request<'_>, watch: Watch<'_>) -> Result<Cut, Error> {
    let job = Job::begin(archive, plan, request, Resources::default())?;
    let mut batches = Vec::new();
    job.run(watch, &mut |batch| {
        batches.push(batch);
        Ok(())
    })?;
    let Job { schema, rows, pins, fingerprints, .. } = job;
    Ok(Cut { schema, batches, rows, pins, fingerprints })
}

/// The spine's columns, then the features.
fn schema(spine: &SchemaRef, types: Vec<ValueType>, features: &[FeatureRef]) -> SchemaRef {
    let mut fields = spine.fields().to_vec();
    let columns = features.iter().zip(types).map(|(name, it)| Field::new(name.to_string(), it.to_arrow(), true));
    fields.extend(columns.map(Arc::new));
    Arc::new(Schema::new_with_metadata(fields, spine.metadata().clone()))
}
