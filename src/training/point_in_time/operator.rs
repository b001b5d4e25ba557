//! The point-in-time join: events and questions of a partition, both by (entity, time), merged in one pass.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BinaryArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion_common::Result;
use datafusion_common::tree_node::TreeNodeRecursion;
use datafusion_execution::{SendableRecordBatchStream, TaskContext};
use datafusion_physical_expr::{OrderingRequirements, PhysicalExpr};
use datafusion_physical_plan::stream::RecordBatchStreamAdapter;
use datafusion_physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties};
use futures::{StreamExt, stream};

use super::questions::ROW;
use crate::batch::{ordering, unordered};
use crate::kernel::engine::entrants::{Entrants, ORDER, Sorted};
use crate::kernel::engine::{Walk, order};
use crate::kernel::value::ColumnBuilder;

#[derive(Debug)]
pub(super) struct PointInTimeExec {
    entrants: Entrants,
    features: Vec<usize>,
    /// Events, then questions: the rows of an entity in one partition of the same number, in order.
    inputs: [Arc<dyn ExecutionPlan>; 2],
    properties: Arc<PlanProperties>,
}

impl PointInTimeExec {
    pub fn new(
        entrants: Entrants,
        features: Vec<usize>,
        events: Arc<dyn ExecutionPlan>,
        questions: Arc<dyn ExecutionPlan>,
    ) -> PointInTimeExec {
        let partitions = questions.output_partitioning().partition_count();
        assert_eq!(events.output_partitioning().partition_count(), partitions, "questions meet their events");
        let partitioning = datafusion_physical_plan::Partitioning::UnknownPartitioning(partitions);
        let properties = unordered(answers(&entrants, &features), partitioning);
        PointInTimeExec { entrants, features, inputs: [events, questions], properties }
    }
}

/// The row that asked, and the features.
fn answers(entrants: &Entrants, features: &[usize]) -> SchemaRef {
    let feature = |feature: &usize| {
        let plan = &entrants.view().features[*feature];
        Field::new(plan.name.as_str(), plan.value_type.to_arrow(), true)
    };
    let row = std::iter::once(Field::new(ROW, DataType::UInt64, false));
    Arc::new(Schema::new(row.chain(features.iter().map(feature)).collect::<Vec<_>>()))
}

impl DisplayAs for PointInTimeExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let view = self.entrants.view();
        let names: Vec<&str> = self.features.iter().map(|feature| view.features[*feature].name.as_str()).collect();
        write!(f, "PointInTimeExec: view={}@{}, ", view.name, view.fingerprint)?;
        write!(f, "knowledge={}, features=[{}]", self.entrants.knowledge().as_str(), names.join(", "))
    }
}

impl ExecutionPlan for PointInTimeExec {
    fn name(&self) -> &str {
        "PointInTimeExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        let by_order = |input: &Arc<dyn ExecutionPlan>| ordering(ORDER, &input.schema());
        self.inputs.iter().map(|input| Some(OrderingRequirements::from(by_order(input)))).collect()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.inputs.iter().collect()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let [events, questions] = children.try_into().expect("events and questions");
        Ok(Arc::new(PointInTimeExec::new(self.entrants.clone(), self.features.clone(), events, questions)))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let [events, questions] = &self.inputs;
        let merge = Merge {
            events: Events::new(self.entrants.clone(), events.execute(partition, context.clone())?),
            questions: questions.execute(partition, context)?,
            walk: Walk::new(self.entrants.view().clone()),
            entity: Vec::new(),
            features: self.features.clone(),
            schema: self.schema(),
        };
        let answers = stream::try_unfold(merge, |mut merge| async move {
            let Some(questions) = merge.questions.next().await.transpose()? else { return Ok(None) };
            let answers = merge.answer(&questions).await?;
            Ok(Some((answers, merge)))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), answers)))
    }
}

struct Merge {
    events: Events,
    questions: SendableRecordBatchStream,
    walk: Walk,
    /// Whose walk it is.
    entity: Vec<u8>,
    features: Vec<usize>,
    schema: SchemaRef,
}

impl Merge {
    async fn answer(&mut self, questions: &RecordBatch) -> Result<RecordBatch> {
        let orders: &BinaryArray = questions.column(0).as_binary();
        let mut columns = self.builders(questions.num_rows());
        for order in orders.iter().map(|order| order.expect("each question has an order")) {
            if order::entity(order) != self.entity {
                self.entity.clear();
                self.entity.extend(order::entity(order));
                self.walk.begin();
            }
            while !self.events.fold_to(order, &mut self.walk) {
                self.events.refill().await?;
            }
            let reading = self.walk.at(order::time(order));
            for (feature, column) in self.features.iter().zip(&mut columns) {
                column.append_value(reading.values[*feature].as_ref());
            }
        }
        let rows = questions.column_by_name(ROW).expect("questions name their rows").clone();
        let columns: Vec<ArrayRef> =
            std::iter::once(rows).chain(columns.into_iter().map(ColumnBuilder::finish)).collect();
        Ok(RecordBatch::try_new(self.schema.clone(), columns)?)
    }

    fn builders(&self, rows: usize) -> Vec<ColumnBuilder> {
        let view = self.events.entrants.view();
        self.features.iter().map(|it| ColumnBuilder::with_capacity(&view.features[*it].value_type, rows)).collect()
    }
}

/// The events of a partition, of which one batch is held.
struct Events {
    entrants: Entrants,
    stream: SendableRecordBatchStream,
    batch: Option<Sorted>,
    /// The first row that was not looked at.
    row: usize,
    ended: bool,
}

impl Events {
    fn new(entrants: Entrants, stream: SendableRecordBatchStream) -> Events {
        Events { entrants, stream, batch: None, row: 0, ended: false }
    }

    /// Folds the events of the question's entity that it sees, and passes over those of entities before. False: the batch
    /// has ended, and the next one may have more.
    fn fold_to(&mut self, question: &[u8], walk: &mut Walk) -> bool {
        let Some(batch) = &self.batch else { return self.ended };
        let (entity, as_of) = (order::entity(question), order::time(question));
        while self.row < batch.rows() {
            let order = batch.order(self.row);
            if order > question {
                return true;
            }
            if order::entity(order) == entity {
                batch.fold(self.row, walk, as_of);
            }
            self.row += 1;
        }
        self.ended
    }

    async fn refill(&mut self) -> Result<()> {
        let batch = self.stream.next().await.transpose()?;
        self.ended = batch.is_none();
        self.batch = batch.map(|batch| Sorted::new(&self.entrants, &batch));
        self.row = 0;
        Ok(())
    }
}
