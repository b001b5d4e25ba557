//! Values → an Arrow column. A column takes values of its own type only: whoever appends has checked them.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Float32Builder, Float64Builder,
    Int32Builder, Int64Builder, ListArray, NullBufferBuilder, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::Field;

use crate::kernel::value::{Value, ValueRef, ValueType};

/// A column of one type that grows row by row.
pub struct ColumnBuilder(Column);

enum Column {
    Bool(BooleanBuilder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    Float32(Float32Builder),
    Float64(Float64Builder),
    Text(StringBuilder),
    Bytes(BinaryBuilder),
    Timestamp(TimestampMicrosecondBuilder),
    Date(Date32Builder),
    Decimal(Decimal128Builder),
    List(Box<ListColumn>),
}

struct ListColumn {
    items: Column,
    item_type: ValueType,
    offsets: Vec<i32>,
    valid: NullBufferBuilder,
    rows: usize,
}

/// What a string takes on average, for the first allocation.
const TEXT_BYTES: usize = 12;

impl ColumnBuilder {
    pub fn with_capacity(value_type: &ValueType, rows: usize) -> ColumnBuilder {
        ColumnBuilder(Column::with_capacity(value_type, rows))
    }

    /// A row that is no list; `None` is null in any column.
    pub fn append(&mut self, value: Option<ValueRef<'_>>) {
        self.0.append(value);
    }

    /// A row of a column of lists.
    pub fn append_list<'v>(&mut self, items: impl Iterator<Item = Option<ValueRef<'v>>>) {
        match &mut self.0 {
            Column::List(it) => it.append(items),
            _ => unreachable!("a list is appended to a column of lists"),
        }
    }

    pub fn append_value(&mut self, value: Option<&Value>) {
        match value {
            Some(Value::List(items)) => self.append_list(items.iter().map(Value::scalar)),
            value => self.append(value.and_then(Value::scalar)),
        }
    }

    pub fn finish(self) -> ArrayRef {
        self.0.finish()
    }
}

impl Column {
    fn with_capacity(value_type: &ValueType, rows: usize) -> Column {
        let arrow = value_type.to_arrow();
        match value_type {
            ValueType::Bool => Column::Bool(BooleanBuilder::with_capacity(rows)),
            ValueType::Int32 => Column::Int32(Int32Builder::with_capacity(rows)),
            ValueType::Int64 => Column::Int64(Int64Builder::with_capacity(rows)),
            ValueType::Float32 => Column::Float32(Float32Builder::with_capacity(rows)),
            ValueType::Float64 => Column::Float64(Float64Builder::with_capacity(rows)),
            ValueType::String => Column::Text(StringBuilder::with_capacity(rows, rows * TEXT_BYTES)),
            ValueType::Bytes => Column::Bytes(BinaryBuilder::with_capacity(rows, rows * TEXT_BYTES)),
            ValueType::Timestamp => {
                Column::Timestamp(TimestampMicrosecondBuilder::with_capacity(rows).with_data_type(arrow))
            }
            ValueType::Date => Column::Date(Date32Builder::with_capacity(rows)),
            ValueType::Decimal { .. } => Column::Decimal(Decimal128Builder::with_capacity(rows).with_data_type(arrow)),
            ValueType::List(item) => Column::List(Box::new(ListColumn::with_capacity(item, rows))),
        }
    }

    fn append(&mut self, value: Option<ValueRef<'_>>) {
        let Some(value) = value else { return self.append_null() };
        match (self, value) {
            (Column::Bool(it), ValueRef::Bool(value)) => it.append_value(value),
            (Column::Int32(it), ValueRef::Int(value)) => it.append_value(value as i32),
            (Column::Int64(it), ValueRef::Int(value)) => it.append_value(value),
            (Column::Float32(it), ValueRef::Float(value)) => it.append_value(value as f32),
            (Column::Float64(it), ValueRef::Float(value)) => it.append_value(value),
            (Column::Text(it), ValueRef::Text(value)) => it.append_value(value),
            (Column::Bytes(it), ValueRef::Bytes(value)) => it.append_value(value),
            (Column::Timestamp(it), ValueRef::Time(value)) => it.append_value(value.micros()),
            (Column::Date(it), ValueRef::Date(value)) => it.append_value(value),
            (Column::Decimal(it), ValueRef::Decimal(value)) => it.append_value(value),
            (_, value) => unreachable!("a value has the type of its column, yet {value:?}"),
        }
    }

    fn append_null(&mut self) {
        match self {
            Column::Bool(it) => it.append_null(),
            Column::Int32(it) => it.append_null(),
            Column::Int64(it) => it.append_null(),
            Column::Float32(it) => it.append_null(),
            Column::Float64(it) => it.append_null(),
            Column::Text(it) => it.append_null(),
            Column::Bytes(it) => it.append_null(),
            Column::Timestamp(it) => it.append_null(),
            Column::Date(it) => it.append_null(),
            Column::Decimal(it) => it.append_null(),
            Column::List(it) => it.append_null(),
        }
    }

    fn finish(self) -> ArrayRef {
        match self {
            Column::Bool(mut it) => Arc::new(it.finish()),
            Column::Int32(mut it) => Arc::new(it.finish()),
            Column::Int64(mut it) => Arc::new(it.finish()),
            Column::Float32(mut it) => Arc::new(it.finish()),
            Column::Float64(mut it) => Arc::new(it.finish()),
            Column::Text(mut it) => Arc::new(it.finish()),
            Column::Bytes(mut it) => Arc::new(it.finish()),
            Column::Timestamp(mut it) => Arc::new(it.finish()),
            Column::Date(mut it) => Arc::new(it.finish()),
            Column::Decimal(mut it) => Arc::new(it.finish()),
            Column::List(it) => it.finish(),
        }
    }
}

impl ListColumn {
    fn with_capacity(item_type: &ValueType, rows: usize) -> ListColumn {
        ListColumn {
            items: Column::with_capacity(item_type, rows),
            item_type: item_type.clone(),
            offsets: vec![0],
            valid: NullBufferBuilder::new(rows),
            rows: 0,
        }
    }

    fn append<'v>(&mut self, items: impl Iterator<Item = Option<ValueRef<'v>>>) {
        for item in items {
            self.items.append(item);
            self.rows += 1;
        }
        self.end_row(true);
    }

    fn append_null(&mut self) {
        self.end_row(false);
    }

    fn end_row(&mut self, valid: bool) {
        self.valid.append(valid);
        self.offsets.push(i32::try_from(self.rows).expect("a batch holds fewer than 2^31 list items"));
    }

    fn finish(mut self) -> ArrayRef {
        let field = Arc::new(Field::new("item", self.item_type.to_arrow(), true));
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.offsets));
        Arc::new(ListArray::new(field, offsets, self.items.finish(), self.valid.finish()))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::{Float32Type, Int64Type};

    use super::*;

    fn column(value_type: ValueType, values: &[Option<Value>]) -> ArrayRef {
        let mut builder = ColumnBuilder::with_capacity(&value_type, values.len());
        values.iter().for_each(|value| builder.append_value(value.as_ref()));
        let array = builder.finish();
        assert_eq!(*array.data_type(), value_type.to_arrow());
        array
    }

    #[test]
    fn a_column_holds_its_values_and_its_nulls() {
        let floats = column(ValueType::Float32, &[Some(Value::Float(-0.5)), None]);
        assert_eq!(floats.as_primitive::<Float32Type>().iter().collect::<Vec<_>>(), [Some(-0.5), None]);
        let decimals = column(ValueType::Decimal { precision: 38, scale: 2 }, &[Some(Value::Decimal(-1))]);
        assert_eq!(decimals.null_count(), 0);
    }

    #[test]
    fn a_null_list_is_not_an_empty_one() {
        let list = |items: &[i64]| Some(Value::List(items.iter().map(|item| Value::Int(*item)).collect()));
        let lists = column(ValueType::List(Box::new(ValueType::Int64)), &[list(&[3, 1]), None, list(&[])]);
        let lists = lists.as_list::<i32>();
        assert_eq!(lists.value(0).as_primitive::<Int64Type>().values(), &[3, 1]);
        assert!(lists.is_null(1) && lists.is_valid(2) && lists.value(2).is_empty());
    }
}
