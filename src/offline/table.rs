//! Tables that people hand in and take away: Parquet, Arrow IPC or CSV, read whole under a bound.
//!
//! Nobody vouches for what is handed in, and some kilobytes may stand for more than any memory holds. Before a table is
//! decoded it is asked what it comes to, and its batches are counted as they are when they are plain.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::{RecordBatch, RecordBatchReader};
use bytes::Bytes;

use crate::offline::parquet_file::untrusted;
use crate::offline::plain_size::{self, Room};
use crate::offline::{arrow_file, csv};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Parquet,
    /// IPC, as a file or as a stream.
    Arrow,
    /// With a header line.
    Csv,
}

/// What one table may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub rows: usize,
    /// Of the file, and again of its decoded columns.
    pub bytes: usize,
}

/// What is wrong with a table that someone handed in, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
pub struct TableError {
    /// From 1, not counting a header.
    pub row: Option<usize>,
    pub column: Option<String>,
    pub what: String,
    pub help: Option<String>,
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.row, &self.column) {
            (Some(row), Some(column)) => write!(f, "row {row}, column `{column}`: {}", self.what)?,
            (Some(row), None) => write!(f, "row {row}: {}", self.what)?,
            (None, Some(column)) => write!(f, "column `{column}`: {}", self.what)?,
            (None, None) => f.write_str(&self.what)?,
        }
        self.help.iter().try_for_each(|help| write!(f, "\n  help: {help}"))
    }
}

impl TableError {
    pub(super) fn new(what: impl Into<String>) -> TableError {
        TableError { what: what.into(), ..TableError::default() }
    }

    pub(super) fn in_column(column: &str, what: impl Into<String>) -> TableError {
        TableError { column: Some(column.to_owned()), ..TableError::new(what) }
    }

    pub(super) fn at(row: usize, column: &str, what: impl Into<String>) -> TableError {
        TableError { row: Some(row + 1), ..TableError::in_column(column, what) }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> TableError {
        self.help = Some(help.into());
        self
    }
}

/// Columns of one table: a spine has some tens.
pub(super) const MOST_COLUMNS: usize = 10_000;

/// All batches of a table. A CSV's columns are typed by what is in them, but those that `as_text` names stay text.
pub(super) fn decode(
    bytes: Bytes,
    format: Format,
    as_text: &dyn Fn(&str) -> bool,
    limits: Limits,
) -> Result<Vec<RecordBatch>, TableError> {
    let decoded = || match format {
        Format::Csv => csv::decode(&bytes, as_text, limits),
        Format::Parquet => parquet(bytes.clone(), limits),
        Format::Arrow => arrow(bytes.clone(), limits),
    };
    // The decoders are others', and some of what is wrong with a table they only expect not to be so.
    catch_unwind(AssertUnwindSafe(decoded)).unwrap_or_else(|panic| Err(gave_up(format, &*panic)))
}

fn gave_up(format: Format, panic: &(dyn Any + Send)) -> TableError {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    TableError::new(format!("not a {format} table: its decoder gave up: {}", text.unwrap_or("it does not say why")))
}

fn arrow(bytes: Bytes, limits: Limits) -> Result<Vec<RecordBatch>, TableError> {
    let batches = arrow_file::batches(bytes, limits.bytes as u64).map_err(|error| unreadable(Format::Arrow, &error))?;
    whole(batches.ok_or_else(|| too_large(limits))?, Format::Arrow, limits)
}

/// Decoded with values shared among rows, and made plain once it is known what that comes to.
fn parquet(bytes: Bytes, limits: Limits) -> Result<Vec<RecordBatch>, TableError> {
    let unreadable = |error: ArrowError| unreadable(Format::Parquet, &error);
    let measured = untrusted::measure(&bytes, limits.bytes as u64).map_err(unreadable)?;
    let measured = measured.filter(|measured| measured.rows <= limits.rows as u64).ok_or_else(|| too_large(limits))?;
    let shared = untrusted::read_shared(bytes, &measured).map_err(unreadable)?;
    let mut budget = Budget::of(limits);
    let plain = |batch: Result<RecordBatch, ArrowError>| {
        let batch = batch.map_err(unreadable)?;
        budget.take(&batch)?;
        as_declared(&batch, &shared.declared)
    };
    let batches: Vec<RecordBatch> = shared.batches.map(plain).collect::<Result<_, _>>()?;
    Ok(with_columns(batches, shared.declared.clone()))
}

/// With the types that the file itself names. Parquet's reader looks at the bytes of some texts only; of bytes, all are
/// looked at before they are text.
fn as_declared(batch: &RecordBatch, declared: &SchemaRef) -> Result<RecordBatch, TableError> {
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    let column = |(column, field): (&ArrayRef, &FieldRef)| {
        let bytes = cast(column, &untrusted::as_bytes(column.data_type()));
        let declared = bytes.and_then(|bytes| cast_with_options(&bytes, field.data_type(), &strict));
        declared.map_err(|error| {
            TableError::in_column(field.name(), format!("it cannot be read as {}: {error}", field.data_type()))
        })
    };
    let columns = batch.columns().iter().zip(declared.fields()).map(column).collect::<Result<_, _>>()?;
    let schema = Arc::new(Schema::new(declared.fields().clone()));
    RecordBatch::try_new(schema, columns).map_err(|error| unreadable(Format::Parquet, &error))
}

/// All of it: one without rows has its columns in a batch without rows.
pub(super) fn whole(
    reader: impl RecordBatchReader,
    format: Format,
    limits: Limits,
) -> Result<Vec<RecordBatch>, TableError> {
    let schema = reader.schema();
    Ok(with_columns(bounded(reader, format, limits)?, schema))
}

fn with_columns(batches: Vec<RecordBatch>, schema: SchemaRef) -> Vec<RecordBatch> {
    if batches.is_empty() { vec![RecordBatch::new_empty(schema)] } else { batches }
}

/// Refuses a table before all of it is in memory: a small file may hold a great many equal rows.
fn bounded(
    batches: impl Iterator<Item = Result<RecordBatch, ArrowError>>,
    format: Format,
    limits: Limits,
) -> Result<Vec<RecordBatch>, TableError> {
    let mut budget = Budget::of(limits);
    let counted = |batch: Result<RecordBatch, ArrowError>| {
        let batch = batch.map_err(|error| unreadable(format, &error))?;
        budget.take(&batch).map(|()| batch)
    };
    batches.map(counted).collect()
}

/// What a table may still take.
struct Budget {
    rows: usize,
    bytes: Room,
    limits: Limits,
}

impl Budget {
    fn of(limits: Limits) -> Budget {
        Budget { rows: limits.rows, bytes: Room(limits.bytes as u64), limits }
    }

    fn take(&mut self, batch: &RecordBatch) -> Result<(), TableError> {
        let fields = batch.schema();
        if let Some(field) = fields.fields().iter().find(|field| !plain_size::is_known(field.data_type())) {
            let what = format!("it is {}, and Parquet has no unions", field.data_type());
            return Err(TableError::in_column(field.name(), what).help("give each kind of value a column"));
        }
        self.rows = self.rows.checked_sub(batch.num_rows()).ok_or_else(|| too_large(self.limits))?;
        self.bytes.take(batch).ok_or_else(|| too_large(self.limits))
    }
}

fn unreadable(format: Format, error: &ArrowError) -> TableError {
    TableError::new(format!("not a {format} table: {error}"))
}

pub(super) fn too_wide() -> TableError {
    TableError::new(format!("the table has more than {MOST_COLUMNS} columns"))
}

pub(super) fn too_large(limits: Limits) -> TableError {
    TableError::new(format!("the table has more than {} rows or {} bytes", limits.rows, limits.bytes))
        .help("hand it in as several tables")
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Parquet => "Parquet",
            Format::Arrow => "Arrow",
            Format::Csv => "CSV",
        })
    }
}

/// Enough of what stood there to find it again.
pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
