//! The leaf that reads archived events, and makes of them the entrants that somebody asks about.

use std::fmt;
use std::sync::Arc;

use datafusion_common::tree_node::TreeNodeRecursion;
use datafusion_common::{DataFusionError, Result};
use datafusion_execution::{SendableRecordBatchStream, TaskContext};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_plan::stream::RecordBatchStreamAdapter;
use datafusion_physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties};
use futures::stream;

use crate::batch::{Progress, Wanted, unordered};
use crate::offline::{Archive, ArchivedEvents, Pinned};

pub(super) struct EventsExec {
    archive: Archive,
    /// A scan for each partition.
    wanted: Wanted,
    table: Table,
    progress: Arc<Progress>,
    properties: Arc<PlanProperties>,
}

/// What the events are to be sorted by, and what they need for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    ByOrigin,
    ByTime,
}

impl EventsExec {
    pub fn new(archive: Archive, wanted: Wanted, table: Table, progress: Arc<Progress>) -> EventsExec {
        let schema = match table {
            Table::ByOrigin => wanted.entrants.schema_by_origin(),
            Table::ByTime => wanted.entrants.schema_by_time(),
        };
        let properties = unordered(schema, Partitioning::UnknownPartitioning(wanted.scans.len()));
        EventsExec { archive, wanted, table, progress, properties }
    }
}

impl DisplayAs for EventsExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Wanted { entrants, scans, scope, .. } = &self.wanted;
        let (view, source) = (entrants.view(), &entrants.view().source);
        let files = |pinned: &Pinned| format!("{} of {}", pinned.files_read(source, scope), pinned.files());
        let files: Vec<String> = scans.iter().map(files).collect();
        write!(f, "EventsExec: view={}, source={}, files=[{}]", view.name, source.name, files.join(", "))?;
        match scope.event_time_of_files(source) {
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
        let Wanted { entrants, asked, scans, scope, .. } = &self.wanted;
        let (entrants, asked, progress) = (entrants.clone(), asked.clone(), self.progress.clone());
        let by = self.table;
        let source = entrants.view().source.clone();
        let events = self.archive.read(&source, &scans[partition], scope);
        let table = move |archived: std::result::Result<ArchivedEvents, _>| {
            let events = archived.map_err(|error| DataFusionError::External(Box::new(error)))?.admit(&source);
            progress.step();
            Ok(match by {
                Table::ByOrigin => entrants.by_origin(&events, &asked),
                Table::ByTime => entrants.by_time(&events, &asked),
            })
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream::iter(events.map(table)))))
    }
}
