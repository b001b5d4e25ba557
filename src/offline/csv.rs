//! CSV → record batches. A column gets the type that all of its values have; where a type would change how a value
//! is written (`007`, `1.10`), it stays text. Empty fields are null.

use std::io::Cursor;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::csv::ReaderBuilder;
use arrow::csv::reader::Format as CsvFormat;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use crate::offline::table::{Format, Limits, MOST_COLUMNS, TableError, too_wide, whole};

const BATCH_ROWS: usize = 8_192;

/// Room is made for all of a batch before there are any: of wide tables, for fewer rows.
const BATCH_CELLS: usize = 1 << 22;

pub(super) fn decode(
    text: &[u8],
    as_text: &dyn Fn(&str) -> bool,
    limits: Limits,
) -> Result<Vec<RecordBatch>, TableError> {
    if is_too_wide(text) {
        return Err(too_wide());
    }
    let header = infer(text, Some(0))?;
    let all_text = header.fields().iter().map(|field| Field::new(field.name(), DataType::Utf8, true));
    let all_text = Arc::new(Schema::new(all_text.collect::<Vec<_>>()));
    let batch_rows = (BATCH_CELLS / all_text.fields().len()).min(BATCH_ROWS);
    let reader = ReaderBuilder::new(all_text).with_header(true).with_batch_size(batch_rows);
    // Not in pieces: with each, room would be made for more cells of a row that goes on and on.
    let batches = whole(reader.build_buffered(text).map_err(unreadable)?, Format::Csv, limits)?;
    // Only now, for rows of any width are read for it: those that are wider than the header have been refused.
    let inferred = infer(text, None)?;
    let typed = |(index, field): (usize, &Arc<Field>)| {
        let columns: Vec<_> = batches.iter().map(|batch| batch.column(index).clone()).collect();
        let wanted = if as_text(field.name()) { &DataType::Utf8 } else { field.data_type() };
        convert(&columns, wanted)
    };
    let columns: Vec<Vec<ArrayRef>> = inferred.fields().iter().enumerate().map(typed).collect();
    let named = |batch: usize| {
        let of_batch = columns.iter().map(|column| column[batch].clone()).collect::<Vec<_>>();
        let fields = inferred.fields().iter().zip(&of_batch);
        let fields = fields.map(|(field, column)| Field::new(field.name(), column.data_type().clone(), true));
        RecordBatch::try_new(Arc::new(Schema::new(fields.collect::<Vec<_>>())), of_batch).map_err(unreadable)
    };
    (0..batches.len()).map(named).collect()
}

/// By the header, as the same reader takes it apart: it gives up at the first column that is too many.
fn is_too_wide(text: &[u8]) -> bool {
    let most = vec![Field::new("", DataType::Null, true); MOST_COLUMNS];
    let header = ReaderBuilder::new(Arc::new(Schema::new(most))).with_truncated_rows(true).with_batch_size(1);
    header.build_decoder().decode(text).is_err()
}

fn infer(text: &[u8], rows: Option<usize>) -> Result<Schema, TableError> {
    let (schema, _) =
        CsvFormat::default().with_header(true).infer_schema(Cursor::new(text), rows).map_err(unreadable)?;
    match schema.fields().is_empty() {
        true => Err(TableError::new("the table has no header line").help("name the columns in the first line")),
        false => Ok(schema),
    }
}

fn unreadable(error: ArrowError) -> TableError {
    TableError::new(format!("not a CSV table: {error}"))
}

/// All parts of a column in one type: the inferred one, or text if any value would be written otherwise in it.
fn convert(parts: &[ArrayRef], wanted: &DataType) -> Vec<ArrayRef> {
    let as_text = || parts.to_vec();
    if matches!(wanted, DataType::Utf8 | DataType::Null) {
        return as_text();
    }
    parts.iter().map(|part| unchanged(part, wanted)).collect::<Option<Vec<_>>>().unwrap_or_else(as_text)
}

/// A whole number may become `1.0` among others that have fractions; `007`, `1.10`, `12E5`, `TRUE` and a time's zone
/// would be lost.
fn unchanged(text: &ArrayRef, wanted: &DataType) -> Option<ArrayRef> {
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    let typed = cast_with_options(text, wanted, &strict).ok()?;
    let back = cast_with_options(&typed, &DataType::Utf8, &strict).ok()?;
    let mut pairs = text.as_string::<i32>().iter().zip(back.as_string::<i32>());
    let is_same = |text: &str, back: &str| text == back || back.strip_suffix(".0") == Some(text);
    pairs.all(|(text, back)| text.zip(back).is_none_or(|(text, back)| is_same(text, back))).then_some(typed)
}
