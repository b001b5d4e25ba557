//! Rows of a feature table, in columns until they are enough for a batch.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;

use crate::backfill::AS_OF;
use crate::kernel::engine::Reading;
use crate::kernel::key::{EntityKey, KeyPart};
use crate::kernel::plan::ViewPlan;
use crate::kernel::time::EventTime;
use crate::kernel::value::{ColumnBuilder, ValueRef, ValueType};
use crate::offline::{self, Run};

const BATCH_ROWS: usize = 8_192;

pub(super) struct Rows<'a> {
    run: Run,
    view: &'a ViewPlan,
    key_types: Vec<ValueType>,
    schema: SchemaRef,
    /// The key's columns, the instant, the features.
    columns: Vec<ColumnBuilder>,
    rows: usize,
}

impl<'a> Rows<'a> {
    pub fn new(view: &'a ViewPlan, run: Run) -> Rows<'a> {
        let own = columns(view).map(|(name, value_type, empty)| Field::new(name, value_type.to_arrow(), empty));
        let schema = Arc::new(Schema::new(own.collect::<Vec<_>>()));
        let key_types = view.entity.keys.iter().map(|(_, value_type)| value_type.clone()).collect();
        Rows { run, view, key_types, schema, columns: builders(view), rows: 0 }
    }

    pub fn add(&mut self, entity: &EntityKey, as_of: EventTime, reading: &Reading) -> Result<(), offline::Error> {
        let key = entity.decode(&self.key_types).expect("the history keys its events by the view's own entity");
        let mut columns = self.columns.iter_mut();
        for (part, column) in key.iter().zip(&mut columns) {
            column.append(Some(match part {
                KeyPart::Text(text) => ValueRef::Text(text),
                KeyPart::Int(int) => ValueRef::Int(*int),
            }));
        }
        columns.next().expect("the instant's column").append(Some(ValueRef::Time(as_of)));
        columns.zip(&reading.values).for_each(|(column, value)| column.append_value(value.as_ref()));
        self.rows += 1;
        if self.rows < BATCH_ROWS { Ok(()) } else { self.write() }
    }

    pub fn finish(mut self) -> Result<Run, offline::Error> {
        self.write()?;
        Ok(self.run)
    }

    fn write(&mut self) -> Result<(), offline::Error> {
        let columns = std::mem::replace(&mut self.columns, builders(self.view));
        let columns: Vec<ArrayRef> = columns.into_iter().map(ColumnBuilder::finish).collect();
        self.rows = 0;
        self.run.write(&RecordBatch::try_new(self.schema.clone(), columns).expect("the columns are the schema's"))
    }
}

/// Name and type, and whether it may be null.
pub(super) fn columns(view: &ViewPlan) -> impl Iterator<Item = (&str, &ValueType, bool)> {
    let keys = view.entity.keys.iter().map(|(name, value_type)| (name.as_str(), value_type, false));
    let features = view.features.iter().map(|feature| (feature.name.as_str(), &feature.value_type, true));
    keys.chain([(AS_OF, &ValueType::Timestamp, false)]).chain(features)
}

fn builders(view: &ViewPlan) -> Vec<ColumnBuilder> {
    columns(view).map(|(_, value_type, _)| ColumnBuilder::with_capacity(value_type, BATCH_ROWS)).collect()
}
