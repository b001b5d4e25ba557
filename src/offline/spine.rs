//! The spine of a training set: rows of entity keys and a label time, with any other columns beside them.
//!
//! Promises: key columns have their keys' types and the label time is in microseconds, never null; other columns,
//! the order of rows, and rows that are alike are as they were handed in.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::datatypes::{
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use jiff::fmt::temporal::Pieces;

use crate::kernel::name::Name;
use crate::kernel::time::EventTime;
use crate::kernel::value::ValueType;
use crate::offline::json_rows;
use crate::offline::table::{self, Format, Limits, MOST_COLUMNS, TableError, too_wide};

/// The columns that a spine must have.
#[derive(Clone, Copy, Debug)]
pub struct SpineColumns<'a> {
    /// Name and type (string or int64) of each entity key.
    pub keys: &'a [(Name, ValueType)],
    pub label_time: &'a str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpineFormat {
    Table(Format),
    /// A JSON array of rows.
    Json,
}

/// Reads a spine, all batches under one schema.
pub fn read(
    bytes: Bytes,
    format: SpineFormat,
    columns: SpineColumns<'_>,
    limits: Limits,
) -> Result<Vec<RecordBatch>, TableError> {
    let SpineFormat::Table(format) = format else { return check(json_rows::decode(&bytes, limits)?, columns) };
    let as_text = |name: &str| name == columns.label_time || columns.keys.iter().any(|(key, _)| *key == *name);
    check(table::decode(bytes, format, &as_text, limits)?, columns)
}

/// The same for a spine that came as batches.
pub fn check(mut batches: Vec<RecordBatch>, columns: SpineColumns<'_>) -> Result<Vec<RecordBatch>, TableError> {
    let Some(schema) = batches.first().map(RecordBatch::schema) else { return Ok(batches) };
    check_names(&schema, columns)?;
    if batches.iter().any(|batch| batch.schema().fields() != schema.fields()) {
        return Err(TableError::new("its batches have different columns").help("give all of them one schema"));
    }
    let mut rows_before = 0;
    for batch in &mut batches {
        let rows = batch.num_rows();
        *batch = typed(batch, columns, rows_before)?;
        rows_before += rows;
    }
    Ok(batches)
}

fn check_names(schema: &Schema, columns: SpineColumns<'_>) -> Result<(), TableError> {
    if schema.fields().len() > MOST_COLUMNS {
        return Err(too_wide());
    }
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    if let Some((_, twice)) = names.iter().enumerate().find(|(index, name)| names[..*index].contains(name)) {
        return Err(TableError::in_column(twice, "the name stands twice").help("name each column differently"));
    }
    if columns.keys.iter().any(|(key, _)| *key == *columns.label_time) {
        let what = "it is an entity key, and cannot be the label time too";
        return Err(TableError::in_column(columns.label_time, what).help("name the column that says when each row was"));
    }
    let needed = columns.keys.iter().map(|(key, _)| key.as_str()).chain([columns.label_time]);
    match needed.into_iter().find(|name| !names.contains(name)) {
        Some(missing) => Err(TableError::in_column(missing, "the spine has no such column")
            .help(format!("it needs every entity key and the label time; it has `{}`", names.join("`, `")))),
        None => Ok(()),
    }
}

fn typed(batch: &RecordBatch, columns: SpineColumns<'_>, rows_before: usize) -> Result<RecordBatch, TableError> {
    let (mut fields, mut arrays) = (Vec::new(), Vec::new());
    for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
        let name = field.name();
        let array = if name == columns.label_time {
            label_times(array, name, rows_before)?
        } else if let Some((_, key_type)) = columns.keys.iter().find(|(key, _)| *key == *name.as_str()) {
            key(array, key_type, name, rows_before)?
        } else {
            fields.push(field.clone());
            arrays.push(array.clone());
            continue;
        };
        fields.push(Arc::new(Field::new(name, array.data_type().clone(), true)));
        arrays.push(array);
    }
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).expect("columns keep their rows"))
}

/// Text may become an int64, digit by digit; nothing else changes its kind.
fn key(array: &ArrayRef, key_type: &ValueType, name: &str, rows_before: usize) -> Result<ArrayRef, TableError> {
    let array = plain(array, name)?;
    let held = ValueType::from_arrow(array.data_type());
    let (Some(ValueType::String), ValueType::Int64) = (&held, key_type) else {
        let fits = held.as_ref().is_some_and(|held| held == key_type || held.is_integer() && key_type.is_integer());
        return match cast(&array, &key_type.to_arrow()) {
            Ok(cast) if fits && cast.null_count() == array.null_count() => Ok(cast),
            _ => Err(TableError::in_column(name, format!("it is {}, and the key is {key_type}", array.data_type()))),
        };
    };
    let text = array.as_string::<i32>();
    let parsed = text.iter().enumerate().map(|(row, text)| text.map(|text| int(text, row)).transpose());
    let int64: Result<arrow::array::Int64Array, (usize, String)> = parsed.collect();
    int64.map(|it| Arc::new(it) as ArrayRef).map_err(|(row, what)| TableError::at(rows_before + row, name, what))
}

fn int(text: &str, row: usize) -> Result<i64, (usize, String)> {
    text.parse().map_err(|_| (row, format!("`{}` is not an int64", table::shortened(text))))
}

fn label_times(array: &ArrayRef, name: &str, rows_before: usize) -> Result<ArrayRef, TableError> {
    let array = plain(array, name)?;
    let mut times = Vec::with_capacity(array.len());
    for row in 0..array.len() {
        let time = match array.is_null(row) {
            true => Err("a row needs a label time, and this one is null".to_owned()),
            false => label_time(&array, row),
        };
        times.push(time.map_err(|what| {
            let help = "write `2026-11-21T10:00:00Z`, or `2026-11-21 10:00:00` for UTC";
            TableError::at(rows_before + row, name, what).help(help)
        })?);
    }
    let micros = times.into_iter().map(EventTime::micros);
    Ok(Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_timezone("UTC")))
}

/// Floored to the microsecond; a time without a zone is UTC.
fn label_time(array: &ArrayRef, row: usize) -> Result<EventTime, String> {
    let micros = match array.data_type() {
        DataType::Utf8 => return parse_time(array.as_string::<i32>().value(row)),
        DataType::Timestamp(TimeUnit::Second, _) => {
            array.as_primitive::<TimestampSecondType>().value(row).checked_mul(1_000_000)
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            array.as_primitive::<TimestampMillisecondType>().value(row).checked_mul(1_000)
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            Some(array.as_primitive::<TimestampMicrosecondType>().value(row))
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            Some(array.as_primitive::<TimestampNanosecondType>().value(row).div_euclid(1_000))
        }
        other => return Err(format!("the column is {other}, not a timestamp or text")),
    };
    micros.and_then(EventTime::from_micros).ok_or_else(|| "the time is outside the years 0001 to 9999".to_owned())
}

fn parse_time(text: &str) -> Result<EventTime, String> {
    let pieces = Pieces::parse(text).map_err(|_| format!("`{}` is not a time", table::shortened(text)))?;
    match (pieces.offset(), pieces.time_zone_annotation()) {
        (None, None) => EventTime::of_civil(pieces.date().to_datetime(pieces.time().unwrap_or_default())),
        (None, Some(_)) => return Err(format!("`{}` names a time zone, and no offset", table::shortened(text))),
        (Some(_), _) => text.parse().ok(),
    }
    .ok_or_else(|| format!("`{}` is outside the years 0001 to 9999", table::shortened(text)))
}

/// Dictionaries, views and large strings as the plain arrays that they stand for.
fn plain(array: &ArrayRef, name: &str) -> Result<ArrayRef, TableError> {
    let value_type = match array.data_type() {
        DataType::Dictionary(_, values) => values.as_ref(),
        other => other,
    };
    let plain = match value_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => &DataType::Utf8,
        other => other,
    };
    cast(array, plain)
        .map_err(|error| TableError::in_column(name, format!("its values cannot be written out: {error}")))
}

#[cfg(test)]
mod tests;
