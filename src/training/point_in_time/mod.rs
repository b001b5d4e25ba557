//! Point in time as a tree of DataFusion operators: questions and events meet entity by entity, in one pass.
//!
//! ```text
//! archive ─► events ─► by shard ─► sorted by (entity, time) ─┐
//!                                                            ├─► point in time ─► sorted by row ─► one stream
//! spine ─► questions ─► by shard ─► sorted by (entity, time) ─┘
//! ```
//!
//! Where the source has an event id, events are first sorted by (entity, offset), and copies dropped.
//!
//! Promises: memory is bounded by the pool of the context that it runs in, for what sorts and distributes is DataFusion's
//! and spills; one entity's events are never collected, however many there are. Partitions share nothing, so they can
//! run anywhere, and again. The tree is made from plain data ([`codec`]).

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion_physical_expr::expressions::col;
use datafusion_physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion_physical_plan::repartition::RepartitionExec;
use datafusion_physical_plan::sorts::sort::SortExec;
use datafusion_physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion_physical_plan::{ExecutionPlan, Partitioning};

use crate::kernel::engine::Asked;
use crate::kernel::engine::entrants::{Entrants, ORDER, SHARD};
use crate::kernel::engine::order;
use crate::offline::{Archive, Pinned};
use crate::training::point_in_time::copies::CopiesExec;
use crate::training::point_in_time::events::EventsExec;
use crate::training::point_in_time::operator::PointInTimeExec;
use crate::training::point_in_time::questions::{QuestionsExec, ROW};
use crate::training::progress::Progress;

mod copies;
mod events;
mod operator;
mod properties;
mod questions;

pub(super) mod codec;

pub(super) use questions::batch;

/// What is needed to answer one view's questions: plain data, but for what has been compiled.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub entrants: Entrants,
    /// Positions of the wanted features in the view, in the order of their columns.
    pub features: Vec<usize>,
    /// The archived events, in as many parts as may be read at once.
    pub scans: Vec<Pinned>,
    /// Of the schema of [`questions::schema`].
    pub questions: Vec<RecordBatch>,
    /// How many partitions may run at once.
    pub partitions: usize,
}

impl Task {
    /// The answers in the order of the spine's rows: the row, and then the features.
    pub fn physical(&self, archive: &Archive, progress: &Arc<Progress>) -> Arc<dyn ExecutionPlan> {
        let asked = Arc::new(self.asked());
        let events = EventsExec::new(archive.clone(), self, asked, progress.clone());
        let mut events = self.sorted(Arc::new(events));
        if self.entrants.may_have_copies() {
            events = sort(ORDER, Arc::new(CopiesExec::new(self.entrants.clone(), events)));
        }
        let questions = self.sorted(Arc::new(QuestionsExec::new(self.questions.clone())));
        let answers = PointInTimeExec::new(self.entrants.clone(), self.features.clone(), events, questions);
        let by_row = sort(ROW, Arc::new(answers));
        Arc::new(SortPreservingMergeExec::new(ordering(ROW, &by_row.schema()), by_row))
    }

    /// Rows of one shard to one partition, and in it in order.
    fn sorted(&self, input: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        let shard = col(SHARD, &input.schema()).expect("tables of events and questions have a shard");
        let partitioning = Partitioning::Hash(vec![shard], self.partitions);
        let repartitioned = RepartitionExec::try_new(input, partitioning).expect("rows can be hashed by their shard");
        sort(ORDER, Arc::new(repartitioned))
    }

    fn asked(&self) -> Asked {
        let mut asked = Asked::default();
        for order in self.questions.iter().flat_map(questions::orders) {
            asked.add(order::hash(order), order::time(order));
        }
        asked
    }
}

/// Each partition by itself.
fn sort(column: &str, input: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    let ordering = ordering(column, &input.schema());
    Arc::new(SortExec::new(ordering, input).with_preserve_partitioning(true))
}

fn ordering(column: &str, schema: &SchemaRef) -> LexOrdering {
    let column = col(column, schema).expect("the table has the column that it is sorted by");
    LexOrdering::new([PhysicalSortExpr::new_default(column)]).expect("one column is an ordering")
}

#[cfg(test)]
mod tests;
