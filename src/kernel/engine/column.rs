//! Columns of a batch as the fold reads them: typed once for the batch, so that a value costs a match and no
//! downcast, and checked once for what aggregates skip.

use std::collections::BTreeSet;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array,
    Int32Array, Int64Array, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type, TimeUnit,
    TimestampMicrosecondType,
};

use crate::kernel::aggregate::{self, Skip};
use crate::kernel::engine::Counts;
use crate::kernel::plan::{Slot, ViewPlan};
use crate::kernel::time::EventTime;
use crate::kernel::value::ValueRef;

/// The columns that a view's slots read, by index into [`ViewPlan::schema`].
pub struct Inputs(Vec<Option<Input>>);

impl Inputs {
    /// `array` gives the column that it is asked for: those of [`Inputs::columns`].
    pub(super) fn new(view: &ViewPlan, array: impl Fn(usize) -> ArrayRef) -> Inputs {
        let mut inputs: Vec<Option<Input>> = view.schema.fields().iter().map(|_| None).collect();
        for column in Inputs::columns(view) {
            let kept = slots(view).any(|slot| slot.column == Some(column) && slot.keeps_values);
            inputs[column] = Some(Input::new(&array(column), kept));
        }
        Inputs(inputs)
    }

    /// Which columns those are, each once and ascending.
    pub(super) fn columns(view: &ViewPlan) -> BTreeSet<usize> {
        slots(view).filter_map(|slot| slot.column).collect()
    }

    /// The value that an aggregate counts; `keeps_values` as its slot has it.
    pub(super) fn value(&self, column: usize, row: usize, keeps_values: bool) -> Option<ValueRef<'_>> {
        self.0[column].as_ref().expect("the columns that slots read were typed").value(row, keeps_values)
    }

    pub(super) fn count_skips(&self, row: usize, counts: &mut Counts) {
        self.0.iter().flatten().for_each(|input| input.count_skips(row, counts));
    }
}

fn slots(view: &ViewPlan) -> impl Iterator<Item = &Slot> {
    view.grids.iter().flat_map(|grid| &grid.slots)
}

/// A column that aggregates read.
struct Input {
    column: Column,
    /// One for each row; empty where no value of the batch is skipped, as nearly always.
    skips: Vec<Option<Skip>>,
}

impl Input {
    /// `kept`: whether some aggregate keeps the column's values in its state.
    pub fn new(array: &ArrayRef, kept: bool) -> Input {
        let column = Column::of(array);
        let skip = |row| column.value(row).and_then(|value| aggregate::admit(kept, value).err());
        let mut skips = Vec::new();
        if kept || matches!(column, Column::Float32(_) | Column::Float64(_)) {
            skips.extend((0..array.len()).map(skip));
        }
        if skips.iter().all(Option::is_none) {
            skips.clear();
        }
        Input { column, skips }
    }

    /// The value that an aggregate counts; `keeps_values` as its slot has it. A value that is too long to be kept
    /// is still there for those that do not keep it.
    pub fn value(&self, row: usize, keeps_values: bool) -> Option<ValueRef<'_>> {
        match self.skips.get(row) {
            Some(Some(Skip::NaN)) => None,
            Some(Some(Skip::TooLong)) if keeps_values => None,
            _ => self.column.value(row),
        }
    }

    pub fn count_skips(&self, row: usize, counts: &mut Counts) {
        match self.skips.get(row) {
            Some(Some(Skip::NaN)) => counts.nan_skipped += 1,
            Some(Some(Skip::TooLong)) => counts.too_long_skipped += 1,
            _ => {}
        }
    }
}

/// An Arrow array of one of the types of [`crate::kernel::value::ValueType`].
pub(super) enum Column {
    Bool(BooleanArray),
    Int32(Int32Array),
    Int64(Int64Array),
    Float32(Float32Array),
    Float64(Float64Array),
    Decimal(Decimal128Array),
    Date(Date32Array),
    Time(TimestampMicrosecondArray),
    Text(StringArray),
    Bytes(BinaryArray),
}

impl Column {
    pub fn of(array: &ArrayRef) -> Column {
        match array.data_type() {
            DataType::Boolean => Column::Bool(array.as_boolean().clone()),
            DataType::Int32 => Column::Int32(array.as_primitive::<Int32Type>().clone()),
            DataType::Int64 => Column::Int64(array.as_primitive::<Int64Type>().clone()),
            DataType::Float32 => Column::Float32(array.as_primitive::<Float32Type>().clone()),
            DataType::Float64 => Column::Float64(array.as_primitive::<Float64Type>().clone()),
            DataType::Decimal128(_, _) => Column::Decimal(array.as_primitive::<Decimal128Type>().clone()),
            DataType::Date32 => Column::Date(array.as_primitive::<Date32Type>().clone()),
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                Column::Time(array.as_primitive::<TimestampMicrosecondType>().clone())
            }
            DataType::Utf8 => Column::Text(array.as_string().clone()),
            DataType::Binary => Column::Bytes(array.as_binary().clone()),
            other => unreachable!("definitions let no aggregate, key or id read a column of type {other}"),
        }
    }

    /// `None`: null.
    pub fn value(&self, row: usize) -> Option<ValueRef<'_>> {
        match self {
            Column::Bool(array) => array.is_valid(row).then(|| ValueRef::Bool(array.value(row))),
            Column::Int32(array) => array.is_valid(row).then(|| ValueRef::Int(i64::from(array.value(row)))),
            Column::Int64(array) => array.is_valid(row).then(|| ValueRef::Int(array.value(row))),
            Column::Float32(array) => array.is_valid(row).then(|| ValueRef::Float(f64::from(array.value(row)))),
            Column::Float64(array) => array.is_valid(row).then(|| ValueRef::Float(array.value(row))),
            Column::Decimal(array) => array.is_valid(row).then(|| ValueRef::Decimal(array.value(row))),
            Column::Date(array) => array.is_valid(row).then(|| ValueRef::Date(array.value(row))),
            Column::Time(array) => array.is_valid(row).then(|| ValueRef::Time(EventTime::unchecked(array.value(row)))),
            Column::Text(array) => array.is_valid(row).then(|| ValueRef::Text(array.value(row))),
            Column::Bytes(array) => array.is_valid(row).then(|| ValueRef::Bytes(array.value(row))),
        }
    }
}
