//! The leaf that reads archived events, and makes of them the entrants that some question may see.

use std::fmt;
use std::sync::Arc;

use datafusion_common::tree_node::TreeNodeRecursion;
use datafusion_common::{DataFusionError, Result};
use datafusion_execution::{SendableRecordBatchStream, TaskContext};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_plan::stream::RecordBatchStreamAdapter;
use datafusion_physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties};
use futures::stream;

use super::properties::unordered;
use super::{Task, questions};
use crate::kernel::engine::entrants::Entrants;
use crate::kernel::engine::{Asked, order};
use crate::kernel::time::{EventTime, Micros};
use crate::offline::{Archive, Pinned, Scope};
use crate::training::progress::Progress;

pub(super) struct EventsExec {
    archive: Archive,
    entrants: Entrants,
    /// One for each partition.
    scans: Vec<Pinned>,
    scope: Scope,
    asked: Arc<Asked>,
    progress: Arc<Progress>,
    properties: Arc<PlanProperties>,
}

impl EventsExec {
    pub fn new(archive: Archive, task: &Task, asked: Arc<Asked>, progress: Arc<Progress>) -> EventsExec {
        let entrants = task.entrants.clone();
        let schema = match entrants.may_have_copies() {
            true => entrants.schema_by_origin(),
            false => entrants.schema_by_time(),
        };
        let properties = unordered(schema, Partitioning::UnknownPartitioning(task.scans.len()));
        let (scans, scope) = (task.scans.clone(), scope(task));
        EventsExec { archive, entrants, scans, scope, asked, progress, properties }
    }
}

/// Where in event time any question looks.
fn scope(task: &Task) -> Scope {
    let instants = || task.questions.iter().flat_map(questions::orders).map(order::time);
    let reach = task.entrants.view().reach;
    let oldest = instants().min().zip(reach).map_or(EventTime::MIN, |(first, reach)| first - reach);
    let event_time = instants().max().map(|last| oldest..last + Micros::new(1));
    Scope { below: None, event_time, fields: Some(task.entrants.view().fields()) }
}

impl DisplayAs for EventsExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let view = self.entrants.view();
        let files: Vec<String> = self.scans.iter().map(|pinned| pinned.files().to_string()).collect();
        write!(f, "EventsExec: view={}, source={}, files=[{}]", view.name, view.source.name, files.join(", "))?;
        match &self.scope.event_time {
            Some(range) => write!(f, ", event_time=[{}, {})", range.start, range.end),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for EventsExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_as(DisplayFormatType::Default, f)
    }
}

impl ExecutionPlan for EventsExec {
    fn name(&self) -> &str {
        "EventsExec"
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

    fn execute(&self, partition: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let (entrants, asked, progress) = (self.entrants.clone(), self.asked.clone(), self.progress.clone());
        let source = entrants.view().source.clone();
        let events = self.archive.read(&source, &self.scans[partition], &self.scope);
        let table = move |archived: std::result::Result<crate::offline::ArchivedEvents, _>| {
            let events = archived.map_err(|error| DataFusionError::External(Box::new(error)))?.admit(&source);
            progress.step();
            Ok(match entrants.may_have_copies() {
                true => entrants.by_origin(&events, &asked),
                false => entrants.by_time(&events, &asked),
            })
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream::iter(events.map(table)))))
    }
}
