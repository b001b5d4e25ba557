//! The spine as questions: who was what, when.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{Schema, SchemaRef, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;

use crate::kernel::definition::Entity;
use crate::kernel::name::Name;
use crate::kernel::time::EventTime;
use crate::offline::{self, SpineColumns};
use crate::training::wanted::Wanted;
use crate::training::{Error, Request, point_in_time};

/// Questions that are one batch, and the most rows that are answered at once.
const BATCH_ROWS: usize = 8_192;

#[derive(Clone)]
pub(super) struct Spine {
    /// As they were handed in.
    batches: Vec<RecordBatch>,
    schema: SchemaRef,
    rows: usize,
    label_times: Option<(EventTime, EventTime)>,
    /// By the name of the entity.
    questions: BTreeMap<Name, Vec<RecordBatch>>,
}

impl Spine {
    pub fn check(request: &Request<'_>, wanted: &Wanted) -> Result<Spine, Error> {
        let batches = request.spine.to_vec();
        let schema = batches.first().map_or_else(|| Arc::new(Schema::empty()), RecordBatch::schema);
        if let Some(taken) = request.features.iter().find(|it| schema.field_with_name(&it.to_string()).is_ok()) {
            return Err(Error::NameTaken(taken.clone()));
        }
        let columns = SpineColumns { keys: &wanted.keys()?, label_time: request.label_time };
        let checked = offline::spine::check(batches.clone(), columns)?;
        let mut questions = BTreeMap::new();
        for entity in wanted.views().iter().map(|view| &view.plan.entity) {
            if !questions.contains_key(&entity.name) {
                questions.insert(entity.name.clone(), self::questions(entity, &checked, request.label_time));
            }
        }
        let rows = batches.iter().map(RecordBatch::num_rows).sum();
        let label_times = || checked.iter().flat_map(|batch| times(batch, request.label_time));
        let label_times = label_times().min().zip(label_times().max());
        Ok(Spine { batches, schema, rows, label_times, questions })
    }

    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The oldest and the newest.
    pub fn label_times(&self) -> Option<(EventTime, EventTime)> {
        self.label_times
    }

    pub fn questions(&self, entity: &Entity) -> &[RecordBatch] {
        &self.questions[&entity.name]
    }

    /// The rows as they were handed in, in pieces that are not too large to be answered at once.
    pub fn pieces(&self, rows: usize) -> impl Iterator<Item = RecordBatch> {
        self.batches.iter().flat_map(move |batch| pieces(batch, rows.min(BATCH_ROWS)))
    }
}

fn questions(entity: &Entity, checked: &[RecordBatch], label_time: &str) -> Vec<RecordBatch> {
    let mut first = 0;
    let batch = |piece: RecordBatch| {
        let batch = point_in_time::batch(&key_columns(entity, &piece), &times(&piece, label_time), first);
        first += piece.num_rows();
        batch
    };
    checked.iter().flat_map(|batch| pieces(batch, BATCH_ROWS)).map(batch).collect()
}

/// One at least: a spine without rows is a training set without rows.
fn pieces(batch: &RecordBatch, rows: usize) -> impl Iterator<Item = RecordBatch> {
    let starts = (0..batch.num_rows().max(1)).step_by(rows);
    starts.map(move |start| batch.slice(start, rows.min(batch.num_rows() - start)))
}

fn key_columns(entity: &Entity, checked: &RecordBatch) -> Vec<ArrayRef> {
    let column = |name: &Name| checked.column_by_name(name.as_str()).expect("the spine was checked for its keys");
    entity.keys.iter().map(|(name, _)| column(name).clone()).collect()
}

fn times(checked: &RecordBatch, label_time: &str) -> Vec<EventTime> {
    let column = checked.column_by_name(label_time).expect("the spine was checked for its label time");
    column.as_primitive::<TimestampMicrosecondType>().values().iter().map(|it| EventTime::unchecked(*it)).collect()
}
