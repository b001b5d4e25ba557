//! The batch engine: a view's archived events as DataFusion operators, sorted by entity, for drivers to walk over.
//!
//! ```text
//! archive ─► events ─► by shard ─► sort by (entity, time) ─────────────────────────────────────┐
//!                       └──► sort by (entity, offset) ─► drop copies ─► sort by (entity, time) ─┴─► a driver's walk
//!                            where the source has an event id
//! ```
//!
//! Who folds as the stream does takes what is sorted by (entity, offset).
//!
//! Promises: an entity's events come one after another, in one partition. Memory is bounded by [`Resources`], for what
//! sorts and distributes spills; one entity's events are never collected, however many there are. Partitions share
//! nothing, so they can run anywhere, and again. It folds nothing and computes no value: that is its callers' part.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion_common::DataFusionError;
use datafusion_physical_expr::expressions::col;
use datafusion_physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion_physical_plan::repartition::RepartitionExec;
use datafusion_physical_plan::sorts::sort::SortExec;
use datafusion_physical_plan::{ExecutionPlan, Partitioning};

use crate::kernel::engine::Asked;
use crate::kernel::engine::entrants::{Entrants, ORDER, SHARD};
use crate::offline::{self, Archive, Pinned, Scope};

use copies::CopiesExec;
use events::{EventsExec, Table};

pub use engine::{Engine, Resources};
pub use progress::Progress;
pub use properties::unordered;

mod copies;
mod engine;
mod events;
mod progress;
mod properties;

/// Which events of a view are wanted: plain data, but for what has been compiled.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub entrants: Entrants,
    /// The archived events, in as many parts as may be read at once.
    pub scans: Vec<Pinned>,
    pub scope: Scope,
    /// Who is asked about, and when: nothing else is sorted.
    pub asked: Arc<Asked>,
    /// How many partitions may run at once.
    pub partitions: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the job cannot read the archive")]
    Files(#[from] offline::Error),
    #[error("the job cannot be computed{}", mend(.0))]
    Engine(#[source] DataFusionError),
}

/// More of something helps where it ran out.
fn mend(error: &DataFusionError) -> &'static str {
    match error.find_root() {
        DataFusionError::ResourcesExhausted(_) | DataFusionError::IoError(_) => {
            ": give it more memory, or more room for temporary files"
        }
        _ => "",
    }
}

/// What the archive could not do stays that, wherever it was noticed.
impl From<DataFusionError> for Error {
    fn from(error: DataFusionError) -> Error {
        match error {
            DataFusionError::External(source) => match source.downcast() {
                Ok(files) => Error::Files(*files),
                Err(source) => Error::Engine(DataFusionError::External(source)),
            },
            DataFusionError::Context(_, source) => Error::from(*source),
            other => Error::Engine(other),
        }
    }
}

impl Wanted {
    /// The events as the stream meets them: each part's in the order of their offsets, copies among them.
    pub fn by_origin(self, archive: &Archive, progress: &Arc<Progress>) -> Arc<dyn ExecutionPlan> {
        let partitions = self.partitions;
        sorted(Arc::new(EventsExec::new(archive.clone(), self, Table::ByOrigin, progress.clone())), partitions)
    }

    /// The events without copies, each entity's in the order of the instants from which a row may see them.
    pub fn by_time(self, archive: &Archive, progress: &Arc<Progress>) -> Arc<dyn ExecutionPlan> {
        let (entrants, asked, partitions) = (self.entrants.clone(), self.asked.clone(), self.partitions);
        let table = if entrants.may_have_copies() { Table::ByOrigin } else { Table::ByTime };
        let events = EventsExec::new(archive.clone(), self, table, progress.clone());
        let events = sorted(Arc::new(events), partitions);
        match entrants.may_have_copies() {
            true => sort(ORDER, Arc::new(CopiesExec::new(entrants, asked, events))),
            false => events,
        }
    }
}

/// Rows of one shard to one partition, and in it in order.
pub fn sorted(input: Arc<dyn ExecutionPlan>, partitions: usize) -> Arc<dyn ExecutionPlan> {
    let shard = col(SHARD, &input.schema()).expect("tables of events and questions have a shard");
    let partitioning = Partitioning::Hash(vec![shard], partitions);
    let repartitioned = RepartitionExec::try_new(input, partitioning).expect("rows can be hashed by their shard");
    sort(ORDER, Arc::new(repartitioned))
}

/// Each partition by itself.
pub fn sort(column: &str, input: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    let ordering = ordering(column, &input.schema());
    Arc::new(SortExec::new(ordering, input).with_preserve_partitioning(true))
}

pub fn ordering(column: &str, schema: &SchemaRef) -> LexOrdering {
    let column = col(column, schema).expect("the table has the column that it is sorted by");
    LexOrdering::new([PhysicalSortExpr::new_default(column)]).expect("one column is an ordering")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_memory_is_advised_where_it_ran_out_and_nowhere_else() {
        let said = |error: DataFusionError| Error::from(error).to_string();
        let spent = DataFusionError::ResourcesExhausted("512 MB are taken".to_owned());
        assert!(said(spent.context("sorting")).ends_with("give it more memory, or more room for temporary files"));
        assert_eq!(said(DataFusionError::Execution("an overflow".to_owned())), "the job cannot be computed");
    }
}
