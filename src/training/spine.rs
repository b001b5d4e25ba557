//! The spine as questions: who was what, when.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{Schema, SchemaRef, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;

use crate::kernel::definition::Entity;
use crate::kernel::engine;
use crate::kernel::key::EntityKey;
use crate::kernel::name::Name;
use crate::kernel::time::{EventTime, Micros};
use crate::offline::{self, SpineColumns};
use crate::training::wanted::Wanted;
use crate::training::{Error, Request};

pub(super) struct Spine {
    /// As they were handed in.
    batches: Vec<RecordBatch>,
    schema: SchemaRef,
    label_times: Vec<EventTime>,
    questions: BTreeMap<Name, Questions>,
}

/// The rows of a spine by their entity of one kind.
#[derive(Default)]
pub(super) struct Questions {
    /// Rows in the order of their label times.
    rows: HashMap<EntityKey, Vec<usize>>,
    /// Rows of which a part of the key is null.
    keyless: Vec<usize>,
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
        let label_times: Vec<EventTime> = checked.iter().flat_map(|batch| times(batch, request.label_time)).collect();
        let mut questions = BTreeMap::new();
        for entity in wanted.views().iter().map(|view| &view.plan.entity) {
            if !questions.contains_key(&entity.name) {
                questions.insert(entity.name.clone(), Questions::of(entity, &checked, &label_times));
            }
        }
        Ok(Spine { batches, schema, label_times, questions })
    }

    pub fn batches(&self) -> &[RecordBatch] {
        &self.batches
    }

    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub fn rows(&self) -> usize {
        self.label_times.len()
    }

    pub fn label_time(&self, row: usize) -> EventTime {
        self.label_times[row]
    }

    /// `None`: no rows.
    pub fn label_times(&self) -> Option<Range<EventTime>> {
        let oldest = self.label_times.iter().min()?;
        let newest = self.label_times.iter().max()?;
        Some(*oldest..*newest + Micros::new(1))
    }

    pub fn questions(&self, entity: &Entity) -> &Questions {
        &self.questions[&entity.name]
    }
}

impl Questions {
    fn of(entity: &Entity, checked: &[RecordBatch], label_times: &[EventTime]) -> Questions {
        let mut questions = Questions::default();
        let keys = checked.iter().flat_map(|batch| engine::entity_keys(&key_columns(entity, batch)));
        for (row, key) in keys.enumerate() {
            match key {
                Some(key) => questions.rows.entry(key).or_default().push(row),
                None => questions.keyless.push(row),
            }
        }
        questions.rows.values_mut().for_each(|rows| rows.sort_by_key(|row| label_times[*row]));
        questions
    }

    pub fn entities(&self) -> impl ExactSizeIterator<Item = &EntityKey> {
        self.rows.keys()
    }

    pub fn by_entity(&self) -> impl Iterator<Item = (&EntityKey, &[usize])> {
        self.rows.iter().map(|(entity, rows)| (entity, rows.as_slice()))
    }

    pub fn keyless(&self) -> &[usize] {
        &self.keyless
    }
}

fn key_columns(entity: &Entity, checked: &RecordBatch) -> Vec<ArrayRef> {
    let column = |name: &Name| checked.column_by_name(name.as_str()).expect("the spine was checked for its keys");
    entity.keys.iter().map(|(name, _)| column(name).clone()).collect()
}

fn times(checked: &RecordBatch, label_time: &str) -> Vec<EventTime> {
    let column = checked.column_by_name(label_time).expect("the spine was checked for its label time");
    column.as_primitive::<TimestampMicrosecondType>().values().iter().map(|it| EventTime::unchecked(*it)).collect()
}
