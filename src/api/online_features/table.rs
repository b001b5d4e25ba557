//! The answer to a lookup as one Arrow record batch: a column for each key and each feature, of its own type. With
//! `include`, a feature's column is followed by `…:status` and `…:event_time`. The schema's metadata has the as-of and,
//! where an answer in part was asked for, `errors` as JSON.
//!
//! Values are those of the JSON, but for infinities and NaN, which JSON has no numbers for.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use arrow::datatypes::{Field, Schema};
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};

use crate::api::online_features::Include;
use crate::api::unavailable::UnavailableView;
use crate::kernel::engine::Status;
use crate::kernel::key::KeyPart;
use crate::kernel::value::{ColumnBuilder, ValueRef, ValueType};
use crate::serving::{Answer, Column, Request};

pub(super) const MEDIA_TYPE: &str = "application/vnd.apache.arrow.stream";

pub(super) fn stream(
    request: &Request,
    answer: &Answer,
    include: &[Include],
    errors: Option<&[UnavailableView]>,
) -> Result<Vec<u8>, ArrowError> {
    let batch = batch(request, answer, include, metadata(answer, errors))?;
    let mut writer = StreamWriter::try_new(Vec::with_capacity(batch.get_array_memory_size()), &batch.schema())?;
    writer.write(&batch)?;
    writer.into_inner()
}

fn metadata(answer: &Answer, errors: Option<&[UnavailableView]>) -> HashMap<String, String> {
    let errors = errors.map(|errors| serde_json::to_string(errors).expect("errors are plain data"));
    let as_of = Some(answer.as_of.to_string());
    let told = [("as_of", as_of), ("errors", errors)].into_iter();
    told.filter_map(|(name, text)| Some((name.to_owned(), text?))).collect()
}

fn batch(
    request: &Request,
    answer: &Answer,
    include: &[Include],
    metadata: HashMap<String, String>,
) -> Result<RecordBatch, ArrowError> {
    let rows = request.entities.first().map_or(0, |(_, rows)| rows.len());
    let mut columns: Vec<(Field, ArrayRef)> = Vec::new();
    for (name, parts) in &request.entities {
        let value_type = answer.key_type(name).expect("a lookup with a key that nothing reads is refused");
        columns.push(column(name, value_type, rows, parts.iter().map(|part| part.as_ref().map(value_of))));
        if include.contains(&Include::Statuses) {
            columns.push(statuses(name, (0..rows).map(|_| Status::Present)));
        }
    }
    answer.columns().for_each(|feature| push_feature(&mut columns, feature, include, rows));
    let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) = columns.into_iter().unzip();
    let schema = Arc::new(Schema::new_with_metadata(fields, metadata));
    RecordBatch::try_new_with_options(schema, arrays, &RecordBatchOptions::new().with_row_count(Some(rows)))
}

fn push_feature(columns: &mut Vec<(Field, ArrayRef)>, feature: Column<'_>, include: &[Include], rows: usize) {
    let name = feature.feature().to_string();
    let mut values = ColumnBuilder::with_capacity(feature.value_type(), rows);
    feature.values().for_each(|value| values.append_value(value));
    columns.push((Field::new(&name, feature.value_type().to_arrow(), true), values.finish()));
    if include.contains(&Include::Statuses) {
        columns.push(statuses(&name, feature.statuses()));
    }
    if include.contains(&Include::EventTimes) {
        let times = feature.event_times().map(|instant| instant.map(ValueRef::Time));
        columns.push(column(&format!("{name}:event_time"), &ValueType::Timestamp, rows, times));
    }
}

fn column<'v>(
    name: &str,
    value_type: &ValueType,
    rows: usize,
    values: impl Iterator<Item = Option<ValueRef<'v>>>,
) -> (Field, ArrayRef) {
    let mut column = ColumnBuilder::with_capacity(value_type, rows);
    values.for_each(|value| column.append(value));
    (Field::new(name, value_type.to_arrow(), true), column.finish())
}

fn statuses(name: &str, statuses: impl Iterator<Item = Status>) -> (Field, ArrayRef) {
    let statuses = StringArray::from_iter_values(statuses.map(Status::as_str));
    (Field::new(format!("{name}:status"), ValueType::String.to_arrow(), false), Arc::new(statuses))
}

fn value_of(part: &KeyPart) -> ValueRef<'_> {
    match part {
        KeyPart::Text(text) => ValueRef::Text(text),
        KeyPart::Int(int) => ValueRef::Int(*int),
    }
}
