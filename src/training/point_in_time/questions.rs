//! The leaf with the questions of a spine: who, as of when, and which row asks.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion_common::Result;
use datafusion_common::tree_node::TreeNodeRecursion;
use datafusion_execution::{SendableRecordBatchStream, TaskContext};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_plan::memory::MemoryStream;
use datafusion_physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties};

use crate::batch::unordered;
use crate::kernel::engine::entrants::{self, ORDER, SHARD};
use crate::kernel::time::EventTime;

/// The row of the spine.
pub(super) const ROW: &str = "_row";

pub(super) fn schema() -> SchemaRef {
    let columns = [(ORDER, DataType::Binary), (SHARD, DataType::UInt16), (ROW, DataType::UInt64)];
    Arc::new(Schema::new(columns.map(|(name, held)| Field::new(name, held, false)).to_vec()))
}

/// The questions of rows `first..` of the spine, from the columns of the entity's key.
pub(in crate::training) fn batch(keys: &[ArrayRef], label_times: &[EventTime], first: usize) -> RecordBatch {
    let (orders, shards) = entrants::questions(keys, label_times);
    let rows = UInt64Array::from_iter_values((first..first + label_times.len()).map(|row| row as u64));
    let columns: Vec<ArrayRef> = vec![Arc::new(orders), Arc::new(shards), Arc::new(rows)];
    RecordBatch::try_new(schema(), columns).expect("each question has its columns")
}

pub(super) fn orders(batch: &RecordBatch) -> impl Iterator<Item = &[u8]> {
    batch.column(0).as_binary::<i32>().iter().map(|order| order.expect("each question has an order"))
}

#[derive(Debug)]
pub(super) struct QuestionsExec {
    batches: Vec<RecordBatch>,
    properties: Arc<PlanProperties>,
}

impl QuestionsExec {
    pub fn new(batches: Vec<RecordBatch>) -> QuestionsExec {
        QuestionsExec { batches, properties: unordered(schema(), Partitioning::UnknownPartitioning(1)) }
    }
}

impl DisplayAs for QuestionsExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "QuestionsExec: rows={}", self.batches.iter().map(RecordBatch::num_rows).sum::<usize>())
    }
}

impl ExecutionPlan for QuestionsExec {
    fn name(&self) -> &str {
        "QuestionsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        Ok(Box::pin(MemoryStream::try_new(self.batches.clone(), schema(), None)?))
    }
}
