//! The operator that drops copies of events, which are told in the order of offsets, and then what nobody asks about.

use std::fmt;
use std::sync::Arc;

use datafusion_common::Result;
use datafusion_common::tree_node::TreeNodeRecursion;
use datafusion_execution::{SendableRecordBatchStream, TaskContext};
use datafusion_physical_expr::{OrderingRequirements, PhysicalExpr};
use datafusion_physical_plan::stream::RecordBatchStreamAdapter;
use datafusion_physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties};
use futures::StreamExt;

use crate::batch::{ordering, unordered};
use crate::kernel::engine::Asked;
use crate::kernel::engine::entrants::{Copies, Entrants, ORDER};

#[derive(Debug)]
pub(super) struct CopiesExec {
    entrants: Entrants,
    asked: Arc<Asked>,
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl CopiesExec {
    /// The input has the rows of an entity in one partition, by origin.
    pub fn new(entrants: Entrants, asked: Arc<Asked>, input: Arc<dyn ExecutionPlan>) -> CopiesExec {
        // The shard stays the column that it is.
        let properties = unordered(entrants.schema_by_time(), input.output_partitioning().clone());
        CopiesExec { entrants, asked, input, properties }
    }
}

impl DisplayAs for CopiesExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CopiesExec: dedup_window={}", self.entrants.view().source.dedup_window)
    }
}

impl ExecutionPlan for CopiesExec {
    fn name(&self) -> &str {
        "CopiesExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        vec![Some(OrderingRequirements::from(ordering(ORDER, &self.input.schema())))]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(CopiesExec::new(self.entrants.clone(), self.asked.clone(), children.swap_remove(0))))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let mut copies = Copies::new(self.entrants.clone(), self.asked.clone());
        let events = self.input.execute(partition, context)?;
        let distinct = events.map(move |batch| Ok(copies.drop(&batch?)));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), distinct)))
    }
}
