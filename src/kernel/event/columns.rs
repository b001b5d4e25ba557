//! Cells → Arrow columns. A column takes cells of its own type only; `convert` made them so.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Float32Builder, Float64Builder,
    Int32Builder, Int64Builder, ListArray, NullBufferBuilder, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::Field;

use super::convert::Cell;
use crate::kernel::value::ValueType;

pub(super) enum Column {
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

pub(super) struct ListColumn {
    items: Column,
    item_type: ValueType,
    offsets: Vec<i32>,
    valid: NullBufferBuilder,
    rows: usize,
}

/// What a string takes on average, for the first allocation.
const TEXT_BYTES: usize = 12;

impl Column {
    pub(super) fn with_capacity(value_type: &ValueType, rows: usize) -> Column {
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

    pub(super) fn append(&mut self, cell: Cell<'_>) {
        match (self, cell) {
            (Column::Bool(it), Cell::Bool(value)) => it.append_value(value),
            (Column::Int32(it), Cell::Int(value)) => it.append_value(value as i32),
            (Column::Int64(it), Cell::Int(value)) => it.append_value(value),
            (Column::Float32(it), Cell::Float(value)) => it.append_value(value as f32),
            (Column::Float64(it), Cell::Float(value)) => it.append_value(value),
            (Column::Text(it), Cell::Text(value)) => it.append_value(value),
            (Column::Bytes(it), Cell::Bytes(value)) => it.append_value(value),
            (Column::Timestamp(it), Cell::Int(value)) => it.append_value(value),
            (Column::Date(it), Cell::Int(value)) => it.append_value(value as i32),
            (Column::Decimal(it), Cell::Decimal(value)) => it.append_value(value),
            (Column::List(it), Cell::List(items)) => it.append(Some(items)),
            (column, Cell::Null) => column.append_null(),
            (_, cell) => unreachable!("a cell is converted to the type of its column, yet {cell:?}"),
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
            Column::List(it) => it.append(None),
        }
    }

    pub(super) fn finish(self) -> ArrayRef {
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

    fn append(&mut self, items: Option<Vec<Cell<'_>>>) {
        self.valid.append(items.is_some());
        for item in items.into_iter().flatten() {
            self.items.append(item);
            self.rows += 1;
        }
        self.offsets.push(i32::try_from(self.rows).expect("a batch holds fewer than 2^31 list items"));
    }

    fn finish(mut self) -> ArrayRef {
        let field = Arc::new(Field::new("item", self.item_type.to_arrow(), true));
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.offsets));
        Arc::new(ListArray::new(field, offsets, self.items.finish(), self.valid.finish()))
    }
}
