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

use arrow::record_batch::RecordBatch;
use datafusion_physical_plan::ExecutionPlan;
use datafusion_physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;

use crate::batch::{self, Progress, ordering, sort};
use crate::kernel::aggregate::Parameter;
use crate::kernel::engine::entrants::Entrants;
use crate::kernel::engine::{Asked, order};
use crate::kernel::plan::FeaturePlan;
use crate::kernel::time::{EventTime, Micros};
use crate::kernel::value::{LONGEST_KEPT_BYTES, ValueType};
use crate::offline::{Archive, Pinned, Scope};
use crate::training::point_in_time::operator::PointInTimeExec;
use crate::training::point_in_time::questions::{QuestionsExec, ROW};

mod operator;
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
        let events = self.events().by_time(archive, progress);
        let questions = batch::sorted(Arc::new(QuestionsExec::new(self.questions.clone())), self.partitions);
        let answers = PointInTimeExec::new(self.entrants.clone(), self.features.clone(), events, questions);
        let by_row = sort(ROW, Arc::new(answers));
        Arc::new(SortPreservingMergeExec::new(ordering(ROW, &by_row.schema()), by_row))
    }

    /// What the answer of one question may take, if each list is full of the longest values.
    pub fn answer_bytes(&self) -> usize {
        let features = &self.entrants.view().features;
        self.features.iter().map(|feature| most_bytes(&features[*feature])).sum()
    }

    /// Those that some question may see.
    fn events(&self) -> batch::Wanted {
        let (entrants, scans, partitions) = (self.entrants.clone(), self.scans.clone(), self.partitions);
        batch::Wanted { entrants, scans, scope: self.scope(), asked: Arc::new(self.asked()), partitions }
    }

    /// Where in event time any question looks.
    fn scope(&self) -> Scope {
        let instants = || self.questions.iter().flat_map(questions::orders).map(order::time);
        let reach = self.entrants.view().reach;
        let oldest = instants().min().zip(reach).map_or(EventTime::MIN, |(first, reach)| first - reach);
        let event_time = instants().max().map(|last| oldest..last + Micros::new(1));
        Scope { below: None, event_time, fields: Some(self.entrants.view().fields()) }
    }

    fn asked(&self) -> Asked {
        let mut asked = Asked::within(self.entrants.view().reach);
        for order in self.questions.iter().flat_map(questions::orders) {
            asked.add(order::hash(order), order::time(order));
        }
        asked
    }
}

fn most_bytes(feature: &FeaturePlan) -> usize {
    let value = |value_type: &ValueType| match value_type {
        ValueType::String | ValueType::Bytes => LONGEST_KEPT_BYTES,
        _ => size_of::<i128>(),
    };
    let count = |parameter: &Parameter| match parameter {
        Parameter::Count(count) => Some(*count as usize),
        Parameter::Flag(_) => None,
    };
    match &feature.value_type {
        ValueType::List(item) => feature.call.parameters.values().filter_map(count).max().unwrap_or(1) * value(item),
        other => value(other),
    }
}

#[cfg(test)]
mod tests;
