//! Rows of a feature table, in columns until they are enough for a step.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;

use crate::kernel::engine::Reading;
use crate::kernel::key::{EntityKey, KeyPart};
use crate::kernel::plan::ViewPlan;
use crate::kernel::time::EventTime;
use crate::kernel::value::{ColumnBuilder, Value, ValueRef, ValueType};
use crate::offline::AS_OF;

/// What columns are made for at first.
const ROWS: usize = 1_024;

pub(super) struct Rows {
    view: Arc<ViewPlan>,
    key_types: Vec<ValueType>,
    schema: SchemaRef,
    /// The key's columns, the instant, the features.
    columns: Vec<ColumnBuilder>,
    rows: usize,
    bytes: usize,
    /// Rows that were not told of yet.
    untold: usize,
}

impl Rows {
    pub fn new(view: Arc<ViewPlan>) -> Rows {
        let own = columns(&view).map(|(name, value_type, empty)| Field::new(name, value_type.to_arrow(), empty));
        let schema = Arc::new(Schema::new(own.collect::<Vec<_>>()));
        let key_types = view.entity.keys.iter().map(|(_, value_type)| value_type.clone()).collect();
        let columns = builders(&view);
        Rows { view, key_types, schema, columns, rows: 0, bytes: 0, untold: 0 }
    }

    pub fn add(&mut self, key: &[u8], as_of: EventTime, reading: &Reading) {
        let parts = EntityKey::from_bytes(key).decode(&self.key_types);
        let parts = parts.expect("entrants key their events by the view's own entity");
        let mut columns = self.columns.iter_mut();
        for (part, column) in parts.iter().zip(&mut columns) {
            column.append(Some(match part {
                KeyPart::Text(text) => ValueRef::Text(text),
                KeyPart::Int(int) => ValueRef::Int(*int),
            }));
        }
        columns.next().expect("the instant's column").append(Some(ValueRef::Time(as_of)));
        columns.zip(&reading.values).for_each(|(column, value)| column.append_value(value.as_ref()));
        self.rows += 1;
        self.bytes += key.len() + size_of::<EventTime>() + reading.values.iter().flatten().map(bytes).sum::<usize>();
        self.untold += 1;
    }

    /// About what the rows take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What was added, and leaves nothing; `None`: there was nothing.
    pub fn take(&mut self) -> Option<RecordBatch> {
        let rows = std::mem::take(&mut self.rows);
        self.bytes = 0;
        let columns = (rows > 0).then(|| std::mem::replace(&mut self.columns, builders(&self.view)))?;
        let columns: Vec<ArrayRef> = columns.into_iter().map(ColumnBuilder::finish).collect();
        Some(RecordBatch::try_new(self.schema.clone(), columns).expect("the columns are the schema's"))
    }

    /// How many were added since it was last asked.
    pub fn counted(&mut self) -> usize {
        std::mem::take(&mut self.untold)
    }
}

/// Name and type, and whether it may be null.
pub(super) fn columns(view: &ViewPlan) -> impl Iterator<Item = (&str, &ValueType, bool)> {
    let keys = view.entity.keys.iter().map(|(name, value_type)| (name.as_str(), value_type, false));
    let features = view.features.iter().map(|feature| (feature.name.as_str(), &feature.value_type, true));
    keys.chain([(AS_OF, &ValueType::Timestamp, false)]).chain(features)
}

fn builders(view: &ViewPlan) -> Vec<ColumnBuilder> {
    columns(view).map(|(_, value_type, _)| ColumnBuilder::with_capacity(value_type, ROWS)).collect()
}

/// About what a value takes.
fn bytes(value: &Value) -> usize {
    match value {
        Value::Text(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::List(items) => items.iter().map(bytes).sum(),
        _ => size_of::<u64>(),
    }
}
